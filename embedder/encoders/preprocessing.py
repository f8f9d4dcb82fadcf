"""From frames to a network's input, as a model's own preprocessing file has it.

A picture is prepared on the device, with the numbers of the file: most processors of transformers would need
torchvision. What a file leaves out is what the processor that it names would take. Knows pictures, no models.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from embedder.encoders import EncoderError
from embedder.media import SHORT_SIDE

log = logging.getLogger(__name__)

#: Processors save themselves together here, each under its own key; this is read before the files of one alone.
PROCESSOR_FILE = "processor_config.json"
FILES = {"image": "preprocessor_config.json", "video": "video_preprocessor_config.json"}
#: Where a file says whose it is; the last is what it was called in files of transformers before 4.26.
TYPE_KEYS = ("video_processor_type", "image_processor_type", "feature_extractor_type")
SWITCHES = ("do_resize", "default_to_square", "do_center_crop", "do_rescale", "offset", "do_normalize")
#: The filters of PIL that preprocessing files name by number, as torch has them.
RESAMPLING = {2: "bilinear", 3: "bicubic"}
LANCZOS, BILINEAR, BICUBIC = 1, 2, 3

_HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_OPENAI = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_WHOLE: dict[str, Any] = {
    "do_resize": True,
    "size": {"height": 224, "width": 224},
    "default_to_square": True,
    "resample": BILINEAR,
    "do_center_crop": False,
    "crop_size": None,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "offset": False,
    "do_normalize": True,
    **_HALVES,
}
_CENTRE: dict[str, Any] = {
    **_WHOLE,
    "size": {"shortest_edge": 224},
    "default_to_square": False,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
}
_CLIP = {**_CENTRE, "resample": BICUBIC, **_OPENAI}
_VIVIT = {**_CENTRE, "size": {"shortest_edge": 256}, "rescale_factor": 1 / 127.5, "offset": True}
_LLAVA = {**_WHOLE, "size": {"height": 384, "width": 384}, "default_to_square": False, "resample": BICUBIC, **_OPENAI}
#: What the processors of transformers take where their files say nothing. A table, since most of those for videos
#: cannot be imported without torchvision.
PROCESSORS: dict[str, dict[str, Any]] = {
    "BitImageProcessor": _CLIP,
    "CLIPImageProcessor": _CLIP,
    "DeiTImageProcessor": {
        **_WHOLE,
        "size": {"height": 256, "width": 256},
        "resample": BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
    },
    "DINOv3ViTImageProcessor": {**_WHOLE, **_IMAGENET},
    "LlavaOnevisionVideoProcessor": _LLAVA,
    "SiglipImageProcessor": {**_WHOLE, "default_to_square": False, "resample": BICUBIC},
    "TimesformerVideoProcessor": {**_CENTRE, **_IMAGENET},
    "VideoMAEImageProcessor": _CENTRE,
    "VideoMAEVideoProcessor": _CENTRE,
    "VideoPrismVideoProcessor": _LLAVA,
    "ViTImageProcessor": _WHOLE,
    "VivitImageProcessor": _VIVIT,
    "VivitVideoProcessor": _VIVIT,
    "VJEPA2VideoProcessor": {**_CENTRE, "crop_size": {"height": 256, "width": 256}, **_IMAGENET},
}


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop, scale, normalise.

    `resize`: None, (shortest side,) or (height, width); `crop`: None or (height, width), a square where the file
    leaves oblong pictures, so that videos of all shapes make one batch; `resample`: of `RESAMPLING`; `scale`: what
    bytes are multiplied with; `offset`: what is subtracted afterwards, before mean and std.
    """

    resize: tuple[int, ...] | None
    crop: tuple[int, int] | None
    resample: str
    scale: float
    offset: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(
        cls, folder: Path, usual: str, video: bool = False, forced: Mapping[str, Any] | None = None
    ) -> "Preprocessing":
        """Raises EncoderError when the folder has no preprocessing file or it cannot be understood.

        `usual`: of `PROCESSORS`, whose file it is where it does not say so. `video`: whether a file for videos wins
        over one for pictures. `forced`: what holds whatever the file says.
        """
        kinds = ("video", "image") if video else ("image", "video")
        for kind in kinds:
            for name, part in ((PROCESSOR_FILE, f"{kind}_processor"), (FILES[kind], None)):
                if not (folder / name).is_file():
                    continue
                try:
                    values = orjson.loads((folder / name).read_bytes())
                    values = values.get(part) if part else values
                    if values is not None:
                        return cls._read(values, str(folder / name), usual, forced)
                except (AttributeError, TypeError, ValueError) as error:
                    raise EncoderError(f"{name} is no preprocessing that can be read: {error}") from error
        raise EncoderError(f"there is no {FILES[kinds[0]]} beside the weights: how pictures go in is unknown")

    @classmethod
    def _read(cls, given: dict[str, Any], file: str, usual: str, forced: Mapping[str, Any] | None) -> "Preprocessing":
        processor = _processor_of(given, file, usual)
        # What is null is as if it were not there; but a switch that is null is off, as transformers has it.
        there = {name: value for name, value in given.items() if value is not None or name in SWITCHES}
        values = {**PROCESSORS[processor], **there, **(forced or {})}
        if processor == "VJEPA2VideoProcessor":
            # What this processor does whatever its file says.
            values["size"] = {"shortest_edge": int(_sides(values, "crop_size", square=True)[0] * 256 / 224)}
        crop = _sides(values, "crop_size", square=True) if values["do_center_crop"] else None
        resize = _sides(values, "size", square=values["default_to_square"]) if values["do_resize"] else None
        if crop is None and (resize is None or len(resize) == 1):
            crop = resize or (SHORT_SIDE,)
        resample = values["resample"]
        if resample == LANCZOS:
            log.warning("%s: resample 1 is Lanczos, which torch does not have: bicubic is taken", file)
            resample = BICUBIC
        if resample not in RESAMPLING:
            raise ValueError(f"resample is {resample!r}; known are {LANCZOS}, {BILINEAR} and {BICUBIC}")
        rescales, normalises = values["do_rescale"], values["do_normalize"]
        return cls(
            resize=resize,
            crop=(crop[0], crop[-1]) if crop else None,
            resample=RESAMPLING[resample],
            scale=float(values["rescale_factor"]) if rescales else 1.0,
            # ViViT's bytes go to -1..1 before they are normalised.
            offset=1.0 if rescales and values["offset"] else 0.0,
            mean=_three(values, "image_mean") if normalises else (0.0, 0.0, 0.0),
            std=_three(values, "image_std") if normalises else (1.0, 1.0, 1.0),
        )

    def apply(self, frames: Any, dtype: Any) -> Any:
        """(T, 3, h, w) of a torch tensor of frames (T, H, W, 3) uint8, on its device, as `dtype`."""
        import torch
        from torch.nn import functional

        pictures = frames.permute(0, 3, 1, 2).float()
        if self.resize is not None:
            height, width = pictures.shape[2:]
            target = self.resize
            if len(target) == 1:
                # The long side is rounded down, as transformers does it.
                target = tuple(target[0] * side // min(height, width) for side in (height, width))
            pictures = functional.interpolate(
                pictures, size=target, mode=self.resample, antialias=True, align_corners=False
            ).clamp(0, 255)
        if self.crop is not None:
            pictures = _cropped(pictures, *self.crop)
        mean = torch.tensor(self.mean, device=pictures.device)[:, None, None]
        std = torch.tensor(self.std, device=pictures.device)[:, None, None]
        return ((pictures * self.scale - self.offset - mean) / std).to(dtype)


def _processor_of(given: dict[str, Any], file: str, usual: str) -> str:
    """Of `PROCESSORS`, the one that a file names, or the usual one."""
    named = next((str(given[key]) for key in TYPE_KEYS if given.get(key)), usual)
    # All the names that one processor has had.
    processor = named.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
    if processor in PROCESSORS:
        return processor
    log.warning("%s is of a %s, which is not known: it is read as that of a %s", file, named, usual)
    return usual


def _sides(values: dict[str, Any], name: str, square: bool) -> tuple[int, ...]:
    """(shortest side,) or (height, width) of a size. `square`: what a single number means."""
    size = values[name]
    if isinstance(size, int):
        return (size, size) if square else (size,)
    if isinstance(size, list) and len(size) == 2:
        return int(size[0]), int(size[1])
    if isinstance(size, dict):
        sides = {side: int(length) for side, length in size.items() if length is not None}
        if sides.keys() == {"height", "width"}:
            return sides["height"], sides["width"]
        if sides.keys() == {"shortest_edge"}:
            return (sides["shortest_edge"],)
    raise ValueError(f"{name} is {size!r}, neither a height and width nor a shortest edge")


def _three(values: dict[str, Any], name: str) -> tuple[float, ...]:
    """A number for each of red, green and blue."""
    numbers = values[name]
    if not isinstance(numbers, list) or len(numbers) != 3:
        raise ValueError(f"{name} is {numbers!r}, not 3 numbers")
    return tuple(float(number) for number in numbers)


def _cropped(pictures: Any, height: int, width: int) -> Any:
    """The centre of pictures (T, 3, H, W); what lies outside of them is black."""
    from torch.nn import functional

    short = [max(0, wanted - there) for wanted, there in zip((height, width), pictures.shape[2:], strict=True)]
    if any(short):
        up, left = short[0] // 2, short[1] // 2
        pictures = functional.pad(pictures, (left, short[1] - left, up, short[0] - up))
    top, left = (pictures.shape[2] - height) // 2, (pictures.shape[3] - width) // 2
    return pictures[:, :, top : top + height, left : left + width]
