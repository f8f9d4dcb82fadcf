"""Which pictures of a video are taken, and how far they can be trusted: moments, key frames, scaling. Knows PyAV."""

import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, Interpolation
from av.video.stream import VideoStream

from embedder.decode.container import (
    HDR,
    ROUNDING_S,
    USUAL_FPS,
    Media,
    Timed,
    display_matrix,
    goes_on_after,
    measured,
    message,
    middles_of_parts,
    opened,
)
from embedder.decode_settings import DecodeSettings
from embedder.media import (
    LONG_SIDE_LIMIT,
    MOTION_STEP_S,
    PYAV,
    SHORT_SIDE,
    Decoder,
    MediaError,
    MediaInfo,
    MediaSample,
    NotTakenError,
    Quality,
    Reason,
    Wanted,
)
from embedder.tone_mapping import tone_mapped

#: Deviation of brightness (0..255) below which a frame is one flat colour.
FLAT = 4.0
#: What lossy codecs do to a still picture, in steps of a colour (0..255): on average, and to a single pixel.
NOISE_OF_ALL = 0.5
NOISE = 12
#: Share of values beyond the noise that makes another picture: a bird in the sky does, some pixels of ringing do not.
SMALLEST_PART = 1e-4
TOO_LITTLE_MEMORY = "decoding needs more memory than the limit"
PLAUSIBLE_PIXEL_ASPECT = (0.25, 4.0)


def read_pictures(path: Path, wanted: Wanted, settings: DecodeSettings) -> MediaSample:
    try:
        with opened(path, settings) as media:
            info, start = media.info, media.start
            believed = info.duration_s is not None and not goes_on_after(media, start + info.duration_s)
        if not believed:
            start, duration = measured(path, settings, info)
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
    except av.FFmpegError as error:
        raise MediaError(Reason.UNDECODABLE, message(error)) from error
    except (IndexError, ValueError) as error:
        # PyAV answers some damaged headers with errors of its own, not FFmpeg's (found by altering bytes at random).
        raise MediaError(Reason.UNDECODABLE, "what its headers say cannot be") from error


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
    moments = middles_of_parts(start, info.duration_s, wanted.frames)
    megapixels = info.duration_s * (info.fps or USUAL_FPS) * info.width * info.height / 1e6
    if megapixels > settings.exact_megapixels:
        if wanted.decoder != PYAV:  # key frames alone are quicker than what a GPU would have to decode between them
            raise NotTakenError("its key frames will do")
        with opened(path, settings) as media:
            keys = _key_frames(media, moments, wanted.motion)
        if keys.share_of_moments >= settings.min_distinct:
            return _as_sample(keys, info, start, "key_frames", settings)
    seen = _exact(path, settings, moments, wanted)
    if not seen.shown:
        raise MediaError(Reason.UNDECODABLE, f"not one frame of the {info.codec} track could be decoded")
    end = seen.shown[-1].time + seen.shown[-1].lasts - start
    if 0 < end < 0.9 * (moments[-1] - start):
        # The file ends before the header says so (cut off, or a wrong header): spread over what is there.
        again = _exact(path, settings, middles_of_parts(start, end, wanted.frames), wanted)
        if again.shown:
            seen, info = replace(again, damaged=True), replace(info, duration_s=end)
    return _as_sample(seen, info, start, "exact", settings)


def _exact(path: Path, settings: DecodeSettings, moments: list[float], wanted: Wanted) -> "_Seen":
    if wanted.decoder != PYAV:
        return _by_hardware(path, settings, moments, wanted)
    for seeking in (True, False):  # an index that leads nowhere must not cost a file that can be read through
        with opened(path, settings) as media:
            seen = _exact_frames(media, moments, seeking and media.indexed, wanted.motion)
        if seen.shown:
            break
    return seen


