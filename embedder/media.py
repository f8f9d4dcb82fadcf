"""The words for media: what a file holds, the frames taken from it, and why a file was refused.

Knows nothing of decoders: everything here can be imported without PyAV.
"""

import stat
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np

#: What turns files into frames, as it stands in the ids of encoders: PyAV, or torchcodec on a device with PyAV for the
#: files that it does not take. Sound is always PyAV's.
Decoder = Literal["pyav", "torchcodec-cpu", "torchcodec-cuda"]
PYAV: Decoder = "pyav"
#: Short side, in pixels, of every sampled frame. The centre 224 of it is the 0.875 centre crop of the encoder.
SHORT_SIDE = 256
#: Longest long side of a sampled frame; a picture that is wider than 4 : 1 is squeezed to it.
LONG_SIDE_LIMIT = 4 * SHORT_SIDE
#: Seconds between a frame and its following one: short enough that what moves is still found beside where it was.
MOTION_STEP_S = 0.1
#: Samples per second of the sound.
SOUND_RATE = 16_000
#: Longest sound that is read; of more, windows of `SOUND_WINDOW_S` spread evenly.
SOUND_LIMIT_S = 60.0
SOUND_WINDOW_S = 6.0


class Reason(StrEnum):
    """Why a file gave no embedding. Stored as the first word of a failed video's `reason`."""

    NOT_FOUND = "not_found"  # there is no such file
    NOT_A_FILE = "not_a_file"  # a folder, a pipe or a device: only regular files are opened
    NOT_READABLE = "not_readable"  # no permission, or the disk or the network share reported an error
    EMPTY_FILE = "empty_file"  # zero bytes
    NOT_A_VIDEO = "not_a_video"  # no known video container, or its header is damaged or missing
    NO_VIDEO_TRACK = "no_video_track"  # a media file with sound only (cover pictures do not count), and nobody listens
    NO_SOUND = "no_sound"  # an encoder that only listens got a file without a sound track, or with a silent one
    NO_TEXT = "no_text"  # an encoder that only reads got a video without title, description and tags
    UNSUPPORTED_CODEC = "unsupported_codec"  # a video track that this build of FFmpeg cannot decode
    ENCRYPTED = "encrypted"  # a video track behind digital rights management
    UNDECODABLE = "undecodable"  # a video track from which not one frame could be decoded
    TOO_LARGE = "too_large"  # a file of more bytes, or pictures with more pixels, than the settings allow
    TIMED_OUT = "timed_out"  # decoding took longer than the time limit
    OUT_OF_MEMORY = "out_of_memory"  # decoding needed more memory than the limit
    CRASHED = "crashed"  # the decoder's process died, or something else went wrong that nobody had foreseen
    CHANGED = "changed"  # the file was written to while it was read
    NOT_ENCODABLE = "not_encodable"  # the encoder makes nothing of it, though it does of others

    @property
    def transient(self) -> bool:
        """Whether the same file may succeed at another time, on a calmer machine."""
        return self in _TRANSIENT


_TRANSIENT = frozenset(
    {
        Reason.NOT_FOUND,
        Reason.NOT_READABLE,
        Reason.TIMED_OUT,
        Reason.OUT_OF_MEMORY,
        Reason.CRASHED,
        Reason.CHANGED,
    }
)


class MediaError(Exception):
    """A file that gives no frames. `str()` is "reason: detail", as it is stored in the catalogue."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


class NotTakenError(Exception):
    """A file that is not for the decoder that was asked for, or that it failed at: it is for PyAV."""


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
class Wanted:
    """What an encoder asks for of each video.

    `frames`: moments, spread evenly; 0 for none. `motion`: with each frame the one shown `MOTION_STEP_S` later.
    `sound`, `text`: whether it listens, whether it reads. `decoder`: what its frames are decoded with. An encoder that
    asks for several tracks takes what a video has of them; a video that has none of them gives no embedding.
    """

    frames: int = 0
    motion: bool = False
    sound: bool = False
    text: bool = False
    decoder: Decoder = PYAV

    @property
    def media(self) -> bool:
        """Whether the file has to be opened at all."""
        return self.frames > 0 or self.sound


@dataclass(frozen=True)
class Clip:
    """What an encoder sees of a video: of what it asked for, what the video has.

    `frames`: (T, H, W, 3) uint8 RGB, upright, the short side `SHORT_SIDE` pixels. `following`: of the same shape,
    for each frame the one shown `MOTION_STEP_S` later (at the end: the last one). `sound`: (S,) float32 mono at
    `SOUND_RATE`, -1..1, at most `SOUND_LIMIT_S` long. `text`: title, description and tags; "" for none.
    """

    frames: np.ndarray | None = None
    following: np.ndarray | None = None
    sound: np.ndarray | None = None
    text: str = ""


class Quality(StrEnum):
    """How far an embedding can be trusted. Stored with each video."""

    GOOD = "good"
    DAMAGED = "damaged"  # part of it could not be decoded, or it ends well before its header says
    FEW_FRAMES = "few_frames"  # fewer different pictures than `DecodeSettings.min_distinct` asks for: it repeats some
    STILL = "still"  # one picture all the time
    BLANK = "blank"  # every frame is one flat colour: black, a test card


@dataclass(frozen=True)
class MediaSample:
    """What was read of a file.

    `frames`, `following`, `sound`: see `Clip`; None where they were not wanted or the file has no such track.
    `times`: (T,) float64, seconds from the start of the video, ascending. `decoded`: different moments of the file
    among the frames; `distinct`: share 0..1 of the frames that are another picture than the one before, the first
    included (both 0 without frames). `mode`: "exact" when each frame is the one shown at its moment, "key_frames"
    when it is the key frame before it. `decoder`: what decoded the frames.
    """

    info: MediaInfo
    frames: np.ndarray | None = None
    following: np.ndarray | None = None
    sound: np.ndarray | None = None
    times: np.ndarray = field(default_factory=lambda: np.zeros(0))
    decoded: int = 0
    distinct: float = 0.0
    quality: Quality = Quality.GOOD
    mode: str = "exact"
    decoder: Decoder = PYAV


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
