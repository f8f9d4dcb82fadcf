"""The classic features say what they are named after: checked against scikit-image and against pictures made for it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import moments_central, moments_hu, moments_normalized

from embedder.decode import read_media
from embedder.decode_settings import Sampling
from embedder.encoders.handcrafted import (
    GLCM_LEVELS,
    HandcraftedEncoder,
    co_occurrences,
    colour_histograms,
    colour_moments,
    contour_features,
    glcm_properties,
    grey_pictures,
    hsv_pictures,
    hu_moments,
    motion_features,
)
from embedder.media import Clip, Wanted
from tests.embedder.made_clips import write_video


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    pictures = [skimage.data.coffee(), skimage.data.chelsea(), skimage.data.astronaut()]
    return np.stack([cv2.resize(picture, (341, 256), interpolation=cv2.INTER_AREA) for picture in pictures])


def test_co_occurrences_are_those_of_scikit_image(frames: np.ndarray) -> None:
    grey = grey_pictures(frames)
    ours = co_occurrences(grey)
    levels = ((grey.astype(int) * GLCM_LEVELS) >> 8).astype(np.uint8)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    for picture, matrices in zip(levels, ours, strict=True):
        theirs = graycomatrix(picture, [1], angles, GLCM_LEVELS, symmetric=True, normed=True)
        # scikit-image turns the other way round: its 45 degrees are our 135.
        assert np.allclose(matrices[[0, 3, 2, 1]], np.moveaxis(theirs[:, :, 0], 2, 0), atol=1e-12)
        for place, name in enumerate(("energy", "entropy", "contrast")):
            expected = graycoprops(theirs, name)[0]
            assert np.allclose(glcm_properties(matrices)[[0, 3, 2, 1], place], expected, rtol=1e-6), name


def test_hu_moments_are_those_of_scikit_image_and_turning_does_not_change_them(frames: np.ndarray) -> None:
    grey = grey_pictures(frames)
    for picture, ours in zip(grey, hu_moments(grey), strict=True):
        expected = moments_hu(moments_normalized(moments_central(picture.astype(float))))
        assert np.allclose(10.0 ** (-10 * ours.astype(float)), np.abs(expected), rtol=1e-3)
    turned = hu_moments(np.rot90(grey, axes=(1, 2)))
    assert np.allclose(hu_moments(grey)[:, :6], turned[:, :6], atol=1e-3)


def test_colour_moments_are_those_of_the_pixels(frames: np.ndarray) -> None:
    values = hsv_pictures(frames).reshape(3, -1, 3) / np.array([180, 255, 255])
    ours = colour_moments(hsv_pictures(frames))
    assert np.allclose(ours[:, :3], values.mean(axis=1), atol=1e-5)
    assert np.allclose(ours[:, 3:6], values.std(axis=1), atol=1e-5)
    third = ((values - values.mean(axis=1, keepdims=True)) ** 3).mean(axis=1)
    assert np.allclose(ours[:, 6:], third / values.std(axis=1) ** 3, rtol=1e-3)


def test_a_histogram_tells_colours_apart() -> None:
    red, green = np.zeros((2, 1, 64, 64, 3), np.uint8)
    red[..., 0], green[..., 1] = 200, 200
    histograms = colour_histograms(hsv_pictures(np.concatenate([red, green, red])))
    assert np.allclose(histograms.sum(axis=1), 1) and histograms.shape == (3, 192)
    assert histograms[0] @ histograms[1] == 0 and np.array_equal(histograms[0], histograms[2])


def test_contours_count_what_stands_out() -> None:
    picture = np.zeros((1, 256, 256), np.uint8)
    for left in (20, 100, 180):
        picture[0, 100:140, left : left + 40] = 200
    number, covered, outline, largest = contour_features(picture)[0]
    assert np.expm1(number) == pytest.approx(3)
    assert covered == pytest.approx(3 * 40 * 40 / 256**2, rel=0.1) and largest == pytest.approx(covered / 3)
    assert np.expm1(outline * 3) == pytest.approx(3 * 160 / 256, rel=0.1)


@pytest.mark.parametrize(("across", "down", "sector"), [(8, 0, 0), (0, 8, 2), (-8, 0, 4), (0, -8, 6)])
def test_motion_goes_where_the_picture_went(frames: np.ndarray, across: int, down: int, sector: int) -> None:
    grey = grey_pictures(frames[:1])
    moved = np.roll(grey, (down, across), axis=(1, 2))
    magnitude, directions, places = motion_features(grey, moved)
    # 8 pixels of 256 are 4 of the 128 in which motion is told.
    assert np.expm1(magnitude[0, 2]) == pytest.approx(4, rel=0.1) and magnitude[0, 4] > 0.8
    assert directions[0].argmax() == sector and directions[0].sum() == pytest.approx(1)
    assert places[0].sum() == pytest.approx(1)


def test_what_stands_still_does_not_move(frames: np.ndarray) -> None:
    grey = grey_pictures(frames)
    assert all(not np.any(values) for values in motion_features(grey, grey))


def test_a_file_becomes_one_unit_vector_and_its_copy_the_same(tmp_path: Path) -> None:
    encoder = HandcraftedEncoder(Sampling(frames=8))
    films = [
        write_video(tmp_path / "one.mp4", seed=1),
        write_video(tmp_path / "again.mp4", seed=1),
        write_video(tmp_path / "other.mp4", seed=2),
    ]
    clips = []
    for film in films:
        sample = read_media(film, encoder.wants)
        clips.append(Clip(sample.frames, sample.following))
    vectors = encoder.encode(clips)
    assert vectors.shape == (3, encoder.dim) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] == pytest.approx(1, abs=1e-5) and vectors[0] @ vectors[2] < 0.95
    assert encoder.wants == Wanted(frames=8, motion=True)


def test_black_has_a_vector_and_nothing_to_see_has_none() -> None:
    encoder = HandcraftedEncoder()
    black = np.zeros((2, 256, 256, 3), np.uint8)
    assert np.isfinite(encoder.encode([Clip(black, black)])).all()
    with pytest.raises(ValueError, match="following frames"):
        encoder.encode([Clip(black)])
