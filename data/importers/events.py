"""Tables of events (CSV, JSON lines, Parquet) -> the event log, a million rows at a time.

Rows are checked a chunk at a time by the fields of `data.schema.Event`, column by column, because a Python object
per row would take minutes; a test holds the two to the same verdicts.
"""

import csv
import gzip
import hashlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import GenericAlias
from typing import Any, TextIO

import numpy as np
import orjson
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from data.importers.report import ImportProblem, ImportReport
from data.progress import progress
from data.schema import SIGNALS, Event, EventType, what_is_wrong
from data.store import Store

CHUNK_ROWS = 50_000
REQUIRED = ("user_id", "video_id", "type", "occurred_at")
FIELDS = tuple(Event.model_fields)
_IDENTIFIERS = ("event_id", "user_id", "video_id", "session_id", "request_id", "surface")


def _column_validator(field_name: str) -> TypeAdapter[list[Any]]:
    """What the schema says of one field, for a whole column of it."""
    column: Any = GenericAlias(list, (Event.model_fields[field_name].rebuild_annotation(),))
    return TypeAdapter(column)


_COLUMNS = {name: _column_validator(name) for name in FIELDS}


def import_events(
    store: Store,
    path: Path,
    reports: Path,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
) -> ImportReport:
    """Imports a table of events.

    `columns` maps our field names to the file's column names (`{"user_id": "userId"}`), `constants` gives fields
    that are the same in every row (`{"type": "watch"}`). Rows without `event_id` get one made from their content,
    so that importing a file twice adds nothing. Raises ImportProblem when the file cannot be read at all or
    lacks a required column.
    """
    columns, constants = dict(columns or {}), dict(constants or {})
    unknown = [name for name in (*columns, *constants) if name not in FIELDS]
    if unknown:
        raise ImportProblem(f"no such event field: {', '.join(unknown)}; the fields are {', '.join(FIELDS)}")
    if constants.get("type", EventType.PLAY) not in list(EventType):
        raise ImportProblem(f"no such event type: {constants['type']}; the types are {', '.join(EventType)}")
    if not path.is_file():
        raise ImportProblem(f"{path}: no such file")
    report = ImportReport(str(path), reports)
    with progress(f"events from {path.name}", None, "rows") as advance:
        try:
            add_chunks(store, _renamed(_read(path, report), columns, constants, path), report, advance)
        except (OSError, EOFError, zlib.error) as error:
            raise ImportProblem(f"{path}: cannot be read to its end: {error}; {report.summary()}") from error
    return report.finish()


def add_chunks(store: Store, chunks: Iterable["Chunk"], report: ImportReport, advance: Callable[[int], None]) -> None:
    """Validates chunks of rows and commits them one by one; counts into the report."""
    known = set(store.catalogue.ids())
    for chunk in chunks:
        report.read += len(chunk.frame)
        rows, rejections = validate(chunk, known)
        report.reject_all(rejections)
        added = store.events.add_rows(rows)
        report.kept += added
        report.duplicates += len(rows) - added
        advance(len(chunk.frame))


# ---- Reading: any format -> chunks of raw columns ------------------------------------------------------------


@dataclass
class Chunk:
    """Some rows of a source: raw values by column, and the number of each row in the source (from 1)."""

    frame: pd.DataFrame
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


def _read(path: Path, report: ImportReport) -> Iterator[Chunk]:
    name = path.name.removesuffix(".gz").lower()
    if name.endswith((".csv", ".tsv")):
        return _read_csv(path, "\t" if name.endswith(".tsv") else ",", report)
    if name.endswith((".jsonl", ".ndjson")):
        return _read_jsonl(path, report)
    if name.endswith(".parquet"):
        return _read_parquet(path)
    raise ImportProblem(f"{path}: what format is this? Name it .csv, .tsv, .jsonl or .parquet (.gz may follow)")


def _text(path: Path) -> TextIO:
    opened = gzip.open if path.suffix == ".gz" else open
    return opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="")


def _read_csv(path: Path, delimiter: str, report: ImportReport) -> Iterator[Chunk]:
    with _text(path) as file:
        lines = csv.reader(file, delimiter=delimiter)
        header = next(lines, None)
        if not header:
            raise ImportProblem(f"{path}: the file is empty; its first line must name the columns")
        rows: list[list[str]] = []
        numbers: list[int] = []
        number = 0
        while True:
            try:
                line = next(lines)
            except StopIteration:
                break
            except csv.Error as error:
                number += 1
                report.read += 1
                report.reject(number, "unreadable", str(error), None)
                continue
            if not line:
                continue
            number += 1
            if len(line) != len(header):
                report.read += 1
                report.reject(number, "columns", f"{len(line)} fields, the header has {len(header)}", line)
                continue
            rows.append(line)
            numbers.append(number)
            if len(rows) == CHUNK_ROWS:
                yield _chunk(pd.DataFrame(rows, columns=header, dtype=object), numbers)
                rows, numbers = [], []
        yield _chunk(pd.DataFrame(rows, columns=header, dtype=object), numbers)


def _read_jsonl(path: Path, report: ImportReport) -> Iterator[Chunk]:
    with _text(path) as file:
        rows: list[dict[str, Any]] = []
        numbers: list[int] = []
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("not a JSON object")
            except ValueError as error:
                report.read += 1
                report.reject(number, "unreadable", str(error), line.strip()[:1000])
                continue
            rows.append(row)
            numbers.append(number)
            if len(rows) == CHUNK_ROWS:
                yield _chunk(pd.DataFrame(rows, dtype=object), numbers)
                rows, numbers = [], []
        yield _chunk(pd.DataFrame(rows, dtype=object), numbers)


