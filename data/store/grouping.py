"""Group commit: what several threads want to commit at the same time is committed in one transaction.

The disk is waited for once for all of them, and nobody is answered before.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import sqlalchemy as sa

from data.store.writing import WAIT_S

Batch = TypeVar("Batch")
Outcome = TypeVar("Outcome")


@dataclass(eq=False)
class _Waiting(Generic[Batch, Outcome]):
    batch: Batch
    until: float
    outcome: Future[Outcome] = field(default_factory=Future)


class GroupCommit(Generic[Batch, Outcome]):
    """One of the threads that wait for their turn to write takes along the batches of all others. Safe to use from many
    threads.

    transaction: waits until a moment of `time.monotonic()` for its turn and commits at its end. work: the outcomes of
    batches, in their order.
    """

    def __init__(
        self,
        transaction: Callable[[float], AbstractContextManager[sa.Connection]],
        work: Callable[[sa.Connection, Sequence[Batch]], Sequence[Outcome]],
    ) -> None:
        self._transaction = transaction
        self._work = work
        self._waiting: list[_Waiting[Batch, Outcome]] = []
        self._is_led = False
        self._changed = threading.Condition()

    def commit(self, batch: Batch) -> Outcome:
        """What has become of a batch, after its commit. Raises what it would raise if it were alone."""
        mine: _Waiting[Batch, Outcome] = _Waiting(batch, time.monotonic() + WAIT_S)
        with self._changed:
            self._waiting.append(mine)
            self._changed.wait_for(lambda: mine.outcome.done() or not self._is_led)
            leads = not mine.outcome.done()
            self._is_led = self._is_led or leads
        if leads:
            try:
                self._lead(mine)
            finally:
                with self._changed:
                    self._is_led = False
                    self._changed.notify_all()
        return mine.outcome.result()

    def _lead(self, mine: _Waiting[Batch, Outcome]) -> None:
        group: list[_Waiting[Batch, Outcome]] = []
        try:
            with self._transaction(mine.until) as connection:
                # Only now: while the turn did not come, more have come.
                group = self._take_all()
                outcomes = self._work(connection, [each.batch for each in group])
        except BaseException as error:
            if not group:
                self._leave(mine)
            # What is wrong with the database is wrong for all of them; what is wrong with a batch is not.
            if len(group) > 1 and isinstance(error, Exception) and not isinstance(error, sa.exc.OperationalError):
                for each in group:
                    self._commit_alone(each)
            else:
                for each in group or [mine]:
                    each.outcome.set_exception(error)
        else:
            for each, outcome in zip(group, outcomes, strict=True):
                each.outcome.set_result(outcome)

    def _commit_alone(self, one: _Waiting[Batch, Outcome]) -> None:
        try:
            with self._transaction(time.monotonic() + WAIT_S) as connection:
                (outcome,) = self._work(connection, [one.batch])
        except BaseException as error:
            one.outcome.set_exception(error)
        else:
            one.outcome.set_result(outcome)

    def _take_all(self) -> list[_Waiting[Batch, Outcome]]:
        with self._changed:
            taken, self._waiting = self._waiting, []
        return taken

    def _leave(self, one: _Waiting[Batch, Outcome]) -> None:
        with self._changed:
            self._waiting.remove(one)
