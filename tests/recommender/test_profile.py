"""A viewer as the sources see one."""

import numpy as np
import pytest

from data.store.events import History
from recommender.profile import Profile, ProfileSettings, build_profile, profile_of_likes

COLUMNS = {"a": 0, "b": 1, "c": 2, "d": 3}


def profile(*newest_first: tuple, **settings: float) -> Profile:
    """newest_first: (video, type, value)."""
    videos, types, values = ([row[place] for row in newest_first] for place in range(3))
    history = History(
        "u", videos, types,
        np.array([np.nan if value is None else value for value in values], float), -np.arange(len(videos), dtype=float),
    )  # fmt: skip
    return build_profile(history, COLUMNS, ProfileSettings(**settings))


def test_what_was_liked_last_counts_most() -> None:
    found = profile(("c", "like", None), ("a", "watch", 0.5), ("c", "play", None), ("b", "share", None))
    assert found.liked.tolist() == [2, 0, 1] and found.known
    np.testing.assert_allclose(found.signal, [1.2, 0.5, 1.2], rtol=1e-6)
    assert found.times.tolist() == [0, -1, -3]
    columns, weights = found.recent(3.0)
    assert columns.tolist() == [2, 0, 1]
    np.testing.assert_allclose(weights, found.signal * [1, 2 ** (-1 / 3), 2 ** (-2 / 3)], rtol=1e-6)


def test_of_several_events_of_one_type_the_strongest_counts_whenever_it_was() -> None:
    for values in ((0.9, 0.3, 0.5), (0.3, 0.5, 0.9), (0.3, 0.9, 0.5)):
        found = profile(*[("a", "watch", value) for value in values], ("b", "watch", 0.4))
        np.testing.assert_allclose(found.signal, [0.9, 0.4], rtol=1e-6)


def test_a_source_may_count_all_likes_alike_or_hardly_more_than_the_newest() -> None:
    found = profile(*[(name, "like", None) for name in "dcba"])
    assert [part.tolist() for part in found.recent(None)] == [[3, 2, 1, 0], [1.0] * 4]
    assert found.recent(0.1)[0].tolist() == [3], "what counts less than a hundredth is left out"


def test_what_was_left_half_way_is_unfinished() -> None:
    found = profile(
        ("d", "watch", 0.05), ("c", "watch", 0.4), ("b", "watch", 0.9), ("a", "watch", 0.2), ("b", "watch", 0.5)
    )
    assert found.unfinished.tolist() == [2, 0]
    assert profile(("a", "like", None), ("a", "watch", 0.4)).unfinished.tolist() == []


def test_the_strongest_event_of_each_type_counts() -> None:
    found = profile(("a", "watch", 0.3), ("a", "watch", 0.6), ("a", "like", None), ("a", "like", None))
    np.testing.assert_allclose(found.signal, [1.6], rtol=1e-6)


def test_what_was_disliked_is_no_like_and_the_latest_comes_first() -> None:
    found = profile(("d", "not_interested", None), ("a", "dislike", None), ("a", "play", None), ("b", "watch", 0.0))
    assert found.liked.tolist() == [] and not found.known
    assert found.disliked.tolist() == [3, 0, 1]
    assert found.watched.tolist() == [0, 3], "a skip does not take a video out, a dislike does"


def test_watched_is_what_the_signal_table_takes_out() -> None:
    found = profile(("a", "watch", 0.7), ("b", "watch", 0.69), ("c", "complete", None), ("d", "like", None))
    assert found.watched.tolist() == [0, 2]


def test_a_showing_changes_nothing() -> None:
    seen = [("b", "like", None), ("a", "like", None)]
    shown = [("a", "impression", None), *seen, ("d", "impression", None)]
    assert profile(*shown).liked.tolist() == profile(*seen).liked.tolist() == [1, 0]


def test_what_the_release_does_not_know_is_passed_over() -> None:
    found = profile(("new", "like", None), ("a", "like", None))
    assert found.liked.tolist() == [0] and found.recent(3.0)[1].tolist() == [1.0]


def test_only_the_newest_likes_count() -> None:
    found = profile(*[(name, "like", None) for name in "dcba"], recent_items=2)
    assert found.liked.tolist() == [3, 2]


def test_an_empty_history_is_nobody_in_particular() -> None:
    found = profile()
    assert not found.known and len(found.watched) == len(found.disliked) == 0


def test_likes_alone_make_the_same_profile() -> None:
    made = profile_of_likes(np.array([2, 0]), np.array([1.0, 1.0], np.float32), np.array([0.0, -1.0]))
    read = profile(("c", "complete", None), ("a", "complete", None))
    for name in ("liked", "signal", "times", "disliked", "watched"):
        assert getattr(made, name).tolist() == pytest.approx(getattr(read, name).tolist())