def _read_parquet(path: Path) -> Iterator[Chunk]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ImportProblem(f"{path}: not a Parquet file: {error}") from error
    number = 0
    for batch in file.iter_batches(CHUNK_ROWS):
        frame = batch.to_pandas().astype(object)
        yield _chunk(frame, range(number + 1, number + len(frame) + 1))
        number += len(frame)


def _chunk(frame: pd.DataFrame, numbers: Iterable[int]) -> Chunk:
    return Chunk(frame, np.fromiter(numbers, np.int64))


def _renamed(
    chunks: Iterator[Chunk], columns: Mapping[str, str], constants: Mapping[str, str], path: Path
) -> Iterator[Chunk]:
    for chunk in chunks:
        frame = chunk.frame
        if not frame.columns.is_unique:
            raise ImportProblem(f"{path}: two columns have one name; the file has {', '.join(map(str, frame.columns))}")
        missing = [name for name in columns.values() if name not in frame.columns]
        if missing and len(frame):
            raise ImportProblem(
                f"{path}: no column {', '.join(missing)}; the file has {', '.join(map(str, frame.columns))}"
            )
        picked = {name: frame[columns.get(name, name)] for name in FIELDS if columns.get(name, name) in frame.columns}
        frame = pd.DataFrame(picked, dtype=object).assign(**constants)
        absent = [name for name in REQUIRED if name not in frame.columns]
        if absent and len(chunk.frame):
            raise ImportProblem(
                f"{path}: which column is {', '.join(absent)}? Say it with --map FIELD=COLUMN, or --set FIELD=VALUE;"
                f" the file has {', '.join(map(str, chunk.frame.columns))}"
            )
        if len(frame):
            yield Chunk(frame.reset_index(drop=True), chunk.numbers)


# ---- Checking: columns -> rows for the log -------------------------------------------------------------------


def validate(
    chunk: Chunk, known_videos: set[str]
) -> tuple[list[dict[str, Any]], list[tuple[int, str, str, dict[Any, Any]]]]:
    """(rows for `EventLog.add_rows`, rejections as (row number, reason, detail, content)) of a chunk."""
    raw = chunk.frame
    checks = _Checks(len(raw))
    found = {name: _column(raw, name, checks) for name in FIELDS}
    graded = np.array([kind is not None and SIGNALS[kind].takes_value for kind in found["type"]], bool)
    checks.reject(
        graded & np.array([value is None for value in found["value"]], bool),
        "value",
        "value is required for watch and rate events: a fraction from 0 to 1",
    )
    unknown = ~np.fromiter((name in known_videos for name in found["video_id"]), bool, len(raw))
    checks.reject(unknown, "unknown_video", "no such video in the catalogue: add it before its events")

    good = np.flatnonzero(checks.reason == "")
    now = time.time()
    columns = {name: values[good].tolist() for name, values in found.items()}
    columns["type"] = [kind.value for kind in columns["type"]]
    columns["event_id"] = [
        given or _made_id(*content)
        for given, *content in zip(
            *(columns[name] for name in ("event_id", "user_id", "video_id", "type", "value", "occurred_at")),
            strict=True,
        )
    ]
    rows = [dict(zip(columns, values, strict=True), received_at=now) for values in zip(*columns.values(), strict=True)]
    bad = np.flatnonzero(checks.reason != "")
    contents = raw.iloc[bad].to_dict("records") if len(bad) else []
    rejections = [
        (int(chunk.numbers[row]), str(checks.reason[row]), str(checks.detail[row]), content)
        for row, content in zip(bad, contents, strict=True)
    ]
    return rows, rejections


class _Checks:
    """The first complaint about each row."""

    def __init__(self, rows: int) -> None:
        self.reason = np.full(rows, "", dtype=object)
        self.detail = np.full(rows, "", dtype=object)

    def reject(self, bad: np.ndarray, reason: str, detail: str) -> None:
        first = bad & (self.reason == "")
        self.reason[first] = reason
        self.detail[first] = detail

    def reject_row(self, row: int, reason: str, detail: str) -> None:
        if self.reason[row] == "":
            self.reason[row], self.detail[row] = reason, detail


def _column(raw: pd.DataFrame, name: str, checks: _Checks) -> np.ndarray:
    """The values of a field as the schema has them; None where there is none, or none that it accepts."""
    out = np.full(len(raw), None, dtype=object)
    if name not in raw.columns:
        return out
    values = raw[name].tolist()
    missing = raw[name].isna().to_numpy(bool) | np.array([isinstance(value, str) and not value for value in values])
    if name in REQUIRED:
        checks.reject(missing, name, f"{name} is missing")
    rows = np.flatnonzero(~missing)
    given = [_whole_number_as_text(values[row]) if name in _IDENTIFIERS else values[row] for row in rows]
    try:
        out[rows] = _COLUMNS[name].validate_python(given)
    except ValidationError as error:
        complaints = {int(one["loc"][0]): what_is_wrong(one) for one in error.errors(include_url=False)}
        for place, complaint in complaints.items():
            checks.reject_row(rows[place], name, f"{name}: {complaint}")
        fine = [place for place in range(len(rows)) if place not in complaints]
        out[rows[fine]] = _COLUMNS[name].validate_python([given[place] for place in fine])
    return out


def _whole_number_as_text(value: Any) -> Any:
    """Whole numbers are the commonest identifiers in Parquet and JSON files; other types are mistakes."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(int(value)) if whole or (isinstance(value, float) and value.is_integer()) else value


def _made_id(*content: object) -> str:
    return "made-" + hashlib.blake2b(repr(content).encode(), digest_size=16).hexdigest()
