"""Models of transformers as encoders: what stands in their files decides, and what cannot be trusted is refused."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from PIL import Image

from data.home import Home
from embedder.encoders import Encoder, EncoderError, EncoderSettings, Pooling, TextTower, load_encoder
from embedder.media import Clip
from tests.embedder.made_clips import picture
from tests.embedder.made_models import (
    IMAGE_MODELS,
    PREPROCESSING,
    VIDEO_MODELS,
    WITH_TEXT,
    save_model,
    save_preprocessing,
)

Saved = Callable[..., Path]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The folder of a small model; not to be written to."""
    folders: dict[str, Path] = {}

    def one(kind: str) -> Path:
        if kind not in folders:
            folders[kind] = save_model(tmp_path_factory.mktemp("models") / kind, kind)
        return folders[kind]

    return one


def load(folder: Path, home: Home, **settings: Any) -> Encoder:
    return load_encoder(EncoderSettings(name=f"hub:{folder}", **settings), home)


def clip(seed: int, frames: int = 4, width: int = 320, height: int = 256) -> Clip:
    return Clip(frames=np.stack([picture(number, width, height, seed) for number in range(frames)]))


# ---- All families --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*IMAGE_MODELS, *VIDEO_MODELS])
def test_every_family_turns_clips_of_all_shapes_into_unit_vectors(saved: Saved, models_home: Home, kind: str) -> None:
    encoder = load(saved(kind), models_home, frames=4)
    clips = [clip(1), clip(2, frames=9), clip(3, width=256, height=455), clip(1, frames=1)]
    vectors = encoder.encode(clips)
    assert vectors.shape == (4, encoder.dim) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alone = np.concatenate([encoder.encode([each]) for each in clips])
    assert np.allclose(vectors, alone, atol=1e-4), "a vector does not depend on its company"
    assert isinstance(encoder, TextTower) == (kind in WITH_TEXT)
    assert encoder.encode([]).shape == (0, encoder.dim) and len(encoder.id) <= 200
    with pytest.raises(ValueError, match="frames"):
        encoder.encode([Clip(text="words")])


@pytest.mark.parametrize("kind", VIDEO_MODELS)
def test_a_video_model_looks_at_as_many_frames_as_it_was_trained_with(
    saved: Saved, models_home: Home, kind: str
) -> None:
    assert load(saved(kind), models_home, frames=16).wants.frames == 4


@pytest.mark.parametrize("kind", VIDEO_MODELS)
def test_a_video_model_sees_in_which_order_things_happen(saved: Saved, models_home: Home, kind: str) -> None:
    encoder = load(saved(kind), models_home)
    pictures = np.stack([np.full((256, 256, 3), value, np.uint8) for value in (0, 80, 160, 240)])
    vectors = encoder.encode([Clip(frames=pictures), Clip(frames=pictures[::-1])])
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4


# ---- As the model's own files have it ------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++, which is not installed")
def test_a_compiled_model_gives_the_same_vectors_under_an_id_of_its_own(saved: Saved, models_home: Home) -> None:
    plain, compiled = (load(saved("siglip"), models_home, compile=compiles) for compiles in (False, True))
    clips = [clip(1), clip(2, frames=9), clip(1, frames=1)]
    assert np.allclose(plain.encode(clips), compiled.encode(clips), atol=1e-4)
    assert plain.id != compiled.id


def prepared_by_pil(frame: np.ndarray, size: tuple[int, int], resample: Image.Resampling) -> np.ndarray:
    """(3, H, W): resized, scaled and normalised as `PREPROCESSING` says."""
    resized = np.asarray(Image.fromarray(frame).resize(size, resample), np.float32) / 255
    mean, std = (np.array(PREPROCESSING[name], np.float32) for name in ("image_mean", "image_std"))
    return ((resized - mean) / std).transpose(2, 0, 1)


