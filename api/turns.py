"""Turns: work of the processor is done one after the other in a process.

Several lists at once in one interpreter take longer than one after the other: the threads hand the interpreter to and
fro with every array that NumPy works on.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Somebody who has the turn may not come to an end: a database or a cache that hangs must not hold up everybody.
LONGEST_S = 0.5


class Turns:
    """Safe to use from many threads; who has the turn may take it once more."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    @contextmanager
    def take(self, patience_s: float = LONGEST_S) -> Iterator[None]:
        """Waits for the turn, so long at most, and goes on without it then."""
        mine = self._lock.acquire(timeout=min(patience_s, LONGEST_S))
        try:
            yield
        finally:
            if mine:
                self._lock.release()
