"""What every write shares: a transaction that takes the write lock at its start, and the catalogue counter."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from data.store.tables import counters


@contextmanager
def writing(engine: sa.Engine, lock: int | None = None) -> Iterator[sa.Connection]:
    """A transaction that waits for its turn to write and commits at the end.

    SQLite has one turn for all (BEGIN IMMEDIATE); on PostgreSQL those with the same `lock` take turns.
    """
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if lock is not None and connection.dialect.name != "sqlite":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))
        yield connection


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


def _count_up(connection: sa.Connection, name: str, by: int) -> int:
    bump = sa.update(counters).where(counters.c.name == name).values(value=counters.c.value + by)
    return int(connection.execute(bump.returning(counters.c.value)).scalar_one())
