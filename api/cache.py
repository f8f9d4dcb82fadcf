"""The cache: bytes under keys in Redis, with plain commands of one key each, so that a cluster serves as well.

A cache is a help and never a need. One that is away, or slow again and again, is not asked for a while: a thread beside
the requests looks whether it is well again, and no request waits for that. One that takes nothing any more (full, or a
replica) is still read. Nothing lives only here, and nothing lives here without a TTL. Knows nothing of what it keeps.
"""

import hashlib
import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Literal, TypeVar

import redis

from api.settings import CacheSettings
from api.telemetry import Telemetry

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
#: Another number, where what is kept has another form.
VERSION = 5
#: So many slow answers in a row, and the cache counts as away.
STRIKES = 5
#: A claim ends by itself where its holder has died.
CLAIM_MS = 1_000


class Cache:
    """No method raises. `url`: redis://, rediss:// or unix://; None: no cache. Safe to use from many threads."""

    def __init__(self, url: str | None, settings: CacheSettings, telemetry: Telemetry) -> None:
        self._retry_after_s = settings.retry_after_s
        self._telemetry = telemetry
        self._breaker = _Breaker(settings.retry_after_s, settings.slow_ms / 1000, telemetry.cache_is)
        self._no_writes_until = 0.0
        self._client: redis.Redis | None = None
        if url is not None and settings.enabled:
            timeout = settings.timeout_ms / 1000
            self._client = redis.Redis.from_url(
                url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=None, health_check_interval=0
            )
            telemetry.cache_is(True)

    @property
    def is_on(self) -> bool:
        return self._client is not None

    @property
    def state(self) -> Literal["off", "up", "away"]:
        if self._client is None:
            return "off"
        return "away" if self._breaker.is_open else "up"

    def get(self, key: str) -> bytes | None:
        found = self._try(lambda client: client.get(key))
        return found if isinstance(found, bytes) else None

    def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        """Keeps a value for so many seconds; whether it did."""
        return bool(self._write(lambda client: client.set(key, value, px=max(1, int(ttl_s * 1000)))))

    def claim(self, key: str) -> bool | None:
        """Whether the caller is the first of all processes that wants to work on this; None where nobody can tell."""
        claimed = self._write(lambda client: [client.set(f"{key}:claim", b"", nx=True, px=CLAIM_MS)])
        return None if claimed is None else bool(claimed[0])

    def drop(self, key: str) -> bool:
        """Whether there is nothing under the key any more."""
        return self._client is None or self._try(lambda client: client.delete(key)) is not None

    def look(self) -> str:
        """`state`, after asking the cache now."""
        if self._client is None:
            return "off"
        return "up" if _answers(self._client) else "away"

    def _write(self, do: Callable[[redis.Redis], Answer]) -> Answer | None:
        return None if time.monotonic() < self._no_writes_until else self._try(do)

    def _try(self, do: Callable[[redis.Redis], Answer]) -> Answer | None:
        if self._client is None or self._breaker.is_open:
            return None
        started = time.perf_counter()
        try:
            answer = do(self._client)
        except redis.ResponseError as error:
            # It is there, but takes nothing: out of memory, read only, or still loading.
            if time.monotonic() >= self._no_writes_until:
                log.warning("the cache refuses: %s", error)
            self._no_writes_until = time.monotonic() + self._retry_after_s
            self._telemetry.cache_failed("refused")
            return None
        except (redis.RedisError, OSError) as error:
            self._telemetry.cache_failed("timeout" if isinstance(error, redis.TimeoutError) else "away")
            self._breaker.open(self._client, str(error))
            return None
        self._breaker.took(time.perf_counter() - started, self._client)
        return answer


def key_of(kind: str, world: str, user_id: str) -> str:
    """The key of what is kept of a viewer: `kind` says what, `world` for which release and settings, if it matters."""
    viewer = hashlib.blake2b(user_id.encode(), digest_size=16).hexdigest()
    return f"wn:{VERSION}:{world}:{kind}:{viewer}"


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


class _Breaker:
    """Open while the cache is away or slow. Nygard: Release It! (2007), Circuit Breaker; the half-open state is a
    thread's."""

    def __init__(self, every_s: float, slow_s: float, tell: Callable[[bool], None]) -> None:
        self.every_s = every_s
        self._slow_s = slow_s
        self._tell = tell
        self._strikes = 0
        self._lock = threading.Lock()
        self.is_open = False

    def took(self, seconds: float, client: redis.Redis) -> None:
        if seconds <= self._slow_s:
            self._strikes = 0
            return
        self._strikes += 1
        if self._strikes >= STRIKES:
            self.open(client, f"{STRIKES} answers in a row took longer than {1000 * self._slow_s:g} ms")

    def open(self, client: redis.Redis, why: str) -> None:
        with self._lock:
            if self.is_open:
                return
            self.is_open = True
        log.warning("the cache is away, going on without it: %s", why)
        self._tell(False)
        looking = threading.Thread(target=_close_when_well, args=(weakref.ref(self), client), daemon=True, name="cache")
        try:
            looking.start()
        except RuntimeError:
            self.close()

    def close(self) -> None:
        self._strikes = 0
        self.is_open = False
        self._tell(True)

    def is_well(self, client: redis.Redis) -> bool:
        started = time.perf_counter()
        return _answers(client) and time.perf_counter() - started <= self._slow_s


def _close_when_well(breaker: "weakref.ref[_Breaker]", client: redis.Redis) -> None:
    while (held := breaker()) is not None:
        if held.is_well(client):
            log.warning("the cache is back")
            held.close()
            return
        pause_s = held.every_s
        # Whoever else let go of it lets it go.
        del held
        time.sleep(pause_s)
