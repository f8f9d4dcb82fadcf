"""Scenes from the photographs that scikit-image and scikit-learn ship: slow moving crops, graded and lit.

A clip shows its photograph full, as two pictures side by side, or as a card before its own blur. Knows nothing of
genres, files or video.
"""

import functools
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from data.demo.drawing import (
    FRAME_HEIGHT,
    FRAME_WIDTH,
    HEIGHT,
    UNIT,
    WIDTH,
    Draw,
    Scene,
    from_array,
    glow,
    put,
    rgb,
)

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Photograph:
    """A picture of an installed package and the part of it worth looking at (fractions of width and height)."""

    folder: str  # package/folder
    name: str
    focus: Box = (0.0, 0.0, 1.0, 1.0)
    smallest: float = 0.6  # of the focus that a crop shows at least
    toned: bool = False  # grey in the original: always tinted
    hues: tuple[float, ...] = (0.0,)  # turns of its reds and oranges around the circle of colours, one per clip


@dataclass(frozen=True)
class Grade:
    """A look: shadows and lights take a tint with `share` 0..1; saturation and contrast are factors."""

    shadows_and_lights: str
    share: float
    saturation: float
    contrast: float


GRADES = (
    Grade("000000 ffffff", 0.0, 1.05, 1.02),  # natural
    Grade("140022 fff6e0", 0.08, 1.45, 1.12),  # vivid
    Grade("2b1206 ffdf9e", 0.32, 1.1, 1.05),  # golden
    Grade("04232e ffc890", 0.34, 1.2, 1.08),  # teal and orange
    Grade("1d2a2a fff0d8", 0.28, 0.8, 0.92),  # film
    Grade("0a1a3a e8f4ff", 0.34, 0.85, 1.0),  # cool morning
    Grade("2a0f2c ffdcd8", 0.34, 0.95, 1.0),  # rose
    Grade("07090d f4efe6", 0.94, 0.2, 1.2),  # noir
)
TONES = rgb("c9d4ee e8c9a0 f0a878 9fd8d4 c8a8f0 f2d7b0")


@functools.lru_cache(32)
def _load(photograph: Photograph) -> Image.Image:
    """The focus of a photograph as RGB, somewhat wider than a frame: small crops start smooth."""
    package, *inside = photograph.folder.split("/")
    # Looked up, not imported: a worker that draws needs no scikit-learn in its memory.
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"the demo's photographs need {package}, which is not installed", name=package)
    path = Path(found.submodule_search_locations[0], *inside, photograph.name)
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    left, top, right, bottom = photograph.focus
    picture = picture.crop(
        (
            round(left * picture.width),
            round(top * picture.height),
            round(right * picture.width),
            round(bottom * picture.height),
        )
    )
    factor = 1.5 * FRAME_WIDTH / picture.width
    size = (round(picture.width * factor), round(picture.height * factor))
    return picture.resize(size, Image.Resampling.LANCZOS).filter(ImageFilter.UnsharpMask(2.2, 70, 2))


def _repainted(picture: Image.Image, turn: float) -> Image.Image:
    """The picture with its strong reds and oranges turned to another colour: a red motorcycle becomes a blue one."""
    hue, saturation, value = (np.asarray(band) for band in picture.convert("HSV").split())
    # 0..1: how much a pixel is paint. Hue 0..255 wraps; paint lies around 8 (red to orange).
    near_red = np.clip(2.4 - np.abs((hue.astype(int) - 8 + 128) % 256 - 128) / 12, 0, 1)
    paint = near_red * np.clip((saturation - 100.0) / 40, 0, 1)
    turned = ((hue.astype(int) + round(256 * turn)) % 256).astype(np.uint8)
    bands = [Image.fromarray(band) for band in (turned, saturation, value)]
    return Image.composite(
        Image.merge("HSV", bands).convert("RGB"), picture, Image.fromarray((255 * paint).astype(np.uint8))
    )


def _graded(rng: np.random.Generator, photograph: Photograph) -> Image.Image:
    """The photograph with one look: tinted shadows and lights, saturation, contrast, perhaps mirrored."""
    picture = _load(photograph)
    turn = photograph.hues[rng.integers(len(photograph.hues))]
    if turn:
        picture = _repainted(picture, turn)
    grade = GRADES[int(rng.integers(len(GRADES) - photograph.toned))]
    (shadows, lights), share = rgb(grade.shadows_and_lights), grade.share
    if photograph.toned:
        share, lights = 0.97, TONES[int(rng.integers(len(TONES)))]
    tinted = ImageOps.colorize(ImageOps.autocontrast(ImageOps.grayscale(picture), 0.5), shadows, lights)
    picture = ImageEnhance.Color(picture).enhance(grade.saturation * rng.uniform(0.92, 1.08))
    picture = Image.blend(picture, tinted, share)
    picture = ImageEnhance.Contrast(picture).enhance(grade.contrast)
    picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.92, 1.08))
    return ImageOps.mirror(picture) if rng.random() < 0.5 else picture


