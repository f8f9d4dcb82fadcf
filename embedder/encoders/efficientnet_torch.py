"""The EfficientNet-Lite family in torch, with the names of the shipped weights: for the export to ONNX and for CUDA.

Pictures go in as bytes: crop and normalisation are part of the network, so that every runtime sees the same.
Knows nothing of videos. Importing it imports torch (seconds): `efficientnet` does so only when it must.
"""

import logging
import math
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from embedder.encoders.efficientnet import PIXEL_MEAN, PIXEL_SCALE, Variant

#: (repeats, kernel, stride, expansion, channels out) of the seven groups of blocks of Lite0. The others scale it by
#: width and depth, all but the first and the last group's repeats, the stem and the head (tensorflow/tpu, lite).
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
    """Pads as TensorFlow's SAME does: the odd pixel goes right and below. Pictures are square."""
    kernel, stride, size = convolution.kernel_size[0], convolution.stride[0], x.shape[-1]
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
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


class EfficientNetLite(nn.Module):
    """(N, crop, crop, 3) uint8 RGB -> features (N, 1280) and ImageNet logits (N, 1000), in the network's dtype."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self._size = variant.size
        self._conv_stem = _convolution(3, 32, 3, 2)
        self._bn0 = _norm(32)
        blocks, channels = [], 32
        for group, (repeats, kernel, stride, expansion, out) in enumerate(GROUPS):
            wide = _scaled_width(out, variant.width)
            deep = repeats if group in (0, len(GROUPS) - 1) else math.ceil(repeats * variant.depth)
            for repeat in range(deep):
                blocks.append(Block(channels, wide, kernel, stride if repeat == 0 else 1, expansion))
                channels = wide
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _convolution(channels, 1280, 1)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        x = (pictures.permute(0, 3, 1, 2).to(self._fc.weight.dtype) - PIXEL_MEAN) / PIXEL_SCALE
        if x.shape[-1] != self._size:
            x = nn.functional.interpolate(x, size=(self._size, self._size), mode="bilinear", align_corners=False)
        x = nn.functional.relu6(self._bn0(self._conv_stem(_padded(x, self._conv_stem))))
        for block in self._blocks:
            x = block(x)
        x = nn.functional.relu6(self._bn1(self._conv_head(x)))
        features = x.mean((2, 3))
        return features, self._fc(features)


def _scaled_width(channels: int, width: float) -> int:
    """Channels times width, to a multiple of 8 that is at least 0.9 of it."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def load_network(variant: Variant) -> EfficientNetLite:
    """The network with its batch norms folded into the convolutions, ready to predict, float32 on the CPU."""
    network = EfficientNetLite(variant)
    network.load_state_dict(torch.load(variant.weights, map_location="cpu", weights_only=True))
    network.eval()
    _fold(network, {"_conv_stem": "_bn0", "_conv_head": "_bn1"})
    for block in network._blocks:
        _fold(block, {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"})
    return network.requires_grad_(False)


def _fold(module: nn.Module, pairs: dict[str, str]) -> None:
    for convolution, norm in pairs.items():
        if hasattr(module, convolution):
            folded = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
            setattr(module, convolution, folded)
            setattr(module, norm, nn.Identity())


def export_onnx(variant: Variant, target: Path) -> None:
    """Writes the network as ONNX: `pictures` (any number) in, `features` and `logits` out, weights inside."""
    example = torch.zeros(2, variant.crop, variant.crop, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=4096)
    # It tells of every torchvision operator that it cannot register; none is used here.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        torch.onnx.export(
            load_network(variant),
            (example,),
            target,
            dynamo=True,
            input_names=["pictures"],
            output_names=["features", "logits"],
            dynamic_shapes=({0: batch},),
            external_data=False,
            verbose=False,
        )
