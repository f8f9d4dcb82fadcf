"""Frames from real files of many kinds: the right pictures, and the right reason where there are none."""

import os
import socket
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from embedder.decode import probe
from embedder.decode_settings import DecodeSettings
from embedder.media import MediaError, Reason
from tests.embedder.made_clips import number_in, repeat_video, sampled, write_sound, write_video

#: The middles of 16 equal parts of 48 frames lie between two pictures; the earlier one is shown then.
EVEN_16_OF_48 = [1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 34, 37, 40, 43, 46]
ALWAYS_EXACT = DecodeSettings(exact_megapixels=1e9)
NEVER_EXACT = DecodeSettings(exact_megapixels=0)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("clip.mp4", "libx264"),
        ("clip.mov", "libx264"),
        ("clip.mkv", "libx264"),
        ("clip.webm", "libvpx-vp9"),
        ("clip.ts", "libx264"),
        ("clip.flv", "libx264"),
    ],
)
@pytest.mark.parametrize("gop", [6, 48])
def test_sixteen_frames_are_spread_evenly_in_every_container(tmp_path: Path, name: str, codec: str, gop: int) -> None:
    sample = sampled(write_video(tmp_path / name, codec=codec, gop=gop))

    assert [number_in(frame) for frame in sample.frames] == EVEN_16_OF_48
    assert sample.frames.dtype == np.uint8 and sample.frames.shape == (16, 256, 341, 3)
    assert sample.mode == "exact" and sample.distinct == 1.0
    assert sample.info.duration_s == pytest.approx(2.0, abs=0.05)
    assert sample.times == pytest.approx([number / 24 for number in EVEN_16_OF_48], abs=0.002)


def test_an_avi_without_presentation_times_is_read_in_order(tmp_path: Path) -> None:
    sample = sampled(write_video(tmp_path / "clip.avi", codec="mpeg4"))

    assert np.abs(np.array([number_in(frame) for frame in sample.frames]) - EVEN_16_OF_48).max() <= 1  # lossy greys
    assert sample.times == pytest.approx([number / 24 for number in EVEN_16_OF_48], abs=0.002)


def test_odd_durations_and_rates(tmp_path: Path) -> None:
    path = write_video(tmp_path / "odd.mp4", frames=37, fps=Fraction(30000, 1001))

    numbers = [number_in(frame) for frame in sampled(path).frames]

    assert numbers == [int((part + 0.5) * 37 / 16) for part in range(16)]


def test_a_seek_gives_the_same_frames_as_reading_through(tmp_path: Path) -> None:
    """In matroska and mp4 the reader seeks, in a transport stream it reads through: the pictures are the same."""
    pictures = {}
    short = write_video(tmp_path / "short.mp4", gop=12)
    for name in ("a.mp4", "a.mkv", "a.ts"):
        pictures[name] = sampled(repeat_video(short, tmp_path / name, 20), 16, ALWAYS_EXACT)

    assert np.array_equal(pictures["a.mp4"].frames, pictures["a.mkv"].frames)
    assert np.array_equal(pictures["a.mp4"].frames, pictures["a.ts"].frames)


@pytest.mark.parametrize("name", ["long.mp4", "long.mkv", "long.ts"])
def test_a_long_video_gives_its_key_frames(tmp_path: Path, name: str) -> None:
    long = repeat_video(write_video(tmp_path / "short.mp4", gop=12), tmp_path / name, 20)

    sample = sampled(long, 16, NEVER_EXACT)

    assert sample.mode == "key_frames" and sample.distinct == 1.0
    # Key frames stand every half second, at or before the middle of each part of the 40 s.
    late = (np.arange(16) + 0.5) * 40 / 16 - sample.times
    assert late.min() >= -0.001 and late.max() <= 0.5
    assert {number_in(frame) for frame in sample.frames} <= {0, 12, 24, 36}


@pytest.mark.parametrize("name", ["one-key.mp4", "one-key.mkv", "one-key.ts"])
def test_a_clip_with_one_key_frame_is_decoded_exactly(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, gop=1000)

    sample = sampled(path, 16, NEVER_EXACT)

    assert sample.mode == "exact"
    assert [number_in(frame) for frame in sample.frames] == EVEN_16_OF_48


