"""Drift is seen where there is some, and not where there is none, however few were drawn."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.drift import FEWEST, drift_between, embedding_drift, population_stability_index
from recommender.index import VectorIndex
from recommender.live_index import LiveIndex

seeds = st.integers(0, 2**32 - 1)
samples = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=80).map(np.array)


@settings(max_examples=200, deadline=None)
@given(samples, samples)
def test_it_is_nothing_for_the_same_and_never_below(reference: np.ndarray, recent: np.ndarray) -> None:
    assert population_stability_index(reference, reference) == 0
    assert population_stability_index(reference, recent) >= 0


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(1e-3, 1e3), st.sampled_from([-1, 1]))
def test_it_grows_with_a_shift_whatever_the_unit(seed: int, unit: float, direction: int) -> None:
    reference, recent = np.random.default_rng(seed).normal(size=(2, 2_000))
    found = [population_stability_index(unit * reference, unit * (recent + direction * by)) for by in (0, 0.5, 1, 2)]
    assert found == sorted(found)
    assert found[0] < 0.1 and found[1] > 0.15 and found[2] > 0.25, "as the convention has it"


def test_it_is_the_sum_of_the_formula() -> None:
    """Nine of ten beyond the reference's first decile, where a tenth belongs."""
    reference, recent = np.arange(1_000.0), np.concatenate([np.full(900, -1.0), np.full(100, 2_000.0)])
    shares = np.array([0.9] + [1e-9] * 8 + [0.1])
    smoothed = (1_000 * shares + 0.5) / 1_005
    expected = ((smoothed - 0.1) * np.log(smoothed / 0.1)).sum()
    assert population_stability_index(reference, recent) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("count", [FEWEST, 200, 2_000])
def test_chance_alone_is_no_drift(count: int) -> None:
    rng = np.random.default_rng(count)
    draws = [drift_between(rng.normal(size=2_000), rng.normal(size=count)) for _ in range(300)]
    found = [drift for drift in draws if drift is not None]
    assert len(found) == 300 and sum(drift.exceeds(0.0) for drift in found) <= 3
    assert drift_between(np.arange(2_000.0), np.arange(FEWEST - 1.0)) is None
    shifted = drift_between(rng.normal(size=2_000), rng.normal(size=count) + 1)
    assert shifted is not None and shifted.exceeds(0.25)


def test_values_that_belong_together_count_as_one() -> None:
    """Each drawn ten times: were they independent, chance would look like drift."""
    rng = np.random.default_rng(0)
    pairs = [np.repeat(rng.normal(size=(2, 60)), 10, axis=1) for _ in range(100)]
    taken_for_many = [drift_between(*pair) for pair in pairs]
    as_they_are = [drift_between(*pair, (60, 60)) for pair in pairs]
    assert sum(drift is not None and drift.exceeds(0.25) for drift in taken_for_many) > 10
    assert sum(drift is not None and drift.exceeds(0.25) for drift in as_they_are) <= 1


# ---- Embeddings ---------------------------------------------------------------------------------------------

DIM = 32
Draw = Callable[[np.random.Generator, int], np.ndarray]


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


CENTRES = unit(np.random.default_rng(7).normal(size=(20, DIM)))
ROTATION = np.linalg.qr(np.random.default_rng(8).normal(size=(DIM, DIM)))[0].astype(np.float32)


def clustered(rng: np.random.Generator, count: int) -> np.ndarray:
    """As videos are around their subjects."""
    return unit(CENTRES[rng.integers(len(CENTRES), size=count)] + 0.1 * rng.normal(size=(count, DIM)))


def everywhere(rng: np.random.Generator, count: int) -> np.ndarray:
    return unit(rng.normal(size=(count, DIM)))


def aside(rng: np.random.Generator, count: int) -> np.ndarray:
    """Most of it around one direction, as encoders do that were not centred."""
    return unit(2 * CENTRES[0] + 0.2 * rng.normal(size=(count, DIM)))


def live(release: np.ndarray, later: np.ndarray, replacing: int = 0) -> LiveIndex:
    index = LiveIndex(VectorIndex.build(release, np.arange(len(release))))
    first = len(release) - replacing
    return index.with_vectors({first + place: vector for place, vector in enumerate(later)})


@pytest.mark.parametrize("draw", [clustered, everywhere, aside])
@pytest.mark.parametrize("videos", [60, 300, 3_000])
def test_new_embeddings_of_the_same_kind_are_no_drift(draw: Draw, videos: int) -> None:
    exceeding = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drifts = embedding_drift(live(draw(rng, videos), draw(rng, 100)))
        assert drifts.keys() == {"mean", "nearest"}
        exceeding += sum(drift.exceeds(0.25) for drift in drifts.values())
    assert exceeding <= 1


@pytest.mark.parametrize("draw", [clustered, aside])
def test_a_changed_encoder_is_seen(draw: Draw) -> None:
    rng = np.random.default_rng(0)
    drifts = embedding_drift(live(draw(rng, 500), draw(rng, 60) @ ROTATION))
    assert drifts["nearest"].exceeds(0.25)


def test_other_subjects_are_seen() -> None:
    rng = np.random.default_rng(0)
    drifts = embedding_drift(live(aside(rng, 500), everywhere(rng, 60)))
    assert drifts["mean"].exceeds(0.25)


def test_what_was_encoded_anew_is_not_compared_with_itself() -> None:
    rng = np.random.default_rng(0)
    release = everywhere(rng, 300)
    drifts = embedding_drift(live(release, release[-100:], replacing=100))
    assert not drifts["nearest"].exceeds(0.25)


def test_of_a_few_nothing_is_said() -> None:
    rng = np.random.default_rng(0)
    assert embedding_drift(live(everywhere(rng, 300), everywhere(rng, FEWEST - 1))) == {}
    assert embedding_drift(live(everywhere(rng, FEWEST - 1), everywhere(rng, 300))) == {}
    assert embedding_drift(LiveIndex(VectorIndex.build(np.zeros((0, 1), np.float32), np.zeros(0, np.int64)))) == {}
