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
    assert fitted.trust > 0.5 and set(fitted.labels) == {"kind-0", "kind-1", "kind-2"}


def test_what_is_stored_predicts_the_same(world: tuple) -> None:
    view, index, factors, viewers = world
    fitted = fit_cold_start(view, index, factors, viewers, ContentMapSettings(landmarks=20))
    again = ColdStart.from_arrays(fitted.arrays())
    np.testing.assert_array_equal(again.factors(view, index, COLD), fitted.factors(view, index, COLD))
    np.testing.assert_array_equal(again.reference, fitted.reference)
    assert (again.labels, again.trust) == (fitted.labels, fitted.trust)


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
