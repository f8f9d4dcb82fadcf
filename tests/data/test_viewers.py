"""What is known of a viewer, changed after the fact: nothing that was retracted, merged or erased is there any more."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.digest import digest_of
from data.home import Home
from data.interactions import Interactions, load_interactions
from data.schema import Event, EventType, Video
from data.store import Store
from data.store.exposures import ITEM, Exposure, Words
from data.store.tables import erasures, events, removed_events
from tests.conftest import REPOSITORY


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    opened.catalogue.upsert(Video(id=name) for name in "abc")
    yield opened
    opened.close()


def add(store: Store, *rows: tuple[str, str, str], type: str = "like") -> None:
    """rows: (event id, viewer, video)."""
    batch = [
        Event(event_id=name, user_id=viewer, video_id=video, type=type, occurred_at=place, value=None)
        for place, (name, viewer, video) in enumerate(rows, 1)
    ]
    assert store.events.add(batch) == ["accepted"] * len(rows)


def show(store: Store, viewer: str, shown_at: float = 1.0) -> None:
    items = np.zeros(1, ITEM)
    items["number"], items["rule"] = 1, -1
    words = Words((), (), ())
    facts = ("r1", viewer, shown_at, "home", None, "release", "settings", "off", 1)
    store.exposures.add([Exposure(*facts, words, items, None)])


def videos_of(store: Store, viewer: str) -> list[str]:
    return list(store.events.history(viewer).video_ids)


# ---- Retracting ----------------------------------------------------------------------------------------------


def test_a_retracted_event_is_nowhere_and_does_not_come_back(store: Store) -> None:
    add(store, ("e1", "u", "a"), ("e2", "u", "b"), ("e3", "v", "a"))
    before, state = store.events.last_seq(), store.state_for("u")
    assert store.viewers.retract("e1")
    assert videos_of(store, "u") == ["b"] and list(store.events.seen_since("u", 0.0).video_ids) == ["b"]
    assert [row["event_id"] for row in store.events.tail()] == ["e3", "e2"]
    assert [row["event_id"] for row in store.events.all_of("u")] == ["e2"]
    assert [place[1]["event_id"] for place in store.events.page_of("u", 10)] == ["e2"]
    assert list(next(store.events.frames())["video_id"]) == ["b", "a"]
    assert (store.events.count(), store.events.viewers()) == (2, [("u", 1), ("v", 1)])
    assert store.state_for("u") > state, "though an older event than the newest went"
    assert store.events.viewers_between(before, store.events.last_seq()) == ["u"]
    again = Event(event_id="e1", user_id="u", video_id="a", type="like", occurred_at=1.0)
    assert store.events.add([again]) == ["duplicate"] and videos_of(store, "u") == ["b"]


def test_retracting_again_changes_nothing_and_an_unknown_event_is_told(store: Store) -> None:
    add(store, ("e1", "u", "a"))
    assert store.viewers.retract("e1")
    state = store.state_for("u"), store.events.last_seq()
    assert store.viewers.retract("e1") and (store.state_for("u"), store.events.last_seq()) == state
    assert not store.viewers.retract("nothing")


def test_viewers_are_counted_by_what_they_did_not_retract(store: Store) -> None:
    add(store, *((f"u{n}", "u", "a") for n in range(5)), *((f"v{n}", "v", "a") for n in range(4)), ("w0", "w", "a"))
    for name in ("u0", "u1", "u2", "w0"):
        store.viewers.retract(name)
    assert store.events.viewers() == [("v", 4), ("u", 2)] and store.events.viewers(1) == [("v", 4)]


def test_of_a_retracted_event_no_circumstances_are_kept(store: Store) -> None:
    told = {"session_id": "s", "request_id": "r", "surface": "home", "position": 3, "duration_s": 9.0}
    store.events.add([Event(event_id="e1", user_id="u", video_id="a", type="play", occurred_at=1.0, **told)])
    store.viewers.retract("e1")
    with store.engine.connect() as connection:
        row = connection.execute(sa.select(events)).mappings().one()
    assert row["type"] == "retracted" and [row[name] for name in told] == [None] * len(told)


# ---- Numbers -------------------------------------------------------------------------------------------------


def test_a_number_is_never_given_again(store: Store) -> None:
    add(store, ("e1", "u", "a"), ("e2", "v", "a"))
    newest = store.events.last_seq()
    store.viewers.erase("v")
    assert store.events.last_seq() > newest, "whoever compares numbers notices that something went"
    newest = store.events.last_seq()
    add(store, ("e3", "v", "a"))
    assert store.state_for("v")[1] > newest
    with store.engine.begin() as connection:
        connection.execute(sa.delete(events))
    newest = store.events.last_seq()
    add(store, ("e4", "u", "a"))
    assert store.state_for("u")[1] > newest, "also when somebody else has deleted the last rows"


def test_events_that_are_there_already_count_nothing_up(store: Store) -> None:
    add(store, ("e1", "u", "a"))
    newest = store.events.last_seq()
    row = next(store.events.all_of("u"))
    assert store.events.add_rows([row, row]) == 0 and store.events.last_seq() == newest


# ---- Merging -------------------------------------------------------------------------------------------------


def test_a_guest_becomes_a_user_in_the_order_of_what_happened(store: Store) -> None:
    add(store, ("e1", "guest", "a"), ("e2", "user", "b"), ("e3", "guest", "c"))
    show(store, "guest")
    states = store.state_for("guest"), store.state_for("user")
    merged = store.viewers.merge("guest", "user")
    assert (merged.events, merged.exposures) == (2, 1)
    assert videos_of(store, "user") == ["c", "b", "a"] and videos_of(store, "guest") == []
    assert [row["event_id"] for row in store.events.all_of("user")] == ["e2", "e1", "e3"]
    assert [found["user_id"] for found in store.exposures.newest()] == ["user"]
    assert store.state_for("guest") != states[0] and store.state_for("user") > states[1]
    state = store.state_for("user")
    merged = store.viewers.merge("guest", "user")
    assert (merged.events, merged.exposures) == (0, 0) and store.state_for("user") == state
    with pytest.raises(ValueError, match="itself"):
        store.viewers.merge("user", "user")


def test_what_a_guest_retracted_stays_retracted_and_goes_with_the_user(store: Store) -> None:
    add(store, ("e1", "guest", "a"), ("e2", "guest", "b"))
    store.viewers.retract("e1")
    assert store.viewers.merge("guest", "user").events == 1
    assert videos_of(store, "user") == ["b"]
    assert store.viewers.erase("user").events == 1
    with store.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(events)).scalar_one() == 0


# ---- Erasing -------------------------------------------------------------------------------------------------


def test_of_an_erased_viewer_a_receipt_without_a_name_is_left(store: Store, home: Home) -> None:
    name = "erased-viewer-of-a-telling-name"
    add(store, ("e1", name, "a"), ("e2", "u", "a"))
    add(store, ("e3", name, "b"), type="impression")
    show(store, name)
    receipt = store.viewers.erase(name)
    assert (receipt.events, receipt.exposures) == (2, 1)
    assert list(store.events.all_of(name)) == [] == list(store.exposures.all_of(name)) and videos_of(store, "u") == [
        "a"
    ]
    again = store.viewers.erase(name)
    assert (again.events, again.exposures) == (0, 0) and again.id != receipt.id
    with store.engine.connect() as connection:
        kept = connection.execute(sa.select(erasures).order_by(erasures.c.events.desc())).mappings().all()
    assert [row["id"] for row in kept] == [receipt.id, again.id] and store.viewers.erasures() == 2
    if store.engine.dialect.name == "sqlite":
        with store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
        assert name.encode() not in (home.root / "watchnext.db").read_bytes()


def test_a_list_that_was_shown_before_an_erasure_is_not_kept_after_it(store: Store) -> None:
    receipt = store.viewers.erase("u")
    show(store, "u", receipt.erased_at - 0.1)
    show(store, "v", receipt.erased_at - 0.1)
    show(store, "u", receipt.erased_at + 0.1)
    assert [(found["user_id"], found["shown_at"] > receipt.erased_at) for found in store.exposures.newest()] == [
        ("u", True),
        ("v", False),
    ]


# ---- What was folded of the log ------------------------------------------------------------------------------

doings = st.tuples(
    st.just("add"),
    st.builds(
        dict,
        user_id=st.sampled_from("uvw"),
        video_id=st.sampled_from("abc"),
        type=st.sampled_from(list(EventType)),
        value=st.floats(0, 1, width=16),
        occurred_at=st.integers(1, 5).map(float),
        country=st.sampled_from(["DE", "AT", None]),
    ),
)
changes = st.one_of(
    doings,
    doings,
    doings,
    st.tuples(st.just("retract"), st.integers(0, 20)),
    st.tuples(st.just("erase"), st.sampled_from("uvw")),
    st.tuples(st.just("merge"), st.permutations("uvw").map(lambda names: names[:2])),
)


def change(store: Store, what: str, which: object) -> None:
    if what == "add":
        number = store.events.last_seq()
        store.events.add([Event(event_id=f"{number}", **which)])
    elif what == "retract":
        store.viewers.retract(str(which))
    elif what == "erase":
        store.viewers.erase(which)
    else:
        store.viewers.merge(*which)


def told(found: Interactions) -> tuple[list[tuple], set[str], set[str]]:
    """Interactions by name: pairs in order, viewers and videos."""
    countries = [*found.countries, None]
    pairs = zip(
        found.viewers[found.viewer],
        found.videos[found.video],
        found.signal.tolist(),
        found.time.tolist(),
        found.first.tolist(),
        [countries[place] for place in found.country.tolist()],
        strict=True,
    )
    return list(pairs), set(found.viewers), set(found.videos)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(st.lists(changes, max_size=12), min_size=1, max_size=4))
def test_whatever_happens_to_the_log_what_is_kept_of_it_is_what_it_says(
    store: Store, tmp_path: Path, parts: list[list[tuple]]
) -> None:
    kept = tmp_path / "digest.npz"
    for viewer in "uvw":
        store.viewers.erase(viewer)
    load_interactions(store, kept=kept)
    for part in parts:
        for what, which in part:
            change(store, what, which)
        assert told(load_interactions(store, kept=kept)) == told(load_interactions(store))
        digest = digest_of(store, kept=kept)
        assert digest.events == store.events.count() == store.events.count(digest.until_seq)


@pytest.fixture
def reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[str] | None]]:
    """(behind which number, of whom) the log is read from now on."""
    began: list[tuple[int, list[str] | None]] = []
    frames = store.events.frames

    def watched(until_seq: int | None = None, after: int = 0, of: list[str] | None = None) -> Iterator:
        began.append((after, of))
        return frames(until_seq, after, of)

    monkeypatch.setattr(store.events, "frames", watched)
    return began


@pytest.mark.parametrize("what", ["retract", "erase", "merge", "retract the newest"])
def test_only_those_concerned_are_read_again(
    store: Store, tmp_path: Path, reads: list[tuple[int, list[str] | None]], what: str
) -> None:
    kept = tmp_path / "digest.npz"
    add(store, ("e1", "u", "a"), ("e2", "v", "a"), ("e3", "w", "a"), ("e4", "u", "b"))
    load_interactions(store, kept=kept)
    before = store.events.last_seq()
    reads.clear()
    if what == "erase":
        store.viewers.erase("u")
    elif what == "merge":
        store.viewers.merge("u", "v")
    else:
        store.viewers.retract("e4" if "newest" in what else "e1")
    found = load_interactions(store, kept=kept)
    assert reads == [(before, None), (0, ["u"])]
    assert told(found) == told(load_interactions(store))
    assert (b'"u"' in kept.read_bytes()) == ("retract" in what)
    with store.engine.connect() as connection:
        assert connection.execute(sa.select(removed_events)).all() == [], "what is folded in is forgotten"
    reads.clear()
    load_interactions(store, kept=kept)
    assert reads == []


def test_a_log_that_was_changed_by_hand_too_is_read_anew(
    store: Store, tmp_path: Path, reads: list[tuple[int, list[str] | None]]
) -> None:
    kept = tmp_path / "digest.npz"
    add(store, ("e1", "u", "a"), ("e2", "v", "a"), ("e3", "w", "a"))
    load_interactions(store, kept=kept)
    store.viewers.retract("e3")
    with store.engine.begin() as connection:
        connection.execute(sa.delete(events).where(events.c.event_id == "e1"))
    reads.clear()
    assert list(load_interactions(store, kept=kept).viewers) == ["v"]
    assert reads == [(0, None)]


def test_what_was_removed_behind_a_frozen_moment_is_not_in_it(store: Store, tmp_path: Path) -> None:
    kept = tmp_path / "digest.npz"
    add(store, ("e1", "u", "a"), ("e2", "v", "a"))
    frozen = store.events.last_seq()
    load_interactions(store, frozen, kept)
    store.viewers.erase("u")
    assert list(load_interactions(store, frozen, kept).viewers) == ["v"]
    assert list(load_interactions(store, kept=kept).viewers) == ["v"]


# ---- A database of the revision before ------------------------------------------------------------------------


def test_the_log_of_an_older_database_goes_on(database_url: str) -> None:
    engine = sa.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    if engine.url.database and engine.dialect.name == "sqlite":
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    config = Config()
    config.set_main_option("script_location", str(REPOSITORY / "data" / "migrations"))
    config.attributes["engine"] = engine
    command.upgrade(config, "0007")
    columns = "id, title, description, tags, labels, regions, hidden, state, attempts, predicted_labels"
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                f"INSERT INTO videos ({columns}, created_at, updated_at, removed, version, number)"
                " VALUES ('a', '', '', '[]', '[]', '[]', false, 'no_media', 0, '{}', 0, 0, false, 1, 1)"
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO events (seq, event_id, user_id, video_id, type, occurred_at, received_at) VALUES"
                " (3, 'e1', 'u', 'a', 'like', 1, 1), (8, 'e2', 'v', 'a', 'play', 2, 2)"
            )
        )
    engine.dispose()
    store = Store.open(database_url)
    assert (store.events.last_seq(), store.events.count()) == (8, 2) and videos_of(store, "u") == ["a"]
    assert store.events.numbered_history("u").numbers.tolist() == [1]
    assert store.viewers.retract("e2") and store.viewers.erase("v").events == 0
    newest = store.events.last_seq()
    add(store, ("e3", "u", "a"))
    assert store.state_for("u")[1] > newest > 8
    store.close()
