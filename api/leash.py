"""Processes that end with the one that started them. Knows nothing of what they do."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable

import psutil

#: Set by whoever starts a process for its own use: it stops when its starter is gone.
LEASHED_VARIABLE = "STOP_WITH_STARTER"


def end_with_parent(end: Callable[[], object]) -> None:
    """Calls `end` when the process that started this one has gone, so that nothing outlives it."""
    # One that was forked from another than its starter does not end with that one.
    started_by, parent = multiprocessing.parent_process(), os.getppid()
    starter = psutil.Process(parent if started_by is None else started_by.pid)

    def watch() -> None:
        while _lives(starter) and (started_by is not None or os.getppid() == parent):
            time.sleep(0.5)
        end()

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
