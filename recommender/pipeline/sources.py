"""Sources of candidates: collaborative, content from the viewer's recent history, popular.

Each scores with arrays and takes its best; none knows the others.
"""

import numpy as np

from recommender.collaborative import LatentFactors
from recommender.index import VectorIndex
from recommender.item_item import ItemWeights
from recommender.pipeline.stages import Found, Query
from recommender.popularity import Popularity

NOTHING = Found(np.zeros(0, np.int64), np.zeros(0, np.float32))


def best(scores: np.ndarray, eligible: np.ndarray, k: int) -> Found:
    """The `k` eligible columns with the highest scores above 0; ties go to the lower column."""
    candidates = np.flatnonzero(eligible & (scores > 0))
    if len(candidates) > k:
        candidates = candidates[np.argpartition(-scores[candidates], k - 1)[:k]]
    order = np.lexsort((candidates, -scores[candidates]))
    return Found(candidates[order], scores[candidates[order]].astype(np.float32))


class CollaborativeSource:
    """What viewers with a like history went on to: item-item weights where the catalogue is small enough for
    them, else latent factors with the viewer folded in."""

    name = "collaborative"
    last_resort = False

    def __init__(self, factors: LatentFactors, item_weights: ItemWeights | None) -> None:
        self._factors = factors
        self._item_weights = item_weights

    def enabled(self, query: Query) -> bool:
        return query.profile.known

    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        profile = query.profile
        if self._item_weights is not None:
            return best(self._item_weights.scores(profile.liked, profile.weights), eligible, k)
        viewer = self._factors.fold_in(profile.liked, profile.weights)
        return best(self._factors.scores(viewer), eligible, k)

    def weight(self, query: Query) -> float:
        return 1.0

    def explain(self, query: Query, columns: np.ndarray) -> np.ndarray:
        model = self._item_weights or self._factors
        parts = model.contributions(query.profile.liked, query.profile.weights, columns)
        return np.where(parts.max(axis=0) > 0, parts.argmax(axis=0), -1)


class ContentSource:
    """What looks like the videos that the viewer liked last, a search for each, pushed away from the disliked."""

    name = "content"
    last_resort = False
    RECENT = 10
    DISLIKED = 10
    PUSH = 0.5

    def __init__(self, index: VectorIndex, weight: float) -> None:
        self._index = index
        self._weight = weight

    def enabled(self, query: Query) -> bool:
        return query.profile.known and len(self._index) > 0

    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        profile = query.profile
        here, liked = self._index.vectors(profile.liked[: self.RECENT])
        if not here.any():
            return NOTHING
        _, disliked = self._index.vectors(profile.disliked[: self.DISLIKED])
        ids, cosines = self._index.search(liked, k, eligible[self._index.ids])
        found, group = np.unique(ids[ids >= 0], return_inverse=True)
        scores = np.full(len(found), -np.inf, np.float32)
        strength = profile.weights[: self.RECENT][here] / profile.weights[: self.RECENT][here].max()
        np.maximum.at(scores, group, (cosines * strength[:, None])[ids >= 0])
        if len(disliked) and len(found):
            _, vectors = self._index.vectors(found)
            scores -= self.PUSH * np.maximum((vectors @ disliked.T).max(axis=1), 0)
        order = np.lexsort((found, -scores))[:k]
        return Found(found[order], scores[order])

    def weight(self, query: Query) -> float:
        return self._weight

    def explain(self, query: Query, columns: np.ndarray) -> np.ndarray:
        rows = np.full(len(columns), -1, np.int64)
        liked_here, liked = self._index.vectors(query.profile.liked[: self.RECENT])
        here, vectors = self._index.vectors(columns)
        if liked_here.any() and here.any():
            rows[here] = np.flatnonzero(liked_here)[(vectors @ liked.T).argmax(axis=1)]
        return rows


class PopularSource:
    """What is popular in the viewer's country now. Counts for little once a viewer has a history."""

    name = "popular"
    last_resort = True

    def __init__(self, popularity: Popularity, prior_items: float) -> None:
        self._popularity = popularity
        self._prior_items = prior_items

    def enabled(self, query: Query) -> bool:
        return True

    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        return best(self._popularity.scores(query.country), eligible, k)

    def weight(self, query: Query) -> float:
        """Shrinks with what is known: as much as all of the viewer's likes at `prior_items` of them."""
        return self._prior_items / (self._prior_items + len(query.profile.liked))

    def explain(self, query: Query, columns: np.ndarray) -> np.ndarray:
        return np.full(len(columns), -1, np.int64)
