"""Drawn scenes of places: a city at night, mountains, the sea, a road in the rain.

Each function sets up one clip (palette, objects, speeds) from its generator and returns what draws a moment of
it. Knows nothing of titles, files or video.
"""

import math

import numpy as np
from PIL import Image, ImageChops

from data.demo.drawing import (
    FRAME_HEIGHT,
    FRAME_WIDTH,
    HEIGHT,
    UNIT,
    WIDTH,
    Camera,
    Colour,
    Draw,
    Layer,
    Sheet,
    choose_palette,
    from_array,
    glow,
    gradient,
    mix,
    put,
    ridge,
    scroll,
    skyline,
    stretched,
)

# ---- A city at night ---------------------------------------------------------------------------------------

# sky above, sky at the horizon, far houses, near houses, windows, second windows
CITY_PALETTES = (
    "0b1030 7a55c7 33286e 12123a ffd37a 7ad7ff",
    "101a44 e0668c 4a2c66 1b1338 ffcf70 ff8fb3",
    "062233 25a39b 12465a 082030 ffe08a 8affd6",
    "1b1140 f5955a 5c2c57 221336 ffe3a0 ffb35c",
    "0e1533 4f7fd0 24386e 0d1530 fff0c2 a7c4ff",
)


def _houses(rng: np.random.Generator, width: int, tallest: float, colour: Colour, windows: tuple[Colour, ...]) -> Layer:
    """A row of houses as high as the frame that repeats from left to right."""
    sheet = Sheet(width, HEIGHT)
    x = 0.0
    while x < width:
        broad = min(float(rng.uniform(26, 62)), width - x)
        high = tallest * float(rng.uniform(0.4, 1.0))
        top, shade = HEIGHT - high, mix(colour, (255, 255, 255), float(rng.uniform(0, 0.06)))
        sheet.box(x, top, x + broad, HEIGHT, shade)
        roof = rng.integers(4)
        if roof == 0 and broad > 20:
            sheet.line([(x + broad / 2, top), (x + broad / 2, top - 20)], shade, 1.5)
            sheet.ellipse(x + broad / 2, top - 20, 1.4, fill=(255, 90, 90))
        elif roof == 1:
            sheet.polygon([(x, top), (x + broad / 2, top - broad * 0.35), (x + broad, top)], shade)
        elif roof == 2:
            sheet.box(x + broad * 0.2, top - 8, x + broad * 0.6, top, shade)
        step_x, step_y = float(rng.uniform(6, 9)), float(rng.uniform(8, 11))
        lit = rng.uniform(0.25, 0.6)
        for row in np.arange(top + 6, HEIGHT - 8, step_y):
            for column in np.arange(x + 4, x + broad - 6, step_x):
                if rng.random() < lit:
                    light = mix(windows[int(rng.random() < 0.18)], shade, float(rng.uniform(0, 0.55)))
                    sheet.box(column, row, column + 3.2, row + 4.6, light)
        x += broad + float(rng.choice([0, 0, 3]))
    return sheet.layer()


def _car(body: Colour, glass: Colour) -> Image.Image:
    sheet = Sheet(44, 22, scale=4)
    sheet.polygon([(11, 10), (16, 4), (28, 4), (34, 10)], body)
    sheet.polygon([(13.5, 9.5), (17, 5.5), (27, 5.5), (31, 9.5)], glass)
    sheet.box(4, 9, 40, 17, body, 3.5)
    for wheel in (12, 32):
        sheet.ellipse(wheel, 17, 3.6, fill=(6, 6, 12))
        sheet.ellipse(wheel, 17, 1.6, fill=(110, 110, 125))
    return sheet.done()


