"""Scored candidates of a viewer in the cache, so that the next request only filters and selects.

One key for each viewer and release, one round trip. What a viewer did since, another release and other settings make
them useless at once; age alone makes them stale: they are served while new ones are made. Of many requests for the same
viewer, in whatever process, one makes them.
"""

import hashlib
import random
import struct
import time
from dataclasses import dataclass

from api.cache import Cache, key_of
from api.packing import BYTES_PER_CANDIDATE, Numbered, pack, unpack
from api.settings import CacheSettings

KIND = "candidates"
_HEAD = struct.Struct("<8sqqddI")
HEAD_BYTES = _HEAD.size
#: How long a request waits for the candidates that another is making, and how often it looks.
WAIT_S, LOOK_EVERY_S = 0.05, 0.002


@dataclass(frozen=True)
class Cached:
    """Scored candidates, the number of the viewer's newest event and the version of the catalogue that they know of;
    `snapshot`: what a ranker saw of them, packed, empty where nobody wants to know; made_at, fresh_until: seconds since
    1970."""

    candidates: Numbered
    did: int
    catalogue_version: int
    snapshot: bytes = b""
    made_at: float = 0.0
    fresh_until: float = 0.0

    @property
    def is_fresh(self) -> bool:
        return time.time() < self.fresh_until


class CandidateCache:
    """No method raises. world: the release and the settings; context: what candidates depend on besides the viewer."""

    def __init__(self, cache: Cache, settings: CacheSettings) -> None:
        self._cache = cache
        self._settings = settings

    @property
    def is_on(self) -> bool:
        return self._cache.is_on

    @property
    def state(self) -> str:
        return self._cache.state

    def get(self, world: str, user_id: str, context: tuple[object, ...]) -> Cached | None:
        value = self._cache.get(key_of(KIND, world, user_id))
        return None if value is None else _unpack(value, _digest(context))

    def put(self, world: str, user_id: str, context: tuple[object, ...], cached: Cached) -> None:
        settings, now = self._settings, time.time()
        fresh_s = settings.ttl_s * (1 - settings.jitter * random.random())
        head = (_digest(context), cached.did, cached.catalogue_version, now, now + fresh_s, len(cached.candidates))
        value = _HEAD.pack(*head) + pack(cached.candidates) + cached.snapshot
        self._cache.put(key_of(KIND, world, user_id), value, fresh_s + settings.stale_s)

    def is_first(self, world: str, user_id: str, context: tuple[object, ...], did: int) -> bool:
        """Whether nobody else makes these candidates already; True also where that cannot be told."""
        key = f"{key_of(KIND, world, user_id)}:{_digest(context).hex()}:{did}"
        return self._cache.claim(key) is not False

    def wait_for(
        self, world: str, user_id: str, context: tuple[object, ...], did: int, wait_s: float = WAIT_S
    ) -> Cached | None:
        """The candidates that somebody else is making; None where they do not come soon."""
        until = time.monotonic() + min(wait_s, WAIT_S)
        while time.monotonic() < until and self._cache.state == "up":
            time.sleep(LOOK_EVERY_S)
            found = self.get(world, user_id, context)
            if found is not None and found.did == did and found.is_fresh:
                return found
        return None


def _digest(context: tuple[object, ...]) -> bytes:
    return hashlib.blake2b(repr(context).encode(), digest_size=8).digest()


def _unpack(value: bytes, context: bytes) -> Cached | None:
    if len(value) < _HEAD.size:
        return None
    made_for, did, version, made_at, fresh_until, count = _HEAD.unpack_from(value)
    end = _HEAD.size + BYTES_PER_CANDIDATE * count
    if made_for != context or len(value) < end:
        return None
    return Cached(unpack(value[_HEAD.size : end]), did, version, value[end:], made_at, fresh_until)
