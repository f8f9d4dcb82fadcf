"""From a file to frames and sound. The only file of the embedder that knows PyAV.

Knows nothing of time or memory limits, processes or encoders. It runs inside the processes of `isolation`:
libav parses what strangers uploaded, so nothing else should call it on files that are not trusted.
"""

import math
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation
from av.video.stream import VideoStream

from embedder.decode_settings import DecodeSettings
from embedder.media import (
    LONG_SIDE_LIMIT,
    MOTION_STEP_S,
    SHORT_SIDE,
    SOUND_LIMIT_S,
    SOUND_RATE,
    SOUND_WINDOW_S,
    MediaError,
    MediaInfo,
    MediaSample,
    Quality,
    Reason,
    Wanted,
    require_regular_file,
)
from embedder.tone_mapping import Transfer, tone_mapped

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
#: Deviation of brightness (0..255) below which a frame is one flat colour.
FLAT = 4.0
#: What lossy codecs do to a still picture, in steps of a colour (0..255): on average, and to a single pixel.
NOISE_OF_ALL = 0.5
NOISE = 12
#: Share of values beyond the noise that makes another picture: a bird in the sky does, some pixels of ringing do not.
SMALLEST_PART = 1e-4
ENCRYPTED = "its pictures are encrypted; add the file as it was before"
TOO_LITTLE_MEMORY = "decoding needs more memory than the limit"
PLAUSIBLE_PIXEL_ASPECT = (0.25, 4.0)
HDR: dict[int, Transfer] = {ColorTrc.SMPTE2084: "pq", ColorTrc.ARIB_STD_B67: "hlg"}

av.logging.set_level(None)  # what libav complains of is told by our own reasons


def probe(path: Path | str, settings: DecodeSettings | None = None) -> MediaInfo:
    """What the container of a file says. Raises MediaError."""
    with _opened(Path(path), settings or DecodeSettings()) as media:
        return media.info


def read_media(path: Path | str, wanted: Wanted, settings: DecodeSettings | None = None) -> MediaSample:
    """What is wanted of a file, as far as it has it: frames from the middles of equal parts of the video, and sound.

    A file that is damaged or cut off in part gives what can be read. Raises MediaError when it gives nothing that
    is wanted, and when it has pictures that cannot be decoded, whatever its sound is like.
    """
    settings = settings or DecodeSettings()
    path = Path(path)
    if not wanted.media:
        raise ValueError("neither frames nor sound are wanted")
    try:
        pictures = _pictures(path, wanted, settings) if wanted.frames else None
    except MediaError as error:
        if error.reason is not Reason.NO_VIDEO_TRACK or not wanted.sound:
            raise
        pictures = None
    if not wanted.sound:
        assert pictures is not None
        return pictures
    info, sound = _listened(path)
    if pictures is not None:
        return replace(pictures, sound=sound)
    if sound is None:
        reason = Reason.NO_VIDEO_TRACK if wanted.frames else Reason.NO_SOUND
        raise MediaError(reason, f"{info.container} with nothing to see or hear")
    return MediaSample(info, sound=sound)


def _pictures(path: Path, wanted: Wanted, settings: DecodeSettings) -> MediaSample:
    try:
        with _opened(path, settings) as media:
            info, start = media.info, media.start
            believed = info.duration_s is not None and not _goes_on_after(media, start + info.duration_s)
        if not believed:
            start, duration = _measured(path, settings, info)
            info = replace(info, duration_s=duration)
        sample = _sample(path, settings, info, start, wanted)
        if sample.quality is Quality.DAMAGED and _short_of_memory(info):
            raise MemoryError
        return sample
    except MediaError as error:
        if error.reason is Reason.UNDECODABLE and _short_of_memory(info):
            raise MediaError(Reason.OUT_OF_MEMORY, TOO_LITTLE_MEMORY) from error
        raise
    except MemoryError as error:
        raise MediaError(Reason.OUT_OF_MEMORY, TOO_LITTLE_MEMORY) from error
    except (av.FFmpegError, IndexError, ValueError) as error:
        # PyAV answers some damaged headers with errors of its own, not FFmpeg's (found by altering bytes at random).
        raise MediaError(Reason.UNDECODABLE, _message(error)) from error


