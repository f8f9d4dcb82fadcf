"""Cursors: the rest of a slate that was frozen when its first page was made.

A cursor carries the remaining candidates itself, so the next page neither repeats nor skips whatever happens to
the cache, the history or the release in between; what may no longer be shown is filtered when it is read.
"""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

from api.errors import Problem
from api.packing import BYTES_PER_CANDIDATE, Numbered, pack, unpack

LONGEST = 300
_HEAD = struct.Struct("<4s4sHI")


@dataclass(frozen=True)
class Cursor:
    """`rest`: what the pages before did not show, in order; `shown`: how many they did."""

    rest: Numbered
    shown: int


def write_cursor(cursor: Cursor, binding: str) -> str:
    """`binding` names the viewer and the question: a cursor serves no other."""
    rest = cursor.rest.first(LONGEST)
    content = pack(rest)
    head = _HEAD.pack(_digest(content), _digest(binding.encode()), len(rest), cursor.shown)
    return base64.urlsafe_b64encode(head + content).decode().rstrip("=")


def read_cursor(text: str, binding: str) -> Cursor:
    """Raises Problem 400 `invalid_cursor` for a damaged cursor or one of another question."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        checksum, bound_to, count, shown = _HEAD.unpack_from(raw)
        content = raw[_HEAD.size :]
        if checksum != _digest(content) or count > LONGEST:
            raise ValueError
        if len(content) != BYTES_PER_CANDIDATE * count:
            raise ValueError
    except (ValueError, struct.error, binascii.Error):
        raise Problem(
            400, "invalid_cursor", "this cursor is damaged; ask for the first page again", field="cursor"
        ) from None
    if bound_to != _digest(binding.encode()):
        raise Problem(
            400,
            "invalid_cursor",
            "this cursor belongs to another viewer or question; ask for the first page",
            field="cursor",
        )
    return Cursor(unpack(content), shown)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=4).digest()
