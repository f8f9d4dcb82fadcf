"""Selectors: the slate out of scored candidates."""

import numpy as np

from recommender.pipeline.stages import Query, Ranked


class BestFirst:
    """The highest scores, in order."""

    name = "best_first"

    def select(self, query: Query, ranked: Ranked) -> np.ndarray:
        return np.arange(min(query.limit, len(ranked)))