def _move(
    rng: np.random.Generator, picture: Image.Image, smallest: float, size: tuple[int, int], seconds: float = 6.0
) -> Draw:
    """A crop of the shape of `size` that travels and zooms slowly over the picture."""
    aspect = size[0] / size[1]
    widest = min(picture.width, picture.height * aspect)
    first = rng.uniform(smallest, 1.0)
    last = float(np.clip(first + rng.choice([-1, 1]) * rng.uniform(0.1, 0.28), smallest * 0.85, 1.0))
    start, end = rng.random(2), rng.random(2)

    def draw(t: float) -> Image.Image:
        # A cosine eases in and out: a camera on rails, not a slide show.
        share = (1 - math.cos(math.pi * min(1.0, t / seconds))) / 2
        width = widest * (first + (last - first) * share)
        height = width / aspect
        left = (picture.width - width) * (start[0] + (end[0] - start[0]) * share)
        top = (picture.height - height) * (start[1] + (end[1] - start[1]) * share)
        # The photograph is already enlarged, so bilinear shows no steps and costs half of bicubic.
        return picture.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))

    return draw


def _card(rng: np.random.Generator, picture: Image.Image, smallest: float) -> Draw:
    """A rounded picture with a shadow before the blurred photograph."""
    width = round(rng.uniform(0.56, 0.68) * FRAME_WIDTH)
    height = round(width / rng.uniform(1.4, 1.7))
    left, top = round((FRAME_WIDTH - width) * rng.uniform(0.2, 0.8)), (FRAME_HEIGHT - height) // 2
    blurred = ImageOps.fit(picture, (FRAME_WIDTH + 40, FRAME_HEIGHT + 20)).filter(ImageFilter.GaussianBlur(14))
    blurred = ImageEnhance.Brightness(blurred).enhance(0.75)
    shadow = Image.new("L", blurred.size, 0)
    ImageDraw.Draw(shadow).rounded_rectangle((left + 20, top + 18, left + width + 20, top + height + 18), 14, fill=130)
    blurred.paste((0, 0, 0), (0, 0), shadow.filter(ImageFilter.GaussianBlur(9)))
    mask = Image.new("L", (4 * width, 4 * height), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 4 * width - 1, 4 * height - 1), 48, fill=255)
    mask = mask.reduce(4)
    inner = _move(rng, picture, smallest, (width, height))

    def draw(t: float) -> Image.Image:
        canvas = blurred.crop((20, 10, 20 + FRAME_WIDTH, 10 + FRAME_HEIGHT))
        canvas.paste(inner(t), (left, top), mask)
        return canvas

    return draw


def _pair(rng: np.random.Generator, first: Image.Image, second: Image.Image, smallest: float) -> Draw:
    """Two crops side by side with a thin light seam."""
    seam = round(FRAME_WIDTH * rng.uniform(0.38, 0.62))
    left = _move(rng, first, smallest, (seam, FRAME_HEIGHT))
    right = _move(rng, second, smallest, (FRAME_WIDTH - seam, FRAME_HEIGHT))

    def draw(t: float) -> Image.Image:
        canvas = Image.new("RGB", (FRAME_WIDTH, FRAME_HEIGHT), (245, 240, 232))
        canvas.paste(left(t).crop((0, 0, seam - 1, FRAME_HEIGHT)), (0, 0))
        canvas.paste(right(t), (seam + 1, 0))
        return canvas

    return draw


def _lights(rng: np.random.Generator) -> Callable[[Image.Image, float], None]:
    """Soft discs of light that drift over the picture."""
    colour = rgb("ffd9a0 ffc0b0 cfe6ff fff2cc")[rng.integers(4)]
    count = int(rng.integers(5, 11))
    xs, ys = rng.uniform(0, WIDTH, count), rng.uniform(0, HEIGHT, count)
    speeds = rng.uniform(-9, 9, (count, 2))
    discs = [glow(int(rng.integers(8, 34)), colour, float(rng.uniform(0.2, 0.5)), 0.7) for _ in range(count)]

    def add(canvas: Image.Image, t: float) -> None:
        for x, y, (dx, dy), disc in zip(xs, ys, speeds, discs, strict=True):
            put(canvas, disc, x + dx * t, y + dy * t)

    return add


