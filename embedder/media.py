"""The words for media: what a file holds, the frames taken from it, and why a file was refused.

Knows nothing of decoders: everything here can be imported without PyAV.
"""

import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

#: Short side, in pixels, of every sampled frame. The centre 224 of it is the 0.875 centre crop of the encoder.
SHORT_SIDE = 256
#: Longest long side of a sampled frame; a picture that is wider than 4 : 1 is squeezed to it.
LONG_SIDE_LIMIT = 4 * SHORT_SIDE


class Reason(StrEnum):
    """Why a file gave no embedding. Stored as the first word of a failed video's `reason`."""

    NOT_FOUND = "not_found"  # there is no such file
    NOT_A_FILE = "not_a_file"  # a folder, a pipe or a device: only regular files are opened
    NOT_READABLE = "not_readable"  # no permission, or the disk or the network share reported an error
    EMPTY_FILE = "empty_file"  # zero bytes
    NOT_A_VIDEO = "not_a_video"  # no known video container, or its header is damaged or missing
    NO_VIDEO_TRACK = "no_video_track"  # a media file with sound only (cover pictures do not count)
    UNSUPPORTED_CODEC = "unsupported_codec"  # a video track that this build of FFmpeg cannot decode
    UNDECODABLE = "undecodable"  # a video track from which not one frame could be decoded
    TOO_LARGE = "too_large"  # pictures with more pixels than `DecodeSettings.max_pixels`
    TIMED_OUT = "timed_out"  # decoding took longer than the time limit
    OUT_OF_MEMORY = "out_of_memory"  # decoding needed more memory than the limit
    CRASHED = "crashed"  # the decoder's process died

    @property
    def transient(self) -> bool:
        """Whether the same file may succeed at another time, on a calmer machine."""
        return self in _TRANSIENT


_TRANSIENT = frozenset({Reason.NOT_FOUND, Reason.NOT_READABLE, Reason.TIMED_OUT, Reason.OUT_OF_MEMORY, Reason.CRASHED})


class MediaError(Exception):
    """A file that gives no frames. `str()` is "reason: detail", as it is stored in the catalogue."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class MediaInfo:
    """What the container says of a file.

    `width`, `height`: pixels as stored, before rotation. `duration_s`: seconds, None where it is unknown.
    `fps`: mean frames per second, None where it is unknown.
    """

    container: str
    codec: str
    width: int
    height: int
    duration_s: float | None
    fps: float | None
    has_audio: bool


@dataclass(frozen=True)
class FrameSample:
    """Frames spread evenly over a video.

    `frames`: (T, H, W, 3) uint8 RGB, upright, the short side `SHORT_SIDE` pixels. `times`: (T,) float64, seconds
    from the start of the video, ascending. `distinct`: share 0..1 of the frames that are different pictures of
    the file (a clip with fewer than T pictures repeats some). `mode`: "exact" when each frame is the one
    shown at its moment, "key_frames" when it is the key frame before it.
    """

    frames: np.ndarray
    times: np.ndarray
    info: MediaInfo
    distinct: float
    mode: str


def require_regular_file(path: Path) -> None:
    """Raises MediaError unless `path` is a regular file with bytes that this process may read.

    To be asked before every opening: to open a named pipe waits for ever.
    """
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            with path.open("rb") as file:
                file.read(1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediaError(Reason.NOT_FOUND, "there is no such file") from error
    except (OSError, ValueError) as error:
        raise MediaError(Reason.NOT_READABLE, getattr(error, "strerror", None) or str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(Reason.NOT_A_FILE, "only regular files are opened")
    if status.st_size == 0:
        raise MediaError(Reason.EMPTY_FILE, "the file has no bytes")
