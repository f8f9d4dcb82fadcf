"""Files as strangers upload them: a real film written in every way that is in use, and files that are no film.

A maker takes the film (T, H, W, 3) uint8 and a folder, and gives a file. What becomes of each stands in docs/files.md.
"""

import os
import random
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc
from PIL import Image

from embedder.encoders import Encoder
from embedder.media import Clip, MediaSample
from embedder.tone_mapping import BT2020_TO_BT709, DIFFUSE_WHITE, HLG_GAMMA, HLG_PEAK, SDR_GAMMA
from tests.conftest import REPOSITORY
from tests.embedder.made_clips import repeat_video, write_sound

FPS = 15
Maker = Callable[[np.ndarray, Path], Path]

#: Kind -> (what happens, cosine to the film's own embedding or None), as documented.
ROWS = {
    kind: (outcome, float(cosine) if cosine != "-" else None)
    for kind, outcome, cosine in re.findall(
        r"^\| ([^|]+?) \| `(\w+)` \| (-|0\.\d+) \|", (REPOSITORY / "docs" / "files.md").read_text(), re.MULTILINE
    )
}


@dataclass(frozen=True)
class Known:
    """A film, where it lies, its embedding, and how far below the documented cosines it may stay: 0 for the real film
    that they tell of, some for a drawn one, whose flat colours suffer more from old codecs."""

    film: np.ndarray
    path: Path
    vector: np.ndarray
    slack: float


def vector_of(encoder: Encoder, sample: MediaSample) -> np.ndarray:
    return encoder.encode([Clip(frames=sample.frames)])[0]


QUICK: dict[str, dict[str, str]] = {
    "libx264": {"preset": "ultrafast", "crf": "14"},
    "libx265": {"preset": "ultrafast", "crf": "14", "x265-params": "log-level=none"},
    "libvpx": {"cpu-used": "8", "deadline": "realtime"},
    "libvpx-vp9": {"cpu-used": "8", "deadline": "realtime"},
    "libsvtav1": {"preset": "9"},
}


