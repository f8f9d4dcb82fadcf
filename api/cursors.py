"""Cursors: bytes as texts that fit a URL, and the rest of a slate that was frozen when its first page was made.

The cursor of a slate carries the remaining candidates itself, so the next page neither repeats nor skips whatever
happens to the cache, the history or the release in between; what may no longer be shown is filtered when it is read.
Its checksum is no secret: what is read may be forged, and no more is believed than a server can have written.
"""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

import numpy as np

from api.errors import Problem
from api.packing import BYTES_PER_CANDIDATE, Numbered, pack, unpack

LONGEST = 300
#: Places that the pages of one slate have at most, all together.
FURTHEST = 100_000
_CHECKSUM_BYTES = 4
#: Binding, candidates that are left, places that were shown.
_HEAD = struct.Struct("<4sHI")


@dataclass(frozen=True)
class Cursor:
    """`rest`: what the pages before did not show, in order; `shown`: how many they did."""

    rest: Numbered
    shown: int


def as_text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def as_bytes(text: str) -> bytes:
    """What `as_text` was given. Raises Problem 400 `invalid_cursor` for a text that it never gives."""
    try:
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        raise damaged() from None
    # The decoder passes over what it does not know.
    if as_text(content) != text:
        raise damaged()
    return content


def damaged() -> Problem:
    return Problem(400, "invalid_cursor", "this cursor is damaged; ask for the first page again", field="cursor")


def write_cursor(cursor: Cursor, binding: str) -> str | None:
    """`binding` names the viewer and the question: a cursor serves no other. None beyond the `FURTHEST` place."""
    if cursor.shown > FURTHEST:
        return None
    rest = cursor.rest.first(LONGEST)
    content = _HEAD.pack(_digest(binding.encode()), len(rest), cursor.shown) + pack(rest)
    return as_text(_digest(content) + content)


def read_cursor(text: str, binding: str) -> Cursor:
    """Raises Problem 400 `invalid_cursor` for a damaged cursor or one of another question."""
    raw = as_bytes(text)
    checksum, content = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
    if checksum != _digest(content) or len(content) < _HEAD.size:
        raise damaged()
    bound_to, count, shown = _HEAD.unpack_from(content)
    if count > LONGEST or len(content) != _HEAD.size + BYTES_PER_CANDIDATE * count:
        raise damaged()
    cursor = Cursor(unpack(content[_HEAD.size :]), shown)
    if not _can_be_written(cursor):
        raise damaged()
    if bound_to != _digest(binding.encode()):
        raise Problem(
            400,
            "invalid_cursor",
            "this cursor belongs to another viewer or question; ask for the first page",
            field="cursor",
        )
    return cursor


def _can_be_written(cursor: Cursor) -> bool:
    numbers, scores = cursor.rest.numbers, cursor.rest.scores
    return cursor.shown <= FURTHEST and len(np.unique(numbers)) == len(numbers) and bool(np.isfinite(scores).all())


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest()
