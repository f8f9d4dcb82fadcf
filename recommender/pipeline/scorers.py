"""Scorers: one score for candidates that several sources ranked."""

import numpy as np

from recommender.pipeline.sources.settings import MOST_CANDIDATES
from recommender.pipeline.stages import Candidates, Query

FUSION_CONSTANT = 60.0


class ReciprocalRankFusion:
    """Sum over the sources of weight / (constant + rank): needs no training and no comparable scores.

    Cormack, Clarke, Buettcher: Reciprocal Rank Fusion outperforms Condorcet (SIGIR 2009).
    """

    name = "reciprocal_rank_fusion"

    def __init__(self, constant: float = FUSION_CONSTANT) -> None:
        # What is not found has rank 0 and adds nothing.
        self._of_rank = np.append(0.0, 1 / (constant + np.arange(1, MOST_CANDIDATES + 1))).astype(np.float32)

    def parts(self, query: Query, candidates: Candidates) -> np.ndarray:
        return candidates.weights[:, None] * self._of_rank.take(candidates.ranks, mode="clip")


class StandardisedScoreSum:
    """Sum over the sources of weight times score, in standard deviations above the lowest candidate of each source.

    Keeps how much better a candidate is where ranks forget it: strongest where few sources know best what comes next.
    """

    name = "standardised_score_sum"

    def parts(self, query: Query, candidates: Candidates) -> np.ndarray:
        scores = candidates.scores
        known = ~np.isnan(scores)
        lowest = np.where(known, scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
        above = np.where(known, scores - np.where(np.isfinite(lowest), lowest, 0), 0.0)
        count = np.maximum(known.sum(axis=1, keepdims=True), 1)
        mean = above.sum(axis=1, keepdims=True) / count
        spread = np.sqrt(np.where(known, (above - mean) ** 2, 0).sum(axis=1, keepdims=True) / count)
        return (candidates.weights[:, None] * above / np.where(spread > 0, spread, 1)).astype(np.float32)
