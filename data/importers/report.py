"""What an import did: rows read, kept and rejected by reason, and the rejected rows themselves in a file."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from data.files import write_json


class ImportProblem(ValueError):  # noqa: N818 - the field says what is wrong with the file, not with the program
    """The import as a whole cannot be done: the file is missing, or its columns are not what is needed."""


@dataclass
class ImportReport:
    """The account of one import. Every row that was read is kept, a duplicate, or rejected for one reason."""

    source: str
    folder: Path
    read: int = 0
    kept: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    stem: str = field(default_factory=lambda: f"import-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06d}")
    _file: IO[bytes] | None = None
    _started: float = field(default_factory=time.perf_counter)

    @property
    def rejected_path(self) -> Path:
        """Rejected rows as JSON lines: `row` (number in the source, from 1), `reason`, `detail`, `content`."""
        return self.folder / f"{self.stem}.rejected.jsonl"

    @property
    def path(self) -> Path:
        return self.folder / f"{self.stem}.json"

    def reject(self, row: int, reason: str, detail: str, content: object) -> None:
        """Counts a row out and keeps it aside."""
        self.rejected[reason] += 1
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = self.rejected_path.open("wb")
        line = {"row": row, "reason": reason, "detail": detail, "content": content}
        options = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
        self._file.write(orjson.dumps(line, default=str, option=options))

    def reject_all(self, rejections: Iterable[tuple[int, str, str, Mapping[Any, Any]]]) -> None:
        for rejection in rejections:
            self.reject(*rejection)

    def finish(self) -> "ImportReport":
        """Closes the file of rejected rows and writes the report beside it."""
        self.seconds = time.perf_counter() - self._started
        if self._file is not None:
            self._file.close()
            self._file = None
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.path, self.as_dict())
        return self

    def as_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "read": self.read,
            "kept": self.kept,
            "duplicates": self.duplicates,
            "rejected": dict(self.rejected),
            "rejected_rows": str(self.rejected_path) if self.rejected else None,
            "seconds": round(self.seconds, 3),
        }

    def summary(self) -> str:
        """One paragraph for people."""
        text = f"{self.read:,} read, {self.kept:,} kept"
        if self.duplicates:
            text += f", {self.duplicates:,} already there"
        if self.rejected:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.rejected.most_common())
            text += f", {self.rejected.total():,} rejected ({reasons}): see {self.rejected_path}"
        return text
