"""Pictures by way of torchcodec, whose decoder on CUDA is the GPU's own (NVDEC). The only room that knows torchcodec.

It takes plain files only: what a GPU decodes, and what means the same to every decoder. Importing it imports torch
(seconds). Knows nothing of which moments are wanted, or of quality.
"""

import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.frame import VideoFrame
from torch.nn import functional
from torchcodec.decoders import VideoDecoder

from embedder.decode.container import HDR, Media, display_matrix
from embedder.media import LONG_SIDE_LIMIT, SHORT_SIDE, Decoder

#: What NVDEC decodes on every GPU of the last years, by FFmpeg's names: eight bits, 4:2:0.
CODECS = frozenset({"h264", "hevc", "vp9", "libvpx-vp9", "av1", "libdav1d"})
PIXELS = frozenset({"yuv420p", "nv12"})
#: Containers whose frames have times of their own. In others decoders guess them, each in its way.
CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
#: Bytes of full-size pictures that are on the device at once.
AT_ONCE = 256 * 2**20
#: Mean difference of a colour (0..255) from the pictures of the check that is still the decoder's and the codec's own.
TOLERANCE = 4.0


class UnusableError(RuntimeError):
    """torchcodec cannot decode here, or not this file. `str()` is one line."""


def is_plain(media: Media) -> bool:
    """Whether a file is one of those that this room takes. Reads it once and decodes one picture: what cannot be seen
    in the decoded pictures any more (encryption, damage of the container, a change of size) is seen here."""
    if (
        media.info.container not in CONTAINERS
        or media.stream.codec_context.name not in CODECS
        or (media.stream.sample_aspect_ratio or 1) != 1
    ):
        return False
    first: VideoFrame | None = None
    try:
        for packet in media.container.demux(media.stream):
            if packet.is_corrupt or packet.has_sidedata("encryption_info") or packet.has_sidedata("new_extradata"):
                return False
            if first is None:
                first = next(iter(packet.decode()), None)
    except av.FFmpegError:
        return False
    if first is None:
        return False
    a, b, c, d = display_matrix(first)  # torchcodec turns pictures, but does not mirror them
    return first.format.name in PIXELS and first.color_trc not in HDR and a * d - b * c > 0


def read_frames(
    path: Path, stream: int, moments: Sequence[float], decoder: Decoder
) -> Iterator[tuple[float, np.ndarray, float]]:
    """For each moment, in seconds, ascending, the frame that is shown then: its time, its pixels (H, W, 3) uint8,
    upright, the short side 256, and for how many seconds it is shown. Raises UnusableError, or errors of
    torchcodec's own."""
    device = decoder.removeprefix("torchcodec-")
    file = VideoDecoder(path.absolute(), stream_index=stream, device=device, seek_mode="exact")
    if file.cpu_fallback:
        raise UnusableError(str(file.cpu_fallback))
    about = file.metadata
    first, end = about.begin_stream_seconds, about.end_stream_seconds
    assert about.width and about.height and first is not None and end is not None
    within = np.clip(moments, first, np.nextafter(end, first)).tolist()
    many = max(1, AT_ONCE // (3 * about.width * about.height))
    for start in range(0, len(within), many):
        frames = file.get_frames_played_at(within[start : start + many])
        times, lasting = frames.pts_seconds.tolist(), frames.duration_seconds.tolist()
        yield from zip(times, _scaled(frames.data), lasting, strict=True)


def _scaled(pictures: torch.Tensor) -> np.ndarray:
    """(N, H, W, 3) with the short side `SHORT_SIDE`, of (N, 3, h, w) uint8 on any device."""
    height, width = pictures.shape[2:]
    factor = SHORT_SIDE / min(height, width)
    size = [min(round(side * factor), LONG_SIDE_LIMIT) for side in (height, width)]
    mode = "area" if factor < 1 else "bilinear"  # as FFmpeg's area scaler does it
    scaled = functional.interpolate(pictures.float(), size=size, mode=mode).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def check(decoder: Decoder) -> None:
    """Decodes a made film and compares its pictures with what was written. Raises UnusableError when they differ, or
    errors of torchcodec's own."""
    film = np.stack([_picture(number) for number in range(24)])
    with tempfile.TemporaryDirectory(prefix="watchnext-check-") as folder:
        path = Path(folder) / "check.mp4"
        _write(path, film)
        shown = [2, 9, 16, 23]
        read = list(read_frames(path, 0, [(number + 0.5) / 24 for number in shown], decoder))
    half = film.reshape(len(film), SHORT_SIDE, 2, -1, 2, 3).mean(axis=(2, 4))  # it is written at twice the size
    differences = [abs(pixels - half[number]).mean() for number, (_, pixels, _) in zip(shown, read, strict=True)]
    if max(differences) > TOLERANCE:
        raise UnusableError(
            f"its pictures of a made film differ by {max(differences):.1f} of 255 from what was written"
        )


def _picture(number: int) -> np.ndarray:
    """Soft colours that wander with the number: other channels, another moment or another range of values show."""
    down, right = np.mgrid[0 : 2 * SHORT_SIDE, 0 : 2 * SHORT_SIDE + 128] / (2 * SHORT_SIDE)
    waves = [np.sin(6 * right + number / 2), np.cos(5 * down - number / 3), np.sin(4 * (right + down) + number / 4)]
    return (127.5 + 90 * np.stack(waves, axis=2)).astype(np.uint8)


def _write(path: Path, film: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(24), options={"preset": "ultrafast", "crf": "8"})
        stream.height, stream.width = film.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for pixels in film:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
