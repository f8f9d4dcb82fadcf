"""Strings in arrays: found by their place and by themselves, and added to without changing what others share."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender import strings
from recommender.strings import StringColumn, StringTable


@pytest.fixture(autouse=True, scope="module", params=["few", "many"])
def size(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways in which strings are found."""
    with patch.object(strings, "FEW", strings.FEW if request.param == "few" else -1):
        yield


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=60)


@given(TEXTS, TEXTS)
def test_a_table_is_a_list_and_its_inverse(stored: list[str], added: list[str]) -> None:
    stored = list(dict.fromkeys(stored))
    table = StringTable.from_arrays(StringTable.of(stored).arrays())
    for string in added:
        table.add(string)
    expected = list(dict.fromkeys([*stored, *added]))
    for each in (table, StringTable.from_arrays(table.arrays())):
        assert list(each) == expected and len(each) == len(each.place_of) == len(expected)
        assert dict(each.place_of) == {string: place for place, string in enumerate(expected)}
        assert each[1:] == expected[1:]


def test_what_is_not_there_is_not_found() -> None:
    table = StringTable.of([f"video-{number}" for number in range(1_000)])
    missing = ["", "video-1000", "video-", "\ud800", "ideo-1"]
    assert [table.place_of.get(string, -1) for string in missing] == [-1] * len(missing)
    assert "video-999" in table.place_of and "video-1000" not in table.place_of


def test_a_copy_grows_alone() -> None:
    table = StringTable.of(["a"])
    copy = table.copy()
    assert copy.add("b") == 1 and copy.add("a") == 0
    assert list(table) == ["a"] and table.place_of.get("b") is None and list(copy) == ["a", "b"]


@given(TEXTS, st.dictionaries(st.integers(0, 70), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)))
def test_a_column_is_a_list_that_may_be_changed(stored: list[str], changes: dict[int, str]) -> None:
    first = StringColumn.empty(len(stored))
    for column, string in enumerate(stored):
        first[column] = string
    read = StringColumn.from_arrays(first.arrays())
    grown = read.grown(71)
    expected = stored + [""] * (71 - len(stored))
    for column, string in changes.items():
        grown[column] = expected[column] = string
    assert list(read) == stored and list(grown) == expected
    assert list(StringColumn.from_arrays(grown.arrays())) == expected
