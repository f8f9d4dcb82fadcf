"""Orders: the same as a stable sort, whatever is equal."""

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recommender.ordering import best_first, best_open_rows, best_rows, least_first

# Few different values, so that many are equal, zeros of both signs and the extremes among them.
SCORES = arrays.arrays(
    np.float32,
    st.integers(0, 60),
    elements=st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 3.4e38, -3.4e38, float("inf"), -float("inf")]),
)


@given(SCORES)
def test_best_first_is_a_stable_sort(scores: np.ndarray) -> None:
    before = scores.copy()
    assert best_first(scores).tolist() == np.argsort(-scores, kind="stable").tolist()
    assert scores.tobytes() == before.tobytes(), "and leaves the scores as they are"


@given(SCORES, st.integers(1, 70))
def test_the_best_rows_are_the_first_of_all_in_order(scores: np.ndarray, k: int) -> None:
    assert best_rows(scores, k).tolist() == best_first(scores)[:k].tolist()


@given(SCORES, st.integers(1, 12), st.randoms(use_true_random=False))
def test_the_best_open_rows_are_open_and_above_0(scores: np.ndarray, k: int, chance: Random) -> None:
    is_open = np.array([chance.random() < 0.7 for _ in range(len(scores) + 2)], bool)
    expected = [row for row in best_first(scores).tolist() if is_open[row] and scores[row] > 0][:k]
    assert best_open_rows(scores, is_open, k).tolist() == expected


@given(arrays.arrays(np.int64, st.integers(0, 60), elements=st.integers(0, 5) | st.just(2**31 - 1)))
def test_least_first_is_a_stable_sort(numbers: np.ndarray) -> None:
    assert least_first(numbers).tolist() == np.argsort(numbers, kind="stable").tolist()