@pytest.mark.parametrize(
    ("rotation", "corner"), [(-90, "upper right"), (90, "lower left"), (180, "lower right"), (None, "upper left")]
)
def test_a_turned_recording_stands_upright(tmp_path: Path, rotation: int | None, corner: str) -> None:
    """A phone held upright stores lying pictures and the angle to turn them by (-90: clockwise)."""
    frame = sampled(write_video(tmp_path / "turned.mp4", rotation=rotation)).frames[0]

    height, width = frame.shape[:2]
    assert (height > width) == (rotation in (90, -90))
    quarters = {
        f"{vertical} {horizontal}": frame[top + 20 : top + height // 2 - 20, left + 20 : left + width // 2 - 20].std()
        for vertical, top in (("upper", 0), ("lower", height // 2))
        for horizontal, left in (("left", 0), ("right", width // 2))
    }
    assert min(quarters, key=lambda quarter: quarters[quarter]) == corner  # the flat grey quarter


def test_a_single_picture_is_repeated(tmp_path: Path) -> None:
    sample = sampled(write_video(tmp_path / "one.mp4", frames=1))

    assert sample.frames.shape[0] == 16 and sample.distinct == 1 / 16


def test_a_panorama_keeps_its_short_side(tmp_path: Path) -> None:
    sample = sampled(write_video(tmp_path / "wide.mp4", size=(640, 64)))

    assert sample.frames.shape == (16, 256, 1024, 3)


@pytest.mark.parametrize("name", ["cut.mkv", "cut.ts", "cut.mp4"])
def test_a_file_that_was_cut_off_gives_what_is_there(tmp_path: Path, name: str) -> None:
    whole = write_video(tmp_path / f"whole-{name}", gop=12, container_options={"movflags": "faststart"})
    content = whole.read_bytes()
    cut = tmp_path / name
    cut.write_bytes(content[: len(content) * 6 // 10])

    sample = sampled(cut)

    numbers = [number_in(frame) for frame in sample.frames]
    assert numbers == sorted(numbers)
    assert sample.distinct > 0.75, "the frames are spread over the part that can be read"
    assert 15 < numbers[-1] < 40


def test_damage_in_the_middle_costs_few_frames(tmp_path: Path) -> None:
    content = bytearray(write_video(tmp_path / "whole.mkv", gop=6).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = os.urandom(2000)
    damaged = tmp_path / "damaged.mkv"
    damaged.write_bytes(content)

    numbers = [number_in(frame) for frame in sampled(damaged).frames]

    assert numbers[0] == 1 and numbers[-1] == 46


def test_probe_says_what_the_container_says(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "clip.mp4"))

    assert (info.codec, info.width, info.height, info.fps, info.has_audio) == ("h264", 320, 240, 24.0, False)
    assert info.duration_s == pytest.approx(2.0)


# ---- Refusals ----------------------------------------------------------------------------------------------


def refusal(path: Path, settings: DecodeSettings | None = None) -> Reason:
    with pytest.raises(MediaError) as error:
        sampled(path, settings=settings)
    assert str(error.value) == f"{error.value.reason}: {error.value.detail}" and error.value.detail
    return error.value.reason


def test_reasons(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 100)
    (tmp_path / "noise.mp4").write_bytes(os.urandom(50_000))
    write_sound(tmp_path / "sound.mp4")
    whole = write_video(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "headless.mp4").write_bytes(whole[: len(whole) // 2])  # the index stands at the end

    assert refusal(tmp_path / "missing.mp4") == Reason.NOT_FOUND
    assert refusal(tmp_path / "whole.mp4" / "below-a-file.mp4") == Reason.NOT_FOUND
    assert refusal(tmp_path / "empty.mp4") == Reason.EMPTY_FILE
    assert refusal(tmp_path / "text.mp4") == Reason.NOT_A_VIDEO
    assert refusal(tmp_path / "noise.mp4") == Reason.NOT_A_VIDEO
    assert refusal(tmp_path / "headless.mp4") == Reason.NOT_A_VIDEO
    assert refusal(tmp_path / "sound.mp4") == Reason.NO_VIDEO_TRACK
    assert refusal(tmp_path / "whole.mp4", DecodeSettings(max_pixels=10_000)) == Reason.TOO_LARGE
    assert refusal(tmp_path) == Reason.NOT_A_FILE


def test_a_track_of_nothing_but_damage_is_undecodable(tmp_path: Path) -> None:
    content = bytearray(write_video(tmp_path / "whole.mp4").read_bytes())
    start = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    content[start:end] = b"\xff" * (end - start)
    (tmp_path / "damaged.mp4").write_bytes(content)

    assert refusal(tmp_path / "damaged.mp4") == Reason.UNDECODABLE


def test_a_named_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")  # to open it would wait for ever

    assert refusal(tmp_path / "pipe.mp4") == Reason.NOT_A_FILE


def test_playlists_are_refused_and_nothing_is_fetched(tmp_path: Path) -> None:
    """A playlist that was uploaded as a video must not make the decoder read other files or call other machines."""
    clip = write_video(tmp_path / "clip.ts")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:{port}/x.ts\n#EXT-X-ENDLIST\n"
        (tmp_path / "hls.mp4").write_text(playlist)
        (tmp_path / "local.m3u8").write_text(playlist.replace(f"http://127.0.0.1:{port}/x.ts", str(clip)))
        (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile {clip.name}\n")

        for name in ("hls.mp4", "local.m3u8", "concat.mp4"):
            assert refusal(tmp_path / name) == Reason.NOT_A_VIDEO
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_url_is_a_file_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(Path("http://127.0.0.1:9/clip.mp4")) == Reason.NOT_FOUND


def test_a_file_may_be_named_like_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mp4").rename(tmp_path / "concat:a|b.mp4")

    assert sampled(Path("concat:a|b.mp4")).distinct == 1.0


# ---- Real clips --------------------------------------------------------------------------------------------


def test_real_clips_decode(shared_clips: Path) -> None:
    paths = sorted((shared_clips / "dev").glob("*/*"))[::15]
    assert paths
    for path in paths:
        sample = sampled(path)
        assert sample.decoded == 16 and sample.frames is not None, path
        assert min(sample.frames.shape[1:3]) == 256
