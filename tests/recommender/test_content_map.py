"""The content map: cold videos get the factors of their like, and the map knows how good it is."""

import numpy as np
import pytest

from recommender.content_map import ContentBlock, ContentMap, ContentMapSettings, fit_content_map

VIDEOS, FACTORS = 240, 6
COLD = np.arange(200, VIDEOS)


def world(noise: float = 0.1, curved: bool = False) -> tuple[dict[str, ContentBlock], np.ndarray, np.ndarray]:
    """Factors that follow from a picture of 5 numbers (scales far apart); words are noise that some lack."""
    rng = np.random.default_rng(0)
    picture = rng.normal(size=(VIDEOS, 5))
    seen = np.sin(2 * picture) if curved else picture
    factors = seen @ rng.normal(size=(5, FACTORS)) + 0.5 + noise * rng.normal(size=(VIDEOS, FACTORS))
    support = rng.integers(5, 200, VIDEOS).astype(np.float32)
    support[COLD] = 0
    words = (rng.random((VIDEOS, 8)) < 0.2).astype(np.float32)
    scales = np.array([1, 100, 0.01, 5, 1])
    blocks = {
        "picture": ContentBlock((picture * scales + 3).astype(np.float32), np.ones(VIDEOS, bool)),
        "words": ContentBlock(words, rng.random(VIDEOS) < 0.7),
    }
    return blocks, factors.astype(np.float32), support


def explained(predicted: np.ndarray, real: np.ndarray) -> float:
    return 1 - np.sum((real - predicted) ** 2) / np.sum((real - real.mean(axis=0)) ** 2)


@pytest.mark.parametrize(("landmarks", "enough"), [(0, 0.95), (150, 0.7)])
def test_cold_videos_get_the_factors_of_their_like(landmarks: int, enough: float) -> None:
    blocks, factors, support = world()
    predicted = fit_content_map(blocks, factors, support, ContentMapSettings(landmarks=landmarks)).factors(blocks)
    assert predicted.shape == (VIDEOS, FACTORS) and predicted.dtype == np.float32
    assert explained(predicted[COLD], factors[COLD]) > enough


def test_landmarks_follow_curves_that_a_line_cannot() -> None:
    blocks, factors, support = world(curved=True)
    line, curve = (
        explained(
            fit_content_map(blocks, factors, support, ContentMapSettings(landmarks=count)).factors(blocks)[COLD],
            factors[COLD],
        )
        for count in (0, 200)
    )
    assert curve > line + 0.1


@pytest.mark.parametrize("noise", [0.1, 2.0, 6.0])
def test_trust_is_what_is_explained_of_videos_that_the_map_has_not_seen(noise: float) -> None:
    blocks, factors, support = world(noise)
    fitted = fit_content_map(blocks, factors, support, ContentMapSettings(landmarks=0))
    assert fitted.trust == pytest.approx(explained(fitted.factors(blocks)[COLD], factors[COLD]), abs=0.15)
    assert fitted.correlation == pytest.approx(np.sqrt(fitted.trust), abs=0.1)


def test_leaving_one_out_is_a_refit_without_it() -> None:
    rng = np.random.default_rng(1)
    content = rng.normal(size=(40, 4)).astype(np.float32)
    factors = (content[:, :3] + rng.normal(size=(40, 3))).astype(np.float32)
    settings = ContentMapSettings(landmarks=0, regularization=0.05, half_support=0)
    blocks = {"all": ContentBlock(content, np.ones(40, bool))}
    fitted = fit_content_map(blocks, factors, np.ones(40, np.float32), settings)
    X = (content - content.mean(axis=0)) / content.std(axis=0) / 2
    residuals = []
    for row in range(40):
        others = np.delete(np.arange(40), row)
        mean_x, mean_y = X[others].mean(axis=0), factors[others].mean(axis=0)
        A = X[others] - mean_x
        slope = np.linalg.solve(A.T @ A / 40 + 0.05 * np.eye(4), A.T @ (factors[others] - mean_y) / 40)
        residuals.append(factors[row] - mean_y - (X[row] - mean_x) @ slope)
    expected = 1 - np.sum(np.square(residuals)) / np.sum((factors - factors.mean(axis=0)) ** 2)
    assert 0.2 < expected < 0.8 and fitted.trust == pytest.approx(expected, abs=1e-4)


def test_noise_is_not_trusted() -> None:
    blocks, factors, support = world()
    shuffled = np.random.default_rng(1).permutation(factors)
    assert fit_content_map(blocks, shuffled, support).trust < 0.05


def test_cold_videos_and_their_factors_do_not_count_in_the_fit() -> None:
    blocks, factors, support = world()
    other = factors.copy()
    other[COLD] = 1e3
    for first, second in zip(
        fit_content_map(blocks, factors, support).arrays().values(),
        fit_content_map(blocks, other, support).arrays().values(),
        strict=True,
    ):
        np.testing.assert_array_equal(first, second)


def test_a_video_without_content_gets_nothing_and_one_without_a_block_an_average_one() -> None:
    blocks, factors, support = world()
    fitted = fit_content_map(blocks, factors, support)
    nothing = {name: ContentBlock(block.values[:3], np.zeros(3, bool)) for name, block in blocks.items()}
    assert not fitted.factors(nothing).any()
    garbage = dict(blocks, words=ContentBlock(blocks["words"].values + 1e6, np.zeros(VIDEOS, bool)))
    assert explained(fitted.factors(garbage)[COLD], factors[COLD]) > 0.7


def test_a_block_with_no_weight_changes_nothing() -> None:
    blocks, factors, support = world()
    settings = ContentMapSettings(weights={"words": 0.0}, landmarks=0)
    alone = {"picture": blocks["picture"]}
    np.testing.assert_allclose(
        fit_content_map(blocks, factors, support, settings).factors(blocks),
        fit_content_map(alone, factors, support, settings).factors(alone),
        atol=1e-4,
    )


@pytest.mark.parametrize("landmarks", [0, 50])
def test_what_is_stored_comes_back_the_same(landmarks: int) -> None:
    blocks, factors, support = world()
    fitted = fit_content_map(blocks, factors, support, ContentMapSettings(landmarks=landmarks))
    arrays = fitted.arrays()
    assert all(array.dtype != object for array in arrays.values())
    again = ContentMap.from_arrays(arrays)
    np.testing.assert_array_equal(again.factors(blocks), fitted.factors(blocks))
    assert (again.trust, again.correlation) == (fitted.trust, fitted.correlation)


def test_without_a_warm_video_there_is_nothing_to_learn() -> None:
    blocks, factors, support = world()
    with pytest.raises(ValueError, match="nothing to learn"):
        fit_content_map(blocks, factors, np.zeros_like(support))


def test_one_warm_video_is_enough_to_fit_and_none_is_trusted() -> None:
    blocks, factors, support = world()
    support[1:] = 0
    fitted = fit_content_map(blocks, factors, support)
    assert fitted.trust == 0 and np.isfinite(fitted.factors(blocks)).all()