def test_features_are_those_of_the_model_asked_directly(saved: Saved, models_home: Home) -> None:
    from transformers import AutoModel

    frames = clip(5).frames
    assert frames is not None
    prepared = np.stack([prepared_by_pil(frame, (32, 32), Image.Resampling.BICUBIC) for frame in frames])
    model = AutoModel.from_pretrained(saved("siglip")).eval()
    with torch.inference_mode():
        features = model.get_image_features(torch.from_numpy(prepared)).pooler_output.numpy()
    expected = (features / np.linalg.norm(features, axis=1, keepdims=True)).mean(axis=0)
    vector = load(saved("siglip"), models_home).encode([Clip(frames=frames)])[0]
    assert vector @ (expected / np.linalg.norm(expected)) > 0.9999


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, lambda frame: prepared_by_pil(frame, (32, 32), Image.Resampling.BICUBIC)),
        ({"resample": 2}, lambda frame: prepared_by_pil(frame, (32, 32), Image.Resampling.BILINEAR)),
        (
            {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
            lambda frame: prepared_by_pil(frame, (50, 40), Image.Resampling.BICUBIC)[:, 4:36, 9:41],
        ),
        (
            {"size": 32, "do_center_crop": True, "crop_size": 32},
            lambda frame: prepared_by_pil(frame, (40, 32), Image.Resampling.BICUBIC)[:, :, 4:36],
        ),
        (
            {"size": {"shortest_edge": 32}},
            lambda frame: prepared_by_pil(frame, (40, 32), Image.Resampling.BICUBIC)[:, :, 4:36],
        ),
        (
            {"do_normalize": False, "do_rescale": False, "do_resize": False, "do_center_crop": False},
            lambda frame: frame.transpose(2, 0, 1).astype(np.float32),
        ),
        (
            {"do_normalize": False, "rescale_factor": 1 / 127.5, "offset": True, "do_resize": False},
            lambda frame: frame.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1,
        ),
    ],
)
def test_pictures_are_prepared_as_pil_would(
    tmp_path: Path, values: dict[str, Any], expected: Callable[[np.ndarray], np.ndarray]
) -> None:
    from embedder.encoders.hub import Preprocessing

    save_preprocessing(tmp_path, **values)
    frame = picture(3, 320, 256, seed=4)
    ours = Preprocessing.of(tmp_path).apply(torch.from_numpy(frame[None]), torch.float32)[0].numpy()
    pils = expected(frame)
    assert ours.shape == pils.shape
    # PIL rounds and clips to bytes after each direction, torch once: a few levels of 255 at sharp edges.
    level = 1 / 255 / 0.2 if values.get("do_normalize", True) else 1 / 127.5
    assert np.abs(ours - pils).max() <= 5 * level and np.abs(ours - pils).mean() <= level / 2


def test_a_crop_larger_than_the_picture_is_black_around_it(tmp_path: Path) -> None:
    from embedder.encoders.hub import Preprocessing

    save_preprocessing(
        tmp_path, do_resize=False, do_normalize=False, do_center_crop=True, crop_size={"height": 8, "width": 8}
    )
    prepared = Preprocessing.of(tmp_path).apply(torch.full((1, 4, 4, 3), 255, dtype=torch.uint8), torch.float32)[0]
    assert prepared.shape == (3, 8, 8) and prepared[:, 2:6, 2:6].min() == 1 and prepared.sum() == 3 * 16


def test_preprocessing_is_found_where_processors_keep_it(tmp_path: Path) -> None:
    from embedder.encoders.hub import Preprocessing

    (tmp_path / "processor_config.json").write_bytes(orjson.dumps({"image_processor": PREPROCESSING}))
    assert Preprocessing.of(tmp_path).mean == (0.4, 0.5, 0.6)


# ---- Words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WITH_TEXT)
def test_words_compare_with_pictures(saved: Saved, models_home: Home, kind: str) -> None:
    encoder = load(saved(kind), models_home)
    assert isinstance(encoder, TextTower)
    texts = encoder.encode_texts(["a dog runs", "a boat", "a harbour " * 50])
    assert texts.shape == (3, encoder.dim) and np.allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    assert abs(texts[0] @ texts[1]) < 0.99999, "other words, another vector"
    assert np.allclose(encoder.encode_texts(["a boat"])[0], texts[1], atol=1e-4)
    assert encoder.encode_texts([]).shape == (0, encoder.dim)


