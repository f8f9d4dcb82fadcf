"""Which processors processes work on.

Threads of one interpreter work one after the other. Where they have several processors, those that wait are woken again
and again only to find that another was quicker; on one of their own none is woken before its turn.
"""

import contextlib
import os


def one_for_each(processes: int) -> list[int]:
    """A processor for each of some processes, where there are as many; else none, and the system sees to it."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    ours = sorted(os.sched_getaffinity(0))
    return ours if len(ours) == processes else []


def keep_to(pid: int, processor: int) -> None:
    """From now on the process works on this one, and all that it begins."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(pid, {processor})


def let_go(pid: int) -> None:
    """What this process has begun may work wherever this one's parent may."""
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(pid, os.sched_getaffinity(os.getppid()))
