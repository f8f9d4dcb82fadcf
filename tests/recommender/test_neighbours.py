"""Neighbour viewers: the cosine by hand, votes of the nearest only, and parts that add up."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.neighbours import NeighbourSettings, NeighbourViewers, fit_neighbours

VIEWERS, VIDEOS, UNSEEN = 25, 12, 11


def world(seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    seen = (rng.random((VIEWERS, VIDEOS)) < 0.3) * rng.uniform(0.1, 3, (VIEWERS, VIDEOS))
    seen[:, UNSEEN] = 0
    seen[3] = 0
    return sp.csr_matrix(seen, dtype=np.float32)


def by_hand(
    positives: sp.csr_matrix, columns: np.ndarray, weights: np.ndarray, wanted: NeighbourSettings
) -> np.ndarray:
    seen = positives.toarray() > 0
    seen = seen[seen.any(axis=1)]
    audience = seen.sum(axis=0)
    rarity = np.where(audience > 0, np.log1p(len(seen) / np.maximum(audience, 1)) ** wanted.idf, 0)
    history = np.zeros(seen.shape[1])
    history[columns] = weights
    rows, mine = seen * rarity, history * rarity
    cosine = rows @ mine / np.linalg.norm(rows, axis=1) / np.linalg.norm(mine)
    nearest = np.argsort(-cosine)[: wanted.neighbours]
    return np.maximum(cosine[nearest], 0) ** wanted.amplification @ seen[nearest]


HISTORY, WEIGHTS = np.array([4, 0, 7]), np.array([1.0, 0.4, 2.0], np.float32)


@given(st.integers(0, 50), st.sampled_from([1.0, 2.0]), st.sampled_from([0.0, 1.0]))
@settings(max_examples=20, deadline=None)
def test_scores_are_the_cosine_weighted_votes_of_all_who_share_a_video(
    seed: int, amplification: float, idf: float
) -> None:
    wanted = NeighbourSettings(amplification=amplification, idf=idf)
    scores = fit_neighbours(world(seed), wanted).scores(HISTORY, WEIGHTS)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, by_hand(world(seed), HISTORY, WEIGHTS, wanted), rtol=1e-4, atol=1e-6)


def test_only_the_nearest_vote() -> None:
    wanted = NeighbourSettings(neighbours=3)
    scores = fit_neighbours(world(), wanted).scores(HISTORY, WEIGHTS)
    np.testing.assert_allclose(scores, by_hand(world(), HISTORY, WEIGHTS, wanted), rtol=1e-4, atol=1e-6)


def test_contributions_add_up_to_the_score() -> None:
    fitted = fit_neighbours(world(), NeighbourSettings(neighbours=6))
    wanted = np.array([1, 5, 9])
    parts = fitted.contributions(HISTORY, WEIGHTS, wanted)
    assert parts.shape == (3, 3) and (parts >= 0).all()
    np.testing.assert_allclose(parts.sum(axis=0), fitted.scores(HISTORY, WEIGHTS)[wanted], rtol=1e-5)


def test_a_video_counts_for_a_neighbour_only_where_the_neighbour_watched_it() -> None:
    positives = sp.csr_matrix(np.array([[1, 0, 1, 0], [0, 1, 0, 1]], np.float32))
    parts = fit_neighbours(positives).contributions(np.array([0, 1]), np.ones(2, np.float32), np.array([2, 3]))
    assert (np.diagonal(parts) > 0).all() and parts[0, 1] == parts[1, 0] == 0


def test_a_vote_is_shared_out_as_the_cosine_was_made() -> None:
    positives = sp.csr_matrix(np.array([[1, 1, 1, 0], [0, 0, 0, 1]], np.float32))
    parts = fit_neighbours(positives).contributions(np.array([0, 1]), np.array([1, 3], np.float32), np.array([2]))
    assert parts[1, 0] == pytest.approx(3 * parts[0, 0])


@pytest.mark.parametrize("history", [[UNSEEN], []])
def test_a_history_that_nobody_shares_says_nothing(history: list[int]) -> None:
    columns, weights = np.array(history, np.int64), np.ones(len(history), np.float32)
    fitted = fit_neighbours(world())
    assert not fitted.scores(columns, weights).any()
    assert not fitted.contributions(columns, weights, np.array([1, 2])).any()


def test_of_many_viewers_a_part_is_stored_and_none_without_likes() -> None:
    def stored(settings: NeighbourSettings) -> int:
        return len(fit_neighbours(world(), settings).arrays()["indptr"]) - 1

    assert stored(NeighbourSettings(viewers=7)) == 7
    assert stored(NeighbourSettings()) == np.count_nonzero(np.diff(world().indptr)) < VIEWERS


def test_what_is_stored_comes_back_the_same() -> None:
    fitted = fit_neighbours(world(), NeighbourSettings(neighbours=4, amplification=1.5))
    arrays = fitted.arrays()
    assert all(array.dtype != object for array in arrays.values())
    again = NeighbourViewers.from_arrays(arrays)
    np.testing.assert_array_equal(again.scores(HISTORY, WEIGHTS), fitted.scores(HISTORY, WEIGHTS))
