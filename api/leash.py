"""Processes that end with the one that started them. Knows nothing of what they do."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable

#: Set by whoever starts a process for its own use: it stops when its starter is gone.
LEASHED_VARIABLE = "STOP_WITH_STARTER"


def end_with_parent(end: Callable[[], object]) -> None:
    """Calls `end` when the process that started this one has gone, so that nothing outlives it."""
    # A parent that is gone already is no longer the one that the system names.
    started_by = multiprocessing.parent_process()
    parent = os.getppid() if started_by is None else started_by.pid

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        end()

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
