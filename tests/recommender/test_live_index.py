"""A release's index and what was encoded since: together they answer like one exact index of all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.index import VectorIndex
from recommender.live_index import LiveIndex

DIM, VIDEOS = 8, 40


def vectors(seed: int, count: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


MATRIX = vectors(0, VIDEOS)
QUERIES = vectors(1, 3)


def live(in_release: np.ndarray, later: np.ndarray) -> LiveIndex:
    """The later ones have the vectors of MATRIX, and those of the release that come again had others before."""
    before = np.where(np.isin(in_release, later)[:, None], -MATRIX[in_release], MATRIX[in_release])
    index = LiveIndex(VectorIndex.build(before, in_release))
    return index.with_vectors({int(column): MATRIX[column] for column in later})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 50))
def test_it_finds_what_an_exact_search_over_all_finds(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    in_release = np.sort(rng.choice(VIDEOS, rng.integers(1, VIDEOS), replace=False))
    later = rng.choice(VIDEOS, rng.integers(0, VIDEOS), replace=False)
    index, here = live(in_release, later), np.union1d(in_release, later)
    assert len(index) == len(here)
    eligible = rng.random(VIDEOS) < 0.7
    columns, cosines = index.search(QUERIES, k, eligible)
    allowed = here[eligible[here]]
    for query, found, scores in zip(QUERIES, columns, cosines, strict=True):
        expected = np.sort(MATRIX[allowed] @ query)[::-1][:k]
        np.testing.assert_allclose(scores[found >= 0], expected, atol=1e-5)
        np.testing.assert_allclose(MATRIX[found[found >= 0]] @ query, expected, atol=1e-5)


def test_the_vectors_are_the_newest_ones() -> None:
    index = live(np.array([3, 5, 7]), np.array([5, 30]))
    here, found = index.vectors(np.array([30, 4, 5, 3, VIDEOS + 9]))
    assert here.tolist() == [True, False, True, True, False]
    np.testing.assert_allclose(found, MATRIX[[30, 5, 3]], atol=1e-6)
    again = index.with_vectors({5: MATRIX[0]})
    np.testing.assert_allclose(again.vectors(np.array([5]))[1], MATRIX[[0]], atol=1e-6)
    np.testing.assert_allclose(index.vectors(np.array([5]))[1], MATRIX[[5]], atol=1e-6)


@pytest.mark.parametrize("empty_dim", [1, DIM])
def test_a_release_without_vectors_may_get_its_first_ones(empty_dim: int) -> None:
    empty = LiveIndex(VectorIndex.build(np.zeros((0, empty_dim), np.float32), np.zeros(0, np.int64)))
    assert empty.search(QUERIES, 5, np.ones(VIDEOS, bool))[0].size == 0
    index = empty.with_vectors({2: MATRIX[2]})
    assert index.search(MATRIX[[2]], 5, np.ones(VIDEOS, bool))[0].tolist() == [[2]]
