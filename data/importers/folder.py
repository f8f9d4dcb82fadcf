"""A folder of video files -> pending catalogue entries. Knows file names and bytes; nothing of codecs."""

import csv
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from data.files import sha256_of
from data.importers.report import ImportProblem, ImportReport
from data.progress import progress
from data.schema import Video, first_error
from data.store import Store

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("mp4", "m4v", "mov", "3gp", "mkv", "webm", "avi", "divx", "flv", "wmv", "asf", "ogv", "gif"),
        *("mpg", "mpeg", "m2v", "vob", "ts", "m2ts", "mts", "mxf"),
    )
)
COMMIT_EVERY = 200
_LISTS = {"label": "labels", "labels": "labels", "tags": "tags", "regions": "regions"}
_TEXTS = (
    "title",
    "description",
    "creator",
    "series",
    "episode",
    "rating",
    "published_at",
    "available_from",
    "available_until",
)


def import_folder(store: Store, folder: Path, reports: Path, labels: Path | None = None) -> ImportReport:
    """Adds every video file below `folder` (by its extension; links that lead out of it are refused).

    A video's id is its path below the folder with `~` for `/` (an id stands in URLs), its title the file's name.
    `labels` is a CSV with a column `path` (relative to the folder or to the CSV) and any of label/labels, tags,
    regions (several split by `;`), title, description, creator, series, episode, rating, published_at,
    available_from, available_until; its other columns are ignored. Of a video that is known already, only what the
    CSV says and the bytes of the file can change: the same folder again changes nothing, and a takedown stays. Raises
    ImportProblem when the folder or the CSV cannot be used.
    """
    if not folder.is_dir():
        raise ImportProblem(f"{folder}: no such folder")
    root = folder.resolve()
    described = _read_labels(labels, root) if labels else {}
    paths = sorted(_video_files(root))
    report = ImportReport(str(folder), reports)
    batch: list[Video] = []
    paths_by_id: dict[str, Path] = {}
    with progress(f"videos from {folder.name}", len(paths), "files") as advance:
        for number, path in enumerate(paths, start=1):
            report.read += 1
            video = _video(store, path, root, described.pop(path, {}), number, report)
            if video is not None and paths_by_id.setdefault(video.id, path) != path:
                report.kept -= 1
                report.reject(number, "id_taken", f"{path} gives the same id as {paths_by_id[video.id]}", str(path))
            elif video is not None:
                batch.append(video)
            if len(batch) == COMMIT_EVERY:
                store.catalogue.upsert(batch)
                batch = []
            advance()
    if batch:
        store.catalogue.upsert(batch)
    for path, row in described.items():
        report.read += 1
        report.reject(0, "no_such_file", f"{labels} names {path}, which is no video file below {folder}", row)
    return report.finish()


def _video_files(root: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if Path(name).suffix.lower() in EXTENSIONS and not name.startswith("."):
                yield Path(parent) / name


def _video(
    store: Store, path: Path, root: Path, row: Mapping[str, str], number: int, report: ImportReport
) -> Video | None:
    """The video to write; None where nothing changes or the file is rejected."""
    relative = path.relative_to(root).as_posix()
    if not relative.isprintable():
        report.reject(number, "name", f"{relative!a} holds characters that cannot be shown", ascii(relative))
        return None
    try:
        if not path.resolve(strict=True).is_relative_to(root):
            report.reject(number, "link_out_of_folder", f"{relative} is a link that leads out of the folder", relative)
            return None
        if not path.is_file():  # to open a named pipe would wait for ever
            report.reject(number, "not_a_file", f"{relative} is a folder, a pipe or a device", relative)
            return None
        fields: dict[str, object] = {name: row[name] for name in _TEXTS if row.get(name)}
        for column, name in _LISTS.items():
            if row.get(column):
                fields[name] = [part.strip() for part in row[column].split(";") if part.strip()]
        title = re.sub(r"[_\-.\s]+", " ", path.stem).strip()
        name = relative.replace("/", "~")
        record = store.catalogue.get(name)
        if record is not None and _is_another_file(record.media_path, path):
            detail = f"{relative}: the id {name} is taken by {record.media_path}; rename one of the two"
            report.reject(number, "id_taken", detail, relative)
            return None
        known = record.model_dump(include=set(Video.model_fields)) if record else {"id": name, "title": title}
        video = Video.model_validate({**known, **fields, "media_path": str(path), "content_hash": sha256_of(path)})
        if video.model_dump() == known:
            report.duplicates += 1
            return None
        report.kept += 1
        return video
    except (OSError, RuntimeError) as error:  # RuntimeError: so Python 3.11 and 3.12 tell of links in a circle
        report.reject(number, "unreadable", f"{relative}: {getattr(error, 'strerror', error)}", relative)
    except ValidationError as error:
        field, message = first_error(error)
        report.reject(number, field, f"{relative}: {field}: {message}", dict(row))
    return None


def _is_another_file(known: str | None, path: Path) -> bool:
    """Whether an id belongs to another file that is still there; one that was moved away has left its place."""
    return known is not None and Path(known) != path and Path(known).exists()


def _read_labels(path: Path, root: Path) -> dict[Path, dict[str, str]]:
    """The rows of a labels CSV by the file that each one describes; rows about files elsewhere are left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImportProblem(f"{path}: cannot be read as CSV: {error}") from error
    if rows and "path" not in rows[0]:
        raise ImportProblem(f"{path}: needs a column 'path'; it has {', '.join(map(str, rows[0]))}")
    beside = path.resolve().parent
    described: dict[Path, dict[str, str]] = {}
    for row in rows:
        name = row["path"] or ""
        inside, sibling = Path(os.path.normpath(root / name)), Path(os.path.normpath(beside / name))
        file_meant = sibling if sibling.exists() and not inside.exists() else inside
        if file_meant.is_relative_to(root):
            described[file_meant] = row
    return described
