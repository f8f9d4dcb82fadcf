"""Who holds claimed videos, and whether they are still alive.

Each run has a name for its leases and a locked file of that name. The kernel lets go of the lock when the
process dies, however it dies, so the next run frees what a killed one held at once instead of waiting for its
leases to run out. (A run of another home or on another machine is not seen; there the leases count.) Leases are
renewed by a thread of their own: what takes long, takes long while they hold.
"""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from data.home import Home
from data.store import Catalogue

log = logging.getLogger(__name__)


@contextmanager
def claiming(home: Home, catalogue: Catalogue, lease_s: float) -> Iterator[str]:
    """Yields the name under which this run claims videos, each for `lease_s` seconds that are renewed as long as the
    block lasts; what it still holds at the end is given back."""
    folder = _folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    free_claims_of_the_dead(home, catalogue)
    owner = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
    lock = FileLock(folder / f"{owner}.lock")
    with lock:
        try:
            with _renewing(catalogue, owner, lease_s):
                yield owner
        finally:
            catalogue.release(owner)
            (folder / f"{owner}.lock").unlink(missing_ok=True)


def free_claims_of_the_dead(home: Home, catalogue: Catalogue) -> None:
    """Gives back what runs have claimed that were killed."""
    for path in _folder(home).glob("*.lock"):
        _free_if_dead(FileLock(path), path.stem, catalogue)


def _folder(home: Home) -> Path:
    return home.root / "workers"


@contextmanager
def _renewing(catalogue: Catalogue, owner: str, lease_s: float) -> Iterator[None]:
    over = threading.Event()

    def renew() -> None:
        while not over.wait(lease_s / 3):
            try:
                catalogue.renew(owner, lease_s)
            except Exception as error:  # of the database: the next turn may find it again
                log.warning("leases could not be renewed: %s", error)

    thread = threading.Thread(target=renew, name="leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _free_if_dead(lock: FileLock, owner: str, catalogue: Catalogue) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return  # it lives
    try:
        catalogue.release(owner, dead=True)
        Path(lock.lock_file).unlink()
    except FileNotFoundError:
        pass  # another run was here at the same time
    finally:
        lock.release()