def _by_hardware(path: Path, settings: DecodeSettings, moments: list[float], wanted: Wanted) -> "_Seen":
    from embedder.decode import hardware

    with opened(path, settings) as media:
        if not hardware.is_plain(media):
            raise NotTakenError("it is not a plain file")
        stream = media.stream.index
    after = [moment + MOTION_STEP_S for moment in moments] if wanted.motion else []
    asked = sorted({*moments, *after})
    try:
        read = [_Shown(*each) for each in hardware.read_frames(path, stream, asked, wanted.decoder)]
    except Exception as error:  # of torchcodec, CUDA, FFmpeg
        raise NotTakenError(message(error)) from error
    found = dict(zip(asked, read, strict=True))
    following = [found[moment] for moment in after] if wanted.motion else None
    return _Seen([found[moment] for moment in moments], following, damaged=False, decoder=wanted.decoder)


# ---- Choosing frames ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shown:
    """A frame of the file, scaled at once: nothing is kept at full size."""

    time: float
    pixels: np.ndarray
    lasts: float  # seconds


@dataclass(frozen=True)
class _Seen:
    """One frame for each moment that was asked for, or none at all; `following` as in `Clip`, if it was wanted."""

    shown: list[_Shown]
    following: list[_Shown] | None
    damaged: bool
    decoder: Decoder = PYAV

    @property
    def share_of_moments(self) -> float:
        """How many of the frames are of different moments, 0..1."""
        return len({frame.time for frame in self.shown}) / max(len(self.shown), 1)


def _exact_frames(media: Media, moments: list[float], seeking: bool, motion: bool) -> _Seen:
    """For each moment the frame that is shown then: the last one at or before it.

    Seeks ahead as long as that saves decoding. A seek that lands behind what was already decoded shows that
    the key frames are farther apart than the moments: from then on the file is read through.
    """
    scale = _scaler(media)
    found: dict[float, _Shown] = {}
    frames = media.frames()
    shown: Timed | None = None
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
                latest = _Shown(shown.time, scale(shown.frame), media.lasts(shown.frame))
            found[target] = latest
    kept = [moment for moment in moments if moment in found]
    following = [found.get(moment + MOTION_STEP_S, found[moment]) for moment in kept] if motion else None
    return _Seen([found[moment] for moment in kept], following, media.damaged)


def _key_frames(media: Media, moments: list[float], motion: bool) -> _Seen:
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
            shown = _Shown(key.time, scale(key.frame), media.lasts(key.frame))
            after = key
            if motion:
                until = key.time + MOTION_STEP_S + ROUNDING_S
                for later in frames:
                    if later.time > until:
                        break
                    after = later
            found[key.time] = (
                shown,
                shown if after is key else _Shown(after.time, scale(after.frame), media.lasts(after.frame)),
            )
        chosen.append(found[key.time])
    following = [after for _, after in chosen] if motion else None
    return _Seen([shown for shown, _ in chosen], following, media.damaged)


def _frames_from(media: Media, seconds: float) -> Iterator[Timed]:
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
        decoder=seen.decoder,
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


# ---- Scaling -----------------------------------------------------------------------------------------------


def _scaler(media: Media) -> Callable[[VideoFrame], np.ndarray]:
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
        return np.ascontiguousarray(_upright(pixels, display_matrix(frame)))

    return scale


def _upright(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Pictures (H, W, 3) as the file wants them shown: turned by quarters, mirrored."""
    a, b, c, d = matrix
    if abs(a) + abs(d) < abs(b) + abs(c):
        pixels, across, down = pixels.swapaxes(0, 1), c, b
    else:
        across, down = a, d
    return pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


def _scaled_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """(width, height) with square pixels and the short side `SHORT_SIDE`."""
    aspect = float(stream.sample_aspect_ratio or 1)
    if not PLAUSIBLE_PIXEL_ASPECT[0] <= aspect <= PLAUSIBLE_PIXEL_ASPECT[1]:
        aspect = 1.0
    width, height = frame.width * aspect, float(frame.height)
    factor = SHORT_SIDE / min(width, height)
    return min(round(width * factor), LONG_SIDE_LIMIT), min(round(height * factor), LONG_SIDE_LIMIT)
