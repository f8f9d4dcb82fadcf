"""The learned ranker as a stage of the pipeline: features of the candidates in, scores out."""

from collections.abc import Sequence

import numpy as np

from recommender.ranking.ranker import Ranker


class LearnedRanker:
    """A ranker that is shown features of these names. Raises ValueError when it was trained on others."""

    def __init__(self, ranker: Ranker, names: Sequence[str]) -> None:
        if ranker.names != tuple(names):
            raise ValueError("the ranker was trained on other features than this version computes")
        self._ranker = ranker

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(n,) float32 in 0..1: the logistic function of the ranker's scores."""
        return 1 / (1 + np.exp(-self._ranker.scores(features)))
