"""Reading without detours: what every request asks is asked of the driver itself, in a tenth of the time.

A database that is away is not asked again by every request: for a moment the others are told at once. What it says is
never older than the question.
"""

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa

#: A reader in SQLite's WAL mode waits for nobody, but for the moment in which a log is recovered.
BUSY_MS = 200
STATEMENT_MS = 2_000
REST_S = 0.5


class QuickReader:
    """Safe to use from many threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        # Its methods need no lock of their own.
        self._idle: deque[Any] = deque()
        self._rests_until = 0.0

    def rows(self, question: str, values: Sequence[object]) -> list[Any]:
        """The rows of a SELECT with a `?` for each value. Raises DatabaseError when the database does not answer."""
        if time.monotonic() < self._rests_until:
            raise self._away(question, ConnectionError("the database did not answer a moment ago"))
        if not self._is_sqlite:
            question = question.replace("?", "%s")
        try:
            return self._asked(question, values)
        except self._engine.dialect.loaded_dbapi.Error as error:
            self._rests_until = time.monotonic() + REST_S
            raise self._away(question, error) from error

    def columns(self, question: str, names: Sequence[str], values: Sequence[object]) -> list[Sequence[Any]]:
        """The columns of these names of an ordered and limited SELECT, of which there may be many rows.

        Python's driver lets go of the interpreter for every row of SQLite, and where other threads want it, gets it
        back only after each of them: there they come as one row of JSON. Numbers have 15 digits then.
        """
        if not self._is_sqlite:
            return list(zip(*self.rows(question, values), strict=True)) or [()] * len(names)
        together = f"SELECT {', '.join(f'json_group_array({name})' for name in names)} FROM ({question})"
        return [orjson.loads(column) for column in self.rows(together, values)[0]]

    def close(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _asked(self, question: str, values: Sequence[object]) -> list[Any]:
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._asked_of(self._open(), question, values)
        try:
            return self._asked_of(connection, question, values)
        except self._engine.dialect.loaded_dbapi.Error:
            # It may be that the server was restarted since: then all of them are of no use.
            self.close()
            return self._asked_of(self._open(), question, values)

    def _asked_of(self, connection: Any, question: str, values: Sequence[object]) -> list[Any]:
        try:
            found: list[Any] = connection.execute(question, values).fetchall()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return found

    def _open(self) -> Any:
        try:
            pooled = self._engine.raw_connection()
        except sa.exc.DBAPIError as error:
            assert isinstance(error.orig, Exception)
            raise error.orig from error
        connection: Any = pooled.driver_connection
        pooled.detach()
        if self._is_sqlite:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        else:
            connection.autocommit = True
            connection.execute(f"SET statement_timeout = {STATEMENT_MS}")
        return connection

    def _away(self, question: str, error: Exception) -> sa.exc.OperationalError:
        return sa.exc.OperationalError(question, None, error)
