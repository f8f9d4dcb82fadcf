"""Decoding by way of torchcodec: on CUDA with the GPU's own decoder, here with its build for the CPU. The same moments,
nearly the same pictures, and PyAV for all that it does not take."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from data.home import Home
from data.schema import Video
from data.store import Store
from embedder.batch import EmbedSettings, embed
from embedder.decode import fault_of, read_media
from embedder.decode_settings import DecodeSettings
from embedder.encoders import Encoder, EncoderError, EncoderSettings, load_encoder
from embedder.isolation import DecodePool
from embedder.media import PYAV, Decoder, MediaError, MediaSample, NotTakenError, Quality, Reason, Wanted
from tests.embedder.made_clips import number_in, write_video
from tests.embedder.strangers import KINDS, ROWS, Known, vector_of

ON_CPU: Decoder = "torchcodec-cpu"
#: Kinds of docs/files.md that torchcodec takes. What a GPU's decoder conceals cannot be seen: the flipped bits.
TAKEN = [
    "H.264 in MP4",
    "H.264 in fragmented MP4",
    "HEVC",
    "AV1",
    "VP9",
    "live recording (Matroska without a duration)",
    "portrait, turned by the display matrix",
    "variable frame rate",
    "duration told too long (MP4)",
    "duration told too short (MP4)",
    "duration told too long (Matroska)",
    "duration told too short (Matroska)",
    "name in another script",
    "one frame",
    "cut off",
]
LEFT = [
    "10 bits",
    "HDR (PQ)",
    "transport stream",
    "Windows Media",
    "open group of pictures at the beginning",
    "mirrored by the display matrix",
    "turned and mirrored by the display matrix",
]
REFUSED = [
    "encrypted MP4 (CENC)",
    "encrypted WebM or Matroska",
    "pictures of 30,000 x 30,000 behind a header of 64 x 64",
]


@pytest.fixture(scope="module", autouse=True)
def _torchcodec() -> None:
    try:
        import torchcodec  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"torchcodec or its FFmpeg is not installed: {str(error)[:80]}")


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(1, 20.0, decoder=ON_CPU) as pool:
        yield pool


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clips") / "clip.mp4")


def wanted(frames: int = 16, motion: bool = False, decoder: Decoder = ON_CPU) -> Wanted:
    return Wanted(frames=frames, motion=motion, decoder=decoder)


def numbers(frames: np.ndarray | None) -> list[int]:
    assert frames is not None
    return [number_in(frame) for frame in frames]


def difference(one: MediaSample, other: MediaSample) -> float:
    assert one.frames is not None and other.frames is not None
    return float(np.abs(one.frames.astype(float) - other.frames).mean())


@pytest.mark.parametrize("frames", [1, 16, 48, 100])
def test_the_same_moments_with_and_without(pool: DecodePool, clip: Path, frames: int) -> None:
    hard, soft = (pool.read(clip, wanted(frames, True, decoder)) for decoder in (ON_CPU, PYAV))

    assert (hard.decoder, soft.decoder) == (ON_CPU, PYAV)
    assert np.allclose(hard.times, soft.times, atol=1e-6)
    assert numbers(hard.frames) == numbers(soft.frames) and numbers(hard.following) == numbers(soft.following)
    assert (hard.decoded, hard.distinct, hard.quality, hard.mode) == (
        soft.decoded,
        soft.distinct,
        soft.quality,
        soft.mode,
    )
    assert 0 < difference(hard, soft) < 4


@pytest.mark.parametrize("size", [(1280, 720), (640, 480), (80, 60), (1280, 160)])
def test_pictures_are_scaled_alike(pool: DecodePool, tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_video(tmp_path / "clip.mp4", size=size)
    hard, soft = (pool.read(path, wanted(4, decoder=decoder)) for decoder in (ON_CPU, PYAV))

    assert hard.frames is not None and soft.frames is not None
    assert hard.frames.shape == soft.frames.shape and hard.decoder == ON_CPU
    assert difference(hard, soft) < 6


@pytest.mark.parametrize("kind", TAKEN)
def test_what_it_takes_gives_the_right_embedding(
    kind: str, known: Known, pool: DecodePool, encoder: Encoder, tmp_path: Path
) -> None:
    outcome, cosine = ROWS[kind]
    sample = pool.read(KINDS[kind](known.film, tmp_path), wanted())
    assert (sample.decoder, sample.quality) == (ON_CPU, outcome)
    assert cosine is None or vector_of(encoder, sample) @ known.vector >= cosine - known.slack


@pytest.mark.parametrize("kind", LEFT)
def test_what_it_does_not_take_is_read_as_ever(kind: str, known: Known, pool: DecodePool, tmp_path: Path) -> None:
    path = KINDS[kind](known.film, tmp_path)
    hard, soft = (pool.read(path, wanted(decoder=decoder)) for decoder in (ON_CPU, PYAV))
    assert hard.decoder == PYAV and np.array_equal(hard.frames, soft.frames) and hard.quality == soft.quality


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_refused_here_too(kind: str, known: Known, pool: DecodePool, tmp_path: Path) -> None:
    with pytest.raises(MediaError) as refused:
        pool.read(KINDS[kind](known.film, tmp_path), wanted())
    assert refused.value.reason == ROWS[kind][0]


def test_long_videos_give_their_key_frames_without_it(clip: Path, pool: DecodePool) -> None:
    """Key frames alone are cheaper than all that a GPU would have to decode between them."""
    with DecodePool(1, settings=DecodeSettings(exact_megapixels=0), decoder=ON_CPU) as other:
        sample = other.read(clip, wanted(4))
    assert (sample.mode, sample.decoder) == ("key_frames", PYAV)


def test_what_it_does_not_take_or_fails_at_is_told_to_who_asks_it_alone(clip: Path, tmp_path: Path) -> None:
    other = write_video(tmp_path / "clip.ts")
    for path, decoder in ((other, ON_CPU), (clip, "torchcodec-nowhere")):
        with pytest.raises(NotTakenError):
            read_media(path, wanted(decoder=decoder))  # type: ignore[arg-type]


def test_a_file_that_it_hangs_at_is_read_by_pyav(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedder.isolation.PATIENCE_S", 0.5)
    before = set(psutil.Process().children())
    with DecodePool(1, time_limit_s=1.0, decoder=ON_CPU) as pool:
        assert pool.read(clip, wanted(4)).decoder == ON_CPU
        (worker,) = set(psutil.Process().children()) - before
        worker.suspend()

        sample = pool.read(clip, wanted(4))
        assert (sample.decoder, sample.quality) == (PYAV, Quality.GOOD)
        assert not worker.is_running()
        assert pool.read(clip, wanted(4)).decoder == ON_CPU, "another one has taken its place"


def test_where_it_cannot_be_used_pyav_decodes_and_it_is_told_once(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), DecodePool(2, decoder="torchcodec-nowhere") as pool:  # type: ignore[arg-type]
        samples = [pool.read(clip, wanted(decoder="torchcodec-nowhere")) for _ in range(3)]  # type: ignore[arg-type]
    assert {sample.decoder for sample in samples} == {PYAV}
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "torchcodec-nowhere cannot be used here, PyAV decodes instead"
    ]


def test_one_that_reads_other_pictures_than_were_written_is_not_used(
    pool: DecodePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedder.decode import hardware

    assert fault_of(ON_CPU) is None and fault_of(PYAV) is None
    scaled = hardware._scaled
    for wrong in (lambda pictures: scaled(pictures)[..., ::-1], lambda pictures: scaled(pictures) * 0.86 + 16):
        monkeypatch.setattr(hardware, "_scaled", wrong)
        assert "pictures of a made film differ" in (fault_of(ON_CPU) or "")


def test_the_memory_limit_holds_beside_it(tmp_path: Path, clip: Path) -> None:
    black = np.zeros((4096, 4096, 3), np.uint8)
    huge = write_video(tmp_path / "huge.mp4", frames=4, size=(4096, 4096), picture_of=lambda _: black)
    with DecodePool(1, memory_limit_mb=64, decoder=ON_CPU) as small:
        with pytest.raises(MediaError) as refused:
            small.read(huge, wanted(4))
        assert refused.value.reason == Reason.OUT_OF_MEMORY
        assert small.read(clip, wanted(4)).quality == Quality.GOOD


def test_a_catalogue_is_encoded_with_it_in_a_table_of_its_own(
    home: Home, models_home: Home, store: Store, clip: Path
) -> None:
    store.catalogue.upsert([Video(id="clip", title="clip", media_path=str(clip))])
    encoders = [load_encoder(EncoderSettings(decoder=name), models_home) for name in ("pyav", "torchcodec")]
    assert [encoder.wants.decoder for encoder in encoders] == [PYAV, ON_CPU]
    assert load_encoder(EncoderSettings(device="cpu"), models_home).id == encoders[0].id != encoders[1].id

    reports = [embed(store, home, EmbedSettings(), encoder=encoder) for encoder in encoders]
    assert [report.encoded for report in reports] == [1, 1]
    assert len(list(home.embeddings.iterdir())) == 2


def test_without_it_whoever_asks_for_it_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedder.encoders.find_spec", lambda name: None)
    with pytest.raises(EncoderError, match="torchcodec is not installed"):
        load_encoder(EncoderSettings(decoder="torchcodec"), home)
