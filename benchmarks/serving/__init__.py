"""What benchmarks of a running server share: its floors, the load that is put on it, its environment and processes."""

import contextlib
import os
from collections.abc import Iterator

import psutil

from data.home import Home


def processes_that_answer(home: Home) -> list[psutil.Process]:
    """Those of a server that are ready and alive, the eldest first."""
    found = []
    for said in (home.root / "run" / "processes").glob("*.ready"):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(int(said.stem))
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return sorted(found, key=psutil.Process.create_time)


@contextlib.contextmanager
def variables(**given: str) -> Iterator[None]:
    """Environment variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