@functools.lru_cache(1)
def _vignette() -> Image.Image:
    """Darkens the corners when a frame is multiplied with it."""
    y, x = np.meshgrid(np.linspace(-1, 1, FRAME_HEIGHT), np.linspace(-1, 1, FRAME_WIDTH), indexing="ij")
    light = 255 * (1 - 0.34 * np.clip((x**2 + y**2) / 2, 0, 1) ** 1.4)
    return Image.merge("RGB", [Image.fromarray(light.astype(np.uint8))] * 3)


def moving(photographs: Sequence[Photograph]) -> Scene:
    """A scene that takes one of the photographs for each clip and moves over it."""

    def scene(rng: np.random.Generator) -> Draw:
        photograph = photographs[int(rng.integers(len(photographs)))]
        picture = _graded(rng, photograph)
        smallest = photograph.smallest
        kind = rng.choice(["full", "card", "pair"], p=[0.66, 0.18, 0.16])
        if kind == "full":
            inner = _move(rng, picture, smallest, (FRAME_WIDTH, FRAME_HEIGHT))
        elif kind == "card":
            inner = _card(rng, picture, smallest)
        else:
            other = photographs[int(rng.integers(len(photographs)))]
            inner = _pair(rng, picture, _graded(rng, other), smallest)
        lights = _lights(rng) if rng.random() < 0.4 else None

        def draw(t: float) -> Image.Image:
            frame = inner(t)
            if lights:
                lights(frame, t)
            return ImageChops.multiply(frame, _vignette())

        return draw

    return scene


def _planet(rng: np.random.Generator, surface: Image.Image) -> Image.Image:
    """A sphere with the photographed surface, lit from one side, under a thin bright air (RGBA)."""
    radius = round(rng.uniform(46, 104) * UNIT)
    side = 2 * radius + 8
    y, x = (np.mgrid[0:side, 0:side] - side / 2 + 0.5) / radius
    distance = np.sqrt(x**2 + y**2)
    inside = np.clip(1 - distance**2, 0, 1)
    depth = np.sqrt(inside)
    # Seen from the front, a ball shows its surface squeezed towards the edge.
    texture = np.asarray(surface.convert("L"), dtype=float)
    u = (0.5 + np.arcsin(np.clip(x, -1, 1)) / math.pi * 0.9) * (texture.shape[1] - 1)
    v = (0.5 + np.arcsin(np.clip(y, -1, 1)) / math.pi * 0.9) * (texture.shape[0] - 1)
    relief = texture[v.astype(int), u.astype(int)] / 255
    angle = rng.uniform(0, 2 * math.pi)
    light = np.clip(0.75 * (x * math.cos(angle) + y * math.sin(angle)) + 0.55 * depth + 0.05, 0.03, 1.15)
    colour = np.asarray(TONES[int(rng.integers(len(TONES)))], dtype=float)
    air = (1 - depth) ** 3 * 90 * light
    pixels = np.empty((side, side, 4))
    pixels[..., :3] = colour * (0.45 + 0.9 * (relief - 0.2))[..., None] * light[..., None] + air[..., None]
    pixels[..., 3] = 255 * np.clip((1 - distance) * radius + 0.5, 0, 1)
    return from_array(pixels)


def starfield(stars: Photograph, surface: Photograph) -> Scene:
    """A scene that travels through photographed stars, mostly past a planet or two."""

    def scene(rng: np.random.Generator) -> Draw:
        sky = _move(rng, _graded(rng, stars), stars.smallest, (FRAME_WIDTH, FRAME_HEIGHT))
        tint = glow(300, TONES[int(rng.integers(len(TONES)))], float(rng.uniform(0.12, 0.34)), 1.3)  # a nebula
        nebula_x, nebula_y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
        planets = [
            (_planet(rng, _load(surface)), rng.uniform(0.1, 0.9) * WIDTH, rng.uniform(0.15, 0.85) * HEIGHT, *speed)
            for speed in rng.uniform(-14, 14, (rng.integers(0, 3), 2))
        ]

        def draw(t: float) -> Image.Image:
            frame = sky(t)
            put(frame, tint, nebula_x + 6 * t, nebula_y)
            for planet, x, y, dx, dy in planets:
                put(frame, planet, x + dx * t, y + dy * t)
            return frame

        return draw

    return scene
