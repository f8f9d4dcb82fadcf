"""Answers that are ready, in the memory of this process and in Redis: the bytes of a list that was just given to the
same question.

Kept coherent by version numbers: the database says with every request which version the catalogue has and which is the
viewer's newest event, and an answer is given again only while both are what they were, from the same release, within
the time in which it would be the same. A part of each answer (its request id, its age, its times) is written anew.
Bounded in bytes: in memory what was not asked for longest goes first, in Redis there is one answer for each viewer and
release.
"""

import struct
import threading
import time
import zlib
from collections import OrderedDict
from dataclasses import dataclass

import orjson

from api.cache import Cache, key_of
from data.store import ViewerState

KIND = "answer"
#: A longer answer is not kept in Redis.
MOST_BYTES = 16_384
_CHECKSUM = struct.Struct("<I")
#: What an entry takes besides its bytes, about.
_OVERHEAD = 1_000


@dataclass(frozen=True, slots=True)
class ReadyAnswer:
    """body: JSON of what stays, as the members of an object without its braces; release: likewise, without its age;
    until: seconds since 1970."""

    body: bytes
    release: bytes
    released_at: float
    state: ViewerState
    world: str
    until: float
    fallback: str | None

    def is_good(self, state: ViewerState, world: str, now: float) -> bool:
        return self.state == state and self.world == world and now < self.until

    def bytes_for(self, request_id: str, now: float, started: float) -> bytes:
        """The answer to a request that began at `started` (`time.perf_counter`)."""
        spent_ms = 1000 * (time.perf_counter() - started)
        return b'{"request_id":%b,%b,"release":{%b,"age_s":%d},"cache":"hit","timings_ms":{"total":%.3f}}' % (
            orjson.dumps(request_id),
            self.body,
            self.release,
            max(0, int(now - self.released_at)),
            spent_ms,
        )


class ReadyAnswers:
    """Safe to use from many threads."""

    def __init__(self, megabytes: float) -> None:
        self._room = int(megabytes * 1_000_000)
        self._kept: OrderedDict[tuple[str, bytes], ReadyAnswer] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def is_on(self) -> bool:
        return self._room > 0

    @property
    def size(self) -> int:
        """In bytes."""
        return self._bytes

    def get(self, user_id: str, question: bytes) -> ReadyAnswer | None:
        key = (user_id, question)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        return found

    def put(self, user_id: str, question: bytes, answer: ReadyAnswer) -> None:
        size = _size(question, answer)
        if size > self._room:
            return
        key = (user_id, question)
        with self._lock:
            self._remove(key)
            self._kept[key] = answer
            self._bytes += size
            while self._bytes > self._room:
                self._remove(next(iter(self._kept)))

    def forget(self, user_id: str) -> None:
        """All answers to one viewer are gone."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == user_id]:
                self._remove(key)

    def _remove(self, key: tuple[str, bytes]) -> None:
        answer = self._kept.pop(key, None)
        if answer is not None:
            self._bytes -= _size(key[1], answer)


class SharedAnswers:
    """The last answer to each viewer in Redis, for all processes. No method raises."""

    def __init__(self, cache: Cache, is_on: bool) -> None:
        self._cache = cache
        self.is_on = is_on and cache.is_on

    def get(self, world: str, user_id: str, question: bytes) -> ReadyAnswer | None:
        value = self._cache.get(key_of(KIND, world, user_id)) if self.is_on else None
        return None if value is None else _unpack(value, world, question)

    def put(self, user_id: str, question: bytes, answer: ReadyAnswer) -> None:
        value = _pack(question, answer) if self.is_on else b""
        if 0 < len(value) <= MOST_BYTES:
            self._cache.put(key_of(KIND, answer.world, user_id), value, answer.until - time.time())


def _pack(question: bytes, answer: ReadyAnswer) -> bytes:
    facts = (question.decode("latin-1"), answer.release.decode(), answer.released_at, tuple(answer.state), answer.until)
    content = orjson.dumps((*facts, answer.fallback)) + b"\n" + answer.body
    return _CHECKSUM.pack(zlib.crc32(content)) + content


def _unpack(value: bytes, world: str, question: bytes) -> ReadyAnswer | None:
    """None for a damaged one, and for the answer to another question."""
    content = value[_CHECKSUM.size :]
    if value[: _CHECKSUM.size] != _CHECKSUM.pack(zlib.crc32(content)):
        return None
    facts, _, body = content.partition(b"\n")
    try:
        asked, release, released_at, state, until, fallback = orjson.loads(facts)
        if asked.encode("latin-1") != question:
            return None
        return ReadyAnswer(body, release.encode(), released_at, ViewerState._make(state), world, until, fallback)
    except (TypeError, ValueError, AttributeError):
        # Of another version of the service.
        return None


def _size(question: bytes, answer: ReadyAnswer) -> int:
    return len(question) + len(answer.body) + _OVERHEAD