def written(
    path: Path,
    film: Sequence[np.ndarray] | np.ndarray,
    codec: str = "libx264",
    fps: float = FPS,
    pix_fmt: str = "yuv420p",
    gop: int = 15,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    matrix: Sequence[int] | None = None,
    milliseconds: Sequence[int] | None = None,
) -> Path:
    """A film in a file. `matrix`: how it is shown, see `shown`. `milliseconds`: the time of each frame; None: evenly,
    `fps` a second."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        rate = Fraction(fps).limit_denominator(1000)
        stream = container.add_stream(codec, rate=rate, options={**QUICK.get(codec, {}), **(options or {})})
        context = stream.codec_context
        context.height, context.width = film[0].shape[:2]
        context.pix_fmt, context.gop_size, context.bit_rate = pix_fmt, gop, 4_000_000
        if matrix is not None:
            stream.set_display_matrix(matrix)
        if milliseconds is not None:
            context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(film):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number, 1 / rate
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def as_written(name: str, **how: Any) -> Maker:
    return lambda film, folder: written(folder / name, film, **how)


def content(name: str, text: str | bytes) -> Maker:
    def make(_film: np.ndarray, folder: Path) -> Path:
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return folder / name

    return make


def changed(make: Maker, change: Callable[[bytearray], bytes | bytearray]) -> Maker:
    """The file of another maker, its bytes altered."""

    def make_changed(film: np.ndarray, folder: Path) -> Path:
        path = make(film, folder)
        path.write_bytes(change(bytearray(path.read_bytes())))
        return path

    return make_changed


# ---- Pictures of many kinds ----------------------------------------------------------------------------------


def lying_on_its_side(film: np.ndarray, folder: Path) -> Path:
    """As telephones record: the pictures lie on their side and the display matrix says so."""
    return written(folder / "portrait.mp4", np.rot90(film, 1, axes=(1, 2)), matrix=shown(0, 1, -1, 0))


def shown(a: int, b: int, c: int, d: int) -> list[int]:
    """The display matrix by which a pixel at (x, y) is shown at (a x + c y, b x + d y)."""
    one = 1 << 16
    return [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]


def mirrored(film: np.ndarray, folder: Path) -> Path:
    """As cameras for oneself record: the display matrix mirrors the pictures."""
    return written(folder / "mirrored.mp4", film[:, :, ::-1], matrix=shown(-1, 0, 0, 1))


def turned_and_mirrored(film: np.ndarray, folder: Path) -> Path:
    return written(folder / "both.mp4", film.swapaxes(1, 2), matrix=shown(0, 1, 1, 0))


def with_sound_that_goes_on(film: np.ndarray, folder: Path) -> Path:
    """Matroska tells the duration of the whole file: here that of ten times as much sound."""
    picture = written(folder / "picture.mp4", film)
    path = folder / "long-sound.mkv"
    with av.open(str(picture)) as source, av.open(str(path), "w") as container:
        copied = container.add_stream_from_template(source.streams.video[0])
        sound = container.add_stream("aac", rate=44100, layout="mono")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copied
                container.mux(packet)
        for start in range(0, 441 * 1000 * len(film) // FPS, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def behind_a_poster(film: np.ndarray, folder: Path) -> Path:
    """The first track is one small picture; the second is the film, and the one that players are to choose."""
    path = folder / "poster.mkv"
    poster, picture = written(folder / "one.mp4", film[:1, :64, :64]), written(folder / "picture.mp4", film)
    with av.open(str(poster)) as first, av.open(str(picture)) as second, av.open(str(path), "w") as container:
        sources = [first, second]
        copies = [container.add_stream_from_template(source.streams.video[0]) for source in sources]
        copies[1].disposition = Disposition.default
        for source, copied in zip(sources, copies, strict=True):
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = copied
                    container.mux(packet)
    return path


def of_varying_rate(film: np.ndarray, folder: Path) -> Path:
    half = len(film) // 2
    kept = [number for number in range(len(film)) if number < half or number % 4 == 0]
    return written(folder / "varying.mp4", film[kept], milliseconds=[1000 * number // FPS for number in kept])


def in_hdr(name: str, transfer: ColorTrc, film: np.ndarray, folder: Path) -> Path:
    """The film mastered for HDR: the same light at 203 cd/m2 for white, BT.2020 primaries, 10 bits."""
    with av.open(str(folder / name), "w") as container:
        stream = container.add_stream("libx265", rate=FPS, options=QUICK["libx265"])
        context = stream.codec_context
        context.height, context.width = film.shape[1:3]
        context.pix_fmt = "yuv420p10le"
        context.color_primaries, context.color_trc = ColorPrimaries.BT2020, transfer
        context.colorspace = 9  # BT.2020 non-constant luminance, as FFmpeg numbers it
        context.color_range = 1
        for number, pixels in enumerate(film):
            signal = _as_hdr(pixels, transfer)
            frame = av.VideoFrame.from_ndarray((signal * 65535).round().astype(np.uint16), format="rgb48le")
            frame = frame.reformat(format="yuv420p10le", dst_colorspace=Colorspace.BT2020, dst_color_range=1)
            frame.color_primaries, frame.color_trc = ColorPrimaries.BT2020, transfer
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder / name


def _as_hdr(pixels: np.ndarray, transfer: ColorTrc) -> np.ndarray:
    """Signal 0..1 of (H, W, 3) uint8: the standards' formulas forwards, where `tone_mapping` has them backwards."""
    light = (pixels / 255) ** SDR_GAMMA @ np.linalg.inv(BT2020_TO_BT709).T * DIFFUSE_WHITE
    light = np.maximum(light, 0)
    if transfer == ColorTrc.SMPTE2084:
        power = (light / 10_000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    luminance = (light / HLG_PEAK) @ np.array([0.2627, 0.6780, 0.0593])
    scene = light / HLG_PEAK * np.maximum(luminance, 1e-9)[..., None] ** (1 / HLG_GAMMA - 1)
    low, high = np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.clip(np.where(scene <= 1 / 12, low, high), 0, 1)


def with_an_open_beginning(film: np.ndarray, folder: Path) -> Path:
    """Cut at a key frame of an open group of pictures: what is shown first refers to pictures that are not there."""
    params = "log-level=none:open-gop=1:bframes=3:keyint=15:scenecut=0"
    whole = written(folder / "open.ts", film, "libx265", options={"x265-params": params})
    with av.open(str(whole)) as container:
        keys = [packet.pos for packet in container.demux(video=0) if packet.is_keyframe and packet.pos]
    stored = whole.read_bytes()
    whole.write_bytes(stored[: 3 * 188] + stored[keys[1] :])
    return whole


def with_one_key_frame(film: np.ndarray, folder: Path) -> Path:
    """Ten minutes, 3,000 pictures, of which only the first stands for itself."""
    slowly = np.repeat(film, 3000 // len(film), axis=0)[:, ::2, ::2]
    return written(folder / "one-key.mp4", slowly, fps=len(slowly) / 600, gop=100_000, options={"sc_threshold": "0"})


def three_hours(film: np.ndarray, folder: Path) -> Path:
    """108,000 pictures, a key frame every 1.5 s."""
    slowly = np.repeat(film, 3, axis=0)
    one = written(folder / "part.mp4", slowly, fps=10, options={"bf": "0"})
    return repeat_video(one, folder / "long.mp4", -(-108_000 // len(slowly)))


def of_one_pixel(film: np.ndarray, folder: Path) -> Path:
    return written(folder / "pixel.mkv", film[:30, :1, :1], "ffv1", pix_fmt="bgr0")


# ---- Headers that do not tell the truth ----------------------------------------------------------------------


def duration_times(factor: float, stored: bytearray) -> bytearray:
    """An MP4 or Matroska file whose header tells another duration."""
    if b"mvhd" in stored:
        for box, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20), (b"elst", 12)):
            place = stored.index(box) + offset
            (told,) = struct.unpack_from(">I", stored, place)
            # An edit list that shows less is no lie but a wish, so it always covers the film.
            struct.pack_into(">I", stored, place, int(told * (max(factor, 1) if box == b"elst" else factor)))
        return stored
    place = stored.index(b"\x44\x89\x88") + 3
    struct.pack_into(">d", stored, place, struct.unpack_from(">d", stored, place)[0] * factor)
    return stored


def telling(side: int, stored: bytearray) -> bytearray:
    """An uncompressed AVI whose header tells pictures of another size."""
    struct.pack_into("<ii", stored, stored.index(b"strf") + 12, side, side)
    return stored


def unfolding_to_30000_by_30000(_film: np.ndarray, folder: Path) -> Path:
    """A track of one PNG, some 100 KB, that unfolds to 900 million pixels; the container tells of 64 x 64."""
    Image.MAX_IMAGE_PIXELS = None
    picture = folder / "huge.png"
    Image.new("1", (30_000, 30_000)).save(picture)
    path = folder / "huge.nut"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width = stream.height = 64
        stream.pix_fmt = "rgb24"
        container.start_encoding()
        packet = av.Packet(picture.read_bytes())
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 1)
        container.mux(packet)
    return path


# ---- Damage --------------------------------------------------------------------------------------------------


def cut_off(stored: bytearray) -> bytearray:
    return stored[: len(stored) * 6 // 10]


def bits_flipped(stored: bytearray) -> bytearray:
    generator = random.Random(7)
    for _ in range(60):
        stored[generator.randrange(4096, len(stored))] ^= 1 << generator.randrange(8)
    return stored


def without_its_index(stored: bytearray) -> bytearray:
    return stored[: stored.index(b"moov") - 4]


# ---- Encrypted -----------------------------------------------------------------------------------------------

CENC = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "0123456789abcdef" * 2, "encryption_kid": "22" * 16}


def scrambled(stored: bytearray) -> bytearray:
    """A transport stream as broadcast for those who pay: the payload of the video packets cannot be read."""
    generator = random.Random(7)
    for start in range(0, len(stored), 188):
        if int.from_bytes(stored[start + 1 : start + 3]) & 0x1FFF == 0x100:
            stored[start + 3] |= 0x80
            stored[start + 20 : start + 188] = generator.randbytes(168)
    return stored


def encrypted_matroska(film: np.ndarray, folder: Path) -> Path:
    """A Matroska file whose track says that it is encrypted (ContentEncodings with a key id), as WebM for DRM does."""
    path = written(folder / "encrypted.mkv", film, container_options={"write_crc32": "0"})
    stored = path.read_bytes()
    key = b"\x47\xe2\x84keyA"  # ContentEncKeyID
    encryption = b"\x50\x35" + _sized(b"\x47\xe1\x81\x05" + key)  # AES
    encodings = b"\x6d\x80" + _sized(b"\x62\x40" + _sized(b"\x50\x33\x81\x01" + encryption))
    tracks = stored.index(b"\x16\x54\xae\x6b", stored.index(b"\x16\x54\xae\x6b") + 4)  # the first is a signpost
    entry = stored.index(b"\xae", tracks + 4)
    told = bytearray(stored)
    for place in (entry + 1, tracks + 4):
        length = 9 - told[place].bit_length()
        size = int.from_bytes(told[place : place + length]) & ((1 << 7 * length) - 1)
        if place == entry + 1:
            end = place + length + size
            told[end:end] = encodings
        told[place : place + length] = (size + len(encodings) | 1 << 7 * length).to_bytes(length)
    path.write_bytes(told)
    return path


def _sized(payload: bytes) -> bytes:
    """An EBML payload behind its size."""
    return (len(payload) | 1 << 14).to_bytes(2) + payload


# ---- Files that point at others ------------------------------------------------------------------------------


def pointing(name: str, text: str) -> Maker:
    """A text that names another file: a pipe, so that whoever opened it would wait for ever."""

    def make(_film: np.ndarray, folder: Path) -> Path:
        (folder / name).write_text(text.format(target=_pipe(folder)))
        return folder / name

    return make


def _pipe(folder: Path) -> Path:
    pipe = folder / "pipe.ts"
    os.mkfifo(pipe)
    return pipe


def with_a_reference_outwards(film: np.ndarray, folder: Path) -> Path:
    """A QuickTime file whose data reference (an alias record with an absolute path) names another file."""
    path = written(folder / "reference.mov", film)
    stored = path.read_bytes()
    target = str(_pipe(folder)).encode()
    alias = bytearray(150)
    struct.pack_into(">HH", alias, 4, 150, 2)
    for kind in (2, 18):  # the path as the old system wrote it, and as Unix does
        alias += struct.pack(">HH", kind, len(target)) + target + b"\0" * (len(target) % 2)
    alias += struct.pack(">HH", 0xFFFF, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + bytes(alias)
    place = stored.index(b"dref") - 4
    (size,) = struct.unpack_from(">I", stored, place)
    box = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    out = bytearray(stored[:place] + box + stored[place + size :])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        at = out.index(name) - 4
        struct.pack_into(">I", out, at, struct.unpack_from(">I", out, at)[0] + len(box) - size)
    path.write_bytes(out)
    return path


def a_link(film: np.ndarray, folder: Path) -> Path:
    written(folder / "elsewhere.mp4", film)
    (folder / "link.mp4").symlink_to(folder / "elsewhere.mp4")
    return folder / "link.mp4"


def sound_alone(_film: np.ndarray, folder: Path) -> Path:
    return write_sound(folder / "sound.m4a")


M3U8 = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>"
)
IDX = "# VobSub index file, v7 (do not modify this line!)\nsize: 720x576\nid: en, index: 0\n{target}\n"

#: What stands in the first column of docs/files.md -> how it is made.
KINDS: dict[str, Maker] = {
    "H.264 in MP4": as_written("film.mp4"),
    "H.264 in fragmented MP4": as_written("film.mp4", container_options={"movflags": "frag_keyframe+empty_moov"}),
    "HEVC": as_written("film.mp4", codec="libx265"),
    "AV1": as_written("film.webm", codec="libsvtav1"),
    "VP8": as_written("film.webm", codec="libvpx"),
    "VP9": as_written("film.webm", codec="libvpx-vp9"),
    "MPEG-1": as_written("film.mpg", codec="mpeg1video", fps=25),
    "MPEG-2": as_written("film.mpg", codec="mpeg2video", fps=25),
    "MPEG-2 in MXF": as_written("film.mxf", codec="mpeg2video", fps=25),
    "MPEG-4 part 2 in AVI": as_written("film.avi", codec="mpeg4"),
    "ProRes": as_written("film.mov", codec="prores", pix_fmt="yuv422p10le"),
    "Motion JPEG": as_written("film.avi", codec="mjpeg", pix_fmt="yuvj420p"),
    "Windows Media": as_written("film.wmv", codec="wmv2"),
    "uncompressed pictures in AVI": as_written("film.avi", codec="rawvideo", pix_fmt="bgr24"),
    "Flash video": as_written("film.flv", codec="flv"),
    "H.264 in Flash video": as_written("film.flv"),
    "transport stream": as_written("film.ts"),
    "live recording (Matroska without a duration)": as_written("film.mkv", container_options={"live": "1"}),
    "animated GIF": as_written("film.gif", codec="gif", pix_fmt="rgb8"),
    "portrait, turned by the display matrix": lying_on_its_side,
    "mirrored by the display matrix": mirrored,
    "turned and mirrored by the display matrix": turned_and_mirrored,
    "display matrix of zeros": as_written("zeros.mp4", matrix=[0] * 9),
    "a poster as the first track": behind_a_poster,
    "sound that goes on after the pictures (Matroska)": with_sound_that_goes_on,
    "three pictures in 15 seconds": lambda film, folder: written(folder / "slides.mp4", film[:33:15], fps=0.2),
    "variable frame rate": of_varying_rate,
    "10 bits": as_written("film.mp4", codec="libx265", pix_fmt="yuv420p10le"),
    "HDR (PQ)": partial(in_hdr, "pq.mp4", ColorTrc.SMPTE2084),
    "HDR (HLG)": partial(in_hdr, "hlg.mp4", ColorTrc.ARIB_STD_B67),
    "open group of pictures at the beginning": with_an_open_beginning,
    "one key frame in ten minutes": with_one_key_frame,
    "three hours": three_hours,
    "duration told too long (MP4)": changed(as_written("film.mp4"), partial(duration_times, 1000)),
    "duration told too short (MP4)": changed(as_written("film.mp4"), partial(duration_times, 0.05)),
    "duration told too long (Matroska)": changed(as_written("film.mkv"), partial(duration_times, 1000)),
    "duration told too short (Matroska)": changed(as_written("film.mkv"), partial(duration_times, 0.05)),
    "name that begins with a dash": as_written("-i.mp4"),
    "name in another script": as_written("фильм 映画 🎬.mp4"),
    "QuickTime file that refers to another file": with_a_reference_outwards,
    "one frame": lambda film, folder: written(folder / "one.mp4", film[:1]),
    "1 x 1 pixel": of_one_pixel,
    "cut off": changed(as_written("film.mkv"), cut_off),
    "bits flipped": changed(as_written("film.mkv"), bits_flipped),
    "MP4 without its index": changed(as_written("film.mp4"), without_its_index),
    "encrypted MP4 (CENC)": as_written("film.mp4", container_options=CENC),
    "encrypted WebM or Matroska": encrypted_matroska,
    "scrambled transport stream": changed(as_written("film.ts"), scrambled),
    "header of 16,000 x 16,000": changed(
        as_written("film.avi", codec="rawvideo", pix_fmt="bgr24"), partial(telling, 16_000)
    ),
    "header of 30,000 x 30,000": changed(
        as_written("film.avi", codec="rawvideo", pix_fmt="bgr24"), partial(telling, 30_000)
    ),
    "pictures of 30,000 x 30,000 behind a header of 64 x 64": unfolding_to_30000_by_30000,
    "sound without pictures": sound_alone,
    "zero bytes": content("empty.mp4", b""),
    "text named .mp4": content("text.mp4", "this is not a video\n" * 100),
    "naked H.264 without a container": as_written("film.h264"),
    "playlist (HLS)": pointing("list.mp4", M3U8),
    "playlist (DASH)": pointing("list.mp4", DASH),
    "playlist (concat)": pointing("list.mp4", "ffconcat version 1.0\nfile {target}\n"),
    "session description (SDP)": pointing("session.mp4", SDP),
    "subtitles that belong to another file": pointing("subtitles.mp4", IDX),
    "link out of the folder": a_link,
}
