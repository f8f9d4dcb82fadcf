"""Finds of several sources side by side, beside the obvious way to say it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommender.pipeline.merging import side_by_side, who_is_behind

LISTS = st.lists(st.lists(st.integers(0, 40) | st.integers(2**31 - 5, 2**31 - 1), unique=True, max_size=20), max_size=5)


@given(LISTS)
def test_each_column_stands_once_with_its_rank_in_every_list(lists: list[list[int]]) -> None:
    named = np.array([column for each in lists for column in each], np.int64)
    begins = np.cumsum([0, *map(len, lists)])
    columns, rows, ranks = side_by_side(named, begins)
    assert columns.tolist() == sorted(set(named.tolist()))
    assert columns[rows].tolist() == named.tolist()
    expected = [[each.index(column) + 1 if column in each else 0 for column in columns.tolist()] for each in lists]
    assert ranks.shape == (len(lists), len(columns)) and ranks.tolist() == expected


def test_a_source_is_behind_a_score_from_its_share_on() -> None:
    parts = np.array([[0.5, 0.0, 0.049, 0.05, -1.0], [1.0, 1.0, 1.0, 1.0, 1.0]], np.float32)
    order, scores = np.array([4, 3, 2, 1, 0]), np.array([-2.0, 1.0, 1.0, 0.0, 1.0], np.float32)
    found_by = who_is_behind(parts, order, scores, 0.05, np.array([4, 1], np.uint32))
    assert found_by.tolist() == [1, 5, 1, 1, 5], "no part of a score of 0, or below 0, is behind it"
