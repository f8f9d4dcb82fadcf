"""Encoders: clips in, one vector a video out. The interface, and the factory that picks weights and runtime.

Callers say which encoder; where it runs (ONNX Runtime on the CPU, torch on CUDA) is decided here, once. Knows
nothing of files or catalogues.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from data.home import Home
from embedder.decode_settings import USUAL, DecodeSettings, Sampling
from embedder.machine import has_cuda
from embedder.media import PYAV, Clip, Decoder, Wanted

__all__ = ["Encoder", "EncoderError", "EncoderSettings", "Pooling", "TextTower", "load_encoder"]

#: How the features of a video's frames become one vector: see `embedder.encoders.pooling`.
Pooling = Literal["mean", "mean+std", "mean+diff", "mean+std+diff"]
#: Measured best on clips whose labels are what moves in them (docs/quality.md).
BEST_POOLING: Pooling = "mean+std+diff"

SHIPPED = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "handcrafted", "audio", "text")
FUSED = "fused"
#: What stands before the name of a model of the hub, or of a folder with one.
HUB = "hub:"


def _known_name(name: str) -> str:
    if name in (*SHIPPED, FUSED) or (len(name) > len(HUB) and name.startswith(HUB)):
        return name
    raise ValueError(f"no encoder {name!r}; there are {', '.join((*SHIPPED, FUSED))} and {HUB}NAME or {HUB}FOLDER")


def _known_parts(parts: dict[str, float]) -> dict[str, float]:
    if not parts:
        raise ValueError("a fused encoder has at least one part")
    for name, weight in parts.items():
        if _known_name(name) == FUSED:
            raise ValueError("fused cannot be a part of itself")
        if not 0 < weight < float("inf"):
            raise ValueError(f"the weight of {name} is {weight}; it must be above 0")
    return parts


class EncoderSettings(BaseModel):
    """Which encoder, and how much of a video it sees."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(_known_name)] = Field(
        default="efficientnet-lite0", description="which one: a shipped one, `fused`, or `hub:` and a name or folder"
    )
    frames: int = Field(default=16, ge=1, le=256, description="frames sampled from each video")
    pooling: Pooling | None = Field(
        default=None, description="how frame features become one vector; none: what is best for the encoder"
    )
    dim: int = Field(
        default=1280, ge=8, le=16384, description="dimensions of a vector at most; longer ones are projected"
    )
    parts: Annotated[dict[str, float], AfterValidator(_known_parts)] = Field(
        default={"efficientnet-lite0": 0.6, "text": 0.3, "audio": 0.1}, description="parts of `fused` and their weights"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is a device")
    decoder: Literal["auto", "pyav", "torchcodec"] = Field(
        default="auto",
        description="auto: torchcodec, that is the GPU's own decoder, where the encoder is on CUDA and it is installed",
    )
    compile: bool = Field(
        default=False, description="compile hub models, on CUDA EfficientNet too: slow to begin with, then faster"
    )
    threads: int = Field(default=0, ge=0, description="threads of the network on a CPU; 0: as many as cores")


class EncoderError(RuntimeError):
    """The encoder that is asked for cannot be had here: a package, a folder or a kind of model. `str()` is one line."""


class Encoder(Protocol):
    """Turns clips into vectors that can be compared by inner product.

    `id` names everything that moves a vector: weights, dtype, runtime, preprocessing, decoder, frames, pooling; at
    most 200 characters. Vectors of two ids never meet in one table. `dim`: length of a vector. `device`: where it
    runs. `licence`: of its weights. `wants`: what it asks for of each video.
    """

    @property
    def id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def device(self) -> str: ...

    @property
    def licence(self) -> str: ...

    @property
    def wants(self) -> Wanted: ...

    def encode(self, clips: Sequence[Clip]) -> np.ndarray:
        """(N, dim) float32, each row of length 1, of N clips that have at least one of the tracks it wants.

        Raises ValueError for a clip that has none of them, or frames that are no sample.
        """
        ...


@runtime_checkable
class TextTower(Protocol):
    """An encoder that understands words too: its vectors of texts compare with its vectors of videos."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(N, dim) float32, each row of length 1."""
        ...


def load_encoder(settings: EncoderSettings, home: Home, decode: DecodeSettings = USUAL) -> Encoder:
    """The encoder on the best device of this machine, or the one that is asked for. The first call on a CPU exports
    the network (seconds). `decode`: how its frames will be taken, which is part of its id. Raises EncoderError when it
    cannot be had here."""
    if settings.name != FUSED:
        return _load_one(settings, home, decode)
    from embedder.encoders.fused import fused

    parts = {
        name: (_load_one(settings.model_copy(update={"name": name}), home, decode), weight)
        for name, weight in settings.parts.items()
    }
    return fused(parts, settings.dim)


def _load_one(settings: EncoderSettings, home: Home, decode: DecodeSettings) -> Encoder:
    device: Literal["cpu", "cuda"] = (
        "cuda" if settings.device == "cuda" or (settings.device == "auto" and has_cuda()) else "cpu"
    )
    sampling = Sampling(settings.frames, _decoder(settings, device), decode)
    if settings.name == "handcrafted":
        from embedder.encoders.handcrafted import HandcraftedEncoder

        return HandcraftedEncoder(sampling, settings.dim)
    if settings.name == "audio":
        from embedder.encoders.audio import AudioEncoder

        return AudioEncoder(settings.dim)
    if settings.threads and device == "cpu" and (settings.name == "text" or settings.name.startswith(HUB)):
        import torch

        torch.set_num_threads(settings.threads)
    if settings.name == "text":
        from embedder.encoders.text import TextEncoder

        return TextEncoder(device, settings.dim)
    if settings.name.startswith(HUB):
        from embedder.encoders.hub import load_hub_encoder

        name = settings.name.removeprefix(HUB)
        return load_hub_encoder(name, device, sampling, settings.pooling, settings.dim, settings.compile)
    from embedder.encoders import efficientnet

    view = efficientnet.View(sampling, settings.pooling or BEST_POOLING, settings.dim)
    if device == "cuda":
        return efficientnet.on_torch(settings.name, view, compiled=settings.compile)
    return efficientnet.on_onnxruntime(home.models, settings.name, view, settings.threads)


def _decoder(settings: EncoderSettings, device: Literal["cpu", "cuda"]) -> Decoder:
    installed = find_spec("torchcodec") is not None
    if settings.decoder == "torchcodec" and not installed:
        raise EncoderError("torchcodec is not installed: pip install 'watchnext[gpu]'")
    if settings.decoder == "pyav" or not installed or (settings.decoder == "auto" and device == "cpu"):
        return PYAV
    return "torchcodec-cuda" if device == "cuda" else "torchcodec-cpu"
