"""Scorers: one score for candidates that several sources ranked."""

import numpy as np

from recommender.pipeline.stages import Candidates, Query

FUSION_CONSTANT = 60.0


class ReciprocalRankFusion:
    """Sum over the sources of weight / (constant + rank): needs no training and no comparable scores.

    Cormack, Clarke, Buettcher: Reciprocal Rank Fusion outperforms Condorcet (SIGIR 2009).
    """

    name = "reciprocal_rank_fusion"

    def __init__(self, constant: float = FUSION_CONSTANT) -> None:
        self._constant = constant

    def parts(self, query: Query, candidates: Candidates) -> np.ndarray:
        weighted = candidates.weights[:, None] / (self._constant + candidates.ranks)
        return np.where(candidates.ranks > 0, weighted, 0.0).astype(np.float32)