def city_night(rng: np.random.Generator) -> Draw:
    above, horizon, far, near, *windows = choose_palette(rng, CITY_PALETTES)
    sky = gradient([above, mix(above, horizon, 0.55), horizon, mix(horizon, windows[0], 0.35), horizon])
    for _ in range(70):
        share = float(rng.uniform(0.2, 0.9))
        sky.putpixel(
            (int(rng.integers(FRAME_WIDTH)), int(rng.integers(FRAME_HEIGHT // 2))), mix(above, (255, 255, 255), share)
        )
    moon_x, moon_y, moon = rng.uniform(60, WIDTH - 60), rng.uniform(36, 80), rng.uniform(11, 22)
    put(sky, glow(int(moon * 4), mix(horizon, (255, 255, 255), 0.6), 0.5), moon_x, moon_y)
    disc = Sheet(60, 60)
    disc.ellipse(30, 30, moon, fill=(255, 246, 224))
    put(sky, disc.done(), moon_x, moon_y)
    street = int(rng.integers(38, 58))
    layers = [
        (_houses(rng, 720, rng.uniform(110, 150), mix(far, horizon, 0.4), (mix(windows[0], horizon, 0.5),) * 2), 8),
        (_houses(rng, 960, rng.uniform(90, 140), far, tuple(windows)), 16),
        (_houses(rng, 960, rng.uniform(55, 95), near, tuple(windows)), 36),
    ]
    direction = rng.choice([-1, 1])
    # The wet street shows the lights above it upside down, darker and smeared.
    wet = gradient([mix(near, horizon, 0.25), (8, 8, 16)], WIDTH, street)
    cars = [
        (rng.uniform(0, WIDTH), rng.uniform(60, 150) * (1 if lane else -1), lane) for lane in (0, 1) for _ in range(4)
    ]
    body = _car(mix(near, windows[0], 0.12), mix(near, horizon, 0.9))
    mirrored_body = body.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    beam = stretched(glow(24, (255, 240, 200), 0.4, 1.0), 44, 13)
    mirrored_beam = beam.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    lamps = [(x, glow(34, (255, 214, 150), 0.5)) for x in range(0, 960, 160)]
    offset = rng.uniform(0, 700)

    def draw(t: float) -> Image.Image:
        canvas = sky.copy()
        at = offset + direction * t
        for layer, speed in layers:
            scroll(canvas, layer, offset + direction * t * speed, -street)
        ground = HEIGHT - street
        # Squeezed to a few rows and stretched again, the houses smear into streaks.
        bank = FRAME_HEIGHT - wet.height
        mirrored = canvas.crop((0, bank - wet.height, FRAME_WIDTH, bank)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        mirrored = mirrored.resize((FRAME_WIDTH, 6)).resize(wet.size)
        canvas.paste(Image.blend(wet, mirrored, 0.5), (0, bank))
        for x, light in lamps:
            put(canvas, light, (x - at * 60) % 960 - 40, ground - 6)
        for start, pace, lane in cars:
            x = (start + (pace - direction * 36) * t) % (WIDTH + 80) - 40
            y = ground + street * (0.3 if lane == 0 else 0.68)
            ahead = math.copysign(1, pace)
            put(canvas, body if ahead > 0 else mirrored_body, x, y)
            put(canvas, beam if ahead > 0 else mirrored_beam, x + ahead * 34, y + 2)
            put(canvas, glow(7, (255, 240, 200), 1.0), x + ahead * 17, y + 1)
            put(canvas, glow(8, (255, 50, 50), 1.0), x - ahead * 17, y + 1)
        return canvas

    return draw


# ---- Mountains ---------------------------------------------------------------------------------------------

# sky above, middle, horizon, sun, far ridge, near ridge
MOUNTAIN_PALETTES = (
    "2b3a74 c2587a ffb26b fff1c9 a3587a 1e1838",
    "3f7cc4 9fd0ee fbe9c9 fffbe8 86aecb 1d3b3a",
    "1b1f4b 6b4a9c f2a7b8 ffe6d8 8a6aa8 17153a",
    "f08a5d f9b872 fde2a9 fffbe0 c9785b 3a1d2c",
    "12354d 3f8f97 f6d9a0 fff4d6 5b98a0 0c2430",
    "5a6f9e c9b7d6 f7dcd0 ffffff a9a9cf 2d3352",
)


def _ridge_layer(rng: np.random.Generator, base: float, height: float, colour: Colour, trees: float) -> Layer:
    sheet = Sheet(960, HEIGHT, scale=2)
    heights = base - height * ridge(rng, 960, roughness=0.75 if trees == 0 else 0.35)
    sheet.polygon([(0, HEIGHT), *skyline(heights), (960, HEIGHT)], colour)
    x = 6.0
    while trees and x < 950:
        size, foot = trees * float(rng.uniform(0.6, 1.25)), float(heights[int(x)]) + 2
        for part in range(3):
            top, half = foot - size * (0.4 + 0.3 * part), size * (0.26 - 0.06 * part)
            sheet.polygon([(x - half, top + size * 0.42), (x, top - size * 0.1), (x + half, top + size * 0.42)], colour)
        x += float(rng.uniform(0.3, 1.6)) * trees
    return sheet.layer()


def mountains(rng: np.random.Generator) -> Draw:
    above, middle, horizon, sun_colour, far, near = choose_palette(rng, MOUNTAIN_PALETTES)
    sky = gradient([above, middle, horizon, horizon])
    sun_x, sun_y, sun = rng.uniform(90, WIDTH - 90), rng.uniform(60, 130), rng.uniform(14, 26)
    put(sky, glow(int(sun * 5), sun_colour, 0.75), sun_x, sun_y)
    disc = Sheet(60, 60)
    disc.ellipse(30, 30, sun, fill=sun_colour)
    put(sky, disc.done(), sun_x, sun_y)
    clouds = Sheet(960, 150, scale=1).image
    for _ in range(int(rng.integers(4, 9))):
        puff = stretched(glow(60, mix(horizon, (255, 255, 255), 0.4), 0.55, 1.2), *rng.uniform((120, 14), (300, 30)))
        left, top = rng.uniform((10, 8), (640, 115)) * UNIT
        clouds.alpha_composite(puff, (int(left), int(top)))
    sky_clouds = Layer(clouds)
    count = int(rng.integers(4, 6))
    layers = []
    for i in range(count):
        depth = i / (count - 1)
        base, tree = 135 + 95 * depth, 0.0 if depth < 0.6 else 16 + 18 * (depth - 0.6)
        layer = _ridge_layer(rng, base, rng.uniform(26, 52) * (1.2 - 0.6 * depth), mix(far, near, depth), tree)
        layers.append((layer, 4 + 44 * depth**1.6))
    birds = [(rng.uniform(0, WIDTH), rng.uniform(40, 120), rng.uniform(3, 6)) for _ in range(rng.integers(0, 8))]
    direction, offset = rng.choice([-1, 1]), rng.uniform(0, 900)
    bird_colour = mix(near, above, 0.2)

    def draw(t: float) -> Image.Image:
        canvas = sky.copy()
        scroll(canvas, sky_clouds, offset + 7 * t)
        for i, (x, y, size) in enumerate(birds):
            lift = size * 0.7 * math.sin(9 * t + i)
            sheet = Sheet(4 * size, 4 * size)
            middle_at = 2 * size
            wings = [(0.6 * size, middle_at - lift), (middle_at, middle_at), (3.4 * size, middle_at - lift)]
            sheet.line(wings, bird_colour, 1.4)
            put(canvas, sheet.done(), (x + 18 * t) % WIDTH, y + 4 * math.sin(t + i))
        for layer, speed in layers:
            scroll(canvas, layer, offset + direction * speed * t)
        return canvas

    return draw


# ---- The sea -----------------------------------------------------------------------------------------------

# water above, middle, below, sand, plants, fish, second fish, third fish
SEA_PALETTES = (
    "7fe3ee 1f9cc4 08416f 9db98f 1d6b62 ff9f43 ffe066 ff6b6b",
    "5fd0d6 17808f 063a4a b9b483 2f7d4f ffd166 f78fb3 f5f6fa",
    "9be7ff 3d7fd6 101d63 8f8fb8 3d3f8f ffb3c7 fff3b0 9bf6ff",
    "4aa9c9 145a8c 041e3d 6d8a93 14505a ff7f50 f9c74f 90e0ef",
    "b8f2e6 2aa198 0b4f57 d9c79a 2c7a4b ff6f91 ffc75f f9f871",
)


def _fish(size: float, colour: Colour, tail: float) -> Image.Image:
    sheet = Sheet(size * 2.2, size * 1.4, scale=4)
    x, y = size * 1.2, size * 0.7
    fin = mix(colour, (30, 20, 60), 0.25)
    sheet.polygon(
        [(x - size * 0.6, y), (x - size * 1.1, y - size * 0.42 * tail), (x - size * 1.1, y + size * 0.42 * tail)], fin
    )
    sheet.polygon(
        [(x - size * 0.2, y - size * 0.25), (x + size * 0.1, y - size * 0.62), (x + size * 0.35, y - size * 0.2)], fin
    )
    sheet.ellipse(x, y, size * 0.72, size * 0.4, fill=colour)
    sheet.ellipse(x - size * 0.05, y + size * 0.1, size * 0.55, size * 0.26, fill=mix(colour, (255, 255, 255), 0.35))
    sheet.polygon([(x - size * 0.1, y), (x - size * 0.38, y + size * 0.3), (x + size * 0.05, y + size * 0.14)], fin)
    for stripe in (0.12, -0.25):
        sheet.line([(x + size * stripe, y - size * 0.34), (x + size * stripe * 0.8, y + size * 0.3)], fin, size * 0.06)
    sheet.ellipse(x + size * 0.42, y - size * 0.08, size * 0.11, fill=(255, 255, 255))
    sheet.ellipse(x + size * 0.45, y - size * 0.08, size * 0.06, fill=(20, 20, 40))
    return sheet.done()


def ocean(rng: np.random.Generator) -> Draw:
    above, middle, below, sand, plant, *fish_colours = choose_palette(rng, SEA_PALETTES)
    water = gradient([above, middle, below])
    y, x = np.mgrid[0:HEIGHT, 0 : WIDTH + 40].astype(float)
    lean = rng.uniform(-0.5, 0.5)
    beams = sum(np.sin((x - lean * y) / wave + rng.uniform(0, 6)) for wave in rng.uniform(9, 40, 4))
    beam_light = np.clip(np.asarray(beams) / 3, 0, 1) * (1 - y / HEIGHT) ** 1.3 * 110
    rays = stretched(from_array(np.stack([np.full_like(x, 255)] * 3 + [beam_light], axis=-1)), WIDTH + 40, HEIGHT)
    floor = Sheet(960, HEIGHT, scale=2)
    for base, height, colour in ((232, 16, mix(below, sand, 0.35)), (250, 10, mix(below, sand, 0.75))):
        dunes = base - height * ridge(rng, 960, 0.1)
        floor.polygon([(0, HEIGHT), *skyline(dunes), (960, HEIGHT)], colour)
    for _ in range(int(rng.integers(5, 12))):  # corals and stones
        cx, size, tint = rng.uniform(30, 930), rng.uniform(6, 20), fish_colours[rng.integers(3)]
        for _ in range(7):
            dx, dy = rng.normal(0, size * 0.6), rng.uniform(0, size)
            floor.ellipse(cx + dx, 252 - dy, size * rng.uniform(0.2, 0.5), fill=mix(tint, below, rng.uniform(0.3, 0.6)))
    ground = floor.layer()
    plants = [(rng.uniform(0, WIDTH), rng.uniform(40, 120), rng.uniform(0, 6)) for _ in range(rng.integers(5, 14))]
    sway = rng.uniform(0.8, 1.8)
    shoals = []
    for _ in range(int(rng.integers(3, 6))):
        size, colour = float(rng.uniform(7, 30)), fish_colours[rng.integers(3)]
        speed, count = float(rng.choice([-1, 1]) * rng.uniform(22, 60)), int(rng.integers(1, max(2, int(120 / size))))
        sprites = [_fish(size, colour, tail) for tail in (0.6, 1.0)]
        if speed < 0:
            sprites = [sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for sprite in sprites]
        places = rng.normal([rng.uniform(0, WIDTH), rng.uniform(50, 190)], [size * 3.5, size * 1.6], (min(count, 9), 2))
        shoals.append((sprites, speed, places))
    bubbles = [(rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(1.5, 5)) for _ in range(26)]
    bubble_sheets = {}
    for *_, radius in bubbles:
        sheet = Sheet(14, 14, scale=4)
        sheet.ellipse(7, 7, radius, fill=(255, 255, 255, 50))
        sheet.ring(7, 7, radius, (255, 255, 255, 150), 0.7)
        sheet.ellipse(7 - radius * 0.35, 7 - radius * 0.35, radius * 0.25, fill=(255, 255, 255, 220))
        bubble_sheets[radius] = sheet.done()

    def draw(t: float) -> Image.Image:
        canvas = water.copy()
        put(canvas, rays, WIDTH / 2 + 14 * math.sin(0.5 * t), HEIGHT / 2)
        scroll(canvas, ground, 200 + 9 * t)
        leaves = Sheet(WIDTH, 140, scale=2)
        for x, high, phase in plants:
            at = (x - 9 * t) % WIDTH
            stem = [
                (at + (k / 7) ** 1.5 * 16 * math.sin(sway * t + phase + k * 0.35), 140 - high * k / 7) for k in range(8)
            ]
            leaves.line(stem, mix(plant, below, 0.15), 4.5)
            leaves.line([(px + 4, py + 5) for px, py in stem], mix(plant, above, 0.25), 2.2)
        put(canvas, leaves.done(), WIDTH / 2, HEIGHT - 70)
        for sprites, speed, places in shoals:
            for i, (px, py) in enumerate(places):
                sprite = sprites[int(t * 5 + i) % 2]
                put(canvas, sprite, (px + speed * t) % (WIDTH + 120) - 60, py + 5 * math.sin(1.7 * t + i))
        for px, py, radius in bubbles:
            rise = (py - (16 + radius * 7) * t) % HEIGHT
            put(canvas, bubble_sheets[radius], px + 4 * math.sin(2 * t + px), rise)
        return canvas

    return draw


# ---- A road in the rain ------------------------------------------------------------------------------------

# sky above, sky at the horizon, road, street lights, two colours of distant lights
RAIN_PALETTES = (
    "0b1230 4a6fa5 161d30 ffcf7a ff7eb6 7ad7ff",
    "1a1238 9a5fa0 221b35 ffb36b 8affd6 ff6f91",
    "06201f 3f9088 15292a ffe08a ff9f5a 9bf6ff",
    "27344a a9bdd2 2f3a48 ffe9c4 ffd1a8 d6ecff",
    "24101c d9704f 2b1a24 ffb85c ff5d6c ffe0a8",
)


def rainy_road(rng: np.random.Generator) -> Draw:
    above, horizon_colour, road, light, *distant = choose_palette(rng, RAIN_PALETTES)
    horizon = float(rng.uniform(105, 135))
    camera = Camera(focal=float(rng.uniform(210, 280)), height=1.25, horizon=horizon, x=float(rng.uniform(-1.2, 1.6)))
    ground = [mix(road, horizon_colour, 0.75), road, mix(road, (0, 0, 0), 0.35)]
    scene = Image.new("RGB", (FRAME_WIDTH, FRAME_HEIGHT))
    scene.paste(gradient(ground, WIDTH, HEIGHT), (0, round(horizon * UNIT)))
    scene.paste(gradient([above, horizon_colour], WIDTH, horizon), (0, 0))
    trees = Sheet(WIDTH, HEIGHT, scale=2)
    for depth in (0.45, 0.75):
        tops = horizon - 10 * (1 + depth) - 14 * depth * np.abs(ridge(rng, WIDTH, 1.3, 60))
        outline = [(0.0, horizon), *skyline(tops), (float(WIDTH), horizon)]
        trees.polygon(outline, (*mix(horizon_colour, above, depth), 255))
    put(scene, trees.done(), WIDTH / 2, HEIGHT / 2)
    asphalt = Sheet(WIDTH, HEIGHT, scale=2, background=scene.resize((2 * FRAME_WIDTH, 2 * FRAME_HEIGHT)))
    asphalt.polygon(camera.quad(-5.5, 5.5, 0.6, 900), (*mix(road, (150, 165, 190), 0.12), 255))
    for side in (-5.1, 5.1):
        asphalt.polygon(camera.quad(side - 0.09, side + 0.09, 0.6, 300), (*mix(road, (255, 255, 255), 0.5), 255))
    scene = asphalt.image
    # Shops and signs far away, out of focus: discs and, on the wet road, their columns of light.
    bokeh = Image.new("RGB", (FRAME_WIDTH, FRAME_HEIGHT))
    for _ in range(int(rng.integers(16, 30))):
        colour, radius = (light, *distant)[rng.integers(3)], int(rng.integers(5, 17))
        bx, by = rng.normal(WIDTH / 2, WIDTH / 3.2), horizon - rng.exponential(16)
        put(bokeh, glow(radius, colour, float(rng.uniform(0.35, 0.85)), 0.45), bx, by)
        long = float(rng.uniform(50, 130))
        put(bokeh, stretched(glow(20, colour, 0.5, 1.0), 2 * radius, long), bx, horizon + long / 2)
    scene = ImageChops.screen(scene, bokeh.resize(scene.size))
    speed, gap = float(rng.uniform(9, 20)), 24.0
    oncoming = [(rng.uniform(20, 120), rng.uniform(8, 16)) for _ in range(rng.integers(2, 5))]
    ahead = [(float(rng.uniform(7, 20)), float(rng.uniform(-0.8, 0.8))) for _ in range(rng.integers(1, 3))]
    drops = rng.uniform((0, 0, 3, 0.3), (WIDTH, HEIGHT, 12, 1.0), (150, 4))
    slant = float(rng.uniform(-0.35, 0.35))
    beads = Sheet(WIDTH, HEIGHT, scale=2)  # drops on the windscreen
    for _ in range(int(rng.integers(20, 90))):
        bx, by, size = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(0.8, 2.6)
        beads.ellipse(bx, by, size, size * 1.25, fill=(225, 235, 245, 60))
        beads.ellipse(bx - size * 0.3, by - size * 0.4, size * 0.35, fill=(255, 255, 255, 170))
    glass = beads.done()

    def lamp(canvas: Image.Image, x: float, z: float, y: float, colour: Colour, size: float) -> None:
        """A light and its long reflection on the wet road."""
        px, py, scale = camera.project(x, z, y)
        radius = int(np.clip(size * scale, 5, 56))
        put(canvas, glow(radius, colour, 1.0, 1.6), px, py)
        foot = camera.project(x, z)[1]
        long = min(3.2 * radius, 110.0)
        put(canvas, stretched(glow(20, colour, 0.55, 1.2), radius, long), px, foot + long * 0.35)

    def draw(t: float) -> Image.Image:
        sheet = Sheet(WIDTH, HEIGHT, scale=2, background=scene)
        for i in range(14):
            z = (i * 6 - speed * t) % 84 + 1.2
            for lane in (-1.75, 1.75):
                sheet.polygon(camera.quad(lane - 0.07, lane + 0.07, z, z + 2.4), (225, 225, 215, 200))
        for x, y, length, shine in drops.tolist():
            fall = (y + 430 * shine * t) % (HEIGHT + 20) - 20
            at = (x + slant * 430 * shine * t) % WIDTH
            sheet.line([(at, fall), (at + slant * length, fall + length)], (215, 228, 245, int(110 * shine)), 0.6)
        canvas = sheet.done()
        for i in range(7, -1, -1):
            z = (i * gap - speed * t) % (8 * gap) + 3
            for side in (-7.0, 7.0):
                lamp(canvas, side, z, 4.2, light, 1.1)
        for start, velocity in oncoming:
            z = (start - (speed + velocity) * t) % 90 + 4
            for wheel in (-0.6, 0.6):
                lamp(canvas, -3.4 + wheel, z, 0.7, (255, 250, 235), 0.62)
        for start, drift in ahead:
            for wheel in (-0.65, 0.65):
                lamp(canvas, wheel + 3.4 * (start > 13), start + drift * t, 0.7, (255, 40, 45), 0.5)
        put(canvas, glass, WIDTH / 2, HEIGHT / 2)
        return canvas

    return draw
