"""Media files that come over HTTP: received aside, checked, put in their place at once, and given to the encoder.

A file stands in `media/uploads` under a name that is made here and never twice, so what is replaced can be deleted
while the new one is there. Whatever ends an upload early leaves the catalogue and the folder as they were. Knows
nothing of Flask, and of video only whether a file is one.
"""

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from api.errors import Problem
from data.files import sync_folder
from data.home import Home
from data.schema import VideoRecord
from data.store import Catalogue
from embedder.batch import EmbedSettings
from embedder.isolation import DecodePool, WorkerStartError
from embedder.media import MediaError

log = logging.getLogger(__name__)

READ_AT_ONCE = 2**20
#: An upload that nothing was written to for so long has died with its process.
DEAD_AFTER_S = 3600.0
#: To look into a file takes no longer, or the encoder finds out.
PROBE_LIMIT_S = 10.0
#: What files are called by their container, which browsers are told by; of the first name in FFmpeg's.
SUFFIXES = {
    "mov": ".mp4", "matroska": ".mkv", "avi": ".avi", "mpegts": ".ts", "mpeg": ".mpg", "flv": ".flv",
    "asf": ".wmv", "ogg": ".ogv", "mxf": ".mxf", "gif": ".gif",
}  # fmt: skip


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class MediaUploads:
    def __init__(self, home: Home, catalogue: Catalogue, settings: EmbedSettings, at_once: int) -> None:
        """at_once: uploads that are received side by side; others are sent away, so that lists have threads left."""
        self._home = home
        self._catalogue = catalogue
        self._settings = settings
        self._places = threading.BoundedSemaphore(at_once)

    def receive(self, record: VideoRecord, stream: Readable, size: int, media_type: str) -> bool:
        """Takes the file of a video; whether it is another one than before.

        size: bytes that are announced; media_type: what the client says it is. Raises Problem 400 where fewer bytes
        come, 415 for what is no video, 404 where the video is removed meanwhile, 503 where too many come at once;
        OSError when the disk is full.
        """
        if not self._places.acquire(blocking=False):
            detail = "as many uploads as this process takes are under way; try again"
            raise Problem(503, "too_many_uploads", detail, {"Retry-After": "5"})
        try:
            return self._receive(record, stream, size, media_type)
        finally:
            self._places.release()

    def _receive(self, record: VideoRecord, stream: Readable, size: int, media_type: str) -> bool:
        self._home.uploads.mkdir(parents=True, exist_ok=True)
        self._sweep()
        if size > shutil.disk_usage(self._home.uploads).free:
            raise OSError(errno.ENOSPC, "an upload is larger than what is free")
        with self._aside() as (aside, file):
            content_hash, received = _copy(stream, size, file)
            if received < size:
                raise Problem(400, "incomplete_body", f"{received:,} of {size:,} bytes came; send the file again")
            if content_hash == record.content_hash and self._is_there(record.media_path):
                return False
            name = f"{secrets.token_hex(16)}{self._suffix(aside, media_type)}"
            aside.replace(self._home.uploads / name)
        media_path = f"{self._home.uploads.name}/{name}"
        try:
            sync_folder(self._home.uploads)
            before = self._catalogue.attach_media(record.id, media_path, content_hash)
        except BaseException:
            self.discard(media_path)
            raise
        if before is None:
            self.discard(media_path)
            raise Problem(404, "unknown_video", f"video {record.id!r} was removed meanwhile", field="video_id")
        self.discard(before.media_path)
        return True

    def discard(self, media_path: str | None) -> None:
        """Deletes a file that was uploaded; others are not ours to delete."""
        path = self._home.media / (media_path or "")
        if path.parent == self._home.uploads:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _is_there(self, media_path: str | None) -> bool:
        return media_path is not None and (self._home.media / media_path).is_file()

    @contextlib.contextmanager
    def _aside(self) -> Iterator[tuple[Path, BinaryIO]]:
        aside = self._home.uploads / f".{secrets.token_hex(16)}.tmp"
        try:
            with aside.open("xb") as file:
                yield aside, file
        finally:
            aside.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Deletes what processes that were killed have left."""
        for path in self._home.uploads.glob(".*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > DEAD_AFTER_S:
                    path.unlink()

    def _suffix(self, path: Path, media_type: str) -> str:
        """Raises Problem 415 for a file that no encoder will make anything of."""
        limits = self._settings
        try:
            with DecodePool(1, PROBE_LIMIT_S, limits.memory_limit_mb, limits.decode) as pool:
                container = pool.probe(path).container
        except MediaError as error:
            if not error.reason.transient:
                raise Problem(415, "not_a_video", f"this file cannot be used: {error}") from error
            container = ""
        except WorkerStartError as error:
            log.warning("uploads are not looked into: %s", error)
            container = ""
        if media_type == "video/webm" and container.startswith("matroska"):
            return ".webm"
        return SUFFIXES.get(container.split(",")[0], "")


def _copy(stream: Readable, size: int, file: BinaryIO) -> tuple[str, int]:
    """(SHA-256 in hex, bytes) of what was written, durably: `size` bytes, or fewer where fewer come."""
    digest, received = hashlib.sha256(), 0
    while received < size and (chunk := stream.read(min(READ_AT_ONCE, size - received))):
        digest.update(chunk)
        received += len(chunk)
        file.write(chunk)
    file.flush()
    os.fsync(file.fileno())
    return digest.hexdigest(), received
