"""Answers that are ready, in the memory of this process: the bytes of a list that was just given to the same question.

Kept coherent by version numbers: the database says with every request which version the catalogue has and which is the
viewer's newest event, and an answer is given again only while both are what they were, from the same release, within
the time in which it would be the same. A part of each answer (its request id, its age, its times) is written anew.
Bounded in bytes; what was not asked for longest goes first.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

import orjson

from data.store import ViewerState

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


def _size(question: bytes, answer: ReadyAnswer) -> int:
    return len(question) + len(answer.body) + _OVERHEAD
