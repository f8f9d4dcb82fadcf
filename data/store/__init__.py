"""The database: the truth about videos, events, keys and rules, a sample of what was shown, and a day's answers.

The only room that knows SQLAlchemy. SQLite (WAL) by default, PostgreSQL by URL, from the same code. What was
acknowledged was committed before. `Store` opens and migrates; `store.answers`, `store.catalogue`, `store.events`,
`store.exposures`, `store.viewers`, `store.keys`, `store.rules` and `store.search` read and write. Nothing here knows
encoders, models or HTTP.
"""

import math
import time
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from filelock import FileLock

from data.store.catalogue import Catalogue
from data.store.events import EventLog, Impressions
from data.store.exposures import Exposures, ShownLists
from data.store.idempotency import Answers, AskedOtherwiseError, InProgressError
from data.store.keys import ApiKeys
from data.store.quick import QuickReader
from data.store.rules import Rules
from data.store.search import SearchIndex
from data.store.viewers import KnownViewers
from data.store.writing import WAIT_S, file_of

__all__ = [
    "CHECKPOINT_PAGES",
    "Answers",
    "ApiKeys",
    "AskedOtherwiseError",
    "Catalogue",
    "DatabaseError",
    "EventLog",
    "Exposures",
    "Impressions",
    "InProgressError",
    "KnownViewers",
    "Rules",
    "SearchIndex",
    "ShownLists",
    "Store",
    "StoreError",
    "ViewerState",
]

#: What reading and writing raise when the database is away, busy for too long or damaged.
DatabaseError = sa.exc.OperationalError

HEAD_REVISION = "0011"
_MIGRATION_LOCK = 7_231_977  # any constant: PostgreSQL's advisory lock of this application
#: Pages of SQLite's log (40 MB) after which they are written to their places: there, what was written again and again
#: until then is written once.
CHECKPOINT_PAGES = 10_000
CONNECT_TIMEOUT_S = 3


class StoreError(RuntimeError):
    """The database cannot be opened or is newer than this program."""


class ViewerState(NamedTuple):
    """What a viewer's list depends on: the version of the catalogue, the numbers of the viewer's newest event but
    impressions (`did`) and of the newest of all (`saw`), and the latest moment at which one occurred, seconds since
    1970; 0 without any."""

    catalogue: int
    did: int
    saw: int
    latest: float


class Store:
    """An open database. Safe to share between threads; not across a fork."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.quick = QuickReader(engine)

    @classmethod
    def open(cls, url: str) -> "Store":
        """Opens the database at an SQLAlchemy URL and brings its tables up to date.

        Raises StoreError when it cannot be reached or was written by a newer version.
        """
        try:
            engine = _engine(url)
            store = cls(engine)
            # Two connections that make a new SQLite file a WAL file at once do not wait for each other: one fails.
            with _lock_of_file(engine):
                if store._revision() != HEAD_REVISION:
                    store._migrate()
        except (sa.exc.SQLAlchemyError, ImportError, OSError, ValueError) as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            shown = sa.make_url(url).render_as_string(hide_password=True) if "://" in url else url
            raise StoreError(f"cannot open the database {shown}: {reason}") from error
        return store

    @cached_property
    def answers(self) -> Answers:
        return Answers(self.engine)

    @cached_property
    def catalogue(self) -> Catalogue:
        return Catalogue(self.engine)

    @cached_property
    def events(self) -> EventLog:
        return EventLog(self.engine, self.quick)

    @cached_property
    def exposures(self) -> Exposures:
        return Exposures(self.engine)

    @cached_property
    def viewers(self) -> KnownViewers:
        return KnownViewers(self.engine)

    @cached_property
    def keys(self) -> ApiKeys:
        return ApiKeys(self.engine)

    @cached_property
    def rules(self) -> Rules:
        return Rules(self.engine)

    @cached_property
    def search(self) -> SearchIndex:
        return SearchIndex(self.engine)

    def state_for(self, user_id: str) -> ViewerState:
        return ViewerState._make(self.quick.rows(_STATE, (user_id,) * 3)[0])

    def ping(self) -> None:
        """Raises when the database does not answer."""
        with self.engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))

    def close(self) -> None:
        self.quick.close()
        self.engine.dispose()

    def _revision(self) -> str | None:
        with self.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()

    def _migrate(self) -> None:
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
        config.attributes["engine"] = self.engine
        try:
            if self.engine.dialect.name == "sqlite":
                command.upgrade(config, "head")
            else:
                with self.engine.connect() as connection:
                    connection.execute(sa.select(sa.func.pg_advisory_lock(_MIGRATION_LOCK)))
                    try:
                        command.upgrade(config, "head")
                    finally:
                        connection.execute(sa.select(sa.func.pg_advisory_unlock(_MIGRATION_LOCK)))
        except CommandError as error:
            raise StoreError(f"the database is of another version of WatchNext: {error}") from error


# Impressions change no taste, and front ends send one for every video they show.
_STATE = (
    "SELECT (SELECT value FROM counters WHERE name = 'catalogue'), COALESCE((SELECT seq FROM events"
    " WHERE user_id = ? AND type <> 'impression' ORDER BY seq DESC LIMIT 1), 0),"
    " COALESCE((SELECT MAX(seq) FROM events WHERE user_id = ?), 0),"
    " COALESCE((SELECT MAX(occurred_at) FROM events WHERE user_id = ?), 0)"
)


def _lock_of_file(engine: sa.Engine) -> AbstractContextManager[object]:
    file = file_of(engine)
    return nullcontext() if file is None else FileLock(f"{file}.migrate.lock")


def _engine(url: str) -> sa.Engine:
    if url.startswith(("postgres://", "postgresql://")):
        url = "postgresql+psycopg://" + url.split("://", 1)[1]
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(
            parsed,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
            json_deserializer=orjson.loads,
            json_serializer=_json,
        )
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(
        parsed, connect_args={"timeout": WAIT_S}, json_deserializer=orjson.loads, json_serializer=_json
    )
    # SQLAlchemy's documented recipe: the driver must not begin transactions by itself, or a reader
    # that turns writer fails with "database is locked" instead of waiting.
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _configure_sqlite(connection: object, _record: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in (
        _busy_timeout(WAIT_S),
        "journal_mode = WAL",
        "synchronous = FULL",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        "foreign_keys = ON",
        # What was erased is not left behind in free pages.
        "secure_delete = ON",
        "cache_size = -65536",
        "temp_store = MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("writes", False):
        connection.exec_driver_sql("BEGIN")
        return
    driver: Any = connection.connection.driver_connection
    left_s = options.get("until", math.inf) - time.monotonic()
    driver.execute(f"PRAGMA {_busy_timeout(min(WAIT_S, max(0.0, left_s)))}")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        driver.execute(f"PRAGMA {_busy_timeout(WAIT_S)}")


def _busy_timeout(seconds: float) -> str:
    return f"busy_timeout = {1000 * seconds:.0f}"
