"""Ranking metrics with their formulas. Arrays in, one value per viewer out; knows nothing of models."""

import numpy as np


def ndcg_at_k(hits: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Normalised discounted cumulative gain with binary gains.

    hits: (n, k) bool, whether the item at each rank is relevant; relevant: (n,) how many items are relevant, > 0.
    Returns (n,) in 0..1: sum over hits of 1/log2(rank + 1) over the same sum for min(k, relevant) hits on top
    (Jarvelin, Kekalainen 2002).
    """
    k = hits.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    return (hits @ discounts) / ideal[np.minimum(relevant, k)]


def recall_at_k(hits: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Hits over relevant items: (n, k) bool and (n,) > 0 -> (n,) in 0..1."""
    return hits.sum(axis=1) / relevant


def paired_interval(ours: np.ndarray, theirs: np.ndarray, viewers: np.ndarray | None = None) -> tuple[float, float]:
    """A 95 % interval of the mean difference of two lists' values for the same n viewers, resampling viewers.

    viewers: (n,) whose value each is, where some stand there several times (once for each window).
    """
    if viewers is None:
        return bootstrap_interval(ours - theirs)
    _, group = np.unique(viewers, return_inverse=True)
    sums, counts = np.bincount(group, ours - theirs), np.bincount(group)
    rng = np.random.default_rng(0)
    draws = (rng.integers(0, len(sums), len(sums)) for _ in range(1_000))
    means = [sums[drawn].sum() / counts[drawn].sum() for drawn in draws]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_interval(values: np.ndarray, draws: int = 1_000, seed: int = 0) -> tuple[float, float]:
    """A 95 % percentile interval of the mean, resampling viewers."""
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
