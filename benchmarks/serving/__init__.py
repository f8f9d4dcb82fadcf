"""What benchmarks of a running server share: its floors, the load that is put on it, and its environment."""

import contextlib
import os
from collections.abc import Iterator


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
