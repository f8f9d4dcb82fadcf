"""The catalogue in arrays, kept current, and grown by what came after the release."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from data.home import Home
from data.schema import MediaFacts, Video
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
    assert list(grown.videos) == ["a", "b", "c", "new"] and len(view.videos) == 3
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
    assert view.labels_of(np.array([2, 0])) == [view.labels[2], many] == [view.labels[2], view.labels[0]]
    store.catalogue.upsert([Video(id="a", labels=many[:2])])
    view.update(store)
    assert not view.with_any_label([many[-1]]).any()


def test_a_removed_video_is_no_news(view: CatalogueView, store: Store, home: Home) -> None:
    store.catalogue.upsert([Video(id="short-lived")])
    view.update(store)
    store.catalogue.remove(["short-lived", "c"])
    view.update(store)
    assert view.take_news() == [] and view.shown.tolist() == [True, True, False]


@pytest.fixture
def described(store: Store) -> list[str]:
    """The ids of videos of which much is known."""
    labels = [f"label-{number}" for number in range(LABELS_KEPT + 2)]
    store.catalogue.upsert(
        [
            Video(id="a", title="A", labels=["all"], regions=["DE", "FR"]),
            Video(id="b", title="B", labels=labels, regions=["AT"], rating=12, series="s", episode=2, creator="x"),
            Video(id="c", title="Ü", labels=["all"], available_from=50.0, tags=["moon"], content_hash=64 * "5"),
            Video(id="d", labels=["all"], content_hash=64 * "5"),
        ]
    )
    store.catalogue.remove(["a"])
    return list("cbda")


def stored(view: CatalogueView, folder: Path) -> dict[str, np.ndarray]:
    """Its arrays as pages of files that others read, too."""
    for name, array in view.arrays().items():
        np.save(folder / f"{name}.npy", array)
    return {path.stem: np.load(path, mmap_mode="c") for path in folder.glob("*.npy")}


def assert_alike(one: CatalogueView, other: CatalogueView) -> None:
    names = ("shown", "available_from", "available_until", "rating", "episode", "content", "word_codes", "created_at")
    for name in (*names, "numbers", "published_at", "duration_s", "duplicate_group"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    columns = range(len(other.videos))
    assert len(one.videos) == len(columns) and dict(one.column_of) == dict(other.column_of)
    for text in ("videos", "titles", "labels"):
        assert [getattr(one, text)[column] for column in columns] == [
            getattr(other, text)[column] for column in columns
        ]
    assert one.label_counts() == other.label_counts()
    for label in other.label_names:
        np.testing.assert_array_equal(one.with_any_label([label]), other.with_any_label([label]))
        of_label = [view.label_matrix.toarray()[:, view.codes("label")[label]].tolist() for view in (one, other)]
        assert of_label[0] == of_label[1]
    for kind in ("creator", "series"):
        names_of = [{code: name for name, code in view.codes(kind).items()} for view in (one, other)]
        assert [names_of[0].get(code) for code in getattr(one, kind).tolist()] == [
            names_of[1].get(code) for code in getattr(other, kind).tolist()
        ]
    for country in ("DE", "AT", "FR", None):
        np.testing.assert_array_equal(one.available_in(country), other.available_in(country))
    numbers = np.arange(int(other.numbers.max()) + 3)
    np.testing.assert_array_equal(one.columns_of_numbers(numbers), other.columns_of_numbers(numbers))
    assert one.version == other.version


def test_what_was_stored_is_as_if_read_anew(store: Store, described: list[str], tmp_path: Path) -> None:
    first = CatalogueView.load(store, described)
    kept = stored(first, tmp_path)
    assert_alike(CatalogueView.from_arrays(first.videos, kept), first)


@pytest.mark.parametrize("many", [0, catalogue_view.MANY_CHANGES])
def test_what_was_written_since_is_caught_up_with(
    store: Store, described: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    store.catalogue.upsert([Video(id="too-late")])
    first = CatalogueView.load(store, described)
    assert first.has_news
    arrays = stored(first, tmp_path)
    store.catalogue.upsert(
        [Video(id="a", title="back"), Video(id="b", title="changed", labels=["new", "all"], regions=["FR"])]
    )
    store.catalogue.upsert([Video(id="d", content_hash=64 * "6"), Video(id="later")])
    store.catalogue.remove(["c"])
    on_disk = {path.name: path.read_bytes() for path in tmp_path.glob("*.npy")}
    monkeypatch.setattr(catalogue_view, "MANY_CHANGES", many)
    view = CatalogueView.from_arrays(first.videos, arrays)
    view.catch_up(store)
    anew = CatalogueView.load(store, described)
    assert view.shown.tolist() == [False, True, True, True]
    # Of a removed video the rest is what it was.
    store.catalogue.upsert([Video(id="c", title="Ü", available_from=50.0, tags=["moon"], content_hash=64 * "5")])
    view.update(store)
    anew.update(store)
    assert_alike(view, anew)
    assert view.take_news() == ["later", "too-late"], "who serves it hears of what it lacks"
    assert first.titles[1] == "B" and {path.name: path.read_bytes() for path in tmp_path.glob("*.npy")} == on_disk


def test_files_that_were_encoded_anew_meanwhile_are_news(store: Store, tmp_path: Path) -> None:
    store.catalogue.upsert([Video(id=name, media_path=f"/{name}", content_hash=64 * "5") for name in "ab"])
    for name in "ab":
        store.catalogue.mark_ready(name, "encoder", MediaFacts())
    first = CatalogueView.load(store, ["a", "b"])
    arrays = stored(first, tmp_path)
    store.catalogue.mark_ready("a", "encoder", MediaFacts(duration_s=3.0))
    store.catalogue.upsert([Video(id="b", media_path="/b", content_hash=64 * "6")])
    store.catalogue.mark_ready("b", "encoder", MediaFacts())
    view = CatalogueView.from_arrays(first.videos, arrays)
    view.catch_up(store)
    assert view.take_news() == ["b"]


def test_who_grew_second_grows_apart(view: CatalogueView, store: Store) -> None:
    """Only one can have the room behind the arrays, whose first rows both go on with."""
    store.catalogue.upsert([Video(id="d", title="D", rating=6), Video(id="e", title="E", rating=12)])
    d, e = store.catalogue.get("d"), store.catalogue.get("e")
    assert d is not None and e is not None
    one = view.with_videos([d])
    more, other = one.with_videos([e]), view.with_videos([e])
    assert [list(each.videos) for each in (one, more, other)] == [list("abcd"), list("abcde"), list("abce")]
    assert [each.rating.tolist()[3:] for each in (one, more, other)] == [[6], [6, 12], [12]]
    assert [each.titles[3] for each in (one, more, other)] == ["D", "D", "E"]
    assert one.columns_of_numbers(np.array([e.number])).tolist() == [-1], "what is in its room is not in the view"
    many = [e.model_copy(update={"id": f"m{number}", "number": 100 + number}) for number in range(3_000)]
    grown = more.with_videos(many)
    assert grown.rating.tolist() == [0, 0, 0, 6, 12] + 3_000 * [12]
    assert grown.column_of["m2999"] == 3_004 and grown.columns_of_numbers(np.array([3_099])).tolist() == [3_004]


def test_a_view_and_the_one_grown_from_it_each_see_what_changes(view: CatalogueView, store: Store) -> None:
    """The grown one goes on with the same arrays; the first one serves until it is ready."""
    store.catalogue.upsert([Video(id="d")])
    view.update(store)
    grown = view.with_videos([store.catalogue.get("d")], view.version)
    assert grown.with_any_label(["a"]).tolist() == [True, False, False, False]
    copies = 64 * "5"
    store.catalogue.upsert(
        Video(id=name, labels=[label], media_path=f"/{name}", content_hash=copies) for name, label in ("ab", "cc")
    )
    store.catalogue.set_hidden("b", True)
    opened = grown.opened
    for each in (view, grown):
        each.update(store)
        size = len(each.videos)
        assert each.with_any_label(["a"]).tolist() == [False] * size
        assert each.with_any_label(["b"]).tolist()[:3] == [True, True, False]
        assert each.duplicate_group[0] == each.duplicate_group[2] >= 0
        assert each.shown.tolist()[:3] == [True, False, True]
    store.catalogue.set_hidden("b", False)
    for each in (view, grown):
        each.update(store)
        assert each.shown.all() and each.opened > opened
