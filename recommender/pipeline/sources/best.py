"""The best of an array of scores."""

import numpy as np

from recommender.ordering import best_open_rows
from recommender.pipeline.stages import Found

NOTHING = Found(np.zeros(0, np.int64), np.zeros(0, np.float32))


def best(scores: np.ndarray, eligible: np.ndarray, k: int) -> Found:
    """The `k` eligible columns with the highest scores above 0; ties go to the lower column.

    scores: (W,) float32 of the first W columns; eligible: (V,) bool with V >= W.
    """
    scores = scores.astype(np.float32, copy=False)
    found = best_open_rows(scores, eligible, k)
    return Found(found, scores[found], scores)


def best_of(columns: np.ndarray, scores: np.ndarray, eligible: np.ndarray, k: int) -> Found:
    """The `k` best of columns (n,), each once, with scores (n,): those that are eligible and score above 0."""
    kept = np.flatnonzero((columns >= 0) & (scores > 0))
    kept = kept[eligible[columns[kept]]]
    if len(kept) > k:
        kept = kept[np.argpartition(-scores[kept], k - 1)[:k]]
    order = kept[np.lexsort((columns[kept], -scores[kept]))]
    return Found(columns[order].astype(np.int64), scores[order].astype(np.float32))
