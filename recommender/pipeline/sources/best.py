"""The best of an array of scores."""

import numpy as np

from recommender.pipeline.stages import Found

NOTHING = Found(np.zeros(0, np.int64), np.zeros(0, np.float32))


def best(scores: np.ndarray, eligible: np.ndarray, k: int) -> Found:
    """The `k` eligible columns with the highest scores above 0; ties go to the lower column.

    scores: (W,) float32 of the first W columns; eligible: (V,) bool with V >= W.
    """
    candidates = np.flatnonzero(eligible[: len(scores)] & (scores > 0))
    if len(candidates) > k:
        candidates = candidates[np.argpartition(-scores[candidates], k - 1)[:k]]
    order = np.lexsort((candidates, -scores[candidates]))
    return Found(candidates[order], scores[candidates[order]].astype(np.float32), scores)
