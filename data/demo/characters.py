"""Drawn scenes of things that move for their own sake: abstract shapes and cartoon characters.

Each function sets up one clip (palette, cast, speeds) from its generator and returns what draws a moment of it.
Knows nothing of titles, files or video.
"""

import math

import numpy as np
from PIL import Image

from data.demo.drawing import (
    HEIGHT,
    UNIT,
    WIDTH,
    Colour,
    Draw,
    Sheet,
    blob,
    choose_palette,
    glow,
    gradient,
    mix,
    put,
    ridge,
    scroll,
    skyline,
    stretched,
)

# ---- Abstract shapes in motion -----------------------------------------------------------------------------

# background above and below, four inks
SHAPE_PALETTES = (
    "1a1a40 270082 7a0bc0 fa58b6 ffd6e8 52d3d8",
    "fdf0d5 f7d6a8 c1121f 003049 669bbc f4a259",
    "0b132b 1c2541 5bc0be f6ae2d f26419 e0fbfc",
    "f8edeb fcd5ce ff6b6b 4ecdc4 ffe66d 1a535c",
    "101010 2b2b2b f2f2f2 ff4d4d ffd23f 8ecae6",
    "e0fbfc 98c1d9 ee6c4d 293241 3d5a80 ffb703",
)


def geometry(rng: np.random.Generator) -> Draw:
    above, below, *inks = choose_palette(rng, SHAPE_PALETTES, hue=0.06)
    back = gradient([above, below], 2 * WIDTH, 2 * HEIGHT)
    kind = rng.choice(["rings", "grid", "orbits", "waves"])
    speed, corners = rng.uniform(0.4, 1.1) * rng.choice([-1, 1]), int(rng.choice([3, 4, 5, 6, 8]))
    cx, cy = WIDTH * rng.uniform(0.35, 0.65), HEIGHT * rng.uniform(0.42, 0.58)
    count, phase = int(rng.integers(9, 15)), rng.uniform(0, 6, 24)

    def rings(sheet: Sheet, t: float) -> None:
        for i in range(count, 0, -1):
            radius = 17 * i + 7 * math.sin(1.6 * t + i * 0.5)
            sheet.polygon(blob(cx, cy, radius, corners, speed * t * (1 + 0.08 * i) + 0.16 * i), inks[i % 4])

    def grid(sheet: Sheet, t: float) -> None:
        step = 400 / count
        for i, x in enumerate(np.arange(step / 2, WIDTH + step, step).tolist()):
            for j, y in enumerate(np.arange(step / 2, HEIGHT + step, step).tolist()):
                wave = math.sin(2 * speed * t + 0.55 * i + 0.4 * j + phase[0])
                sheet.polygon(
                    blob(x, y, step * (0.38 + 0.24 * wave), corners, 0.8 * wave + speed * t), inks[(i + j) % 4]
                )

    def orbits(sheet: Sheet, t: float) -> None:
        for i in range(10):
            sheet.ring(cx, cy, 16 + 19 * i, mix(inks[i % 4], below, 0.55), 1.2)
            for k in range(3):
                angle = speed * t * (2.4 - 0.15 * i) + phase[i] + k * 2.1
                x, y = cx + (16 + 19 * i) * math.cos(angle), cy + (16 + 19 * i) * math.sin(angle)
                start = math.degrees(angle)
                span = (start - 42, start) if speed > 0 else (start, start + 42)
                sheet.arc(cx, cy, 16 + 19 * i + 1.5, span, inks[(i + k) % 4], 3)
                sheet.ellipse(x, y, 3.4 + 0.7 * i, fill=inks[(i + k) % 4])

    def waves(sheet: Sheet, t: float) -> None:
        xs = np.linspace(0, WIDTH, 49)
        for i in range(count):
            base = HEIGHT * (i + 0.7) / count
            heights = base + 15 * np.sin(xs / (34 + 5 * corners) + speed * 2 * t + 0.6 * i + phase[i])
            heights += 8 * np.sin(xs / 19 - speed * 3 * t + phase[-1 - i])
            line = list(zip(xs.tolist(), heights.tolist(), strict=True))
            sheet.polygon([*line, (WIDTH, HEIGHT), (0, HEIGHT)], inks[i % 4])

    paint = {"rings": rings, "grid": grid, "orbits": orbits, "waves": waves}[str(kind)]

    def draw(t: float) -> Image.Image:
        sheet = Sheet(WIDTH, HEIGHT, scale=2, background=back)
        paint(sheet, t)
        return sheet.done()

    return draw


