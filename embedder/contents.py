"""Which content (bytes, and text where the encoder reads it) each vector of an embedding table was made from.

The table knows ids, not contents: after a crash it cannot tell whether a pending video's vector is of its present
file or of an older one, nor that another video has the same bytes. This log beside the table can. One line
a vector, appended durably, never rewritten; a line names the vector by its checksum, so it counts only while
the table holds that very vector, whatever was written first. Knows nothing of encoders or the catalogue.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import orjson

from data.embeddings import MANIFEST, EmbeddingTable

LOG = "contents.jsonl"


@dataclass(frozen=True)
class Origin:
    """`content`: SHA-256 of all that went into the vector. `duration_s`: of the video, seconds. `vector`: see
    `checksum`. `file`: SHA-256 of the media file; "" where that is the content."""

    id: str
    content: str
    duration_s: float | None
    vector: str
    file: str = ""


@dataclass(frozen=True)
class Known:
    """A vector (dim,) float32 that was made from the content asked for, and the video it was made for."""

    id: str
    vector: np.ndarray
    duration_s: float | None


def checksum(vector: np.ndarray) -> str:
    """A short checksum of a float32 vector's bytes."""
    return hashlib.sha256(np.asarray(vector, dtype=np.float32).tobytes()).hexdigest()[:16]


def record_origins(folder: Path, origins: Sequence[Origin]) -> None:
    """Adds lines to the log of a table's folder, durably. Several processes may write at the same time."""
    lines = b"".join(orjson.dumps(asdict(origin), option=orjson.OPT_APPEND_NEWLINE) for origin in origins)
    handle = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        # The line break ends a line that a crash may have left torn; empty lines are skipped.
        os.write(handle, b"\n" + lines)
        os.fsync(handle)
    finally:
        os.close(handle)


class KnownContents:
    """The vectors of a table by what they were made from, as of now. Nothing is read before the first question."""

    def __init__(self, table: EmbeddingTable) -> None:
        self._state = _state_of(table)
        self._table = EmbeddingTable.open(table.folder)

    def is_current(self) -> bool:
        """Whether nothing has been written to the table since."""
        return self._state == _state_of(self._table)

    def find(self, content: str, prefer: str | None = None) -> Known | None:
        """A vector that was made from this content, if the table has one; rather of `prefer`."""
        origins = self._by_content.get(content, {})
        for origin in sorted(origins.values(), key=lambda origin: origin.id != prefer):
            row = int(self._table.rows_of([origin.id])[0])
            if row >= 0 and checksum(self._table.matrix[row]) == origin.vector:
                return Known(origin.id, np.array(self._table.matrix[row]), origin.duration_s)
        return None

    def newest(self, video_id: str) -> Origin | None:
        """What the newest vector of a video was made from."""
        return self._by_id.get(video_id)

    @cached_property
    def _by_content(self) -> dict[str, dict[str, Origin]]:
        found: dict[str, dict[str, Origin]] = {}
        for origin in self._origins:
            found.setdefault(origin.content, {})[origin.id] = origin
        return found

    @cached_property
    def _by_id(self) -> dict[str, Origin]:
        return {origin.id: origin for origin in self._origins}

    @cached_property
    def _origins(self) -> list[Origin]:
        try:
            lines = (self._table.folder / LOG).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [origin for line in lines if (origin := _read(line)) is not None]


def _state_of(table: EmbeddingTable) -> tuple[int, int]:
    status = (table.folder / MANIFEST).stat()  # each write puts another file in its place
    return status.st_ino, status.st_mtime_ns


def _read(line: bytes) -> Origin | None:
    """None for a line that is empty or was torn by a crash: that vector will be made again."""
    try:
        return Origin(**orjson.loads(line))
    except (orjson.JSONDecodeError, TypeError):
        return None
