"""A clock that is wrong: processes that have this folder in their PYTHONPATH read the time with an error, which a file
says in seconds. The clock that measures how long something takes is right, as it is on a machine whose clock is set.
"""

import os
import time

FILE_VARIABLE = "WRONG_CLOCK_FILE"


def _install(path: str) -> None:
    right, file = time.time, os.open(path, os.O_RDONLY)

    def wrong() -> float:
        return right() + float(os.pread(file, 32, 0) or 0)

    time.time = wrong


if FILE_VARIABLE in os.environ:
    _install(os.environ[FILE_VARIABLE])
