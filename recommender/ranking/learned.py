"""The learned ranker as a stage of the pipeline: features of the candidates in, scores out."""

import numpy as np

from recommender.pipeline.stages import Candidates, Query
from recommender.ranking.features import FeatureBuilder
from recommender.ranking.ranker import Ranker


class LearnedRanker:
    """A ranker and what it needs to see. Raises ValueError when it was trained on other features."""

    def __init__(self, ranker: Ranker, features: FeatureBuilder) -> None:
        if ranker.names != features.names:
            raise ValueError("the ranker was trained on other features than this version computes")
        self._ranker = ranker
        self._features = features

    def scores(self, query: Query, candidates: Candidates) -> np.ndarray:
        """(n,) float32 in 0..1: the logistic function of the ranker's scores."""
        features = self._features.build(query.profile, candidates, query.now)
        return 1 / (1 + np.exp(-self._ranker.scores(features)))
