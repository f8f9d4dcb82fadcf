"""Factors for videos that nobody has watched: those of videos that look alike and are labelled alike."""

import numpy as np
import pytest

from data.schema import VideoRecord
from recommender.catalogue_view import CatalogueView
from recommender.cold_start import ColdStart, fit_cold_start
from recommender.collaborative import LatentFactors
from recommender.content_map import ContentMapSettings
from recommender.index import VectorIndex
from recommender.live_index import LiveIndex

KINDS, EACH, DIM = 3, 30, 6
#: The last of each kind has no viewer; of the kinds 0 and 1 they have no label or no looks either.
COLD = np.arange(EACH - 1, KINDS * EACH, EACH)


@pytest.fixture
def world() -> tuple[CatalogueView, LiveIndex, LatentFactors, np.ndarray]:
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(KINDS), EACH)
    records = [
        VideoRecord(id=f"v{number}", number=number, labels=[] if number == COLD[0] else [f"kind-{kind[number]}"])
        for number in range(KINDS * EACH)
    ]
    view = CatalogueView([]).with_videos(records)
    looks = np.eye(DIM)[kind] + 0.2 * rng.normal(size=(len(kind), DIM))
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    seen = np.setdiff1d(np.arange(len(kind)), COLD[1:2])
    index = LiveIndex(VectorIndex.build(looks[seen].astype(np.float32), seen))
    items = (np.eye(4)[kind] + 0.1 * rng.normal(size=(len(kind), 4))).astype(np.float32)
    viewers = np.full(len(kind), 50)
    items[COLD], viewers[COLD] = 0.0, 0
    return view, index, LatentFactors(items, 1.0, 1.0), viewers


def test_a_cold_video_has_the_factors_of_its_kind_from_looks_or_labels_alone(world: tuple) -> None:
    view, index, factors, viewers = world
    fitted = fit_cold_start(view, index, factors, viewers)
    predicted = fitted.factors(view, index, COLD)
    assert predicted.shape == (KINDS, 4) and predicted.argmax(axis=1).tolist() == [0, 1, 2]
    assert fitted.trust > 0.5 and set(fitted.vocabulary.labels) == {"kind-0", "kind-1", "kind-2"}


def test_what_is_stored_predicts_the_same(world: tuple) -> None:
    view, index, factors, viewers = world
    fitted = fit_cold_start(view, index, factors, viewers, ContentMapSettings(landmarks=20))
    again = ColdStart.from_arrays(fitted.arrays())
    np.testing.assert_array_equal(again.factors(view, index, COLD), fitted.factors(view, index, COLD))
    np.testing.assert_array_equal(again.reference, fitted.reference)
    assert (again.vocabulary.labels, again.trust) == (fitted.vocabulary.labels, fitted.trust)


def test_what_did_best_for_an_earlier_map_is_kept(world: tuple) -> None:
    view, index, factors, viewers = world
    fixed = fit_cold_start(view, index, factors, viewers, ContentMapSettings(regularization=0.3, bandwidth=0.6))
    free = fit_cold_start(view, index, factors, viewers)
    alike = fit_cold_start(view, index, factors, viewers, like=ColdStart.from_arrays(fixed.arrays()))
    for each in (fixed, alike):
        assert (each.content_map.regularization, each.content_map.bandwidth) == (0.3, 0.6)
    assert free.content_map.regularization != 0.3
    np.testing.assert_allclose(alike.reference, fixed.reference, rtol=1e-5)


def test_labels_that_came_after_the_fit_are_passed_over(world: tuple) -> None:
    view, index, factors, viewers = world
    fitted = fit_cold_start(view, index, factors, viewers)
    grown = view.with_videos([VideoRecord(id="new", number=200, labels=["unheard-of", "kind-1"])])
    assert fitted.factors(grown, index, np.array([KINDS * EACH])).argmax() == 1
    only_new = view.with_videos([VideoRecord(id="new", number=200, labels=["unheard-of"])])
    assert not fitted.factors(only_new, index, np.array([KINDS * EACH])).any()


def test_where_nothing_is_known_of_any_video_there_is_no_map(world: tuple) -> None:
    _, _, factors, viewers = world
    bare = CatalogueView([f"v{number}" for number in range(KINDS * EACH)])
    empty = LiveIndex(VectorIndex.build(np.zeros((0, 1), np.float32), np.zeros(0, np.int64)))
    assert fit_cold_start(bare, empty, factors, viewers) is None
    assert fit_cold_start(bare, empty, factors, np.zeros_like(viewers)) is None


def described(rng: np.random.Generator, telling: bool) -> tuple[CatalogueView, LiveIndex, LatentFactors, np.ndarray]:
    """Videos without looks and labels, in whose titles and tags a word tells the kind, or none does."""
    kind = np.repeat(np.arange(KINDS), EACH)
    words = ["harbour", "mountain", "kitchen"]
    records = [
        VideoRecord(
            id=f"v{number}",
            number=number,
            title=f"The {words[which] if telling else words[rng.integers(KINDS)].upper()} {number}",
            tags=[words[which]] if telling and number % 2 else [],
            description=" ".join(rng.choice(["some", "more", "and", "other", "things"], 3)),
        )
        for number, which in enumerate(kind.tolist())
    ]
    items = (np.eye(4)[kind] + 0.1 * rng.normal(size=(len(kind), 4))).astype(np.float32)
    viewers = np.full(len(kind), 50)
    items[COLD], viewers[COLD] = 0.0, 0
    nothing = LiveIndex(VectorIndex.build(np.zeros((0, 1), np.float32), np.zeros(0, np.int64)))
    return CatalogueView([]).with_videos(records), nothing, LatentFactors(items, 1.0, 1.0), viewers


def test_words_tell_what_neither_looks_nor_labels_do() -> None:
    view, index, factors, viewers = described(np.random.default_rng(0), telling=True)
    fitted = fit_cold_start(view, index, factors, viewers)
    assert fitted is not None and fitted.trust > 0.5
    assert fitted.factors(view, index, COLD).argmax(axis=1).tolist() == [0, 1, 2]
    again = ColdStart.from_arrays(fitted.arrays())
    np.testing.assert_array_equal(again.factors(view, index, COLD), fitted.factors(view, index, COLD))
    grown = view.with_videos([VideoRecord(id="new", number=200, title="HARBOUR, of things unheard-of")])
    assert again.factors(grown, index, np.array([KINDS * EACH])).argmax() == 0


def test_words_that_tell_nothing_are_left_out(world: tuple) -> None:
    _, index, factors, viewers = world
    babble, _, _, _ = described(np.random.default_rng(0), telling=False)
    labelled = [
        VideoRecord(id=name, number=number, labels=[f"kind-{number // EACH}"], title=babble.titles[number])
        for number, name in enumerate(babble.videos)
    ]
    fitted = fit_cold_start(CatalogueView([]).with_videos(labelled), index, factors, viewers)
    assert fitted is not None and len(fitted.vocabulary.words) == 0 and fitted.trust > 0.5
