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
from embedder.encoders.preprocessing import Preprocessing
from embedder.media import Clip
from tests.embedder.made_clips import picture
from tests.embedder.made_models import (
    IMAGE_MODELS,
    LAST_TOKEN,
    PREPROCESSING,
    SIDES,
    VIDEO_MODELS,
    WITH_TEXT,
    WORDS,
    save_model,
    save_preprocessing,
    save_siglip_tokenizer,
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


def prepared_for(kind: str, frame: np.ndarray) -> np.ndarray:
    """(3, H, W) of a square frame, as the processor of this kind of model would have it, by PIL."""
    if kind.startswith("videoprism"):  # not normalised, and larger, whatever the file says
        resized = Image.fromarray(frame).resize((288, 288), Image.Resampling.BICUBIC)
        return np.asarray(resized, np.float32).transpose(2, 0, 1) / 255
    if kind == "vjepa2":  # resized to 8/7 of the crop, whatever the file says
        return prepared_by_pil(frame, (36, 36), Image.Resampling.BICUBIC)[:, 2:34, 2:34]
    side = SIDES.get(kind, 32)
    prepared = prepared_by_pil(frame, (side, side), Image.Resampling.BICUBIC)
    if kind == "vivit":  # its bytes go to -1..1
        prepared -= 1 / np.array(PREPROCESSING["image_std"], np.float32)[:, None, None]
    return prepared


def _first_token(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    return model(pixels).last_hidden_state[:, 0]


def _mean_token(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    return model(pixels).last_hidden_state.mean(dim=1)


def _image_features(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    return model.get_image_features(pixels).pooler_output


def _video_features(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    return model.get_video_features(pixels).pooler_output.flatten(1)


def _pooler_output(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    return model(pixels).pooler_output


#: How each kind of model is asked directly.
ASKED = {
    "siglip": _image_features,
    "clip": _image_features,
    "siglip_vision": _pooler_output,
    "clip_vision": _pooler_output,
    "dinov2": _first_token,
    "dinov2_with_registers": _first_token,
    "dinov3": _first_token,
    "vit": _first_token,
    "videomae": _mean_token,
    "vivit": _first_token,
    "timesformer": _first_token,
    "vjepa2": _mean_token,
    "videoprism": _video_features,
    "videoprism_vision": _mean_token,
    "xclip": _video_features,
}


@pytest.mark.parametrize("kind", [*IMAGE_MODELS, *VIDEO_MODELS])
def test_features_are_those_of_the_model_asked_directly(saved: Saved, models_home: Home, kind: str) -> None:
    from transformers import AutoModel

    frames = np.stack([picture(number, 256, 256, seed=number) for number in range(9)])
    prepared = torch.from_numpy(np.stack([prepared_for(kind, frame) for frame in frames]))
    if kind in VIDEO_MODELS:
        prepared = prepared[None, [0, 3, 5, 8]]  # evenly, from the first to the last
    model = AutoModel.from_pretrained(saved(kind)).eval()
    with torch.inference_mode():
        features = ASKED[kind](model, prepared).numpy()
    expected = (features / np.linalg.norm(features, axis=1, keepdims=True)).mean(axis=0)
    vector = load(saved(kind), models_home).encode([Clip(frames=frames)])[0]
    assert vector @ (expected / np.linalg.norm(expected)) > 0.9999


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What the networks of hub models give, batch by batch."""
    from embedder.encoders.torch_device import Network, TorchDevice

    seen: list[torch.Tensor] = []
    run = TorchDevice.run

    def watched(self: TorchDevice, network: Network, *arguments: Any) -> tuple[np.ndarray, ...]:
        def noted(batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
            seen.extend(network(batch))
            return (seen[-1],)

        return run(self, noted, *arguments)

    monkeypatch.setattr(TorchDevice, "run", watched)
    return seen


@pytest.mark.parametrize("kind", [*IMAGE_MODELS, *VIDEO_MODELS])
def test_no_batch_is_kept_in_memory_for_its_features(
    saved: Saved, models_home: Home, kind: str, outputs: list[torch.Tensor]
) -> None:
    load(saved(kind), models_home).encode([clip(1)])
    assert outputs
    assert all(output.untyped_storage().nbytes() == output.numel() * output.element_size() for output in outputs)


@pytest.mark.parametrize(("kind", "rows"), [("siglip", [12]), ("videomae", [1, 1, 1])])
def test_on_a_cpu_clips_go_through_one_by_one_and_pictures_together(
    saved: Saved, models_home: Home, kind: str, rows: list[int], outputs: list[torch.Tensor]
) -> None:
    encoder = load(saved(kind), models_home, device="cpu")
    outputs.clear()
    encoder.encode([clip(1), clip(2), clip(3)])
    assert [len(output) for output in outputs] == rows


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, lambda frame: prepared_by_pil(frame, (32, 32), Image.Resampling.BICUBIC)),
        ({"size": [32, 40]}, lambda frame: prepared_by_pil(frame, (40, 32), Image.Resampling.BICUBIC)),
        ({"resample": 2}, lambda frame: prepared_by_pil(frame, (32, 32), Image.Resampling.BILINEAR)),
        (
            {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
            lambda frame: prepared_by_pil(frame, (50, 40), Image.Resampling.BICUBIC)[:, 4:36, 9:41],
        ),
        (
            {"size": {"shortest_edge": 32, "height": None, "width": None}},
            lambda frame: prepared_by_pil(frame, (40, 32), Image.Resampling.BICUBIC)[:, :, 4:36],
        ),
        (
            {"do_normalize": False, "do_rescale": False, "do_resize": False},
            lambda frame: frame.transpose(2, 0, 1)[:, :, 32:288].astype(np.float32),
        ),
    ],
)
def test_pictures_are_prepared_as_pil_would(
    tmp_path: Path, values: dict[str, Any], expected: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Also those that the processors of transformers would leave oblong: videos of all shapes make one batch."""
    save_preprocessing(tmp_path, **values)
    frame = picture(3, 320, 256, seed=4)
    assert_alike(prepared_by_us(tmp_path, frame), expected(frame), level=1 / 255 / 0.2)


def prepared_by_us(folder: Path, frame: np.ndarray, usual: str = "ViTImageProcessor") -> np.ndarray:
    prepared = Preprocessing.of(folder, usual).apply(torch.from_numpy(frame[None]), torch.float32)
    return prepared[0].numpy()


def assert_alike(ours: np.ndarray, theirs: np.ndarray, level: float) -> None:
    """PIL rounds and clips to bytes after each direction, torch once: a few levels of 255 at sharp edges."""
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 5 * level and np.abs(ours - theirs).mean() <= level / 2


@pytest.mark.parametrize(
    ("processor", "values"),
    [
        ("SiglipImageProcessor", {}),
        ("SiglipImageProcessor", {"size": {"height": 64, "width": 48}, "resample": 2}),
        ("CLIPImageProcessor", {}),
        ("CLIPImageProcessor", {"size": 224, "crop_size": 200}),
        ("CLIPImageProcessor", {"size": 100, "default_to_square": True, "crop_size": 90}),
        ("CLIPImageProcessor", {"size": {"height": 64, "width": 64}, "do_center_crop": None, "do_rescale": None}),
        ("CLIPImageProcessor", {"do_normalize": None}),
        ("CLIPImageProcessor", {"size": {"shortest_edge": 90}, "crop_size": {"height": 100, "width": 100}}),
        ("BitImageProcessor", {}),
        ("BitImageProcessor", {"size": {"shortest_edge": 200}, "crop_size": {"height": 180, "width": 180}}),
        ("ViTImageProcessor", {}),
        ("ViTImageProcessor", {"size": 100, "do_normalize": False}),
        ("ViTImageProcessor", {"size": 100, "default_to_square": False, "do_center_crop": True, "crop_size": 80}),
        ("DeiTImageProcessor", {}),
        ("VideoMAEImageProcessor", {}),
        ("VideoMAEImageProcessor", {"size": 100, "crop_size": 90}),
        ("VivitImageProcessor", {}),
        ("VivitImageProcessor", dict.fromkeys(("size", "crop_size", "image_mean", "image_std"))),
        ("VivitImageProcessor", {"size": 100, "crop_size": 90, "offset": False, "rescale_factor": 1 / 255}),
    ],
)
def test_pictures_are_prepared_as_the_processors_of_transformers_do(
    tmp_path: Path, processor: str, values: dict[str, Any]
) -> None:
    """What a file leaves out is what the processor that it names would take."""
    import transformers

    kept = {"image_processor_type": processor, **values}
    (tmp_path / "preprocessor_config.json").write_bytes(orjson.dumps(kept))
    # Of little contrast: at sharp edges PIL clips what overshoots in one direction before it goes on with the other.
    frame = picture(3, 305, 256, seed=4) // 2 + 64
    cls = getattr(transformers, f"{processor}Pil", None) or getattr(transformers, processor)
    reference = cls(**values)
    theirs = reference([frame], return_tensors="np")["pixel_values"]
    level = (reference.rescale_factor if reference.do_rescale else 1) / (
        min(reference.image_std) if reference.do_normalize else 1
    )
    assert_alike(prepared_by_us(tmp_path, frame), theirs.reshape(theirs.shape[-3:]), level)


@pytest.mark.parametrize(
    "named",
    [
        {"image_processor_type": "CLIPImageProcessor"},
        {"image_processor_type": "CLIPImageProcessorFast"},
        {"image_processor_type": "CLIPImageProcessorPil"},
        {"feature_extractor_type": "CLIPFeatureExtractor"},
    ],
)
def test_all_the_names_of_a_processor_are_one(tmp_path: Path, named: dict[str, str]) -> None:
    (tmp_path / "preprocessor_config.json").write_bytes(orjson.dumps(named))
    found = Preprocessing.of(tmp_path, "ViTImageProcessor")
    (tmp_path / "preprocessor_config.json").write_bytes(b"{}")
    assert found == Preprocessing.of(tmp_path, "CLIPImageProcessor") != Preprocessing.of(tmp_path, "ViTImageProcessor")


def test_numbers_that_are_null_are_those_of_the_processor(tmp_path: Path) -> None:
    numbers = ("size", "crop_size", "resample", "rescale_factor", "image_mean", "image_std")
    (tmp_path / "preprocessor_config.json").write_bytes(orjson.dumps(dict.fromkeys(numbers)))
    with_null = Preprocessing.of(tmp_path, "VivitImageProcessor")
    (tmp_path / "preprocessor_config.json").write_bytes(b"{}")
    assert with_null == Preprocessing.of(tmp_path, "VivitImageProcessor")


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ("DINOv3ViTImageProcessor", ((224, 224), None, "bilinear", *IMAGENET)),
        ("TimesformerVideoProcessor", ((224,), (224, 224), "bilinear", *IMAGENET)),
        ("VideoMAEVideoProcessor", ((224,), (224, 224), "bilinear", (0.5,) * 3, (0.5,) * 3)),
        ("VJEPA2VideoProcessor", ((292,), (256, 256), "bilinear", *IMAGENET)),
        ("LlavaOnevisionVideoProcessor", ((384, 384), None, "bicubic", *OPENAI)),
    ],
)
def test_what_processors_take_that_cannot_be_had_without_torchvision(
    tmp_path: Path, processor: str, expected: tuple[Any, ...]
) -> None:
    (tmp_path / "video_preprocessor_config.json").write_bytes(orjson.dumps({"video_processor_type": processor}))
    found = Preprocessing.of(tmp_path, "ViTImageProcessor", video=True)
    assert (found.resize, found.crop, found.resample, found.mean, found.std) == expected
    assert (found.scale, found.offset) == (1 / 255, 0)


def test_a_processor_that_is_not_known_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_preprocessing(tmp_path, image_processor_type="OwnImageProcessor")
    assert Preprocessing.of(tmp_path, "ViTImageProcessor").resize == (32, 32)
    assert "is of a OwnImageProcessor, which is not known" in caplog.text


def test_lanczos_is_taken_as_bicubic_and_told_of(
    saved: Saved, models_home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_model(tmp_path / "model", "vit")
    save_preprocessing(folder, resample=1)
    lanczos, bicubic = (load(each, models_home) for each in (folder, saved("vit")))
    assert np.allclose(lanczos.encode([clip(1)]), bicubic.encode([clip(1)]), atol=1e-6)
    assert "model/preprocessor_config.json: resample 1 is Lanczos" in caplog.text


def test_a_crop_larger_than_the_picture_is_black_around_it(tmp_path: Path) -> None:
    save_preprocessing(
        tmp_path, do_resize=False, do_normalize=False, do_center_crop=True, crop_size={"height": 8, "width": 8}
    )
    prepared = prepared_by_us(tmp_path, np.full((4, 4, 3), 255, np.uint8))
    assert prepared.shape == (3, 8, 8) and prepared[:, 2:6, 2:6].min() == 1 and prepared.sum() == 3 * 16


@pytest.mark.parametrize(("kind", "other"), [("vjepa2", "preprocessor"), ("siglip", "video_preprocessor")])
def test_a_video_model_reads_the_file_for_videos_and_an_image_model_that_for_images(
    saved: Saved, models_home: Home, tmp_path: Path, kind: str, other: str
) -> None:
    folder = save_model(tmp_path / "model", kind)
    misleading = {**PREPROCESSING, "image_mean": [0.9, 0.1, 0.9], "crop_size": 48}
    (folder / f"{other}_config.json").write_bytes(orjson.dumps(misleading))
    vectors = [load(each, models_home).encode([clip(1)]) for each in (folder, saved(kind))]
    assert np.allclose(*vectors, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "processor"),
    [
        ("siglip", "SiglipImageProcessor"),
        ("clip", "CLIPImageProcessor"),
        ("dinov2", "BitImageProcessor"),
        ("dinov3", "DINOv3ViTImageProcessor"),
        ("vit", "ViTImageProcessor"),
        ("videomae", "VideoMAEImageProcessor"),
        ("timesformer", "TimesformerVideoProcessor"),
        ("xclip", "CLIPImageProcessor"),
    ],
)
def test_a_file_that_does_not_say_so_is_of_the_processor_of_its_family(
    models_home: Home, tmp_path: Path, kind: str, processor: str
) -> None:
    folder = save_model(tmp_path / "model", kind)
    side = SIDES.get(kind, 32)
    vectors = []
    for named in ({}, {"image_processor_type": processor}):
        values = {"size": {"height": side, "width": side}, "crop_size": side, **named}
        (folder / "preprocessor_config.json").write_bytes(orjson.dumps(values))
        vectors.append(load(folder, models_home).encode([clip(1)]))
    assert np.allclose(*vectors, atol=1e-6)


@pytest.mark.parametrize("part", ["image_processor", "video_processor"])
def test_preprocessing_is_found_where_processors_keep_it(tmp_path: Path, part: str) -> None:
    (tmp_path / "processor_config.json").write_bytes(orjson.dumps({part: PREPROCESSING}))
    assert Preprocessing.of(tmp_path, "ViTImageProcessor").mean == (0.4, 0.5, 0.6)


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


@pytest.mark.parametrize("kind", WITH_TEXT)
def test_words_are_those_of_the_model_asked_directly(saved: Saved, models_home: Home, kind: str) -> None:
    """SigLIP was trained with lower-cased texts, and without a mask for what they are padded with."""
    from transformers import AutoModel

    texts = ["a dog runs", "A Boat", "a dog runs a boat harbour evening " * 4]
    encoder = load(saved(kind), models_home)
    assert isinstance(encoder, TextTower)
    vectors = encoder.encode_texts(texts)
    model = AutoModel.from_pretrained(saved(kind)).eval()
    for text, vector in zip(texts, vectors, strict=True):
        words = (text.lower() if kind == "siglip" else text).split()
        known = [WORDS.index(word) + 2 if word in WORDS else 1 for word in words]
        numbers = [*known[:15], LAST_TOKEN]
        longest = 16 if kind in ("siglip", "videoprism") else len(numbers)
        inputs = {"input_ids": torch.tensor([numbers + [0] * (longest - len(numbers))])}
        if kind != "siglip":
            inputs["attention_mask"] = (inputs["input_ids"] > 0).long()
        with torch.inference_mode():
            expected = model.get_text_features(**inputs).pooler_output.flatten().numpy()
        assert vector @ (expected / np.linalg.norm(expected)) > 0.99999


def test_the_tokenizer_of_the_first_siglip_is_understood(models_home: Home, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", "siglip")
    save_siglip_tokenizer(folder)
    encoder = load(folder, models_home)
    assert isinstance(encoder, TextTower)
    boat, dog, shouted = encoder.encode_texts(["a boat", "a dog", "A BOAT!"])
    assert boat @ dog < 0.999 and np.allclose(boat, shouted, atol=1e-5)


def test_without_a_tokenizer_pictures_are_encoded_and_words_are_not(
    saved: Saved, models_home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_model(tmp_path / "model", "siglip")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    encoder = load(folder, models_home)
    assert not isinstance(encoder, TextTower) and "model has no tokenizer" in caplog.text
    assert np.allclose(encoder.encode([clip(1)]), load(saved("siglip"), models_home).encode([clip(1)]), atol=1e-6)


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
    odd = save_model(tmp_path / "odd", "dinov2", "[mit\ntags: :")
    assert load(odd, models_home).licence == "unknown"
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


def _changed(folder: Path, file: str, **values: Any) -> None:
    kept = orjson.loads((folder / file).read_bytes())
    (folder / file).write_bytes(orjson.dumps({**kept, **values}))


def _another_type(folder: Path) -> None:
    _changed(folder, "config.json", model_type="bert")


def _several_types(folder: Path) -> None:
    _changed(folder, "config.json", model_type=["siglip"])


def _no_type(folder: Path) -> None:
    config = orjson.loads((folder / "config.json").read_bytes())
    del config["model_type"]
    (folder / "config.json").write_bytes(orjson.dumps(config))


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
    save_preprocessing(folder, size={"edge": 32})


def _a_list_for_preprocessing(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("[1, 2]")


def _pictures_of_another_size(folder: Path) -> None:
    save_preprocessing(folder, size={"height": 40, "width": 40})


def _one_mean(folder: Path) -> None:
    save_preprocessing(folder, image_mean=0.5)


def _two_deviations(folder: Path) -> None:
    save_preprocessing(folder, image_std=[0.5, 0.5])


def _no_filter(folder: Path) -> None:
    save_preprocessing(folder, resample=0)


def _no_vocabulary(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _damaged_vocabulary(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version"')


def _gemma_without_vocabulary(folder: Path) -> None:
    _no_vocabulary(folder)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GemmaTokenizer"}')


def _siglip_without_vocabulary(folder: Path) -> None:
    save_siglip_tokenizer(folder)
    (folder / "spiece.model").unlink()


def _no_padding(folder: Path) -> None:
    _changed(folder, "tokenizer_config.json", pad_token=None)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_config, "no config.json"),
        (_another_type, "a model of the type 'bert'; there are clip, .*siglip"),
        (_several_types, r"a model of the type \['siglip'\]; there are"),
        (_no_type, "a model of the type None; there are"),
        (_pickled, "has no safetensors: other weights are not loaded"),
        (_damaged, "cannot be loaded"),
        (_incomplete, "lack .*layers.1.*: they would be random numbers"),
        (_no_preprocessing, "no preprocessor_config.json beside the weights"),
        (_odd_preprocessing, "preprocessor_config.json is no preprocessing that can be read: size is"),
        (_a_list_for_preprocessing, "preprocessor_config.json is no preprocessing that can be read"),
        (_pictures_of_another_size, "does not take pictures as its preprocessing file has them: "),
        (_one_mean, "image_mean is 0.5, not 3 numbers"),
        (_two_deviations, r"image_std is \[0.5, 0.5\], not 3 numbers"),
        (_no_filter, "resample is 0; known are 1, 2 and 3"),
        (_no_vocabulary, "the tokenizer in .* cannot be loaded"),
        (_damaged_vocabulary, "the tokenizer in .* cannot be loaded"),
        (_gemma_without_vocabulary, "knows 5 of 16 tokens: its vocabulary is missing"),
        (_siglip_without_vocabulary, "the tokenizer in .* cannot be loaded"),
        (_no_padding, "the tokenizer in .* does not fit the model"),
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
