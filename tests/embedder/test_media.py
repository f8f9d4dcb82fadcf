"""What else is read of a file beside its frames: what follows them, what is heard, how far it can be trusted."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from embedder.decode import read_media
from embedder.decode_settings import DecodeSettings
from embedder.isolation import DecodePool
from embedder.media import SOUND_RATE, MediaError, Quality, Reason, Wanted
from tests.embedder.made_clips import number_in, repeat_video, sampled, write_sound, write_video


def write_film(path: Path, seconds: int = 2, tone: float | None = 440.0, picture: bool = True) -> Path:
    """A film with a tone (None: a silent track)."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=Fraction(24)) if picture else None
        audio = container.add_stream("aac", rate=48_000, layout="stereo")
        if video is not None:
            video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
            for number in range(24 * seconds):
                pixels = np.full((120, 160, 3), 10 + 5 * (number % 48), np.uint8)
                pixels[60:, 80:] = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
                container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(video.encode(None))
        for start in range(0, 48_000 * seconds, 1024):
            moments = np.arange(start, start + 1024) / 48_000
            wave = np.zeros(1024) if tone is None else 0.5 * np.sin(2 * np.pi * tone * moments)
            frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]).astype(np.float32), "fltp", "stereo")
            frame.sample_rate, frame.pts = 48_000, start
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def pitch_of(sound: np.ndarray) -> float:
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(sound))
    return float(np.argmax(spectrum) * SOUND_RATE / len(sound))


def test_the_following_frame_is_the_one_a_tenth_of_a_second_later(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mp4", frames=48, fps=30)
    sample = read_media(path, Wanted(frames=8, motion=True))

    assert sample.frames is not None and sample.following is not None
    assert np.array_equal(sample.frames, sampled(path, 8).frames), "motion changes nothing in the frames"
    steps = [number_in(after) - number_in(now) for now, after in zip(sample.frames, sample.following, strict=True)]
    assert steps[:-1] == [3] * 7 and 0 <= steps[-1] <= 3


def test_key_frames_have_their_following_frames_too(tmp_path: Path) -> None:
    film = repeat_video(write_video(tmp_path / "short.mp4", frames=48, fps=30), tmp_path / "film.mp4", 20)
    sample = read_media(film, Wanted(frames=8, motion=True), DecodeSettings(exact_megapixels=0))

    assert sample.mode == "key_frames" and sample.following is not None and sample.frames is not None
    steps = [number_in(after) - number_in(now) for now, after in zip(sample.frames, sample.following, strict=True)]
    assert steps == [3] * 8


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
def test_what_is_heard_is_the_tone_that_was_played(tmp_path: Path, name: str) -> None:
    sample = read_media(write_film(tmp_path / name), Wanted(frames=4, sound=True))

    assert sample.sound is not None and sample.sound.dtype == np.float32
    assert len(sample.sound) == pytest.approx(2 * SOUND_RATE, rel=0.05) and np.abs(sample.sound).max() <= 1
    assert pitch_of(sample.sound) == pytest.approx(440, abs=3)
    assert sample.frames is not None and len(sample.frames) == 4


def test_of_a_long_sound_windows_from_all_over_it_are_read(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=SOUND_RATE, layout="mono")
        for second in range(300):  # the tone rises with each minute
            moments = np.arange(SOUND_RATE) / SOUND_RATE
            wave = np.sin(2 * np.pi * (200 + 200 * (second // 60)) * moments) * 20_000
            frame = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], "s16", "mono")
            frame.sample_rate, frame.pts = SOUND_RATE, second * SOUND_RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    sound = read_media(path, Wanted(sound=True)).sound

    assert sound is not None and len(sound) == 60 * SOUND_RATE
    heard = {round(pitch_of(part) / 200) for part in np.split(sound, 60)}
    assert heard == {1, 2, 3, 4, 5}


def test_sound_alone_serves_whoever_listens_and_nobody_else(tmp_path: Path) -> None:
    song = write_sound(tmp_path / "song.m4a")

    assert read_media(song, Wanted(frames=4, sound=True)).frames is None
    with pytest.raises(MediaError) as refusal:
        read_media(song, Wanted(frames=4))
    assert refusal.value.reason is Reason.NO_VIDEO_TRACK


@pytest.mark.parametrize("tone", [None, "no track"])
def test_silence_is_no_sound(tmp_path: Path, tone: str | None) -> None:
    path = write_film(tmp_path / "a.mp4", tone=None) if tone is None else write_video(tmp_path / "a.mp4")

    assert read_media(path, Wanted(frames=4, sound=True)).sound is None
    with pytest.raises(MediaError) as refusal:
        read_media(path, Wanted(sound=True))
    assert refusal.value.reason is Reason.NO_SOUND


def test_all_that_is_read_comes_through_the_wall_unchanged(tmp_path: Path) -> None:
    path, wanted = write_film(tmp_path / "film.mp4"), Wanted(frames=4, motion=True, sound=True)
    with DecodePool(1) as pool:
        apart, here = pool.read(path, wanted), read_media(path, wanted)

    for name in ("frames", "following", "sound", "times"):
        assert np.array_equal(getattr(apart, name), getattr(here, name)), name
    assert (apart.decoded, apart.distinct, apart.quality) == (here.decoded, here.distinct, here.quality)


# ---- Quality -------------------------------------------------------------------------------------------------


def flat(_number: int) -> np.ndarray:
    return np.zeros((240, 320, 3), np.uint8)


def card(_number: int) -> np.ndarray:
    return np.kron(np.eye(8, dtype=np.uint8)[:, :, None] * np.uint8(200), np.ones((30, 40, 3), np.uint8))


def test_a_good_film_is_good(tmp_path: Path) -> None:
    sample = sampled(write_video(tmp_path / "good.mp4"))
    assert (sample.quality, sample.decoded, sample.distinct) == (Quality.GOOD, 16, 1.0)


def test_black_is_blank_and_a_test_card_still(tmp_path: Path) -> None:
    assert sampled(write_video(tmp_path / "black.mp4", picture_of=flat)).quality is Quality.BLANK
    still = sampled(write_video(tmp_path / "card.mp4", gop=4, picture_of=card))
    assert still.quality is Quality.STILL and still.distinct == 1 / 16 and still.decoded == 16


def test_a_film_of_few_frames_says_so(tmp_path: Path) -> None:
    sample = sampled(write_video(tmp_path / "few.mp4", frames=8))
    assert (sample.quality, sample.decoded, sample.distinct) == (Quality.FEW_FRAMES, 8, 0.5)


def test_a_film_that_ends_before_its_header_says_so_is_damaged(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", frames=240)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert sampled(cut).quality is Quality.DAMAGED