@pytest.mark.parametrize("pooling", ["mean", "mean+std", "mean+std+diff"])
def test_words_are_compared_with_what_a_picture_shows_whatever_the_pooling(
    saved: Saved, models_home: Home, pooling: Pooling
) -> None:
    """What is alike with a still picture is its mean: the order in which words rank pictures is that of the model."""
    plain = load(saved("siglip"), models_home)
    encoder = load(saved("siglip"), models_home, pooling=pooling)
    assert isinstance(plain, TextTower) and isinstance(encoder, TextTower)
    stills = [Clip(frames=np.repeat(picture(0, 256, 256, seed)[None], 4, axis=0)) for seed in range(6)]
    words = ["a dog runs", "harbour evening"]
    right = plain.encode_texts(words) @ plain.encode(stills).T
    ours = encoder.encode_texts(words) @ encoder.encode(stills).T
    correlation = np.corrcoef(right.ravel(), ours.ravel())[0, 1]
    assert correlation > 0.999


# ---- Licence, id, refusals -----------------------------------------------------------------------------------


def test_the_licence_of_the_card_is_told(models_home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="embedder"):
        assert load(save_model(tmp_path / "free", "dinov2", "mit"), models_home).licence == "mit"
    assert "free: weights under the licence mit" in caplog.text
    assert load(save_model(tmp_path / "none", "dinov2", None), models_home).licence == "unknown"
    named = save_model(tmp_path / "named", "dinov2", "other\nlicense_name: dinov3-license")
    assert load(named, models_home).licence == "dinov3-license"


def test_other_bytes_are_another_encoder(models_home: Home, tmp_path: Path) -> None:
    first = save_model(tmp_path / "a" / "model", "siglip")
    same = save_model(tmp_path / "b" / "model", "siglip")
    other = save_model(tmp_path / "c" / "model", "siglip", seed=1)
    assert load(first, models_home).id == load(same, models_home).id, "where it lies does not matter"
    ids = {load(first, models_home).id, load(other, models_home).id}
    ids.add(load(first, models_home, pooling="mean+diff").id)
    ids.add(load(first, models_home, frames=8).id)
    ids.add(load(first, models_home, dim=16).id)
    save_preprocessing(same, image_mean=[0.5, 0.5, 0.5])
    ids.add(load(same, models_home).id)
    assert len(ids) == 6


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _another_type(folder: Path) -> None:
    config = orjson.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_bytes(orjson.dumps({**config, "model_type": "bert"}))


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _damaged(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _incomplete(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if "layers.1" in name)]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _no_preprocessing(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def _odd_preprocessing(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text('{"do_resize": true, "size": {"edge": 32}}')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_config, "no config.json"),
        (_another_type, "a model of the type 'bert'; there are clip, .*siglip"),
        (_pickled, "has no safetensors: other weights are not loaded"),
        (_damaged, "cannot be loaded"),
        (_incomplete, "lack .*layers.1.*: they would be random numbers"),
        (_no_preprocessing, "no preprocessor_config.json beside the weights"),
        (_odd_preprocessing, "preprocessor_config.json is no preprocessing"),
    ],
)
def test_what_cannot_be_trusted_is_refused_in_one_line(
    models_home: Home, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    folder = save_model(tmp_path / "model", "siglip")
    spoil(folder)
    with pytest.raises(EncoderError, match=message) as caught:
        load(folder, models_home)
    assert "\n" not in str(caught.value)


def test_code_of_a_repository_is_never_run(models_home: Home, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", "dinov2")
    config = orjson.loads((folder / "config.json").read_bytes())
    config["auto_map"] = {"AutoModel": "own_code.Model", "AutoConfig": "own_code.Config"}
    (folder / "config.json").write_bytes(orjson.dumps(config))
    canary = tmp_path / "canary"
    (folder / "own_code.py").write_text(f"open({str(canary)!r}, 'w').close()\nclass Model: pass\nclass Config: pass\n")
    assert load(folder, models_home).dim == 32
    assert not canary.exists()


def test_a_name_that_is_no_folder_is_asked_of_the_hub(
    models_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own client finds a model in its cache without a network; one that is not there gives one line."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--someone--model"
    save_model(cached / "snapshots" / revision, "dinov2", "mit")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    by_name = load_encoder(EncoderSettings(name="hub:someone/model"), models_home)
    by_revision = load_encoder(EncoderSettings(name=f"hub:someone/model@{revision}"), models_home)
    assert by_name.licence == by_revision.licence == "mit" and "someone/model" in by_name.id
    with pytest.raises(EncoderError, match="someone/other is no folder and could not be fetched from the hub"):
        load_encoder(EncoderSettings(name="hub:someone/other"), models_home)
