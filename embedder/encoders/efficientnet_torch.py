"""EfficientNet-Lite0 in torch, with the names of the shipped weights: for the export to ONNX and for CUDA.

Pictures go in as bytes: crop and normalisation are part of the network, so that every runtime sees the same.
Knows nothing of videos. Importing it imports torch (seconds): `efficientnet` does so only when it must.
"""

import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from embedder.encoders.efficientnet import PIXEL_MEAN, PIXEL_SCALE

#: (repeats, kernel, stride, expansion, channels out) of the seven groups of blocks.
GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _convolution(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _padded(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Pads as TensorFlow's SAME does: the odd pixel goes right and below."""
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]
    # Every size here is even where the stride is 2, so the total is static: kernel - stride.
    total = kernel - stride
    return nn.functional.pad(x, (total // 2, total - total // 2, total // 2, total - total // 2))


class Block(nn.Module):
    """Inverted residual: expand, filter each channel, project; added to its input where the shapes agree."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expands = expansion != 1
        self.adds = stride == 1 and channels == out
        if self.expands:
            self._expand_conv = _convolution(channels, wide, 1)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _convolution(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = _convolution(wide, out, 1)
        self._bn2 = _norm(out)

    def forward(self, inputs: Tensor) -> Tensor:
        x = inputs
        if self.expands:
            x = nn.functional.relu6(self._bn0(self._expand_conv(x)))
        x = nn.functional.relu6(self._bn1(self._depthwise_conv(_padded(x, self._depthwise_conv))))
        x = self._bn2(self._project_conv(x))
        return x + inputs if self.adds else x


class EfficientNetLite0(nn.Module):
    """(N, 224, 224, 3) uint8 RGB -> features (N, 1280) and ImageNet logits (N, 1000), in the network's dtype."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _convolution(3, 32, 3, 2)
        self._bn0 = _norm(32)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, out in GROUPS:
            for repeat in range(repeats):
                blocks.append(Block(channels, out, kernel, stride if repeat == 0 else 1, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _convolution(channels, 1280, 1)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        x = (pictures.permute(0, 3, 1, 2).to(self._fc.weight.dtype) - PIXEL_MEAN) / PIXEL_SCALE
        x = nn.functional.relu6(self._bn0(self._conv_stem(_padded(x, self._conv_stem))))
        for block in self._blocks:
            x = block(x)
        x = nn.functional.relu6(self._bn1(self._conv_head(x)))
        features = x.mean((2, 3))
        return features, self._fc(features)


def load_network(weights: Path) -> EfficientNetLite0:
    """The network with its batch norms folded into the convolutions, ready to predict, float32 on the CPU."""
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.eval()
    pairs = {"_conv_stem": "_bn0", "_conv_head": "_bn1"}
    _fold(network, pairs)
    for block in network._blocks:
        _fold(block, {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"})
    return network.requires_grad_(False)


def _fold(module: nn.Module, pairs: dict[str, str]) -> None:
    for convolution, norm in pairs.items():
        if hasattr(module, convolution):
            folded = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
            setattr(module, convolution, folded)
            setattr(module, norm, nn.Identity())


def export_onnx(weights: Path, target: Path) -> None:
    """Writes the network as ONNX: `pictures` (any number) in, `features` and `logits` out, weights inside."""
    example = torch.zeros(2, 224, 224, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=4096)
    # It tells of every torchvision operator that it cannot register; none is used here.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        torch.onnx.export(
            load_network(weights),
            (example,),
            target,
            dynamo=True,
            input_names=["pictures"],
            output_names=["features", "logits"],
            dynamic_shapes=({0: batch},),
            external_data=False,
            verbose=False,
        )
