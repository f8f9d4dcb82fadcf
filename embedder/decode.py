"""From a file to frames. The only file of the embedder that knows PyAV.

Knows nothing of time or memory limits, processes or encoders. It runs inside the processes of `isolation`:
libav parses what strangers uploaded, so nothing else should call it on files that are not trusted.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from embedder.decode_settings import DecodeSettings
from embedder.media import LONG_SIDE_LIMIT, SHORT_SIDE, FrameSample, MediaError, MediaInfo, Reason, require_regular_file

#: Containers that are opened. No playlists (hls, dash, concat), no devices, no network formats: those make libav
#: read what the file tells it to. Sound formats are here to say "no video track" instead of "not a video".
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,ivf,nut,rm,wtv,dv,gif,mp3,wav,flac,aac"
)
#: Containers whose index makes seeking exact and cheap. The others are read from front to end: a backward seek
#: in a transport stream can land behind its target.
INDEXED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"})
USUAL_FPS = 25.0
#: Seconds by which containers round the time of a frame (matroska: milliseconds).
ROUNDING_S = 0.001
PLAUSIBLE_PIXEL_ASPECT = (0.25, 4.0)

av.logging.set_level(None)  # what libav complains of is told by our own reasons


def probe(path: Path | str, settings: DecodeSettings | None = None) -> MediaInfo:
    """What the container of a file says. Raises MediaError."""
    with _opened(Path(path), settings or DecodeSettings()) as media:
        return media.info


def sample_frames(path: Path | str, frames: int = 16, settings: DecodeSettings | None = None) -> FrameSample:
    """`frames` frames, one from the middle of each of as many equal parts of the video.

    Raises MediaError when the file gives no frame at all; one that is damaged or cut off in part gives the
    frames that can be read.
    """
    settings = settings or DecodeSettings()
    path = Path(path)
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    try:
        with _opened(path, settings) as media:
            info, start = media.info, media.start
        if info.duration_s is None:
            start, duration = _measured(path, settings, info)
            info = replace(info, duration_s=duration)
        return _sample(path, settings, info, start, frames)
    except MemoryError as error:
        raise MediaError(Reason.OUT_OF_MEMORY, "decoding needs more memory than the limit") from error
    except (av.FFmpegError, IndexError, ValueError) as error:
        # PyAV answers some damaged headers with errors of its own, not FFmpeg's (found by altering bytes at random).
        raise MediaError(Reason.UNDECODABLE, _message(error)) from error


def _sample(path: Path, settings: DecodeSettings, info: MediaInfo, start: float, count: int) -> FrameSample:
    assert info.duration_s is not None
    targets = _middles(start, info.duration_s, count)
    megapixels = info.duration_s * (info.fps or USUAL_FPS) * info.width * info.height / 1e6
    if megapixels > settings.exact_megapixels:
        with _opened(path, settings) as media:
            sample = _as_sample(_key_frames(media, targets), info, start, "key_frames")
        if sample is not None and sample.distinct >= settings.min_distinct:
            return sample
    sample = _exact_sample(path, settings, info, start, targets)
    if sample is None:
        raise MediaError(Reason.UNDECODABLE, f"not one frame of the {info.codec} track could be decoded")
    end = float(sample.times[-1])
    if sample.distinct < settings.min_distinct and 0 < end < 0.9 * (targets[-1] - start):
        # The file ends before the header says so (cut off, or a wrong header): spread over what is there.
        shorter = replace(info, duration_s=end)
        sample = _exact_sample(path, settings, shorter, start, _middles(start, end, count)) or sample
    return sample


def _exact_sample(
    path: Path, settings: DecodeSettings, info: MediaInfo, start: float, targets: list[float]
) -> FrameSample | None:
    for seeking in (True, False):  # an index that leads nowhere must not cost a file that can be read through
        with _opened(path, settings) as media:
            sample = _as_sample(_exact_frames(media, targets, seeking and media.indexed), info, start, "exact")
        if sample is not None:
            return sample
    return None


def _middles(start: float, duration: float, count: int) -> list[float]:
    """The middles of `count` equal parts, late enough that a frame of that very time counts as shown."""
    return [start + (number + 0.5) * duration / count + ROUNDING_S for number in range(count)]


# ---- Opening -----------------------------------------------------------------------------------------------


@dataclass
class _Media:
    container: InputContainer
    stream: VideoStream
    info: MediaInfo
    start: float  # seconds, the time of the first frame

    @property
    def indexed(self) -> bool:
        return self.info.container in INDEXED

    def seek(self, seconds: float) -> None:
        """Goes to the key frame at or before a time. To the time itself, never to an entry of the stream's index:
        that counts in decoding order, and with B-frames one lands a whole group of pictures early."""
        assert self.stream.time_base is not None
        self.container.seek(int(seconds / self.stream.time_base), stream=self.stream)

    def frames(self) -> Iterator["_Timed"]:
        """The frames from here on with their times; damaged ones are left out."""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError) as end:
                if isinstance(end, MemoryError):
                    raise
                return  # a read error in the middle is the end of what can be read
            try:
                decoded = packet.decode()
            except av.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                continue
            for frame in decoded:
                stamp = frame.pts if frame.pts is not None else frame.dts
                if stamp is not None and frame.time_base is not None:
                    yield _Timed(float(stamp * frame.time_base), frame)


@dataclass(frozen=True)
class _Timed:
    time: float
    frame: VideoFrame


@contextmanager
def _opened(path: Path, settings: DecodeSettings) -> Iterator[_Media]:
    require_regular_file(path)
    # An absolute path is never a URL. What a file refers to may only be a file.
    container_options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        container = av.open(str(path.absolute()), container_options=container_options)
    except MemoryError as error:
        raise MediaError(Reason.OUT_OF_MEMORY, "opening it needs more memory than the limit") from error
    except (av.PermissionError, av.FileNotFoundError) as error:
        raise MediaError(Reason.NOT_READABLE, _message(error)) from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(Reason.NOT_A_VIDEO, _message(error)) from error
    with container:
        yield _described(container, settings)


def _described(container: InputContainer, settings: DecodeSettings) -> _Media:
    tracks = [track for track in container.streams.video if not track.disposition & Disposition.attached_pic]
    if not tracks:
        raise MediaError(Reason.NO_VIDEO_TRACK, f"{container.format.name} without a video track")
    stream = tracks[0]
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
    return _Media(container, stream, info, start)


def _extent(container: InputContainer, stream: VideoStream) -> tuple[float, float | None]:
    """(time of the first frame, duration) in seconds as the header has them. Matroska tells the duration of the
    whole file only; without an index (mpegts) the header's is a guess from the bit rate and not used."""
    container_start = (container.start_time or 0) / av.time_base
    time_base = stream.time_base or Fraction(1, av.time_base)
    start = float(stream.start_time * time_base) if stream.start_time is not None else container_start
    if container.format.name not in INDEXED:
        return start, None
    if stream.duration is not None and stream.duration > 0:
        return start, float(stream.duration * time_base)
    if container.duration is not None and container.duration > 0:
        duration = container.duration / av.time_base - max(start - container_start, 0.0)
        return start, duration if duration > 0 else None
    return start, None


