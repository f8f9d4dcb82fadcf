"""Image and video models of transformers as encoders, from a local folder or from the hub.

Only safetensors are loaded and no code of a repository is run. What is loaded is a folder whose bytes are in the
encoder's id. Knows models; how pictures are prepared is in `preprocessing`. Knows nothing of files with videos in them.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from data.files import sha256_of
from embedder.decode_settings import USUAL_SAMPLING, Sampling
from embedder.encoders import EncoderError, Pooling
from embedder.encoders.pooling import VERSION as POOLING
from embedder.encoders.pooling import normalised, pooled, pooled_dim
from embedder.encoders.preprocessing import Preprocessing
from embedder.encoders.projection import projected, projection_id
from embedder.media import SHORT_SIDE, Clip, Wanted

log = logging.getLogger(__name__)

#: Part of these encoders' ids: count it up when pictures are prepared, or models asked, in another way.
VERSION = 2
#: What is fetched of a repository: never code, never pickled weights.
FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model", "README.md"]
#: What the tokenizers of these models are saved as; a folder without any of them has none.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "merges.txt",
)
#: Parts of models whose outputs are not looked at, and which some files therefore lack.
UNUSED = ("pooler.", "predictor.")
#: How VideoPrism was trained, and what its processor is to ask for whatever the file says.
VIDEOPRISM_INPUT = {"size": {"height": 288, "width": 288}, "do_normalize": False}


@dataclass(frozen=True)
class Family:
    """How a kind of model is asked. `pictures`: the method or output that holds a picture's (or clip's) features;
    `processor`: whose preprocessing file it has where the file does not say so; `forced`: what holds whatever that
    file says; `video`: whether its input is a whole clip (N, T, 3, H, W) instead of single pictures; `input`: its
    name; `text`: whether it has a text tower whose vectors compare with them; `padding`: of the texts; `lower_case`:
    whether it was trained with lower-cased texts alone; `text_inputs`: what of the tokens goes in."""

    pictures: str
    processor: str
    forced: Mapping[str, Any] | None = None
    video: bool = False
    input: str = "pixel_values"
    text: bool = False
    padding: str | bool = True
    lower_case: bool = False
    text_inputs: tuple[str, ...] = ("input_ids", "attention_mask")


FAMILIES: dict[str, Family] = {
    # Trained with texts padded to the longest length, and with the padding looked at: without a mask.
    "siglip": Family(
        "get_image_features",
        "SiglipImageProcessor",
        text=True,
        padding="max_length",
        lower_case=True,
        text_inputs=("input_ids",),
    ),
    "clip": Family("get_image_features", "CLIPImageProcessor", text=True),
    "siglip_vision_model": Family("pooler_output", "SiglipImageProcessor"),
    "clip_vision_model": Family("pooler_output", "CLIPImageProcessor"),
    "dinov2": Family("pooler_output", "BitImageProcessor"),
    "dinov2_with_registers": Family("pooler_output", "BitImageProcessor"),
    "dinov3_vit": Family("pooler_output", "DINOv3ViTImageProcessor"),
    "vit": Family("first_token", "ViTImageProcessor"),
    "videomae": Family("mean_token", "VideoMAEImageProcessor", video=True),
    "vivit": Family("first_token", "VivitImageProcessor", video=True),
    "timesformer": Family("first_token", "TimesformerVideoProcessor", video=True),
    "vjepa2": Family("mean_token", "VJEPA2VideoProcessor", video=True, input="pixel_values_videos"),
    "videoprism": Family(
        "get_video_features",
        "VideoPrismVideoProcessor",
        forced=VIDEOPRISM_INPUT,
        video=True,
        input="pixel_values_videos",
        text=True,
        padding="max_length",
    ),
    "videoprism_vision_model": Family(
        "mean_token", "VideoPrismVideoProcessor", forced=VIDEOPRISM_INPUT, video=True, input="pixel_values_videos"
    ),
    "xclip": Family("get_video_features", "CLIPImageProcessor", video=True, text=True),
}


class HubEncoder:
    """Implements `encoders.Encoder` with a model of `FAMILIES`; built by `load_hub_encoder`."""

    _has_text = False

    def __init__(
        self,
        folder: Path,
        shown_name: str,
        device: str,
        sampling: Sampling,
        pooling: Pooling | None,
        dim: int,
        compiled: bool,
    ) -> None:
        from embedder.encoders.torch_device import CPU_BATCH, TorchDevice
        from embedder.encoders.transformers_models import load_model, load_tokenizer

        config = _config_of(folder)
        self._family = FAMILIES[config["model_type"]]
        self._preprocessing = Preprocessing.of(folder, self._family.processor, self._family.video, self._family.forced)
        self._tokenizer: Any = load_tokenizer(folder) if self._has_text else None
        # On a CPU a single clip fills the cores, and a batch of them would take gigabytes.
        self._runtime = TorchDevice(device, compiled=compiled, cpu_batch=1 if self._family.video else CPU_BATCH)
        unused = () if self._family.pictures == "pooler_output" else UNUSED
        self._model = load_model(folder, self._runtime.dtype, unused).to(self._runtime.device)
        self._network = self._runtime.prepared(self._forward)
        self.device = device
        self.licence = licence_of(folder)
        if self._family.video:
            sampling = replace(sampling, frames=_clip_length(self._model.config, sampling.frames))
        self.wants = Wanted(frames=sampling.frames, decoder=sampling.decoder)
        self._pooling = None if self._family.video else (pooling or "mean")
        probe = np.zeros((sampling.frames if self._family.video else 1, SHORT_SIDE, SHORT_SIDE, 3), np.uint8)
        with _in_one_line(f"the model in {folder} does not take pictures as its preprocessing file has them"):
            features = self._features([probe]).shape[1]
        self._long = pooled_dim(features, self._pooling) if self._pooling else features
        self.dim = min(self._long, dim)
        if self._tokenizer is not None:
            _check_vocabulary(folder, len(self._tokenizer), self._model.config.text_config.vocab_size)
            with _in_one_line(f"the tokenizer in {folder} does not fit the model"):
                self._encode_texts(["a dog runs"])
        weights = _hash_of(folder)
        pooled_as = f"{self._pooling}-v{POOLING}" if self._pooling else "clip"
        model = f"hub:{shown_name[-80:]}@{weights[:8]}-v{VERSION}"
        self.id = f"{model}/{self._runtime.name}/of-{SHORT_SIDE}/{sampling.id}/{pooled_as}"
        self.id += projection_id(self._long, dim)

    def encode(self, clips: Sequence[Clip]) -> np.ndarray:
        """(N, dim) float32, each row of length 1, from the frames of N clips. Raises ValueError for one without."""
        if not clips:
            return np.zeros((0, self.dim), np.float32)
        frames = []
        for clip in clips:
            if clip.frames is None or len(clip.frames) == 0:
                raise ValueError("a clip needs frames (T, H, W, 3) uint8")
            frames.append(clip.frames)
        features = self._features(frames)
        if self._pooling:
            features = pooled(features, [len(pictures) for pictures in frames], self._pooling)
        return normalised(projected(features, self.dim))

    def _features(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Float32, (number of all frames, D), or (number of clips, D) of a video model."""

        def prepare(frames: Any) -> Any:
            pictures = self._preprocessing.apply(frames, self._runtime.dtype)
            return pictures[None] if self._family.video else pictures

        if self._family.video:
            clips = [_with_length(clip, self.wants.frames) for clip in clips]
        (features,) = self._runtime.run(self._network, clips, prepare)
        return features

    def _forward(self, pictures: Any) -> tuple[Any, ...]:
        # A copy: the view of one token would keep all tokens of a batch in memory until the last batch is done.
        return (self._asked(pictures).clone(),)

    def _asked(self, pictures: Any) -> Any:
        family = self._family
        inputs = {family.input: pictures}
        if family.pictures.startswith("get_"):
            return _pooler_output(getattr(self._model, family.pictures)(**inputs))
        if self._model.config.model_type == "vjepa2":
            inputs["skip_predictor"] = True
        outputs = self._model(**inputs)
        if family.pictures == "pooler_output":
            return outputs.pooler_output
        states = outputs.last_hidden_state
        return states[:, 0] if family.pictures == "first_token" else states.mean(dim=1)

    def _encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        import torch

        family = self._family
        tokens = self._tokenizer(
            [text.lower() for text in texts] if family.lower_case else list(texts),
            padding=family.padding,
            truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self._runtime.device)
        with torch.inference_mode():
            outputs = self._model.get_text_features(**{name: tokens[name] for name in family.text_inputs})
            features = _pooler_output(outputs).float().cpu().numpy()
        # A text has no motion: beside its block of means the other blocks of a pooled vector are zero.
        features = np.pad(normalised(features), ((0, 0), (0, self._long - features.shape[1])))
        return normalised(projected(features, self.dim))


