"""Pencils for the demo's scenes: sheets with smooth edges, gradients, glows, layers that scroll, a simple camera.

Scenes are laid out in units on a stage of WIDTH x HEIGHT (x to the right, y down, fractions welcome), whatever the
number of pixels; colours are 0..255.
Knows nothing of genres, files or video.
"""

import colorsys
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 480, 270

#: Pixels for one unit: the size of the clips, and with it nearly all of the time that they take.
UNIT = 0.8
FRAME_WIDTH, FRAME_HEIGHT = round(WIDTH * UNIT), round(HEIGHT * UNIT)

Colour = tuple[int, ...]  # red, green, blue and perhaps opacity
Point = tuple[float, float]

#: A scene that was set up: seconds since the start -> RGB frame of the size of a clip, or an exact multiple.
Draw = Callable[[float], Image.Image]
#: Sets up one clip of a genre; everything that differs between its clips comes from the generator.
Scene = Callable[[np.random.Generator], Draw]


class Sheet:
    """A drawing surface some times larger than its picture, so that `done` returns smooth edges."""

    def __init__(self, width: float, height: float, scale: int = 3, background: Image.Image | None = None) -> None:
        self.reduction = scale
        self.scale = scale * UNIT
        size = (max(1, round(width * UNIT)) * scale, max(1, round(height * UNIT)) * scale)
        self.image = background.copy() if background else Image.new("RGBA", size, (0, 0, 0, 0))
        self._opaque = ImageDraw.Draw(self.image)
        self._glazing = ImageDraw.Draw(self.image, "RGBA") if self.image.mode == "RGB" else self._opaque

    def _pencil(self, colour: Colour) -> ImageDraw.ImageDraw:
        """Blending is several times slower than painting, so only colours with an opacity get it."""
        return self._glazing if len(colour) == 4 else self._opaque

    def _scaled(self, points: Iterable[Point]) -> list[Point]:
        return [(x * self.scale, y * self.scale) for x, y in points]

    def polygon(self, points: Iterable[Point], fill: Colour) -> None:
        self._pencil(fill).polygon(self._scaled(points), fill=fill)

    def line(self, points: Iterable[Point], fill: Colour, width: float = 1) -> None:
        self._pencil(fill).line(self._scaled(points), fill=fill, width=max(1, round(width * self.scale)), joint="curve")

    def ellipse(self, x: float, y: float, rx: float, ry: float | None = None, *, fill: Colour) -> None:
        ry = rx if ry is None else ry
        self._pencil(fill).ellipse(self._scaled([(x - rx, y - ry), (x + rx, y + ry)]), fill=fill)

    def ring(self, x: float, y: float, radius: float, colour: Colour, width: float) -> None:
        box = self._scaled([(x - radius, y - radius), (x + radius, y + radius)])
        self._pencil(colour).ellipse(box, outline=colour, width=max(1, round(width * self.scale)))

    def arc(self, x: float, y: float, radius: float, angles: Point, colour: Colour, width: float) -> None:
        box = self._scaled([(x - radius, y - radius), (x + radius, y + radius)])
        self._pencil(colour).arc(box, *angles, fill=colour, width=max(1, round(width * self.scale)))

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, radius: float = 0) -> None:
        self._pencil(fill).rounded_rectangle(self._scaled([(x0, y0), (x1, y1)]), radius * self.scale, fill=fill)

    def done(self) -> Image.Image:
        return self.image.reduce(self.reduction)

    def layer(self) -> "Layer":
        """What was drawn, for `scroll`: without the empty rows above and below, which would cost time in each frame."""
        picture = self.done()
        _, top, _, bottom = picture.getbbox() or (0, 0, 1, 1)
        return Layer(picture.crop((0, top, picture.width, bottom)), top)


@dataclass(frozen=True)
class Layer:
    """A wide picture (RGBA) that repeats from left to right, and the row of the frame that it begins in."""

    picture: Image.Image
    top: int = 0


# ---- Colours -----------------------------------------------------------------------------------------------


def rgb(text: str) -> tuple[Colour, ...]:
    """Colours from words of six hexadecimal digits: `rgb("0b1026 ff9e5e")`."""
    return tuple((int(word[:2], 16), int(word[2:4], 16), int(word[4:], 16)) for word in text.split())


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`share` 0 is the first colour, 1 the second."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first[:3], second[:3], strict=True))


def choose_palette(rng: np.random.Generator, palettes: Sequence[str], hue: float = 0.03) -> tuple[Colour, ...]:
    """One of the palettes, its hues turned together by up to `hue` of the circle and its light changed a little."""
    turn, light = rng.uniform(-hue, hue), rng.uniform(0.92, 1.08)
    varied = []
    for colour in rgb(palettes[int(rng.integers(len(palettes)))]):
        h, s, v = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
        varied.append(tuple(round(255 * c) for c in colorsys.hsv_to_rgb((h + turn) % 1, s, min(1.0, v * light))))
    return tuple(varied)


