"""What events say about taste: the one signal table, and how a log becomes interactions."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.interactions import Interactions, collect_interactions, load_interactions
from data.schema import Event, EventType, Video
from data.signals import excludes, signals, type_codes
from data.store import Store

COLUMNS = ("user_id", "video_id", "type", "value", "occurred_at", "country")


def frame(*rows: tuple) -> pd.DataFrame:
    """rows: (viewer, video, type, value, time) and, where it is known, the country."""
    rows = tuple((*row, None)[: len(COLUMNS)] for row in rows)
    return pd.DataFrame(rows, columns=COLUMNS).astype({"value": object, "country": object})


def pairs(*frames: pd.DataFrame) -> dict[tuple[str, str], float]:
    """(viewer, video) -> signal, in the order of the interactions."""
    found = collect_interactions(frames)
    names = zip(found.viewers[found.viewer], found.videos[found.video], strict=True)
    return dict(zip(names, found.signal.tolist(), strict=True))


@pytest.mark.parametrize(
    ("event_type", "value", "signal", "takes_it_out"),
    [
        ("impression", None, 0.0, False),
        ("play", None, 0.2, False),
        ("watch", 0.0, -0.3, False),
        ("watch", 0.0999, -0.3, False),
        ("watch", 0.1, 0.1, False),
        ("watch", 0.6999, 0.6999, False),
        ("watch", 0.7, 0.7, True),
        ("watch", 1.0, 1.0, True),
        ("complete", None, 1.0, True),
        ("rate", 0.0, 0.2, True),
        ("rate", 1.0, 1.0, True),
        ("like", None, 1.0, False),
        ("save", None, 0.8, False),
        ("share", None, 1.2, False),
        ("dislike", None, -1.0, True),
        ("not_interested", None, -1.0, True),
        ("report", None, -2.0, True),
    ],
)
def test_the_signal_table(event_type: str, value: float | None, signal: float, takes_it_out: bool) -> None:
    codes, values = type_codes([event_type]), np.array([np.nan if value is None else value])
    assert signals(codes, values)[0] == pytest.approx(signal, abs=1e-6)
    assert excludes(codes, values)[0] == takes_it_out


def test_the_strongest_event_of_each_type_counts_and_the_types_add_up() -> None:
    found = pairs(
        frame(
            ("u", "v", "watch", 0.4, 1.0),
            ("u", "v", "watch", 0.9, 2.0),
            ("u", "v", "watch", 0.5, 3.0),
            ("u", "v", "like", None, 4.0),
            ("u", "v", "like", None, 5.0),
            ("u", "w", "dislike", None, 6.0),
            ("u", "w", "play", None, 7.0),
        )
    )
    assert found == {("u", "v"): pytest.approx(1.9), ("u", "w"): pytest.approx(-0.8)}


def test_the_order_is_that_of_each_pair_s_last_event() -> None:
    first = frame(("u", "a", "play", None, 10.0), ("u", "b", "play", None, 5.0), ("w", "a", "play", None, 5.0))
    assert list(pairs(first)) == [("u", "b"), ("w", "a"), ("u", "a")]
    assert list(pairs(first, frame(("u", "b", "like", None, 11.0))))[-1] == ("u", "b")


def test_a_pair_is_where_it_was_last() -> None:
    found = collect_interactions(
        [frame(("u", "v", "play", None, 1.0, "DE"), ("u", "v", "like", None, 2.0, "AT"), ("w", "v", "play", None, 3.0))]
    )
    places = [found.countries[code] if code >= 0 else None for code in found.country]
    assert places == ["AT", None]


def test_what_was_known_at_a_moment() -> None:
    found = collect_interactions(
        [
            frame(("u", "again", "play", None, 1.0), ("u", "b", "play", None, 2.0), ("w", "c", "play", None, 3.0)),
            frame(("u", "later", "play", None, 5.0), ("u", "again", "like", None, 6.0), ("u", "b", "like", None, 7.0)),
        ]
    )

    def names(part: Interactions) -> list[tuple[str, str, float]]:
        return [
            (str(part.viewers[viewer]), str(part.videos[video]), float(time))
            for viewer, video, time in zip(part.viewer, part.video, part.time, strict=True)
        ]

    before, between = found.begun_before(4.0), found.begun_between(4.0, 6.5)
    assert names(before) == [("u", "again", 1.0), ("u", "b", 2.0), ("w", "c", 3.0)]
    assert names(between) == [("u", "later", 5.0)], "what was met before is nothing new"


def test_a_showing_is_no_interaction() -> None:
    found = collect_interactions([frame(("u", "v", "impression", None, 1.0), ("u", "w", "play", None, 1.0))])
    assert list(found.videos) == ["w"] and len(found) == 1


def test_only_what_is_liked_is_a_positive() -> None:
    found = collect_interactions([frame(("u", "v", "like", None, 1.0), ("u", "w", "watch", 0.0, 1.0))])
    positives = found.in_columns(["new", "w", "v"]).positives()
    assert positives.shape == (1, 3)
    assert positives.toarray().tolist() == [[0.0, 0.0, 1.0]]
    assert positives.nnz == 1


def test_an_empty_log_is_an_empty_world(store: Store) -> None:
    found = load_interactions(store)
    assert len(found) == 0 and found.in_columns(["v"]).positives().shape == (0, 1)


def test_the_log_is_read_up_to_where_it_was_frozen(store: Store) -> None:
    store.catalogue.upsert([Video(id="v"), Video(id="w")])

    def like(video: str) -> Event:
        return Event(event_id=video, user_id="u", video_id=video, type="like", occurred_at=1)

    store.events.add([like("v")])
    frozen = store.events.last_seq()
    store.events.add([like("w")])
    assert list(load_interactions(store, frozen).videos) == ["v"]
    assert list(load_interactions(store).videos) == ["v", "w"]


events = st.lists(
    st.tuples(
        st.sampled_from("uvw"),
        st.sampled_from("abc"),
        st.sampled_from([name.value for name in EventType]),
        st.floats(0, 1, width=16),
        st.integers(0, 5).map(float),
    ),
    max_size=25,
)


@given(events, st.lists(st.integers(0, 25), max_size=4))
def test_where_the_log_is_cut_into_frames_does_not_matter(rows: list[tuple], cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [frame(*rows[start:end]) for start, end in pairwise(bounds)]
    whole, cut = collect_interactions([frame(*rows)]), collect_interactions(parts)
    for name in ("viewers", "videos", "viewer", "video", "signal", "time"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(cut, name))
    assert (np.diff(whole.time) >= 0).all()


@given(events)
def test_a_signal_is_what_a_reader_of_the_table_would_compute(rows: list[tuple]) -> None:
    expected: dict[tuple[str, str], dict[str, float]] = {}
    for viewer, video, event_type, value, _ in rows:
        if event_type != "impression":
            signal = float(signals(type_codes([event_type]), np.array([value]))[0])
            best = expected.setdefault((viewer, video), {})
            # Of two equally strong ones the later counts.
            if abs(signal) >= abs(best.get(event_type, 0.0)):
                best[event_type] = signal
    assert pairs(frame(*rows)) == {pair: pytest.approx(sum(best.values()), abs=1e-5) for pair, best in expected.items()}
