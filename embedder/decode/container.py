"""Opening what strangers uploaded: which containers, which track, what of their headers is believed. Knows PyAV.

Knows nothing of which frames are wanted, or of sound.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc
from av.video.stream import VideoStream

from embedder.decode_settings import DecodeSettings
from embedder.media import MediaError, MediaInfo, Reason, require_regular_file
from embedder.tone_mapping import Transfer

#: Containers that are opened. No playlists (hls, dash, concat), no devices, no network formats: those make libav
#: read what the file tells it to. Sound formats are here to say "no video track" instead of "not a video".
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,ivf,nut,rm,wtv,dv,gif,mp3,wav,flac,aac"
)
#: Containers whose index makes seeking exact and cheap. The others are read from front to end: a backward seek
#: in a transport stream can land behind its target.
INDEXED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"})
#: Transfer functions of pictures in HDR.
HDR: dict[int, Transfer] = {ColorTrc.SMPTE2084: "pq", ColorTrc.ARIB_STD_B67: "hlg"}
USUAL_FPS = 25.0
TAGGED_DURATION = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d+)?)")
#: Seconds by which containers round the time of a frame (matroska: milliseconds).
ROUNDING_S = 0.001
ENCRYPTED = "its pictures are encrypted; add the file as it was before"

av.logging.set_level(None)  # what libav complains of is told by our own reasons


@dataclass
class Media:
    container: InputContainer
    stream: VideoStream
    info: MediaInfo
    start: float  # seconds, the time of the first frame
    damaged: bool = False  # something on the way could not be decoded

    @property
    def indexed(self) -> bool:
        return self.info.container in INDEXED

    def seek(self, seconds: float) -> None:
        """Goes to the key frame at or before a time. To the time itself, never to an entry of the stream's index:
        that counts in decoding order, and with B-frames one lands a whole group of pictures early."""
        assert self.stream.time_base is not None
        self.container.seek(int(seconds / self.stream.time_base), stream=self.stream)

    def lasts(self, frame: VideoFrame) -> float:
        """Seconds for which a frame is shown."""
        if frame.duration and frame.time_base is not None:
            return float(frame.duration * frame.time_base)
        return 1 / (self.info.fps or USUAL_FPS)

    def frames(self) -> Iterator["Timed"]:
        """The frames from here on with their times; damaged ones are left out."""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError) as end:
                if isinstance(end, MemoryError):
                    raise
                self.damaged |= not isinstance(end, StopIteration)
                return  # a read error in the middle is the end of what can be read
            if packet.has_sidedata("encryption_info"):  # decoded all the same it would give noise
                raise MediaError(Reason.ENCRYPTED, ENCRYPTED)
            if packet.size == 0 and packet.pts is not None:  # so Theora says that the picture stays
                continue
            try:
                decoded = packet.decode()
            except av.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                self.damaged = True
                continue
            self.damaged |= packet.is_corrupt
            for frame in decoded:
                self.damaged |= frame.is_corrupt
                stamp = frame.pts if frame.pts is not None else frame.dts
                if stamp is not None and frame.time_base is not None:
                    yield Timed(float(stamp * frame.time_base), frame)


@dataclass(frozen=True)
class Timed:
    time: float
    frame: VideoFrame


@contextmanager
def opened(path: Path, settings: DecodeSettings) -> Iterator[Media]:
    with opened_container(path) as container:
        yield _described(container, settings)


@contextmanager
def opened_container(path: Path) -> Iterator[InputContainer]:
    require_regular_file(path)
    # An absolute path is never a URL. What a file refers to may only be a file.
    container_options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        container = av.open(str(path.absolute()), container_options=container_options)
    except MemoryError as error:
        raise MediaError(Reason.OUT_OF_MEMORY, "opening it needs more memory than the limit") from error
    except (av.PermissionError, av.FileNotFoundError) as error:
        raise MediaError(Reason.NOT_READABLE, message(error)) from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(Reason.NOT_A_VIDEO, message(error)) from error
    with container:
        yield container


def _described(container: InputContainer, settings: DecodeSettings) -> Media:
    tracks = [track for track in container.streams.video if not track.disposition & Disposition.attached_pic]
    if not tracks:
        raise MediaError(Reason.NO_VIDEO_TRACK, f"{container.format.name} without a video track")
    stream = max(tracks, key=_as_main_track)  # of several alike the first
    if "enc_key_id" in stream.metadata:  # so Matroska says it; MP4 says it with each packet
        raise MediaError(Reason.ENCRYPTED, ENCRYPTED)
    context = stream.codec_context
    if context is None:
        raise MediaError(Reason.UNSUPPORTED_CODEC, "no decoder for the video track")
    if context.width * context.height > settings.max_pixels:
        raise MediaError(Reason.TOO_LARGE, f"pictures of {context.width} x {context.height} pixels")
    # The bit stream may announce larger pictures than the container.
    context.options = {"max_pixels": str(settings.max_pixels)}
    # One thread a file: files are decoded side by side in processes, threads on top only cost processor time.
    context.thread_type = "NONE"
    fps = stream.average_rate or stream.guessed_rate
    start, duration = _extent(container, stream)
    info = MediaInfo(
        container=container.format.name,
        codec=context.name,
        width=context.width,
        height=context.height,
        duration_s=duration,
        fps=float(fps) if fps else None,
        has_audio=bool(container.streams.audio),
    )
    return Media(container, stream, info, start)


def _as_main_track(track: VideoStream) -> tuple[bool, bool, int]:
    """What makes a track the one to look at: that it can be decoded, that players choose it, that it is large."""
    context = track.codec_context
    size = context.width * context.height if context is not None else 0
    return context is not None, bool(track.disposition & Disposition.default), size


def _extent(container: InputContainer, stream: VideoStream) -> tuple[float, float | None]:
    """(time of the first frame, duration) in seconds as the header has them. Matroska tells the duration of the
    whole file, and its writers that of the track in a tag; without an index (mpegts) the header's is a guess from the
    bit rate and not used."""
    container_start = (container.start_time or 0) / av.time_base
    time_base = stream.time_base or Fraction(1, av.time_base)
    start = float(stream.start_time * time_base) if stream.start_time is not None else container_start
    if container.format.name not in INDEXED:
        return start, None
    if stream.duration is not None and stream.duration > 0:
        return start, float(stream.duration * time_base)
    told = TAGGED_DURATION.fullmatch(stream.metadata.get("DURATION", ""))
    if told:
        hours, minutes, seconds = map(float, told.groups())
        last = container_start + 3600 * hours + 60 * minutes + seconds
        if last > start:
            return start, last - start
    if container.duration is not None and container.duration > 0:
        duration = container.duration / av.time_base - max(start - container_start, 0.0)
        return start, duration if duration > 0 else None
    return start, None


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d): a pixel at (x, y) is shown at (a x + c y, b x + d y), but for a shift and a scale. As it is where
    the file says nothing, or nothing sensible."""
    side_data: Any = frame.side_data  # PyAV's stubs take it for a dictionary of something else
    if SideDataType.DISPLAYMATRIX in side_data:
        a, b, _, c, d = np.frombuffer(side_data[SideDataType.DISPLAYMATRIX], np.int32)[:5].tolist()
        if a * d != b * c:
            return a, b, c, d
    return 1, 0, 0, 1


