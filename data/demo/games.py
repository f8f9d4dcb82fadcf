"""Drawn scenes of games: chess on a table, football in a stadium.

Each function sets up one clip (palette, cast, speeds) from its generator and returns what draws a moment of it.
Knows nothing of titles, files or video.
"""

import functools
import math

import numpy as np
from PIL import Image

from data.demo.drawing import (
    FRAME_HEIGHT,
    FRAME_WIDTH,
    HEIGHT,
    WIDTH,
    Camera,
    Colour,
    Draw,
    Point,
    Sheet,
    choose_palette,
    glow,
    gradient,
    mix,
    put,
)

# ---- Chess -------------------------------------------------------------------------------------------------

# wall above and below, light squares, dark squares, frame, white pieces, black pieces
CHESS_PALETTES = (
    "2b1d14 6b4429 f0d9b5 b58863 4a2c17 fff4dc 3a2416",
    "10202b 2f5d62 e8eddf 5f9ea0 1b3a4b fffdf5 16252d",
    "1d1a2f 584b7a efe6f7 8d78b8 2d2447 fffaf0 241c38",
    "16241b 4d7c4f eeeed2 769656 2b3f2a fffff0 1f2a20",
    "2a1416 8c4a3f f6e0cd c0705a 47201f fff6e8 33171a",
)

#: Half the width of a piece at heights from its foot (0) to its head, in units of its height.
BODY: tuple[Point, ...] = (
    (0, 0.30), (0.06, 0.31), (0.12, 0.25), (0.17, 0.2), (0.3, 0.13), (0.5, 0.1), (0.6, 0.1), (0.64, 0.19), (0.68, 0.1)
)  # fmt: skip
PIECE_HEIGHTS = {"pawn": 0.85, "rook": 1.0, "knight": 1.15, "bishop": 1.25, "queen": 1.45, "king": 1.6}
BACK_RANK = ("rook", "knight", "bishop", "queen", "king", "bishop", "knight", "rook")


@functools.lru_cache(1024)
def _piece(kind: str, height: int, colour: Colour) -> Image.Image:
    """A turned wooden piece of `height` pixels, lit from the left."""
    sheet = Sheet(height, height * 1.1, scale=4)
    middle, foot = height / 2, height * 1.06
    passes = (
        (mix(colour, (0, 0, 0), 0.42), 0.0, 1.0),
        (colour, -0.03, 0.82),
        (mix(colour, (255, 255, 255), 0.4), -0.1, 0.3),
    )
    for shade, shift, share in passes:
        x = middle + shift * height

        def at(half: float, up: float, x: float = x, share: float = share) -> Point:
            return x + half * share * height, foot - up * height

        sheet.polygon([at(-w, u) for u, w in BODY] + [at(w, u) for u, w in reversed(BODY)], shade)
        if kind == "pawn":
            sheet.ellipse(*at(0, 0.82), height * 0.19 * share, height * 0.18, fill=shade)
        elif kind == "rook":
            sheet.polygon([at(-0.17, 0.66), at(-0.22, 0.98), at(0.22, 0.98), at(0.17, 0.66)], shade)
        elif kind == "knight":
            head = (
                (-0.14, 0.62),
                (-0.2, 0.8),
                (-0.06, 0.98),
                (0.02, 1.03),
                (0.1, 0.96),
                (0.3, 0.8),
                (0.26, 0.7),
                (0.06, 0.74),
                (0.16, 0.62),
            )
            sheet.polygon([at(w, u) for w, u in head], shade)
        elif kind == "bishop":
            sheet.ellipse(*at(0, 0.8), height * 0.14 * share, height * 0.17, fill=shade)
            sheet.ellipse(*at(0, 0.99), height * 0.045, fill=shade)
        else:
            sheet.polygon([at(-0.1, 0.66), at(-0.19, 0.92), at(0.19, 0.92), at(0.1, 0.66)], shade)
            if kind == "queen":
                for tooth in (-0.17, -0.06, 0.06, 0.17):
                    sheet.ellipse(*at(tooth, 0.95), height * 0.04, fill=shade)
            else:
                sheet.line([at(0, 0.9), at(0, 1.05)], shade, height * 0.05)
                sheet.line([at(-0.07, 0.99), at(0.07, 0.99)], shade, height * 0.05)
    return sheet.done()


