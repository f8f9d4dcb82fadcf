"""Fusions: by ranks whatever the scores are, or by scores whatever their scale is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.pipeline.scorers import ReciprocalRankFusion, StandardisedScoreSum
from recommender.pipeline.stages import Candidates, Query, Scorer
from recommender.profile import nobody

QUERY = Query(nobody(), 10, 0.0)
NONE = np.nan


def candidates(weights: list[float], ranks: object, scores: object) -> Candidates:
    found = np.array(scores, np.float32)
    count = found.shape[1]
    names = tuple(f"s{row}" for row in range(len(weights)))
    return Candidates(
        np.arange(count), names, np.array(weights, np.float32), np.array(ranks, np.int32), found, np.zeros(count)
    )


def test_ranks_count_by_their_reciprocals_and_no_rank_counts_nothing() -> None:
    asked = candidates([1.0, 0.5], [[1, 2, 0], [0, 1, 3]], [[9.0, 8.0, NONE], [NONE, 7.0, -5.0]])
    parts = ReciprocalRankFusion().parts(QUERY, asked)
    np.testing.assert_allclose(parts, [[1 / 61, 1 / 62, 0], [0, 0.5 / 61, 0.5 / 63]], rtol=1e-6)
    assert parts.dtype == np.float32
    np.testing.assert_allclose(ReciprocalRankFusion(1.0).parts(QUERY, asked)[0], [1 / 2, 1 / 3, 0])


def test_scores_count_in_deviations_above_the_lowest_of_their_source() -> None:
    asked = candidates([2.0, 1.0], np.zeros((2, 4)), [[1.0, 3.0, NONE, 5.0], [-4.0, -4.0, -2.0, -2.0]])
    parts = StandardisedScoreSum().parts(QUERY, asked)
    deviation = np.sqrt(8 / 3)
    np.testing.assert_allclose(parts, [[0, 4 / deviation, 0, 8 / deviation], [0, 0, 2, 2]], rtol=1e-6)
    assert parts.dtype == np.float32


def test_a_source_that_scores_all_alike_or_none_says_nothing() -> None:
    asked = candidates([1.0, 1.0], np.ones((2, 3)), [[0.7, 0.7, NONE], [NONE, NONE, NONE]])
    assert StandardisedScoreSum().parts(QUERY, asked).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("scorer", [ReciprocalRankFusion(), StandardisedScoreSum()])
def test_without_sources_or_candidates_there_are_no_parts(scorer: Scorer) -> None:
    for sources, count in ((0, 3), (2, 0)):
        empty = candidates([1.0] * sources, np.zeros((sources, count)), np.zeros((sources, count)))
        assert scorer.parts(QUERY, empty).shape == (sources, count)


a_score = st.one_of(st.integers(-50, 50).map(float), st.just(NONE))


@given(
    st.integers(1, 8).flatmap(lambda count: st.lists(st.tuples(*[a_score] * count), min_size=1, max_size=4)),
    st.integers(-1_000, 1_000),
    # Powers of two, so that not even rounding differs.
    st.integers(-4, 4).map(lambda power: 2.0**power),
    st.data(),
)
def test_the_scale_of_a_source_says_nothing(
    scores: list[tuple[float, ...]], shift: int, scale: float, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(scores) - 1))
    weights = data.draw(st.lists(st.floats(0, 4), min_size=len(scores), max_size=len(scores)))
    rescaled = np.array(scores)
    rescaled[row] = (rescaled[row] + shift) * scale
    ranks = np.ones(rescaled.shape)
    for scorer in (StandardisedScoreSum(), ReciprocalRankFusion()):
        as_they_are, otherwise = (scorer.parts(QUERY, candidates(weights, ranks, each)) for each in (scores, rescaled))
        assert as_they_are.tolist() == otherwise.tolist()
        assert (as_they_are >= 0).all()