def _measured(path: Path, settings: DecodeSettings, info: MediaInfo) -> tuple[float, float]:
    """(time of the first frame, duration) in seconds from the packets; reads the file once, decodes nothing."""
    with _opened(path, settings) as media:
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


# ---- Choosing frames ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chosen:
    time: float
    pixels: np.ndarray


def _exact_frames(media: _Media, targets: list[float], seeking: bool) -> list[_Chosen]:
    """For each target the frame that is shown at that time: the last one at or before it.

    Seeks ahead as long as that saves decoding. A seek that lands behind what was already decoded shows that
    the key frames are farther apart than the targets: from then on the file is read through.
    """
    scale = _scaler(media)
    chosen: list[_Chosen] = []
    frames = media.frames()
    shown: _Timed | None = None
    ahead = None if seeking else next(frames, None)
    for target in targets:
        if seeking and (shown is None or (ahead is not None and ahead.time <= target)):
            frames = _frames_from(media, target)
            ahead = next(frames, None)
            seeking = ahead is not None and (shown is None or ahead.time > shown.time)
            shown = None if ahead is not None else shown
        while ahead is not None and (shown is None or ahead.time <= target):
            shown, ahead = ahead, next(frames, None)
        if shown is not None:
            chosen.append(_choose(shown, chosen, scale))
    return chosen


def _key_frames(media: _Media, targets: list[float]) -> list[_Chosen]:
    """For each target the key frame at or before it; nothing else is decoded."""
    media.stream.codec_context.skip_frame = "NONKEY"
    if not media.indexed:
        return _exact_frames(media, targets, seeking=False)
    scale = _scaler(media)
    chosen: list[_Chosen] = []
    for target in targets:
        key = next(_frames_from(media, target), None)
        if key is not None:
            chosen.append(_choose(key, chosen, scale))
    return chosen


def _frames_from(media: _Media, seconds: float) -> Iterator[_Timed]:
    try:
        media.seek(seconds)
    except av.FFmpegError:
        return iter(())
    return media.frames()


def _choose(shown: _Timed, before: list[_Chosen], scale: Callable[[VideoFrame], np.ndarray]) -> _Chosen:
    """The chosen frame, scaled at once: nothing is kept at full size."""
    if before and before[-1].time == shown.time:
        return before[-1]
    return _Chosen(shown.time, scale(shown.frame))


def _as_sample(chosen: list[_Chosen], info: MediaInfo, start: float, mode: str) -> FrameSample | None:
    if not chosen:
        return None
    times = np.array([choice.time for choice in chosen]) - start
    return FrameSample(
        frames=np.stack([choice.pixels for choice in chosen]),
        times=times,
        info=info,
        distinct=len(np.unique(times)) / len(times),
        mode=mode,
    )


# ---- Scaling -----------------------------------------------------------------------------------------------


def _scaler(media: _Media) -> Callable[[VideoFrame], np.ndarray]:
    """A function from a frame to (H, W, 3) uint8, all of the size of the first (some files change theirs)."""
    size: list[tuple[int, int]] = []

    def scale(frame: VideoFrame) -> np.ndarray:
        if not size:
            size.append(_scaled_size(frame, media.stream))
        width, height = size[0]
        small = frame.reformat(width, height, format="rgb24", interpolation=Interpolation.AREA, threads=1)
        return np.ascontiguousarray(np.rot90(small.to_ndarray(), round(frame.rotation / 90)))

    return scale


def _scaled_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """(width, height) with square pixels and the short side `SHORT_SIDE`."""
    aspect = float(stream.sample_aspect_ratio or 1)
    if not PLAUSIBLE_PIXEL_ASPECT[0] <= aspect <= PLAUSIBLE_PIXEL_ASPECT[1]:
        aspect = 1.0
    width, height = frame.width * aspect, float(frame.height)
    factor = SHORT_SIDE / min(width, height)
    return min(round(width * factor), LONG_SIDE_LIMIT), min(round(height * factor), LONG_SIDE_LIMIT)


def _message(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
