"""What changes in a clip counts, what does not change adds nothing, and shortened vectors stay comparable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.encoders.pooling import pooled, pooled_dim
from embedder.encoders.projection import projected

POOLINGS = ("mean", "mean+std", "mean+diff", "mean+std+diff")


def features(seed: int, frames: int, dim: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).random((frames, dim), dtype=np.float32)


@given(
    seed=st.integers(0, 1000),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    pooling=st.sampled_from(POOLINGS),
)
def test_each_clip_has_one_unit_vector_that_its_company_does_not_change(
    seed: int, lengths: list[int], pooling: str
) -> None:
    clips = [features(seed + number, length) for number, length in enumerate(lengths)]
    together = pooled(np.concatenate(clips), lengths, pooling)

    assert together.shape == (len(clips), pooled_dim(24, pooling)) and together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(1.0, abs=1e-5)
    alone = np.concatenate([pooled(clip, [len(clip)], pooling) for clip in clips])
    assert np.abs(together - alone).max() < 1e-4


def test_the_mean_forgets_the_order_and_the_differences_do_not() -> None:
    back_and_forth = np.tile(np.eye(2, 24, dtype=np.float32), (4, 1))
    once_over = np.repeat(np.eye(2, 24, dtype=np.float32), 4, axis=0)

    def similarity(pooling: str) -> float:
        first, second = pooled(np.concatenate([back_and_forth, once_over]), [8, 8], pooling)
        return float(first @ second)

    assert similarity("mean") == pytest.approx(1.0) and similarity("mean+std") == pytest.approx(1.0)
    moves = pooled(np.concatenate([back_and_forth, once_over]), [8, 8], "mean+diff")
    assert np.linalg.norm(moves[0] * (np.arange(48) >= 24)) == pytest.approx(np.sqrt(0.5), abs=1e-3)
    three_pictures = np.eye(3, 24, dtype=np.float32)[[0, 1, 2, 0, 1, 2, 0, 1, 2]]
    in_runs = np.repeat(np.eye(3, 24, dtype=np.float32), 3, axis=0)
    first, second = pooled(np.concatenate([three_pictures, in_runs]), [9, 9], "mean+diff")
    assert first @ second < 0.999


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_still_is_its_picture_whatever_noise_the_network_adds(pooling: str) -> None:
    still = np.repeat(features(0, 1), 8, axis=0)
    noisy = still + np.random.default_rng(1).normal(0, 1e-5, still.shape).astype(np.float32)

    first, second = pooled(np.concatenate([still, noisy]), [8, 8], pooling)
    assert first @ second > 0.9999


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="no pooling 'max'"):
        pooled(features(0, 2), [2], "mean+max")


def test_projected_vectors_keep_their_inner_products() -> None:
    vectors = pooled(features(3, 600, dim=1280), [6] * 100, "mean+std+diff")
    short = projected(vectors, 1280)

    assert short.shape == (100, 1280) and short.dtype == np.float32
    assert np.abs(short @ short.T - vectors @ vectors.T).max() < 5 / np.sqrt(1280)
    assert np.array_equal(projected(vectors, 1280), short), "the same on every machine and in every run"
    assert np.array_equal(projected(vectors[:, :100], 100), vectors[:, :100]), "what is short enough stays"