class HubEncoderWithText(HubEncoder):
    """With the model's own text tower: pictures are found by what is asked in words."""

    _has_text = True

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(N, dim) float32, each row of length 1."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        return self._encode_texts(texts)


def load_hub_encoder(
    name: str,
    device: str,
    sampling: Sampling = USUAL_SAMPLING,
    pooling: Pooling | None = None,
    dim: int = 1280,
    compiled: bool = False,
) -> HubEncoder:
    """The model of a folder or of the hub. Raises EncoderError when it cannot be had or is of no known family.

    `name`: a folder that exists, or a repository, with "@revision" if one is meant. `sampling`: a video model takes
    as many frames as it was trained with instead. `pooling`: None: mean, so that texts compare best.
    """
    if find_spec("transformers") is None:
        raise EncoderError("hub models need transformers: pip install 'watchnext[hub]'")
    folder = Path(name) if Path(name).is_dir() else _fetched(name)
    kind = _config_of(folder).get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise EncoderError(f"{name} is a model of the type {kind!r}; there are {', '.join(sorted(FAMILIES))}")
    if not list(folder.glob("*.safetensors")):
        raise EncoderError(f"{name} has no safetensors: other weights are not loaded, they may run code")
    shown = folder.resolve().name if Path(name).is_dir() else name
    with_text = family.text and any((folder / file).is_file() for file in TOKENIZER_FILES)
    if family.text and not with_text:
        log.warning("%s has no tokenizer: its pictures are encoded, but it does not answer words", shown)
    encoder_class = HubEncoderWithText if with_text else HubEncoder
    encoder = encoder_class(folder, shown, device, sampling, pooling, dim, compiled)
    log.info("%s: weights under the licence %s", shown, encoder.licence)
    return encoder


