"""The catalogue in arrays, kept current, and grown by what came after the release."""

from collections.abc import Iterable

import numpy as np
import pytest

from data.home import Home
from data.schema import Video
from data.store import Store
from recommender import catalogue_view
from recommender.catalogue_view import LABELS_KEPT, CatalogueView
from recommender.pipeline.filters import standard_filters
from recommender.pipeline.stages import Query
from recommender.profile import nobody
from recommender.words import word_codes


@pytest.fixture
def view(store: Store) -> CatalogueView:
    store.catalogue.upsert(
        Video(id=name, labels=[name, "all"], regions=["DE"] if name == "b" else []) for name in "abc"
    )
    return CatalogueView.load(store, ["a", "b", "c"])


def test_numbers_are_for_ever(view: CatalogueView, store: Store) -> None:
    numbers = view.numbers.tolist()
    assert len(set(numbers)) == 3 and min(numbers) > 0
    store.catalogue.upsert([Video(id="b", title="again")])
    store.catalogue.remove(["a"])
    store.catalogue.upsert([Video(id="d"), Video(id="a")])
    later = CatalogueView.load(store, ["d", "c", "b", "a"])
    assert later.numbers.tolist()[1:] == numbers[::-1] and later.numbers[0] not in numbers
    assert later.numbers.max() == len(store.catalogue.ids()), "only new videos take numbers"
    assert later.columns_of_numbers(view.numbers).tolist() == [3, 2, 1]
    assert later.columns_of_numbers(np.array([200, 10_000, -1])).tolist() == [-1] * 3


def test_what_came_later_stands_behind_and_nothing_else_changes(view: CatalogueView, store: Store) -> None:
    assert view.take_news() == []
    store.catalogue.upsert([Video(id="new", title="New", labels=["fresh", "all"], regions=["AT"], creator="x")])
    view.update(store)
    assert view.has_news and view.take_news() == ["new"] and not view.has_news
    view.put_back_news(["new"])
    assert view.take_news() == ["new"]
    grown = view.with_videos([store.catalogue.get("new")])
    assert grown.videos == ["a", "b", "c", "new"] and len(view.videos) == 3
    assert grown.shown.all() and grown.titles[3] == "New" and grown.creator.tolist() == [-1, -1, -1, 0]
    assert grown.available_in("AT").tolist() == [True, False, True, True]
    assert view.available_in("DE").tolist() == [True, True, True]
    assert grown.with_any_label(["fresh"]).tolist() == [False, False, False, True]
    assert grown.with_any_label(["all"]).all() and grown.label_counts()["all"] == 4
    assert grown.columns_of_numbers(grown.numbers).tolist() == [0, 1, 2, 3] and grown.take_news() == []
    assert grown.opened > view.opened, "what was cached before lacks it"


def test_every_change_is_another_state(view: CatalogueView, store: Store) -> None:
    """What is kept of a state must not outlive it."""
    filters = standard_filters(view)
    asked = Query(nobody(), 10, 50.0)
    seen = []
    for change in (
        lambda: store.catalogue.remove(["a"]),
        lambda: store.catalogue.set_hidden("b", True),
        lambda: store.catalogue.upsert([Video(id="c", available_until=20.0)]),
    ):
        seen.append(tuple(each.same_for(asked) for each in filters))
        change()
        view.update(store)
    assert len(set(seen)) == 3
    with view._changing():
        assert view.state is None and {each.same_for(asked) for each in filters} == {None}


def test_who_looks_in_the_middle_of_a_change_sees_no_video_of_which_too_little_is_known(
    view: CatalogueView, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.catalogue.remove(["a", "c"])
    view.update(store)
    store.catalogue.upsert([Video(id="a", regions=["AT"], rating=18), Video(id="c", labels=["late"])])
    store.catalogue.set_hidden("a", False)
    store.catalogue.set_hidden("b", True)
    seen = []

    def looking(texts: Iterable[str]) -> np.ndarray:
        seen.append((view.shown.tolist(), view.available_in("FR").tolist(), view.with_any_label(["late"]).tolist()))
        return word_codes(texts)

    monkeypatch.setattr(catalogue_view, "word_codes", looking)
    view.update(store)
    assert seen == 3 * [([False] * 3, [False, False, True], [False, False, True])]
    assert view.shown.tolist() == [True, False, True]


def test_labels_change_what_is_found_by_them(view: CatalogueView, store: Store) -> None:
    assert view.with_any_label(["a", "nothing"]).tolist() == [True, False, False]
    store.catalogue.upsert([Video(id="a", labels=["b"])])
    view.update(store)
    assert view.with_any_label(["a"]).tolist() == [False] * 3
    assert view.with_any_label(["b"]).tolist() == [True, True, False]


def test_a_label_beyond_those_with_a_place_is_found_too(view: CatalogueView, store: Store) -> None:
    many = [f"label-{number}" for number in range(LABELS_KEPT + 3)]
    store.catalogue.upsert([Video(id="a", labels=many)])
    view.update(store)
    assert all(view.with_any_label([label]).tolist() == [True, False, False] for label in many)
    assert view.label_counts()[many[-1]] == 1
    store.catalogue.upsert([Video(id="a", labels=many[:2])])
    view.update(store)
    assert not view.with_any_label([many[-1]]).any()


def test_a_removed_video_is_no_news(view: CatalogueView, store: Store, home: Home) -> None:
    store.catalogue.upsert([Video(id="short-lived")])
    view.update(store)
    store.catalogue.remove(["short-lived", "c"])
    view.update(store)
    assert view.take_news() == [] and view.shown.tolist() == [True, True, False]


def test_in_the_columns_of_another_release_it_is_as_if_read_anew(view: CatalogueView, store: Store) -> None:
    labels = [f"label-{number}" for number in range(LABELS_KEPT + 2)]
    store.catalogue.upsert(
        [
            Video(id="b", title="B", labels=labels, regions=["AT"], rating=12, series="s", episode=2, creator="x"),
            Video(id="later", title="Later", labels=["all"], available_from=50.0, tags=["moon"]),
        ]
    )
    view.update(store)
    grown = view.with_videos(list(store.catalogue.get_many(view.take_news()).values()))
    store.catalogue.remove(["c"])
    grown.update(store)
    columns = ["later", "b", "a"]
    moved, anew = grown.in_columns(columns), CatalogueView.load(store, columns)
    for name in ("numbers", "shown", "available_from", "rating", "episode", "word_codes", "created_at"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(anew, name), name)
    assert (moved.videos, moved.titles, moved.labels) == (anew.videos, anew.titles, anew.labels)
    assert moved.label_counts() == anew.label_counts()
    for label in ("all", labels[0], labels[-1]):
        np.testing.assert_array_equal(moved.with_any_label([label]), anew.with_any_label([label]))
    for country in ("DE", "AT", None):
        np.testing.assert_array_equal(moved.available_in(country), anew.available_in(country))
    np.testing.assert_array_equal(moved.columns_of_numbers(anew.numbers), [0, 1, 2])
    assert moved.version == anew.version

    store.catalogue.upsert([Video(id="a", title="changed")])
    moved.update(store)
    assert moved.titles[2] == "changed" and grown.titles[0] == "", "neither changes with the other"
    fewer = grown.in_columns(["a"])
    assert set(fewer.take_news()) >= {"b", "later"}, "who serves it hears of what it lacks"