def goes_on_after(media: Media, end: float) -> bool:
    """Whether a track has pictures well behind the end that its header tells. Reads the last of it, decodes nothing."""
    well_behind = end + max(1.0, 0.1 * (end - media.start))
    try:
        media.seek(end)
        for packet in media.container.demux(media.stream):
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is not None and packet.time_base is not None and float(stamp * packet.time_base) > well_behind:
                return True
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
    return False


def measured(path: Path, settings: DecodeSettings, info: MediaInfo) -> tuple[float, float]:
    """(time of the first frame, duration) in seconds from the packets; reads the file once, decodes nothing."""
    with opened(path, settings) as media:
        first, last = math.inf, -math.inf
        try:
            for packet in media.container.demux(media.stream):
                stamp = packet.pts if packet.pts is not None else packet.dts
                if stamp is not None and packet.time_base is not None:
                    seconds = float(stamp * packet.time_base)
                    first, last = min(first, seconds), max(last, seconds)
        except av.FFmpegError:
            pass  # cut off: what was read counts
    if first > last:
        raise MediaError(Reason.UNDECODABLE, f"the {info.codec} track has no packet with a time")
    return first, last - first + 1 / (info.fps or USUAL_FPS)


def middles_of_parts(start: float, duration: float, count: int) -> list[float]:
    """The middles of `count` equal parts, late enough that a frame of that very time counts as shown."""
    return [start + (number + 0.5) * duration / count + ROUNDING_S for number in range(count)]


def message(error: Exception) -> str:
    """One line that says what an error says."""
    text = getattr(error, "strerror", None) or str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0]
