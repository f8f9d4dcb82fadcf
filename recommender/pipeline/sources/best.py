"""The best of an array of scores."""

import numpy as np

from recommender.pipeline.stages import Found

NOTHING = Found(np.zeros(0, np.int64), np.zeros(0, np.float32))


def best(scores: np.ndarray, eligible: np.ndarray, k: int) -> Found:
    """The `k` eligible columns with the highest scores above 0; ties go to the lower column.

    scores: (W,) float32 of the first W columns; eligible: (V,) bool with V >= W.
    """
    open_to = np.where(eligible[: len(scores)], scores, 0)
    least = max(np.partition(open_to, -k)[-k], 0) if k < len(open_to) else 0
    candidates = np.flatnonzero(open_to >= least if least > 0 else open_to > 0)
    # They are in the order of the columns, and a stable sort leaves equals in it.
    order = np.argsort(-open_to[candidates], kind="stable")[:k]
    found = candidates[order]
    return Found(found, scores[found].astype(np.float32, copy=False), scores)


def best_of(columns: np.ndarray, scores: np.ndarray, eligible: np.ndarray, k: int) -> Found:
    """The `k` best of columns (n,), each once, with scores (n,): those that are eligible and score above 0."""
    kept = np.flatnonzero((columns >= 0) & (scores > 0))
    kept = kept[eligible[columns[kept]]]
    if len(kept) > k:
        kept = kept[np.argpartition(-scores[kept], k - 1)[:k]]
    order = kept[np.lexsort((columns[kept], -scores[kept]))]
    return Found(columns[order].astype(np.int64), scores[order].astype(np.float32))
