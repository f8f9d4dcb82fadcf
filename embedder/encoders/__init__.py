"""Encoders: frames in, one vector a video out. The interface, and the factory that picks the runtime.

Callers say which encoder; where it runs (ONNX Runtime on the CPU, torch on CUDA) is decided here, once. Knows
nothing of files or catalogues.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.home import Home

__all__ = ["Encoder", "EncoderSettings", "load_encoder"]


class EncoderSettings(BaseModel):
    """Which encoder, and how much of a video it sees."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["efficientnet-lite0"] = Field(default="efficientnet-lite0", description="the network")
    frames: int = Field(default=16, ge=1, le=256, description="frames sampled from each video")
    threads: int = Field(default=0, ge=0, description="threads of the network on a CPU; 0: as many as cores")


class Encoder(Protocol):
    """Turns clips into vectors that can be compared by inner product.

    `id` names everything that moves a vector: weights, dtype, runtime, preprocessing, decoder, frames, pooling.
    Vectors of two ids never meet in one table. `dim`: length of a vector. `frames`: frames it wants of a video.
    """

    @property
    def id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def frames(self) -> int: ...

    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """(N, dim) float32, each row of length 1, of N clips (T, H, W, 3) uint8 RGB with the short side 256."""
        ...


def load_encoder(settings: EncoderSettings, home: Home) -> Encoder:
    """The encoder on the best device of this machine. The first call on a CPU exports the network (seconds)."""
    from embedder.encoders import efficientnet

    if has_cuda():
        return efficientnet.on_torch(settings.frames)
    return efficientnet.on_onnxruntime(home.models, settings.frames, settings.threads)


def has_cuda() -> bool:
    """Whether torch sees an NVIDIA device. Asks torch (seconds to import) only where a driver is present."""
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
        return False
    import torch

    return torch.cuda.is_available()