# ---- Cartoon characters ------------------------------------------------------------------------------------

# sky above, sky below, far hill, near hill, three characters
CARTOON_PALETTES = (
    "6ec6ff e3f6ff 8fd694 5ab75f ff8fab ffd166 9d7bff",
    "ffc6d9 fff1e0 b8e0d2 7fc8a9 6a8dff ff9e5e ffe066",
    "ffd59e fff3d6 f4a76b d97b4f 4ecdc4 ff6b81 a06cd5",
    "8e7dff f3d9ff 7bd3c9 3fa796 ffb84d ff7eb6 7ee081",
    "7fdbda f6f7d7 c3e88d 85c17e f76c6c f8e16c 5c7aea",
)


def _character(rng: np.random.Generator, size: float, colour: Colour, blinks: bool, smile: float) -> Image.Image:
    """A round friend with ears, feet, cheeks and big eyes, standing on the lower edge."""
    sheet = Sheet(size * 2, size * 2.2, scale=4)
    x, y = size, size * 1.25
    dark, pale = mix(colour, (40, 20, 60), 0.28), mix(colour, (255, 255, 255), 0.45)
    ears, spots = int(rng.integers(3)), int(rng.integers(0, 4))
    for side in (-1, 1):
        if ears == 0:
            sheet.ellipse(x + side * size * 0.42, y - size * 0.75, size * 0.17, size * 0.42, fill=colour)
            sheet.ellipse(x + side * size * 0.42, y - size * 0.75, size * 0.08, size * 0.28, fill=pale)
        elif ears == 1:
            sheet.ellipse(x + side * size * 0.55, y - size * 0.58, size * 0.27, fill=colour)
            sheet.ellipse(x + side * size * 0.55, y - size * 0.58, size * 0.15, fill=pale)
        else:
            tip = (x + side * size * 0.4, y - size * 1.08)
            sheet.line([(x + side * size * 0.2, y - size * 0.6), tip], dark, size * 0.07)
            sheet.ellipse(*tip, size * 0.11, fill=pale)
        sheet.ellipse(x + side * size * 0.32, y + size * 0.78, size * 0.24, size * 0.13, fill=dark)
        sheet.ellipse(x + side * size * 0.74, y + size * 0.2, size * 0.13, size * 0.24, fill=colour)
    sheet.ellipse(x, y, size * 0.74, size * 0.78, fill=colour)
    sheet.ellipse(x, y + size * 0.26, size * 0.46, size * 0.44, fill=pale)
    for i in range(spots):
        sheet.ellipse(x + size * (i - 1) * 0.24, y - size * 0.6 + size * 0.06 * abs(i - 1), size * 0.07, fill=dark)
    for side in (-1, 1):
        ex, ey = x + side * size * 0.25, y - size * 0.2
        if blinks:
            sheet.arc(ex, ey, size * 0.15, (20, 160), (40, 25, 60), size * 0.05)
        else:
            sheet.ellipse(ex, ey, size * 0.19, size * 0.22, fill=(255, 255, 255))
            sheet.ellipse(ex + size * 0.04, ey + size * 0.02, size * 0.11, size * 0.13, fill=(40, 25, 60))
            sheet.ellipse(ex + size * 0.08, ey - size * 0.05, size * 0.04, fill=(255, 255, 255))
        sheet.ellipse(x + side * size * 0.45, y + size * 0.06, size * 0.1, size * 0.07, fill=(255, 140, 150))
    sheet.arc(x, y + size * 0.02, size * 0.15 * smile, (15, 165), (40, 25, 60), size * 0.05)
    return sheet.done()


