"""The embedding table: where the embedder and the recommender meet. Ids and a float32 matrix, on disk.

One folder per encoder id. Vectors are appended in blocks that are never changed afterwards; `table.json` names
the blocks that count, with a checksum for each, and is replaced at once. A crash half-way leaves the table as
it was before; a block that no manifest names does not count and is overwritten, or swept away by `compact`. A later
row for the same id replaces the earlier one. Knows nothing of encoders or indexes.
"""

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import orjson
from filelock import FileLock

from data.files import CorruptFileError, replacing, sha256_of, verify_checksum, write_json

log = logging.getLogger(__name__)

MANIFEST = "table.json"
LOCK = ".lock"
FORMAT = 1
COMPACT_FROM_BLOCKS = 64


@dataclass(frozen=True)
class _Block:
    name: str
    rows: int
    sha256: str
    ids_sha256: str


class EmbeddingTable:
    """The vectors of one encoder. Readers see the state at the time of opening; reopen to see more.

    `ids`: (N,) str objects; `matrix`: (N, dim) float32, memory-mapped while the table is one block.
    """

    def __init__(
        self,
        folder: Path,
        encoder_id: str,
        dim: int,
        blocks: Sequence[_Block],
        removed: frozenset[str] = frozenset(),
    ) -> None:
        self.folder = folder
        self.encoder_id = encoder_id
        self.dim = dim
        self._blocks = list(blocks)
        self._removed = removed

    # ---- Opening -------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, root: Path, encoder_id: str, dim: int) -> "EmbeddingTable":
        """Opens the table of an encoder below `root`, empty where there was none.

        Raises CorruptFileError when the folder holds another encoder's or another dimension's vectors.
        """
        folder = root / folder_name(encoder_id)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):
            if not (folder / MANIFEST).exists():
                cls(folder, encoder_id, dim, [])._publish([], frozenset())
        table = cls.open(folder)
        if (table.encoder_id, table.dim) != (encoder_id, dim):
            raise CorruptFileError(
                f"{folder} holds {table.dim}-dimensional vectors of {table.encoder_id},"
                f" not {dim}-dimensional ones of {encoder_id}"
            )
        return table

    @classmethod
    def open(cls, folder: Path) -> "EmbeddingTable":
        """Opens an existing table. Raises CorruptFileError when its manifest is missing or unreadable."""
        try:
            manifest = orjson.loads((folder / MANIFEST).read_bytes())
            if manifest["format"] != FORMAT:
                raise CorruptFileError(f"{folder} has format {manifest['format']}; this version reads format {FORMAT}")
            blocks = [_Block(**block) for block in manifest["blocks"]]
            return cls(folder, manifest["encoder_id"], manifest["dim"], blocks, frozenset(manifest["removed"]))
        except (OSError, KeyError, TypeError, orjson.JSONDecodeError) as error:
            raise CorruptFileError(f"{folder} is not an embedding table: {error}") from error

    @classmethod
    def all(cls, root: Path) -> list["EmbeddingTable"]:
        """Every table below `root`."""
        return [cls.open(path.parent) for path in sorted(root.glob(f"*/{MANIFEST}"))]

    @classmethod
    def newest_vectors(cls, root: Path, encoder_id: str, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """The vectors (dim,) of those of `ids` that an encoder has any of, the newest blocks looked at first.

        For a few videos of late: no more is read than they need. Empty where there is no readable table.
        """
        try:
            table = cls.open(root / folder_name(encoder_id))
            return table._find(set(ids) - table._removed)
        except (CorruptFileError, OSError, ValueError) as error:
            log.warning("vectors of new videos cannot be read: %s", error)
            return {}

    @classmethod
    def written_at(cls, root: Path, encoder_id: str) -> float | None:
        """When an encoder's newest vectors were written, in seconds since 1970; None where there are none."""
        try:
            table = cls.open(root / folder_name(encoder_id))
            blocks = [table.folder / f"{block.name}.npy" for block in table._blocks]
            return max((path.stat().st_mtime for path in blocks), default=None)
        except (CorruptFileError, OSError):
            return None

    # ---- Reading -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def ids(self) -> np.ndarray:
        return self._rows[0]

    @cached_property
    def matrix(self) -> np.ndarray:
        return self._rows[1]

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """Row numbers (int64), -1 for ids that are not here."""
        return np.array([self._row_of.get(name, -1) for name in ids], dtype=np.int64)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.ids)}

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        try:
            return self._read_rows()
        except FileNotFoundError:
            # A writer compacted the table since it was opened: the new manifest names the new block.
            self._reload()
            return self._read_rows()

    def _read_rows(self) -> tuple[np.ndarray, np.ndarray]:
        if not self._blocks:
            return np.array([], dtype=object), np.zeros((0, self.dim), np.float32)
        ids = np.concatenate([self._read_ids(block) for block in self._blocks])
        matrices = [self._read_matrix(block) for block in self._blocks]
        # The last row of an id counts.
        last = {name: row for row, name in enumerate(ids) if name not in self._removed}
        if len(last) == len(ids):
            return ids, matrices[0] if len(matrices) == 1 else np.concatenate(matrices)
        keep = np.sort(np.fromiter(last.values(), np.int64, len(last)))
        return ids[keep], np.concatenate(matrices)[keep]

    def _find(self, wanted: set[str]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for block in reversed(self._blocks):
            if not wanted:
                break
            rows = {name: row for row, name in enumerate(self._read_ids(block)) if name in wanted}
            if rows:
                matrix = self._read_matrix(block)
                found |= {name: np.array(matrix[row]) for name, row in rows.items()}
                wanted -= rows.keys()
        return found

    def _read_ids(self, block: _Block) -> np.ndarray:
        return np.array(json.loads((self.folder / f"{block.name}.ids.json").read_bytes()), dtype=object)

    def _read_matrix(self, block: _Block) -> np.ndarray:
        matrix = np.load(self.folder / f"{block.name}.npy", mmap_mode="r", allow_pickle=False)
        if matrix.shape != (block.rows, self.dim) or matrix.dtype != np.float32:
            raise CorruptFileError(
                f"{self.folder / block.name}.npy has shape {matrix.shape}, expected {(block.rows, self.dim)}"
            )
        return matrix

    def verify(self) -> None:
        """Raises CorruptFileError unless every block has its recorded checksum and only finite numbers.

        Verifies the table as it is now, and holds writers back meanwhile.
        """
        with self._writer():
            self._verify_blocks()

    def _verify_blocks(self) -> None:
        for block in self._blocks:
            verify_checksum(self.folder / f"{block.name}.npy", block.sha256)
            verify_checksum(self.folder / f"{block.name}.ids.json", block.ids_sha256)
            if not np.isfinite(self._read_matrix(block)).all():
                raise CorruptFileError(f"{self.folder / block.name}.npy holds numbers that are not finite")

    # ---- Writing -------------------------------------------------------------------------------------------

    def append(self, ids: Sequence[str], vectors: np.ndarray) -> None:
        """Adds rows, durably; an id that is already here gets the new vector.

        `vectors`: (len(ids), dim), finite. Raises ValueError otherwise, and then nothing is written.
        """
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if vectors.shape != (len(ids), self.dim):
            raise ValueError(f"expected vectors of shape {(len(ids), self.dim)}, got {vectors.shape}")
        if not np.isfinite(vectors).all():
            bad = [name for name, fine in zip(ids, np.isfinite(vectors).all(axis=1), strict=True) if not fine]
            raise ValueError(f"vectors must be finite; they are not for {', '.join(bad[:5])}")
        if len(ids) == 0:
            return
        with self._writer():
            block = self._write_block(list(ids), vectors)
            self._publish([*self._blocks, block], self._removed - set(ids))
        if len(self._blocks) >= COMPACT_FROM_BLOCKS:
            self.compact()

    def remove(self, ids: Sequence[str]) -> None:
        """Takes ids out of the table (their bytes go at the next `compact`)."""
        with self._writer():
            self._publish(self._blocks, self._removed | (set(ids) & set(self.ids)))

    def compact(self) -> None:
        """Rewrites the table as one block without replaced and removed rows."""
        with self._writer():
            ids, matrix = self._rows
            self._publish([self._write_block(list(ids), np.ascontiguousarray(matrix))] if len(ids) else [], frozenset())
            self._sweep()

    def _writer(self) -> "_Writer":
        return _Writer(self)

    def _write_block(self, ids: list[str], vectors: np.ndarray) -> _Block:
        numbers = [int(block.name.removeprefix("block-")) for block in self._blocks]
        name = f"block-{max(numbers, default=0) + 1:06d}"
        with replacing(self.folder / f"{name}.npy") as file:
            np.save(file, vectors, allow_pickle=False)
        with replacing(self.folder / f"{name}.ids.json") as file:
            file.write(orjson.dumps(ids))
        return _Block(
            name,
            len(ids),
            sha256_of(self.folder / f"{name}.npy"),
            sha256_of(self.folder / f"{name}.ids.json"),
        )

    def _publish(self, blocks: Sequence[_Block], removed: frozenset[str]) -> None:
        manifest = {
            "format": FORMAT,
            "encoder_id": self.encoder_id,
            "dim": self.dim,
            "blocks": [block.__dict__ for block in blocks],
            "removed": sorted(removed),
        }
        write_json(self.folder / MANIFEST, manifest)
        self._blocks, self._removed = list(blocks), removed
        self._forget()

    def _forget(self) -> None:
        for name in ("_rows", "ids", "matrix", "_row_of"):
            self.__dict__.pop(name, None)

    def _reload(self) -> None:
        fresh = EmbeddingTable.open(self.folder)
        self._blocks, self._removed = fresh._blocks, fresh._removed
        self._forget()

    def _sweep(self) -> None:
        named = {block.name for block in self._blocks}
        for path in self.folder.glob("*block-*"):
            if path.name.split(".")[0] not in named:
                path.unlink()


class _Writer:
    """Holds the table's lock and brings the view up to date, so that two writers never lose each other's rows."""

    def __init__(self, table: EmbeddingTable) -> None:
        self._table = table
        self._lock = FileLock(table.folder / LOCK)

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            self._table._reload()
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *_error: object) -> None:
        self._lock.release()


def folder_name(encoder_id: str) -> str:
    """A folder name for an encoder id: readable, and different for different ids."""
    plain = re.sub(r"[^A-Za-z0-9._+=-]", "_", encoder_id).strip(".")
    if plain == encoder_id and len(plain) <= 120:
        return plain
    return f"{plain[:100]}-{hashlib.sha256(encoder_id.encode()).hexdigest()[:12]}"
