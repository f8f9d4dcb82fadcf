"""Turns: work of the processor is done one after the other in a process.

Several lists at once in one interpreter take longer than one after the other: the threads hand the interpreter to and
fro with every array that NumPy works on. And a thread that is woken when its turn comes keeps the processor waiting: so
one thread does the work of all, and the others wait for what came of it.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

#: Somebody who has the turn may not come to an end: a database or a cache that hangs must not hold up everybody.
LONGEST_S = 0.5

Result = TypeVar("Result")


class Turns:
    """Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def take(self, patience_s: float = LONGEST_S) -> Iterator[None]:
        """Waits for the turn, so long at most, and goes on without it then."""
        mine = self._lock.acquire(timeout=min(patience_s, LONGEST_S))
        try:
            yield
        finally:
            if mine:
                self._lock.release()

    def do(self, work: Callable[[], Result]) -> Result:
        """What comes of some work, or raises what it raises: done by the one thread, or by this one where that does not
        come to it in time."""
        mine = _Work(work)
        has_thread = self._thread is not None or self._begin()
        if has_thread:
            self._waiting.put(mine)
        if not mine.done.acquire(timeout=LONGEST_S if has_thread else 0):
            mine.do()
            mine.done.acquire()
        if mine.error is not None:
            raise mine.error
        result: Result = mine.result
        return result

    def _begin(self) -> bool:
        """Whether there is the thread; the system may have none to give."""
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="turns", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return False
                self._thread = thread
        return True

    def _work(self) -> None:
        while True:
            self._waiting.get().do()


class _Work:
    """`done` is released when `result` or `error` is there."""

    __slots__ = ("_taken", "_work", "done", "error", "result")

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._taken = threading.Lock()
        self.done = threading.Lock()
        self.done.acquire()
        self.result: Any = None
        self.error: BaseException | None = None

    def do(self) -> None:
        """Once, whoever comes first."""
        if not self._taken.acquire(blocking=False):
            return
        try:
            self.result = self._work()
        except BaseException as error:
            self.error = error
        finally:
            self.done.release()