def licence_of(folder: Path) -> str:
    """The licence that the model's card names, "unknown" where it names none."""
    from huggingface_hub import ModelCard

    try:
        data = ModelCard.load(folder / "README.md").data
    except Exception:  # a card is written by hand: what does not read is no answer, and no reason to stop
        return "unknown"
    name = data.get("license_name") or data.get("license")
    if isinstance(name, list):
        return ", ".join(map(str, name))
    return str(name) if name else "unknown"


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download

    from embedder.encoders.transformers_models import first_line

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=FETCHED))
    except Exception as error:  # the hub's client raises errors of several libraries
        raise EncoderError(f"{name} is no folder and could not be fetched from the hub: {first_line(error)}") from error


def _config_of(folder: Path) -> dict[str, Any]:
    try:
        config = orjson.loads((folder / "config.json").read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise EncoderError(f"{folder} has no config.json that can be read") from error
    if not isinstance(config, dict):
        raise EncoderError(f"{folder}/config.json is no object")
    return config


def _check_vocabulary(folder: Path, known: int, trained: int) -> None:
    """Raises EncoderError for a tokenizer that was loaded without its vocabulary: all texts are the same to it."""
    if known < trained / 2:
        raise EncoderError(f"the tokenizer in {folder} knows {known} of {trained} tokens: its vocabulary is missing")


@contextmanager
def _in_one_line(complaint: str) -> Iterator[None]:
    """What a model or a tokenizer says to what it was not made for, each in its own way, as an EncoderError."""
    from embedder.encoders.transformers_models import first_line

    try:
        yield
    except EncoderError:
        raise
    except Exception as error:
        raise EncoderError(f"{complaint}: {first_line(error)}") from error


def _clip_length(config: Any, otherwise: int) -> int:
    """Frames of the clips that a video model was trained with."""
    vision = getattr(config, "vision_config", config)
    for name in ("num_frames", "frames_per_clip"):
        if getattr(vision, name, None):
            return int(getattr(vision, name))
    return otherwise


def _with_length(frames: np.ndarray, length: int) -> np.ndarray:
    """Exactly `length` frames, evenly out of those that there are."""
    if len(frames) == length:
        return frames
    return frames[np.linspace(0, len(frames) - 1, length).round().astype(np.int64)]


def _pooler_output(outputs: Any) -> Any:
    """(N, D) of what a model's `get_..._features` returns: VideoPrism's has one token too many."""
    return outputs.pooler_output.flatten(1)


def _hash_of(folder: Path) -> str:
    """sha256 over the names and contents of what moves a vector."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".safetensors", ".json", ".txt", ".model"):
            digest.update(f"{file.name}:{sha256_of(file)}\n".encode())
    return digest.hexdigest()
