"""The cache: scored candidates of a viewer in Redis, so that the next request only filters and selects.

A cache is a help and never a need: when it is slow, away or wrong, answers are computed without it, and it is asked
again a little later. Nothing lives only here. Plain single-key commands; every key has a TTL.
"""

import hashlib
import logging
import random
import struct
import time
from dataclasses import dataclass

import redis

from api.packing import BYTES_PER_CANDIDATE, Numbered, pack, unpack
from api.settings import CacheSettings

log = logging.getLogger(__name__)

KEY_VERSION = 3
_HEAD = struct.Struct("<qqI")


@dataclass(frozen=True)
class Cached:
    """Scored candidates, the number of the viewer's newest event and the version of the catalogue that they know of;
    `snapshot`: what a ranker saw of them, packed, empty where nobody wants to know."""

    candidates: Numbered
    last_seq: int
    catalogue_version: int
    snapshot: bytes = b""


class CandidateCache:
    """`get` and `put` never raise. `url`: redis://, rediss:// or unix://; None: no cache."""

    def __init__(self, url: str | None, settings: CacheSettings) -> None:
        self._settings = settings
        self._quiet_until = 0.0
        self._client: redis.Redis | None = None
        if url is not None and settings.enabled:
            timeout = settings.timeout_ms / 1000
            self._client = redis.Redis.from_url(
                url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=None, health_check_interval=0
            )

    @property
    def state(self) -> str:
        """off, up or away."""
        if self._client is None:
            return "off"
        return "away" if time.monotonic() < self._quiet_until else "up"

    def key(self, world: str, user_id: str, *context: object) -> str:
        """A key of fixed length; another world (release and settings) or another context is another key."""
        content = "\x1f".join([user_id, *map(repr, context)])
        return f"wn:{KEY_VERSION}:{world}:{hashlib.blake2b(content.encode(), digest_size=16).hexdigest()}"

    def get(self, key: str) -> Cached | None:
        if self.state != "up" or self._client is None:
            return None
        try:
            value = self._client.get(key)
        except (redis.RedisError, OSError) as error:
            self._rest(error)
            return None
        return _unpack(value) if isinstance(value, bytes) else None

    def put(self, key: str, cached: Cached) -> None:
        if self.state != "up" or self._client is None:
            return
        ttl = self._settings.ttl_s * (1 - self._settings.jitter * random.random())
        try:
            self._client.set(key, _pack(cached), px=max(1, int(ttl * 1000)))
        except (redis.RedisError, OSError) as error:
            self._rest(error)

    def look(self) -> str:
        """`state`, after asking the cache now."""
        if self._client is None:
            return "off"
        try:
            self._client.ping()
        except (redis.RedisError, OSError):
            return "away"
        return "up"

    def _rest(self, error: Exception) -> None:
        if time.monotonic() >= self._quiet_until:
            log.warning("the cache is away, going on without it: %s", error)
        self._quiet_until = time.monotonic() + self._settings.retry_after_s


def _pack(cached: Cached) -> bytes:
    head = _HEAD.pack(cached.last_seq, cached.catalogue_version, len(cached.candidates))
    return head + pack(cached.candidates) + cached.snapshot


def _unpack(value: bytes) -> Cached | None:
    if len(value) < _HEAD.size:
        return None
    last_seq, version, count = _HEAD.unpack_from(value)
    end = _HEAD.size + BYTES_PER_CANDIDATE * count
    if len(value) < end:
        return None
    return Cached(unpack(value[_HEAD.size : end]), last_seq, version, value[end:])
