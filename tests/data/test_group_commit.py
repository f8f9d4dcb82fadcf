"""Events of several threads and processes that are committed together."""

import itertools
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from data.home import Home
from data.schema import Event, EventType, Video
from data.store import DatabaseError, Store, writing
from data.store.turns import turn_to_write
from data.store.writing import EVENT_LOG_LOCK

WRITERS = 8


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    opened.catalogue.upsert([Video(id="v1")])
    yield opened
    opened.close()


def event(event_id: str, **fields: object) -> Event:
    given = {"event_id": event_id, "user_id": "u1", "video_id": "v1", "type": "play", "occurred_at": 1.0}
    return Event.model_validate(given | fields)


def stored(store: Store) -> list[str]:
    return sorted(row["event_id"] for row in store.events.tail(1_000))


@contextmanager
def nobody_else_writes(store: Store) -> Iterator[None]:
    """All who add events wait until the end."""
    with writing.writing(store.engine, EVENT_LOG_LOCK):
        yield


def added_together(store: Store, batches: list[list[Event]]) -> list[Any]:
    """What becomes of batches that all wait when the first of them gets its turn."""
    with ThreadPoolExecutor(len(batches)) as threads:
        with nobody_else_writes(store):
            asked = [threads.submit(store.events.add, batch) for batch in batches]
            time.sleep(0.3)
        return [each.exception() or each.result() for each in asked]


def test_batches_that_wait_together_count_a_shared_event_once(store: Store) -> None:
    store.events.add([event("old")])
    commits = []
    sa.event.listen(store.engine, "commit", lambda _: commits.append(1))
    batches = [
        [event(f"own-{n}"), event("shared"), event("old"), event(f"x-{n}", video_id="none")] for n in range(WRITERS)
    ]
    found = added_together(store, batches)
    assert len(commits) == 2, "the one who held them up, and all of them together"
    assert {(own, old, unknown) for own, _, old, unknown in found} == {("accepted", "duplicate", "unknown_video")}
    assert Counter(shared for _, shared, _, _ in found) == {"accepted": 1, "duplicate": WRITERS - 1}
    assert stored(store) == sorted(["old", "shared", *(f"own-{n}" for n in range(WRITERS))])
    assert [frame["seq"].is_monotonic_increasing for frame in store.events.frames()] == [True]


def test_a_batch_that_cannot_be_stored_fails_alone(store: Store) -> None:
    bad = Event.model_construct(**vars(event("bad")) | {"user_id": None, "type": EventType.PLAY})
    batches = [[event(f"good-{n}"), event("shared")] for n in range(4)]
    found = added_together(store, [*batches[:2], [event("beside"), bad], *batches[2:]])
    failed = found.pop(2)
    assert isinstance(failed, sa.exc.IntegrityError)
    assert Counter(outcome for own in found for outcome in own) == {"accepted": 5, "duplicate": 3}
    assert stored(store) == ["good-0", "good-1", "good-2", "good-3", "shared"]
    assert store.events.add([event("later")]) == ["accepted"]


def test_who_leads_and_dies_holds_up_nobody(store: Store) -> None:
    """Whatever ends a thread while it commits for others ends theirs too, not the next ones."""
    once = iter([KeyboardInterrupt()])

    def interrupt(*_: object) -> None:
        for error in once:
            raise error

    sa.event.listen(store.engine, "commit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.events.add([event("e1")])
    assert store.events.add([event("e1")]) == ["accepted"]


def test_a_locked_database_is_told_to_each_in_time_and_nothing_is_lost(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("data.store.writing", "data.store.grouping", "data.store"):
        monkeypatch.setattr(f"{module}.WAIT_S", 1.5)
    store = Store.open(home.database_url)
    store.catalogue.upsert([Video(id="v1")])
    with closing(sqlite3.connect(home.root / "watchnext.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def refused(number: int) -> float:
            time.sleep(number / 10)
            began = time.monotonic()
            with pytest.raises(DatabaseError, match="database is locked"):
                store.events.add([event(f"refused-{number}")])
            return time.monotonic() - began

        with ThreadPoolExecutor(4) as threads:
            waited = list(threads.map(refused, range(4)))
        other.execute("ROLLBACK")
    assert all(1.4 < seconds < 2.5 for seconds in waited), waited
    assert store.events.add([event("e1")]) == ["accepted"]
    assert stored(store) == ["e1"]
    store.close()


def test_who_waits_for_a_turn_comes_before_who_has_just_written(tmp_path: Path) -> None:
    file = str(tmp_path / "a.db")
    turns: list[str] = []
    ready = threading.Barrier(2)

    def write(name: str) -> None:
        ready.wait()
        for _ in range(20):
            with turn_to_write(file):
                turns.append(name)
                time.sleep(0.005)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, "ab"))
    changes = sum(one != two for one, two in itertools.pairwise(turns))
    assert changes > 30, turns


FROZEN = """
import sys, time
from data.store.turns import turn_to_write
with turn_to_write(sys.argv[1]):
    print("here", flush=True)
    time.sleep(60)
"""


def test_who_keeps_a_turn_too_long_is_passed_by(home: Home) -> None:
    store = Store.open(home.database_url)
    store.catalogue.upsert([Video(id="v1")])
    file = home.root / "watchnext.db"
    holder = subprocess.Popen([sys.executable, "-c", FROZEN, str(file)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "here\n"
    began = time.monotonic()
    assert store.events.add([event("e1")]) == ["accepted"]
    assert 0.9 < time.monotonic() - began < 5
    holder.kill()
    holder.communicate()
    began = time.monotonic()
    assert store.events.add([event("e2")]) == ["accepted"]
    assert time.monotonic() - began < 0.9, "the dead hold nothing"
    store.close()