def chess(rng: np.random.Generator) -> Draw:
    above, below, light, dark, frame, white, black = choose_palette(rng, CHESS_PALETTES)
    wall = gradient([above, below, above])
    put(wall, glow(200, mix(below, (255, 230, 190), 0.5), 0.6), rng.uniform(80, WIDTH - 80), rng.uniform(10, 70))
    back = wall.resize((2 * FRAME_WIDTH, 2 * FRAME_HEIGHT))
    near, focal = float(rng.uniform(4.0, 6.0)), float(rng.uniform(290, 370))
    camera = Camera(focal=focal, height=float(rng.uniform(3.4, 5.2)), horizon=0)
    camera.horizon = HEIGHT * float(rng.uniform(0.9, 1.08)) - camera.height * focal / near
    # A middle game: some pieces are gone, others have advanced.
    pieces: list[tuple[str, Colour, int, int]] = []
    taken: set[tuple[int, int]] = set()
    for colour, home, forward in ((white, 0, 1), (black, 7, -1)):
        for file in range(8):
            for kind, row, gone in ((BACK_RANK[file], home, 0.3), ("pawn", home + forward, 0.2)):
                place = (file, row + forward * int(rng.integers(0, 3)) * int(rng.random() < 0.5))
                if (rng.random() > gone or kind == "king") and place not in taken:
                    taken.add(place)
                    pieces.append((kind, colour, *place))
    free = [(file, row) for file in range(8) for row in range(1, 7) if (file, row) not in taken]
    moves = [(int(rng.integers(len(pieces))), free[rng.integers(len(free))], 0.5 + 1.4 * i) for i in range(3)]
    drift, start = float(rng.uniform(0.15, 0.4) * rng.choice([-1, 1])), float(rng.uniform(-0.8, 0.8))

    def draw(t: float) -> Image.Image:
        camera.x = start + drift * t
        sheet = Sheet(WIDTH, HEIGHT, scale=2, background=back)
        sheet.polygon(camera.quad(-4.5, 4.5, near - 0.55, near + 8.5), frame)
        for row in range(7, -1, -1):
            sheet.polygon(camera.quad(-4, 4, near + row, near + row + 1), light)
            for file in range(row % 2, 8, 2):
                sheet.polygon(camera.quad(file - 4, file - 3, near + row, near + row + 1), dark)
        placed = []
        for i, (kind, colour, file, row) in enumerate(pieces):
            x, z, lift = float(file), float(row), 0.0
            for mover, (to_file, to_row), begins in moves:
                if mover == i and t > begins:
                    share = min(1.0, (t - begins) / 0.9)
                    ease = (1 - math.cos(math.pi * share)) / 2
                    x, z, lift = x + (to_file - x) * ease, z + (to_row - z) * ease, 0.5 * math.sin(math.pi * share)
            placed.append((near + z + 0.5, x - 3.5, lift, kind, colour))
        feet = []
        for z, x, lift, kind, colour in sorted(placed, reverse=True):
            px, py, scale = camera.project(x, z)
            sheet.ellipse(px + 0.12 * scale, py, 0.4 * scale, 0.13 * scale, fill=(0, 0, 0, 80))
            feet.append((px, py - lift * scale, round(PIECE_HEIGHTS[kind] * scale), kind, colour))
        canvas = sheet.done()
        for px, py, high, kind, colour in feet:
            put(canvas, _piece(kind, high, colour), px, py - high * 0.5)
        return canvas

    return draw


# ---- Football ----------------------------------------------------------------------------------------------

# stand, crowd light, grass, second grass, first kit, second kit
PITCH_PALETTES = (
    "1c2740 8fa3c8 3d9a4b 358a43 e63946 f1faee",
    "2a1f3d c8a3d6 2f8f5b 2a8152 ffd166 118ab2",
    "151b22 d9b98a 4c9f38 438f31 3a86ff ffbe0b",
    "31262a e0a8a0 57a639 4d9632 ffffff 9d0208",
    "10222b 8fd0d0 379683 318775 f77f00 003049",
)


def _player(height: int, kit: Colour, stride: int) -> Image.Image:
    sheet = Sheet(height, height * 1.05, scale=4)
    x, h = height / 2, float(height)
    skin, shorts = mix(kit, (214, 160, 120), 0.94), mix(kit, (250, 250, 250), 0.75)
    swing = (0.0, 0.16, 0.0, -0.16)[stride]
    for side in (-1, 1):
        sheet.line([(x, h * 0.6), (x + side * (swing + 0.04) * h, h * 0.98)], skin, h * 0.09)
        arm = (x + side * h * 0.2 - swing * h * side, h * 0.52)
        sheet.line([(x + side * h * 0.09, h * 0.28), arm], skin, h * 0.07)
    sheet.box(x - h * 0.12, h * 0.5, x + h * 0.12, h * 0.7, shorts, h * 0.04)
    sheet.box(x - h * 0.14, h * 0.22, x + h * 0.14, h * 0.54, kit, h * 0.06)
    sheet.ellipse(x, h * 0.12, h * 0.1, fill=skin)
    sheet.ellipse(x, h * 0.08, h * 0.1, h * 0.07, fill=(45, 30, 25))
    return sheet.done()


