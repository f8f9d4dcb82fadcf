"""Whose turn it is to write to a file of SQLite: whoever waits comes before whoever has just written.

SQLite lets those who wait sleep, longer each time, and then whoever happens to ask first gets in: where several
processes write all the time, some wait for seconds. Here one waits at the head of a queue, which who has just written
has to join. It is a courtesy: what keeps two writers apart is SQLite's own lock, and where a turn does not come soon -
its holder may be frozen, or write much - that lock is asked as if there were no turns.
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Protocol

PATIENCE_S = 1.0
#: Who waits in the kernel for the lock of a file cannot give up: it is asked for.
ASK_EVERY_S = 0.0005


class _Lock(Protocol):
    def acquire(self, *, timeout: float) -> bool: ...
    def release(self) -> None: ...


@contextmanager
def turn_to_write(database: str) -> Iterator[None]:
    """A turn among all threads and processes of this machine that write to the file, where it comes soon."""
    until = time.monotonic() + PATIENCE_S
    files = (_FileLock(f"{database}.next.lock"), _FileLock(f"{database}.turn.lock"))
    with ExitStack() as held:
        if _wait(*_locks_of_this_process(database), until, held):
            _wait(*files, until, held)
        yield


def _wait(next_in_line: _Lock, turn: _Lock, until: float, held: ExitStack) -> bool:
    if not next_in_line.acquire(timeout=_left(until)):
        return False
    try:
        came = turn.acquire(timeout=_left(until))
    finally:
        next_in_line.release()
    if came:
        held.callback(turn.release)
    return came


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())


@cache
def _locks_of_this_process(_database: str) -> tuple[_Lock, _Lock]:
    return threading.Lock(), threading.Lock()


# Nobody would let go of them there.
os.register_at_fork(after_in_child=_locks_of_this_process.cache_clear)


class _FileLock:
    """Of one holder, as `threading.Lock` is of all threads; who dies lets go of it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._handle = -1

    def acquire(self, *, timeout: float) -> bool:
        until = time.monotonic() + timeout
        try:
            self._handle = os.open(self._path, os.O_CREAT | os.O_RDONLY, 0o644)
        except OSError:
            return False
        try:
            while not self._is_free():
                if time.monotonic() >= until:
                    os.close(self._handle)
                    return False
                time.sleep(ASK_EVERY_S)
        except OSError:
            # A disk that knows no locks.
            os.close(self._handle)
            return False
        except BaseException:
            os.close(self._handle)
            raise
        return True

    def release(self) -> None:
        # A process that was forked meanwhile has the handle, too.
        fcntl.flock(self._handle, fcntl.LOCK_UN)
        os.close(self._handle)

    def _is_free(self) -> bool:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
