"""What every write shares: a transaction that takes the write lock at its start, and the counters."""

import contextlib
import time
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from data.store.tables import counters, events
from data.store.turns import turn_to_write

#: How long a writer waits for its turn on SQLite.
WAIT_S = 10.0

#: Events are numbered in the order in which they are committed, so that a reader who has seen one has seen all before.
EVENT_LOG_LOCK = 7_231_978
#: Who adds shown lists and who erases a viewer take turns: none comes in behind an erasure.
EXPOSURES_LOCK = 7_231_979


@contextlib.contextmanager
def writing(engine: sa.Engine, lock: int | None = None, until: float | None = None) -> Iterator[sa.Connection]:
    """A transaction that waits for its turn to write and commits at the end.

    SQLite has one turn for all, for which it waits `WAIT_S`, or until a moment of `time.monotonic()`; on PostgreSQL
    those with the same `lock` take turns.
    """
    until = time.monotonic() + WAIT_S if until is None else until
    file = file_of(engine)
    with (
        contextlib.nullcontext() if file is None else turn_to_write(file),
        engine.connect().execution_options(writes=True, until=until) as connection,
        connection.begin(),
    ):
        if lock is not None:
            take_turn(connection, lock)
        yield connection


def file_of(engine: sa.Engine) -> str | None:
    """The file of a database of SQLite, where it is one."""
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    return None if file in (None, "", ":memory:") else file


def take_turn(connection: sa.Connection, lock: int) -> None:
    """Waits, in a transaction of `writing`, until nobody else holds this lock too."""
    if connection.dialect.name != "sqlite":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))


def insert_into(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT of the connected dialect, which has `on_conflict_do_update` and `on_conflict_do_nothing`."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def next_version(connection: sa.Connection) -> int:
    """Counts the catalogue one up and returns the new value; holds other catalogue writers until commit."""
    return _count_up(connection, "catalogue", 1)


def next_numbers(connection: sa.Connection, count: int) -> range:
    """Numbers for videos that no video has had before."""
    last = _count_up(connection, "videos", count)
    return range(last - count + 1, last + 1)


def newest_number(connection: sa.Connection) -> int:
    """The last number that an event has had, 0 without any: also one that has gone."""
    return int(connection.execute(_NEWEST_NUMBER).scalar_one())


def note_newest_number(connection: sa.Connection, number: int) -> None:
    """Keeps a number from being given again, whatever becomes of its event."""
    connection.execute(sa.update(counters).where(counters.c.name == "events").values(value=number))


_NEWEST = sa.select(sa.func.coalesce(sa.func.max(events.c.seq), 0)).scalar_subquery()
_NEWEST_NUMBER = sa.select(sa.case((counters.c.value > _NEWEST, counters.c.value), else_=_NEWEST)).where(
    counters.c.name == "events"
)


def _count_up(connection: sa.Connection, name: str, by: int) -> int:
    bump = sa.update(counters).where(counters.c.name == name).values(value=counters.c.value + by)
    return int(connection.execute(bump.returning(counters.c.value)).scalar_one())