# ---- Pictures ----------------------------------------------------------------------------------------------


def from_array(pixels: NDArray[np.floating]) -> Image.Image:
    """A picture of an array of shape (height, width, 3 or 4) with values 0..255."""
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def gradient(stops: Sequence[Colour], width: float = WIDTH, height: float = HEIGHT, seed: int = 0) -> Image.Image:
    """Evenly spaced colours from top to bottom, dithered so that the encoder leaves no bands."""
    width, height = round(width * UNIT), max(1, round(height * UNIT))
    at = np.linspace(0, 1, height)
    channels = [np.interp(at, np.linspace(0, 1, len(stops)), [stop[i] for stop in stops]) for i in range(3)]
    noise = np.random.default_rng(seed).uniform(-0.8, 0.8, (height, width, 1))
    return from_array(np.stack(channels, axis=1)[:, None, :] + noise)


@functools.lru_cache(256)
def glow(radius: int, colour: Colour, strength: float = 1.0, falloff: float = 2.0) -> Image.Image:
    """A soft round light (RGBA) of that radius that fades towards its edge."""
    pixels_wide = max(2, round(2 * radius * UNIT))
    axis = (np.arange(pixels_wide) + 0.5) * 2 / pixels_wide - 1
    distance = np.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)
    pixels = np.empty((pixels_wide, pixels_wide, 4))
    pixels[..., :3] = colour[:3]
    pixels[..., 3] = 255 * strength * np.clip(1 - distance, 0, 1) ** falloff
    return from_array(pixels)


def stretched(picture: Image.Image, width: float, height: float) -> Image.Image:
    """The picture in a size of its own, given in units."""
    return picture.resize((max(2, round(width * UNIT)), max(2, round(height * UNIT))))


def put(canvas: Image.Image, sprite: Image.Image, x: float, y: float) -> None:
    """Lays a sprite (RGBA) on the canvas with its centre at (x, y)."""
    canvas.paste(sprite, (round(x * UNIT - sprite.width / 2), round(y * UNIT - sprite.height / 2)), sprite)


def scroll(canvas: Image.Image, layer: Layer, x: float, y: float = 0) -> None:
    """Lays a layer on the canvas, moved to the left by `x` and down by `y`."""
    left = -(round(x * UNIT) % layer.picture.width)
    while left < canvas.width:
        seen = layer.picture.crop(
            (max(0, -left), 0, min(layer.picture.width, canvas.width - left), layer.picture.height)
        )
        canvas.paste(seen, (max(0, left), layer.top + round(y * UNIT)), seen)
        left += layer.picture.width


def ridge(rng: np.random.Generator, width: int, roughness: float = 0.6, waves: int = 24) -> NDArray[np.float64]:
    """Heights -1..1 of shape (width,) that join their own beginning, like a chain of hills."""
    at = np.arange(width) * (2 * math.pi / width)
    order = np.arange(1, waves + 1)
    strength = order ** -(2.0 - roughness) * rng.uniform(0.4, 1.0, waves)
    heights = (strength[:, None] * np.sin(order[:, None] * at + rng.uniform(0, 2 * math.pi, (waves, 1)))).sum(axis=0)
    return np.asarray(heights / np.abs(heights).max())


def skyline(heights: NDArray[np.float64]) -> list[Point]:
    """The outline of a ridge as points, closed with its own beginning so that no seam shows where it repeats."""
    return list(zip(range(len(heights) + 1), [*heights.tolist(), float(heights[0])], strict=True))


def blob(x: float, y: float, radius: float, corners: int, turn: float = 0.0, squash: float = 1.0) -> list[Point]:
    """The corners of a regular polygon around (x, y)."""
    angles = turn + np.arange(corners) * (2 * math.pi / corners)
    xs, ys = x + radius * np.cos(angles), y + radius * squash * np.sin(angles)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


class Camera:
    """Looks along a plain: (x to the right, z away from the eye, y up) -> a place on the stage and the scale there."""

    def __init__(self, focal: float, height: float, horizon: float, x: float = 0.0) -> None:
        self.focal, self.height, self.horizon, self.x = focal, height, horizon, x

    def project(self, x: float, z: float, y: float = 0.0) -> tuple[float, float, float]:
        """(stage x, stage y, stage units for one of length) of a point with z > 0."""
        scale = self.focal / z
        return WIDTH / 2 + (x - self.x) * scale, self.horizon + (self.height - y) * scale, scale

    def quad(self, x0: float, x1: float, z0: float, z1: float) -> list[Point]:
        """The corners of a rectangle that lies on the plain."""
        return [self.project(x, z)[:2] for x, z in ((x0, z0), (x1, z0), (x1, z1), (x0, z1))]