def _short_of_memory(info: MediaInfo) -> bool:
    """Whether one more picture would not have fitted under this process's memory limit.

    Some decoders answer a failed allocation with a damaged frame instead of an error: without this question the file
    would be blamed for what the limit did.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    status = Path("/proc/self/status")
    if limit == resource.RLIM_INFINITY or not status.exists():
        return False
    peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmPeak:"))
    return peak * 1024 + 4 * info.width * info.height > limit


def _sample(path: Path, settings: DecodeSettings, info: MediaInfo, start: float, wanted: Wanted) -> MediaSample:
    assert info.duration_s is not None
    moments = _middles(start, info.duration_s, wanted.frames)
    megapixels = info.duration_s * (info.fps or USUAL_FPS) * info.width * info.height / 1e6
    if megapixels > settings.exact_megapixels:
        with _opened(path, settings) as media:
            keys = _key_frames(media, moments, wanted.motion)
        if keys.share_of_moments >= settings.min_distinct:
            return _as_sample(keys, info, start, "key_frames", settings)
    seen = _exact(path, settings, moments, wanted.motion)
    if not seen.shown:
        raise MediaError(Reason.UNDECODABLE, f"not one frame of the {info.codec} track could be decoded")
    end = seen.shown[-1].time - start
    if seen.share_of_moments < settings.min_distinct and 0 < end < 0.9 * (moments[-1] - start):
        # The file ends before the header says so (cut off, or a wrong header): spread over what is there.
        again = _exact(path, settings, _middles(start, end, wanted.frames), wanted.motion)
        if again.shown:
            seen, info = replace(again, damaged=True), replace(info, duration_s=end)
    return _as_sample(seen, info, start, "exact", settings)


def _exact(path: Path, settings: DecodeSettings, moments: list[float], motion: bool) -> "_Seen":
    for seeking in (True, False):  # an index that leads nowhere must not cost a file that can be read through
        with _opened(path, settings) as media:
            seen = _exact_frames(media, moments, seeking and media.indexed, motion)
        if seen.shown:
            break
    return seen


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
    damaged: bool = False  # something on the way could not be decoded

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
                self.damaged |= not isinstance(end, StopIteration)
                return  # a read error in the middle is the end of what can be read
            if packet.has_sidedata("encryption_info"):  # decoded all the same it would give noise
                raise MediaError(Reason.ENCRYPTED, ENCRYPTED)
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
                    yield _Timed(float(stamp * frame.time_base), frame)


@dataclass(frozen=True)
class _Timed:
    time: float
    frame: VideoFrame


@contextmanager
def _opened(path: Path, settings: DecodeSettings) -> Iterator[_Media]:
    with _container(path) as container:
        yield _described(container, settings)


@contextmanager
def _container(path: Path) -> Iterator[InputContainer]:
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
        yield container


def _described(container: InputContainer, settings: DecodeSettings) -> _Media:
    tracks = [track for track in container.streams.video if not track.disposition & Disposition.attached_pic]
    if not tracks:
        raise MediaError(Reason.NO_VIDEO_TRACK, f"{container.format.name} without a video track")
    stream = tracks[0]
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


def _goes_on_after(media: _Media, end: float) -> bool:
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
class _Shown:
    """A frame of the file, scaled at once: nothing is kept at full size."""

    time: float
    pixels: np.ndarray


@dataclass(frozen=True)
class _Seen:
    """One frame for each moment that was asked for, or none at all; `following` as in `Clip`, if it was wanted."""

    shown: list[_Shown]
    following: list[_Shown] | None
    damaged: bool

    @property
    def share_of_moments(self) -> float:
        """How many of the frames are of different moments, 0..1."""
        return len({frame.time for frame in self.shown}) / max(len(self.shown), 1)


def _exact_frames(media: _Media, moments: list[float], seeking: bool, motion: bool) -> _Seen:
    """For each moment the frame that is shown then: the last one at or before it.

    Seeks ahead as long as that saves decoding. A seek that lands behind what was already decoded shows that
    the key frames are farther apart than the moments: from then on the file is read through.
    """
    scale = _scaler(media)
    found: dict[float, _Shown] = {}
    frames = media.frames()
    shown: _Timed | None = None
    latest: _Shown | None = None
    ahead = None if seeking else next(frames, None)
    targets = dict.fromkeys(moments, True)
    if motion:  # a following frame is reached by decoding on, never by a seek
        targets = {moment + MOTION_STEP_S: False for moment in moments} | targets
    for target, may_seek in sorted(targets.items()):
        if seeking and may_seek and (shown is None or (ahead is not None and ahead.time <= target)):
            frames = _frames_from(media, target)
            ahead = next(frames, None)
            seeking = ahead is not None and (shown is None or ahead.time > shown.time)
            shown = None if ahead is not None else shown
        while ahead is not None and (shown is None or ahead.time <= target):
            shown, ahead = ahead, next(frames, None)
        if shown is not None:
            if latest is None or latest.time != shown.time:
                latest = _Shown(shown.time, scale(shown.frame))
            found[target] = latest
    kept = [moment for moment in moments if moment in found]
    following = [found.get(moment + MOTION_STEP_S, found[moment]) for moment in kept] if motion else None
    return _Seen([found[moment] for moment in kept], following, media.damaged)


def _key_frames(media: _Media, moments: list[float], motion: bool) -> _Seen:
    """For each moment the key frame at or before it; nothing else is decoded but, for motion, what follows at once."""
    context = media.stream.codec_context
    if not media.indexed:
        context.skip_frame = "NONKEY"
        return _exact_frames(media, moments, seeking=False, motion=False)
    if not motion:
        context.skip_frame = "NONKEY"
    scale = _scaler(media)
    found: dict[float, tuple[_Shown, _Shown]] = {}
    chosen: list[tuple[_Shown, _Shown]] = []
    for moment in moments:
        frames = _frames_from(media, moment)
        key = next(frames, None)
        if key is None:
            continue
        if key.time not in found:
            shown = _Shown(key.time, scale(key.frame))
            after = key
            if motion:
                until = key.time + MOTION_STEP_S + ROUNDING_S
                for later in frames:
                    if later.time > until:
                        break
                    after = later
            found[key.time] = shown, shown if after is key else _Shown(after.time, scale(after.frame))
        chosen.append(found[key.time])
    following = [after for _, after in chosen] if motion else None
    return _Seen([shown for shown, _ in chosen], following, media.damaged)


def _frames_from(media: _Media, seconds: float) -> Iterator[_Timed]:
    try:
        media.seek(seconds)
    except av.FFmpegError:
        return iter(())
    return media.frames()


def _as_sample(seen: _Seen, info: MediaInfo, start: float, mode: str, settings: DecodeSettings) -> MediaSample:
    times = np.array([shown.time for shown in seen.shown]) - start
    frames = np.stack([shown.pixels for shown in seen.shown])
    different = 1 + int(_changed(frames).sum())
    return MediaSample(
        info,
        frames=frames,
        following=None if seen.following is None else np.stack([shown.pixels for shown in seen.following]),
        times=times,
        decoded=len(np.unique(times)),
        distinct=different / len(times),
        quality=_quality(frames, different, seen.damaged, settings),
        mode=mode,
    )


def _changed(frames: np.ndarray) -> np.ndarray:
    """(T - 1,) bool: whether a frame is another picture than the one before it, compression noise aside: all of it
    has changed a little, or a small part of it much."""
    steps = (np.abs(now.astype(np.int16) - before) for before, now in pairwise(frames))
    return np.array([step.mean() > NOISE_OF_ALL or (step > NOISE).mean() > SMALLEST_PART for step in steps], dtype=bool)


def _quality(frames: np.ndarray, different: int, damaged: bool, settings: DecodeSettings) -> Quality:
    """The gravest of what holds: damage is told before emptiness, emptiness before stillness."""
    if damaged:
        return Quality.DAMAGED
    if frames[:, ::4, ::4].mean(axis=3).std(axis=(1, 2)).max() < FLAT:
        return Quality.BLANK
    if different == 1:
        return Quality.STILL
    return Quality.FEW_FRAMES if different / len(frames) < settings.min_distinct else Quality.GOOD


# ---- Sound -------------------------------------------------------------------------------------------------

#: Sound formats in which seeking is cheap. In the others only the beginning of a long sound is read.
SEEKABLE_SOUND = INDEXED | {"wav", "flac", "mp3"}


def _listened(path: Path) -> tuple[MediaInfo, np.ndarray | None]:
    """The sound of a file as `MediaSample.sound` has it: None without a sound track, or when all of it is silent."""
    with _container(path) as container:
        track = next(iter(container.streams.audio), None)
        duration = container.duration / av.time_base if container.duration else None
        name = track.codec_context.name if track is not None and track.codec_context is not None else ""
        info = MediaInfo(container.format.name, name, 0, 0, duration, None, has_audio=bool(name))
        if track is None or not name:
            return info, None
        start = (container.start_time or 0) / av.time_base
        windows = [(start, SOUND_LIMIT_S)]
        if duration is not None and duration > SOUND_LIMIT_S and container.format.name in SEEKABLE_SOUND:
            count = int(SOUND_LIMIT_S / SOUND_WINDOW_S)
            middles = _middles(start, duration, count)
            windows = [(middle - SOUND_WINDOW_S / 2, SOUND_WINDOW_S) for middle in middles]
        parts = [part for window in windows for part in _heard(container, track, *window, seek=len(windows) > 1)]
    sound = np.nan_to_num(np.concatenate(parts)) if parts else np.zeros(0, np.float32)
    return info, np.clip(sound, -1, 1) if sound.any() else None


def _heard(
    container: InputContainer, track: AudioStream, start: float, seconds: float, seek: bool
) -> Iterator[np.ndarray]:
    """Pieces (S,) float32 of the sound from `start` on, `seconds` in all at most; damaged packets are left out."""
    resampler = AudioResampler(format="flt", layout="mono", rate=SOUND_RATE)
    missing = int(seconds * SOUND_RATE)
    try:
        if seek:
            container.seek(int(start * av.time_base))
        for packet in container.demux(track):
            for frame in _decoded_sound(packet, resampler):
                if seek and frame.time is not None and frame.time < start - 1 / SOUND_RATE:
                    continue
                piece = frame.to_ndarray().reshape(-1)[:missing].astype(np.float32)
                missing -= len(piece)
                yield piece
                if missing <= 0:
                    return
    except MemoryError as error:
        raise MediaError(Reason.OUT_OF_MEMORY, "decoding its sound needs more memory than the limit") from error
    except av.FFmpegError:
        return  # the end of what can be read


def _decoded_sound(packet: "Packet[AudioStream]", resampler: AudioResampler) -> list[AudioFrame]:
    try:
        return [small for frame in packet.decode() for small in resampler.resample(frame)]
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError):  # damaged, or its format changes midway
        return []


# ---- Scaling -----------------------------------------------------------------------------------------------


def _scaler(media: _Media) -> Callable[[VideoFrame], np.ndarray]:
    """A function from a frame to (H, W, 3) uint8, all of the size of the first (some files change theirs)."""
    size: list[tuple[int, int]] = []

    def scale(frame: VideoFrame) -> np.ndarray:
        if not size:
            size.append(_scaled_size(frame, media.stream))
        width, height = size[0]
        hdr = HDR.get(frame.color_trc)
        layout = "rgb48le" if hdr else "rgb24"
        small = frame.reformat(width, height, format=layout, interpolation=Interpolation.AREA, threads=1)
        pixels = small.to_ndarray()
        if hdr:
            pixels = tone_mapped(pixels, hdr, wide=frame.color_primaries == ColorPrimaries.BT2020)
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))

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