def cartoon(rng: np.random.Generator) -> Draw:
    above, below, far, near, *skins = choose_palette(rng, CARTOON_PALETTES, hue=0.05)
    sky = gradient([above, below, below])
    sun = Sheet(120, 120)
    for i in range(12):
        turn = i * math.pi / 6
        tip = (60 + 54 * math.cos(turn), 60 + 54 * math.sin(turn))
        sheet_left = (60 + 30 * math.cos(turn - 0.17), 60 + 30 * math.sin(turn - 0.17))
        sheet_right = (60 + 30 * math.cos(turn + 0.17), 60 + 30 * math.sin(turn + 0.17))
        sun.polygon([tip, sheet_left, sheet_right], (255, 226, 120))
    sun.ellipse(60, 60, 28, fill=(255, 214, 90))
    put(sky, sun.done(), rng.uniform(60, WIDTH - 60), rng.uniform(45, 70))
    hills = []
    for base, height, colour, speed in ((165, 24, far, 6), (205, 14, near, 14)):
        sheet = Sheet(960, HEIGHT, scale=2)
        heights = base - height * ridge(rng, 960, 0.0, 6)
        sheet.polygon([(0, HEIGHT), *skyline(heights), (960, HEIGHT)], colour)
        for _ in range(26):
            x = int(rng.integers(10, 950))
            y = float(heights[x])
            if colour is far:
                sheet.box(x - 1.5, y - 12, x + 1.5, y + 2, mix(far, (90, 60, 40), 0.6))
                sheet.ellipse(x, y - 18, 9, 11, fill=mix(far, near, float(rng.uniform(0.3, 1.0))))
            else:
                y += float(rng.uniform(8, 60))
                for petal in blob(x, y, 3, 5):
                    sheet.ellipse(*petal, 2, fill=(255, 255, 255))
                sheet.ellipse(x, y, 1.8, fill=(255, 214, 90))
        hills.append((sheet.layer(), speed))
    clouds = Sheet(960, 110, scale=2)
    for _ in range(6):
        left, top = rng.uniform(50, 910), rng.uniform(25, 80)
        for dx, dy, radius in ((0, 0, 15), (-17, 4, 11), (17, 4, 12), (32, 7, 7), (-30, 7, 7)):
            clouds.ellipse(left + dx, top + dy, radius, radius * 0.8, fill=(255, 255, 255, 235))
    cloud_layer = clouds.layer()
    shadow = stretched(glow(40, (20, 40, 40), 0.5, 0.8), 80, 18)
    cast = []
    count = int(rng.integers(1, 4))
    for i in range(count):
        size, colour, look = float(rng.uniform(38, 62) / (1 + 0.12 * count)), skins[i], int(rng.integers(1 << 30))
        faces = [_character(np.random.default_rng(look), size, colour, blink, 1.0 + 0.3 * i) for blink in (False, True)]
        place = (WIDTH * (i + 0.5 + rng.uniform(-0.12, 0.12)) / count, HEIGHT - rng.uniform(14, 34))
        cast.append((faces, place, float(rng.uniform(2.6, 4.6)), float(rng.uniform(0, 3)), float(rng.uniform(12, 34))))
    offset = rng.uniform(0, 900)

    def draw(t: float) -> Image.Image:
        canvas = sky.copy()
        scroll(canvas, cloud_layer, offset + 8 * t)
        for layer, speed in hills:
            scroll(canvas, layer, offset + speed * t)
        for faces, (x, y), rhythm, phase, leap in cast:
            beat = math.sin(rhythm * t + phase)
            lift, squash = leap * abs(beat), 1 + 0.12 * (abs(beat) - 0.5)
            face = faces[(t + phase) % 2.3 < 0.14]
            # Flat on landing, long in the air: the oldest rule of cartoons.
            figure = face.resize((round(face.width / squash), round(face.height * squash)), Image.Resampling.BILINEAR)
            put(canvas, shadow, x, y)
            put(canvas, figure, x + 14 * math.sin(0.6 * rhythm * t), y - lift - figure.height / UNIT * 0.46)
        return canvas

    return draw
