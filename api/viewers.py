"""What is known of a viewer: shown in pages, exported whole, merged into another viewer's, erased.

Erasing is more than a deletion in SQL: caches are emptied, and a receipt says what goes later and when. Knows nothing
of Flask, and not how lists are made.
"""

import hashlib
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import orjson

from api.cursors import as_bytes, as_text, damaged
from api.errors import Problem
from api.exposures import ExposureLog
from api.schemas.viewers import ExportedEvent, ExportedExposure, HistoryItem, HistoryQuery
from api.settings import CacheSettings
from data.home import Home
from data.schema import EventType, to_rfc3339
from data.store import Store
from recommender.release import Releases

#: How long a merge waits for the guest's last lists to be kept.
FLUSH_WITHIN_S = 2.0
EXPORTED_BYTES = 64_000
_PLACE = struct.Struct("<dq8s")


class Viewers:
    """Safe to use from many threads. forget: empties the caches of a viewer; whether that can be said of all."""

    def __init__(
        self,
        store: Store,
        home: Home,
        exposures: ExposureLog,
        forget: Callable[[str], bool],
        cache: CacheSettings,
    ) -> None:
        self._store = store
        self._home = home
        self._exposures = exposures
        self._forget = forget
        self._cached_for_s = max(cache.ttl_s + cache.stale_s, cache.history_ttl_s)

    def history(self, user_id: str, asked: HistoryQuery) -> dict[str, Any]:
        """A page of what a viewer did, newest first, as `schemas.viewers.HistoryAnswer`. Raises Problem 400
        `invalid_cursor`."""
        before = None if asked.cursor is None else _read_cursor(asked.cursor, user_id, asked.type)
        found = self._store.events.page_of(user_id, asked.limit + 1, before, asked.type)
        shown = found[: asked.limit]
        videos = self._store.catalogue.get_many(list({row["video_id"] for _, row in shown}))
        has_more = len(found) > asked.limit
        return {
            "user_id": user_id,
            "items": [
                _shown(row, HistoryItem.model_fields)
                | {"title": videos[row["video_id"]].title if row["video_id"] in videos else None}
                for _, row in shown
            ],
            "cursor": _write_cursor(shown[-1][0], user_id, asked.type) if has_more else None,
            "has_more": has_more,
        }

    def export(self, user_id: str, request_id: str) -> Iterator[bytes]:
        """All that is known of a viewer, as the JSON of a `schemas.viewers.ExportAnswer` in pieces: it is never in
        memory as a whole."""
        events = (_shown(row, ExportedEvent.model_fields) for row in self._store.events.all_of(user_id))
        lists = (_shown(row, ExportedExposure.model_fields) for row in self._store.exposures.all_of(user_id))
        head = {"request_id": request_id, "user_id": user_id, "exported_at": to_rfc3339(time.time())}
        document = chain(
            [orjson.dumps(head)[:-1], b',"events":['],
            _separated(events),
            [b'],"exposures":['],
            _separated(lists),
            [b"]}"],
        )
        pieces = _in_pieces(document, EXPORTED_BYTES)
        # What cannot be read at all is told before the answer has begun.
        return chain([next(pieces)], pieces)

    def erase(self, user_id: str) -> dict[str, Any]:
        """Erases a viewer everywhere; the receipt, as `schemas.viewers.ErasureReceipt`."""
        receipt = self._store.viewers.erase(user_id)
        forgotten = self._forget(user_id)
        served = Releases(self._home.releases).current_id()
        remains = []
        if served is not None:
            remains.append(f"what release {served} learned from all viewers, without names: ends with the next refresh")
        if self._home.digest.exists():
            remains.append("what refreshes keep of the events (digest.npz): drops the viewer at the next refresh")
        if not forgotten:
            remains.append(
                f"the cache did not answer: what it has of this viewer ends within {self._cached_for_s:g} s, and is"
                " not served while the database answers"
            )
        return {
            "receipt_id": receipt.id,
            "user_id": user_id,
            "erased_at": to_rfc3339(receipt.erased_at),
            "erased": {"events": receipt.events, "exposures": receipt.exposures, "cache": forgotten},
            "releases": {"served": served, "next": "will not know this viewer"},
            "remains": remains,
        }

    def merge(self, guest_id: str, user_id: str) -> dict[str, Any]:
        """Makes what a guest did a user's, as `schemas.viewers.MergeAnswer`. Raises Problem 422 where they are one."""
        if guest_id == user_id:
            raise Problem(422, "invalid_request", "from: is the user itself; name the guest", field="from")
        # Lists that wait to be kept would come in under the guest's name.
        self._exposures.flush(FLUSH_WITHIN_S)
        merged = self._store.viewers.merge(guest_id, user_id)
        self._forget(guest_id)
        return {
            "user_id": user_id,
            "from": guest_id,
            "merged": {"events": merged.events, "exposures": merged.exposures},
        }

    def retract(self, event_id: str) -> dict[str, Any]:
        """Takes back an event, as `schemas.events.RetractionAnswer`. Raises Problem 404 for an unknown one."""
        if not self._store.viewers.retract(event_id):
            raise Problem(404, "unknown_event", f"no event {event_id!r} has come in", field="event_id")
        return {"event_id": event_id, "status": "retracted"}


def _shown(row: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """Some fields of a stored row, with texts for its times."""
    shown = {name: row[name] for name in fields if name in row}
    return shown | {name: to_rfc3339(shown[name]) for name in shown if name.endswith("_at")}


def _separated(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    separator = b""
    for row in rows:
        yield separator + orjson.dumps(row)
        separator = b","


def _in_pieces(parts: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of at least so many."""
    piece = bytearray()
    for part in parts:
        piece += part
        if len(piece) >= size:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _write_cursor(place: tuple[float, int], user_id: str, kind: EventType | None) -> str:
    return as_text(_PLACE.pack(*place, _binding(place, user_id, kind)))


def _read_cursor(text: str, user_id: str, kind: EventType | None) -> tuple[float, int]:
    content = as_bytes(text)
    if len(content) != _PLACE.size:
        raise damaged()
    time_, seq, binding = _PLACE.unpack(content)
    if binding != _binding((time_, seq), user_id, kind):
        raise Problem(
            400,
            "invalid_cursor",
            "this cursor is damaged or belongs to another viewer or type; ask for the first page",
            field="cursor",
        )
    return time_, seq


def _binding(place: tuple[float, int], user_id: str, kind: EventType | None) -> bytes:
    """What a cursor holds for, so that it serves nothing else."""
    return hashlib.blake2b(repr((place, user_id, kind)).encode(), digest_size=8).digest()
