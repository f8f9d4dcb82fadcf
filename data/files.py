"""Writing files so that a crash leaves the old one or the new one, never half of one; and checking them.

Knows nothing of what the files mean.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import orjson

HASHED_AT_ONCE = 2**20


class CorruptFileError(ValueError):
    """A stored file is missing, truncated or altered: its checksum is not the recorded one."""


def sha256_of(path: Path, stop: Callable[[], bool] = lambda: False) -> str:
    """Hex SHA-256 of the bytes of a file. Raises InterruptedError as soon as `stop` answers yes."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        buffer = memoryview(bytearray(HASHED_AT_ONCE))
        while count := file.readinto(buffer):
            if stop():
                raise InterruptedError(f"the checksum of {path} was not finished")
            digest.update(buffer[:count])
    return digest.hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write that takes the place of `path` at once when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes renames within `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: object) -> None:
    """Replaces `path` with readable JSON (keys sorted, NumPy allowed)."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    with replacing(path) as file:
        file.write(orjson.dumps(value, option=options))


def verify_checksum(path: Path, expected: str) -> None:
    """Raises CorruptFileError unless the file's SHA-256 is `expected`."""
    if not path.is_file():
        raise CorruptFileError(f"{path} is missing")
    if sha256_of(path) != expected:
        raise CorruptFileError(f"{path} is damaged: its checksum is not the recorded one")
