"""Video files of many kinds, made here with PyAV, that tell which of their pictures one is looking at; and a quick
encoder to test the work around encoders."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from embedder.decode import read_media
from embedder.decode_settings import DecodeSettings
from embedder.media import Clip, MediaSample, Wanted

WIDTH, HEIGHT = 320, 240


def picture(number: int, width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> np.ndarray:
    """A picture that tells its number: the upper left half of it is a grey of the value 10 + 5 * (number % 48), and
    below and right of it is a texture of the seed."""
    generator = np.random.default_rng(seed)
    texture = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    frame = np.kron(texture, np.ones((height // 8 + 1, width // 8 + 1, 1), np.uint8))[:height, :width].copy()
    frame[: height // 2, : width // 2] = 10 + 5 * (number % 48)
    return frame


def number_in(frame: np.ndarray) -> int:
    """The number (0..47) that `picture` wrote into a frame."""
    height, width = frame.shape[:2]
    value = frame[height // 8 : height * 3 // 8, width // 8 : width * 3 // 8].mean()
    return round((value - 10) / 5)


def write_video(
    path: Path,
    frames: int = 48,
    fps: Fraction | int = 24,
    codec: str = "libx264",
    gop: int = 12,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    rotation: int | None = None,
    seed: int = 0,
    picture_of: Callable[[int], np.ndarray] | None = None,
    container_options: dict[str, str] | None = None,
    bframes: bool = True,
) -> Path:
    width, height = size
    with av.open(str(path), "w", options=container_options or {}) as container:
        options = {"preset": "ultrafast", "crf": "12", "bf": "2" if bframes else "0"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = gop
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            pixels = picture_of(number) if picture_of else picture(number, width, height, seed)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def repeat_video(source: Path, target: Path, times: int) -> Path:
    """The same pictures again and again: a long file at the price of copying packets."""
    with av.open(str(source)) as original:
        track = original.streams.video[0]
        packets = [packet for packet in original.demux(track) if packet.dts is not None]
        length = track.duration
        with av.open(str(target), "w") as container:
            stream = container.add_stream_from_template(track)
            for repeat in range(times):
                for packet in packets:
                    # A copy of the bytes: muxing changes the packet it is given.
                    copy = av.Packet(bytes(packet))
                    copy.pts, copy.dts = packet.pts + repeat * length, packet.dts + repeat * length
                    copy.time_base, copy.is_keyframe, copy.stream = track.time_base, packet.is_keyframe, stream
                    container.mux(copy)
    return target


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        for start in range(0, 44100, 1024):
            wave = np.sin(np.arange(start, start + 1024) / 20).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def sampled(path: Path, frames: int = 16, settings: DecodeSettings | None = None) -> MediaSample:
    return read_media(path, Wanted(frames=frames), settings)


class StubEncoder:
    """A quick encoder with an honest interface: a clip's mean colours. Counts what it was given."""

    id = "stub/mean-colour"
    dim = 12
    device = "cpu"
    licence = "none"
    wants = Wanted(frames=4)

    def __init__(self) -> None:
        self.clips = 0

    def encode(self, clips: Sequence[Clip]) -> np.ndarray:
        self.clips += len(clips)
        frames = [clip.frames for clip in clips if clip.frames is not None]
        vectors = np.stack([pictures.mean(axis=(1, 2), dtype=np.float32).reshape(-1) for pictures in frames])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
