"""What a viewer did, kept in the cache by the numbers of the videos: what is not there is read from SQL.

What is kept is only begun with: what was added since is read from SQL and put in front. That it is the beginning still
- nothing was retracted, erased or moved - is known from how many events there are up to the last one of it. Never the
only copy of anything.
"""

import random
import struct
from dataclasses import dataclass

import numpy as np

from api.cache import Cache, key_of
from api.settings import CacheSettings
from data.signals import CODE
from data.store import EventLog
from data.store.events import NumberedHistory

KIND = "history"
#: A longer history is read from SQL each time.
LONGEST = 2_000
_HEAD = struct.Struct("<qqI")
_EVENT = np.dtype([("number", "<u4"), ("code", "i1"), ("value", "<f8"), ("time", "<f8")])
MOST_BYTES = _HEAD.size + LONGEST * _EVENT.itemsize


@dataclass(frozen=True)
class _Kept:
    """`did`: the number of the newest event in it; `events`: how many the viewer has up to there, impressions too."""

    did: int
    events: int
    history: NumberedHistory


class HistoryCache:
    """No method raises but for the database."""

    def __init__(self, cache: Cache, settings: CacheSettings, events: EventLog) -> None:
        self._cache = cache
        self._settings = settings
        self._events = events

    @property
    def _is_of_use(self) -> bool:
        """Whether anything is kept at the moment."""
        return self._settings.history_ttl_s > 0 and self._cache.state == "up"

    def last_known(self, user_id: str) -> NumberedHistory | None:
        """What is kept, for the time in which nobody can say what is newer."""
        kept = _unpack(self._cache.get(key_of(KIND, "any", user_id)))
        return None if kept is None else kept.history

    def of(self, user_id: str, did: int) -> NumberedHistory:
        """The history up to the viewer's event number `did`, newest first. Raises DatabaseError."""
        if not self._is_of_use:
            return self._events.numbered_history(user_id)
        key = key_of(KIND, "any", user_id)
        kept = _unpack(self._cache.get(key))
        if kept is not None and kept.did <= did and self._events.count_of(user_id, kept.did) == kept.events:
            if kept.did == did:
                return kept.history
            newest = self._events.numbered_history(user_id, after=kept.did)
            history = newest.before(kept.history)
        else:
            history = self._events.numbered_history(user_id)
        if len(history) <= LONGEST:
            value = _pack(_Kept(did, self._events.count_of(user_id, did), history))
            self._cache.put(key, value, self._settings.history_ttl_s * (1 - self._settings.jitter * random.random()))
        return history


def _pack(kept: _Kept) -> bytes:
    packed = np.empty(len(kept.history), _EVENT)
    packed["number"], packed["code"] = kept.history.numbers, kept.history.codes
    packed["value"], packed["time"] = kept.history.values, kept.history.times
    return _HEAD.pack(kept.did, kept.events, len(packed)) + packed.tobytes()


def _unpack(value: bytes | None) -> _Kept | None:
    if value is None or len(value) < _HEAD.size:
        return None
    did, events, count = _HEAD.unpack_from(value)
    if len(value) != _HEAD.size + count * _EVENT.itemsize:
        return None
    packed = np.frombuffer(value, _EVENT, offset=_HEAD.size)
    # The codes are places in a table: what is not there would be an error later on.
    if count and not 0 <= packed["code"].min() <= packed["code"].max() < len(CODE):
        return None
    history = NumberedHistory(
        packed["number"].astype(np.int64),
        packed["code"].copy(),
        packed["value"].copy(),
        packed["time"].copy(),
    )
    return _Kept(did, events, history)