def football(rng: np.random.Generator) -> Draw:
    stand, crowd, grass, second_grass, *kits = choose_palette(rng, PITCH_PALETTES, hue=0.015)
    near = float(rng.uniform(15, 20))
    camera = Camera(focal=float(rng.uniform(270, 330)), height=near * float(rng.uniform(0.72, 0.9)), horizon=0)
    camera.horizon = HEIGHT * 0.97 - camera.height * camera.focal / near
    top = max(10.0, camera.project(0, near + 68)[1])
    seats = Sheet(WIDTH, HEIGHT, scale=2, background=gradient([stand, mix(stand, crowd, 0.35)], 2 * WIDTH, 2 * HEIGHT))
    for _ in range(900):  # people in the stand
        x, y = float(rng.uniform(0, WIDTH)), float(rng.uniform(0, top - 8))
        tint = mix((crowd, *kits)[rng.integers(3)], stand, float(rng.uniform(0.2, 0.75)))
        seats.box(x, y, x + 2, y + 3, tint)
    seats.box(0, top - 8, WIDTH, top, mix(kits[0], (255, 255, 255), 0.15))
    seats.box(0, top, WIDTH, HEIGHT, grass)
    stadium = seats.done()
    for lamp_x in (40, 160, 320, 440):
        put(stadium, glow(46, (255, 252, 235), 0.8), lamp_x, 6)
    back = stadium.resize((2 * FRAME_WIDTH, 2 * FRAME_HEIGHT))
    players = [
        (
            kits[i % 2],
            rng.uniform(-24, 24),
            near + 3 + 52 * rng.random() ** 1.3,
            rng.uniform(0, 6),
            rng.uniform(0.4, 1.2),
        )
        for i in range(rng.integers(11, 19))
    ]
    figures = functools.lru_cache(512)(_player)
    order = rng.permutation(len(players))
    pan, start = float(rng.uniform(1.5, 4.5) * rng.choice([-1, 1])), float(rng.uniform(-8, 8))
    white = (245, 250, 245, 220)

    def place(index: int, t: float) -> tuple[float, float]:
        _, x, z, phase, pace = players[index]
        return x + 5 * math.sin(pace * t + phase), z + 2.5 * math.cos(0.8 * pace * t + phase)

    def draw(t: float) -> Image.Image:
        camera.x = start + pan * t
        sheet = Sheet(WIDTH, HEIGHT, scale=2, background=back)
        for i in range(-8, 8):
            sheet.polygon(camera.quad(i * 8, i * 8 + 8, near - 12, near + 68), (grass, second_grass)[i % 2])
        lines = [(-52.5, 52.5, 67.6, 68.0), (-0.15, 0.15, 0.0, 68.0)]
        for side in (-1, 1):
            left, right = sorted((side * 52.5, side * 36.0))
            lines += [
                (left, right, 13.8, 14.2),
                (left, right, 53.8, 54.2),
                (side * 36 - 0.15, side * 36 + 0.15, 14, 54),
            ]
        for x0, x1, z0, z1 in lines:
            sheet.polygon(camera.quad(x0, x1, near + z0, near + z1), white)
        circle = [
            camera.project(9.15 * math.cos(a), near + 34 + 9.15 * math.sin(a))[:2] for a in np.linspace(0, 6.3, 40)
        ]
        sheet.line(circle, white, 1.0)
        seen = sorted(((place(i, t)[1], place(i, t)[0], i) for i in range(len(players))), reverse=True)
        for z, x, _ in seen:
            px, py, scale = camera.project(x, z)
            sheet.ellipse(px + 0.5 * scale, py, 1.0 * scale, 0.28 * scale, fill=(0, 30, 0, 90))
        # The ball goes from player to player, one pass in 1.1 seconds.
        step, share = divmod(t / 1.1, 1)
        passer, taker = (place(int(order[int(step + k) % len(order)]), t) for k in (0, 1))
        ball_x, ball_z = (a + (b - a) * share for a, b in zip(passer, taker, strict=True))
        bx, by, scale = camera.project(ball_x, ball_z, 2.2 * math.sin(math.pi * share) + 0.2)
        canvas = sheet.done()
        for z, x, i in seen:
            px, py, size = camera.project(x, z)
            high = max(8, round(2.6 * size))
            put(canvas, figures(high, players[i][0], int(t * 8 + i) % 4), px, py - high * 0.48)
        ball = Sheet(12, 12, scale=4)
        ball.ellipse(6, 6, max(1.8, 0.32 * scale), fill=(255, 255, 255))
        put(canvas, ball.done(), bx, by)
        return canvas

    return draw
