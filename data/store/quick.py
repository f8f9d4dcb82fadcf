"""Reading without detours: what every request asks is asked of the driver itself, in a tenth of the time.

A database that is away is not asked again by every request: for a moment the others are told at once. What it says is
never older than the question.
"""

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
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

    def columns(
        self, question: str, columns: tuple[tuple[str, int | None], ...], values: Sequence[object]
    ) -> list[Any]:
        """The columns of an ordered SELECT, of which there may be many rows: a sequence for each.

        columns: their names; where they are numbers >= 0, how many digits behind the point are wanted of them, else
        None. The numbers come as (n,) float64, NaN for NULL.

        Python's driver lets go of the interpreter for every row of SQLite, and where other threads want it, gets it
        back only after each of them: there they come as one row of JSON, which SQLite writes whole numbers into
        sooner than others.
        """
        if not self._is_sqlite:
            found = list(zip(*self.rows(question, values), strict=True)) or [()] * len(columns)
            units = [None if digits is None else 1.0 for _, digits in columns]
        else:
            found = [orjson.loads(array) for array in self.rows(_as_one_row(question, columns), values)[0]]
            units = [None if digits is None else 10.0**digits for _, digits in columns]
        return [
            column if unit is None else np.array(column, np.float64) / unit
            for column, unit in zip(found, units, strict=True)
        ]

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


@cache
def _as_one_row(question: str, columns: tuple[tuple[str, int | None], ...]) -> str:
    """A question of SQLite's for the same, with an array of JSON for each column."""
    arrays = (
        f"json_group_array({name if digits is None else f'CAST({name} * 1e{digits} + 0.5 AS INTEGER)'})"
        for name, digits in columns
    )
    return f"SELECT {', '.join(arrays)} FROM ({question})"
