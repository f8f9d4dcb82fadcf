"""Encoders: clips in, one vector a video out. The interface, and the factory that picks weights and runtime.

Callers say which encoder; where it runs (ONNX Runtime on the CPU, torch on CUDA) is decided here, once. Knows
nothing of files or catalogues.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.home import Home
from embedder.media import Clip, Wanted

__all__ = ["Encoder", "EncoderError", "EncoderSettings", "Pooling", "load_encoder"]

#: How the features of a video's frames become one vector: see `embedder.encoders.pooling`.
Pooling = Literal["mean", "mean+std", "mean+diff", "mean+std+diff"]
#: Measured best on clips whose labels are what moves in them (docs/quality.md).
BEST_POOLING: Pooling = "mean+std+diff"


class EncoderSettings(BaseModel):
    """Which encoder, and how much of a video it sees."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"] = Field(
        default="efficientnet-lite0", description="the network"
    )
    frames: int = Field(default=16, ge=1, le=256, description="frames sampled from each video")
    pooling: Pooling = Field(default=BEST_POOLING, description="how frame features become one vector")
    dim: int = Field(
        default=1280, ge=8, le=16384, description="dimensions of a pooled vector at most; longer ones are projected"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is a device")
    threads: int = Field(default=0, ge=0, description="threads of the network on a CPU; 0: as many as cores")


class EncoderError(RuntimeError):
    """The encoder that is asked for cannot be had here: a package, a folder or a kind of model. `str()` is one line."""


class Encoder(Protocol):
    """Turns clips into vectors that can be compared by inner product.

    `id` names everything that moves a vector: weights, dtype, runtime, preprocessing, decoder, frames, pooling; at
    most 200 characters. Vectors of two ids never meet in one table. `dim`: length of a vector. `device`: where it
    runs. `wants`: what it asks for of each video.
    """

    @property
    def id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def device(self) -> str: ...

    @property
    def wants(self) -> Wanted: ...

    def encode(self, clips: Sequence[Clip]) -> np.ndarray:
        """(N, dim) float32, each row of length 1, of N clips that have at least one of the tracks it wants.

        Raises ValueError for a clip that has none of them, or frames that are no sample.
        """
        ...


def load_encoder(settings: EncoderSettings, home: Home) -> Encoder:
    """The encoder on the best device of this machine, or the one that is asked for. The first call on a CPU exports
    the network (seconds). Raises EncoderError when it cannot be had here."""
    from embedder.encoders import efficientnet

    view = efficientnet.View(settings.frames, settings.pooling, settings.dim)
    if settings.device == "cuda" or (settings.device == "auto" and has_cuda()):
        return efficientnet.on_torch(settings.name, view)
    return efficientnet.on_onnxruntime(home.models, settings.name, view, settings.threads)


def has_cuda() -> bool:
    """Whether torch sees an NVIDIA device. Asks torch (seconds to import) only where a driver is present."""
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
        return False
    import torch

    return torch.cuda.is_available()
