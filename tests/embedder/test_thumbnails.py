"""The still picture of a video shows something."""

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image, ImageFilter

from data.home import Home
from embedder.thumbnails import representative_frame, thumbnail_path, write_thumbnail


def scene(blur: float = 0.0, brightness: float = 1.0) -> np.ndarray:
    image = Image.fromarray(skimage.data.coffee()).resize((456, 256))
    return (np.asarray(image.filter(ImageFilter.GaussianBlur(blur))) * brightness).astype(np.uint8)


BLACK = np.zeros((256, 456, 3), np.uint8)
WHITE = np.full((256, 456, 3), 255, np.uint8)


def test_black_white_and_flat_frames_are_passed_over() -> None:
    grey = np.full_like(BLACK, 120)
    assert representative_frame(np.stack([BLACK, WHITE, grey, scene(), BLACK])) == 3


def test_the_sharpest_of_the_typical_frames_is_taken() -> None:
    assert representative_frame(np.stack([scene(4), scene(2), scene(0), scene(3)])) == 2


def test_a_sharp_stranger_does_not_stand_for_the_video() -> None:
    noise = np.random.default_rng(0).integers(0, 255, BLACK.shape, dtype=np.uint8)
    assert representative_frame(np.stack([scene(1), noise, scene(2), scene(1.5), scene(3)])) == 0


def test_a_black_video_has_a_thumbnail_too(tmp_path: Path) -> None:
    path = write_thumbnail(Home.at(tmp_path), "dark", np.stack([BLACK] * 3))
    assert Image.open(path).size == (456, 256)


def test_any_id_gives_one_file_below_the_thumbnails(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    ids = ["plain", "../../etc/passwd", "a/b", "a_b", "..", "é" * 100, "A" * 200]

    paths = {write_thumbnail(home, video_id, scene()[None]) for video_id in ids}

    assert len(paths) == len(ids)
    assert {path.parent for path in paths} == {home.thumbnails}
    assert paths == {thumbnail_path(home, video_id) for video_id in ids} == set(home.thumbnails.iterdir())


def test_wide_pictures_fit_into_the_box(tmp_path: Path) -> None:
    wide = np.tile(scene(), (1, 2, 1))[None]
    with Image.open(write_thumbnail(Home.at(tmp_path), "wide", wide)) as image:
        assert image.format == "JPEG" and image.width == 480
