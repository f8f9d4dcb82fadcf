"""Candidates that look and sound like what the viewer liked: a search for each interest, and one among new videos.

Interests after Pal et al., PinnerSage: Multi-Modal User Embedding Framework (KDD 2020): likes are clustered (Ward),
and each cluster is stood for by its medoid, so that nobody's list is about the mean of cooking and football.
"""

from collections.abc import Callable

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from recommender.live_index import LiveIndex
from recommender.pipeline.sources.base import BaseSource
from recommender.pipeline.sources.best import NOTHING
from recommender.pipeline.sources.settings import HistorySourceSettings
from recommender.pipeline.stages import Found, Query

#: Of each query, for columns (n,): the share (n,) float32 0..1 of known videos that the viewer would like less.
ColdScores = Callable[[Query, np.ndarray], np.ndarray]
#: From this share on a new video is taken for one that the viewer would like.
FITS_FROM = 0.8
MOST_LIKES = 40
MOST_INTERESTS = 6
DISLIKED = 10
PUSH = 0.5


def interests(vectors: np.ndarray, weights: np.ndarray, most: int = MOST_INTERESTS) -> tuple[np.ndarray, np.ndarray]:
    """What (h, D) normalised vectors with weights (h,) > 0 are about: (rows of medoids (i,), strengths (i,) in 0..1).

    A medoid is the member of its cluster with the highest weighted sum of cosines to the others; the strength of a
    cluster is the root of its weight, the strongest having 1.
    """
    cluster = np.arange(len(vectors))
    if len(vectors) > most:
        cluster = fcluster(linkage(vectors, "ward"), most, "maxclust").astype(np.int64) - 1
    together = cluster[:, None] == cluster[None, :]
    centrality = np.where(together, vectors @ vectors.T, 0.0) @ weights
    by_cluster = np.lexsort((-centrality, cluster))
    medoids = by_cluster[np.unique(cluster[by_cluster], return_index=True)[1]]
    weight = np.bincount(cluster, weights)
    return medoids, np.sqrt(weight / weight.max()).astype(np.float32)


class _Likes:
    """The likes of a query that have a vector."""

    def __init__(self, query: Query, index: LiveIndex, half_life: float | None) -> None:
        columns, weights = query.profile.recent(half_life)
        columns, weights = columns[:MOST_LIKES], weights[:MOST_LIKES]
        here, self.vectors = index.vectors(columns)
        self.rows = np.flatnonzero(here)
        self.weights = weights[here]

    def __len__(self) -> int:
        return len(self.rows)


class ContentSource(BaseSource):
    """What is near to one of the viewer's interests, pushed away from the disliked."""

    name = "content"

    def __init__(self, index: LiveIndex, settings: HistorySourceSettings) -> None:
        super().__init__(settings)
        self._index = index
        self._half_life = settings.half_life_items or None

    def enabled(self, query: Query) -> bool:
        return query.profile.known and len(self._index) > 0

    def searches(self, query: Query, k: int) -> tuple[np.ndarray, np.ndarray, int]:
        """What the index is asked: vectors (i, D) of the viewer's interests, how strong (i,) they are, and how many
        neighbours of each are wanted."""
        likes = _Likes(query, self._index, self._half_life)
        if len(likes) == 0:
            return likes.vectors, likes.weights, 0
        medoids, strengths = interests(likes.vectors, likes.weights)
        # Interests overlap little: half of what each finds is enough to fill the quota.
        return likes.vectors[medoids], strengths, min(k, -(-2 * k // len(medoids)))

    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        vectors, strengths, each = self.searches(query, k)
        if len(vectors) == 0:
            return NOTHING
        columns, cosines = self._index.search(vectors, each, eligible)
        found, group = np.unique(columns[columns >= 0], return_inverse=True)
        scores = np.full(len(found), -np.inf, np.float32)
        np.maximum.at(scores, group, (cosines * strengths[:, None])[columns >= 0])
        scores -= _push(query, self._index, found)
        order = np.lexsort((found, -scores))[:k]
        return Found(found[order], scores[order])

    def explain(self, query: Query, columns: np.ndarray) -> np.ndarray:
        return _most_alike(query, self._index, self._half_life, columns)


class FreshSource(BaseSource):
    """New videos that fit the viewer: as near to a like as the viewer's likes are to each other, or among those that
    viewers of this taste would like, by what `cold_scores` makes of their looks and labels.

    `new_columns` gives, for a moment, the columns of the videos that have had few viewers yet.
    """

    name = "fresh"

    def __init__(
        self,
        index: LiveIndex,
        new_columns: Callable[[float], np.ndarray],
        settings: HistorySourceSettings,
        cold_scores: ColdScores | None = None,
    ) -> None:
        super().__init__(settings)
        self._index = index
        self._new_columns = new_columns
        self._cold_scores = cold_scores
        self._half_life = settings.half_life_items or None

    def enabled(self, query: Query) -> bool:
        return query.profile.known

    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        columns = self._new_columns(query.now)
        columns = columns[eligible[columns]]
        if len(columns) == 0:
            return NOTHING
        scores, fits = self._by_looks(query, columns)
        if self._cold_scores is not None:
            share = self._cold_scores(query, columns)
            scores += share
            fits |= share >= FITS_FROM
        rows = np.flatnonzero(fits)
        rows = rows[np.lexsort((columns[rows], -scores[rows]))[:k]]
        return Found(columns[rows], scores[rows])

    def _by_looks(self, query: Query, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) float32 cosines with the nearest like, and (n,) bool whether that is as near as likes usually are."""
        scores, fits = np.zeros(len(columns), np.float32), np.zeros(len(columns), bool)
        likes = _Likes(query, self._index, self._half_life)
        here, vectors = self._index.vectors(columns)
        if len(likes) and here.any():
            nearest = (vectors @ likes.vectors.T).max(axis=1)
            fits[here] = nearest >= _usual_nearness(likes.vectors)
            scores[here] = nearest - _push(query, self._index, columns[here])
        return scores, fits

    def explain(self, query: Query, columns: np.ndarray) -> np.ndarray:
        return _most_alike(query, self._index, self._half_life, columns)


def _usual_nearness(vectors: np.ndarray) -> float:
    """How near a viewer's likes (h, D) are to their nearest like, in three of four cases at least; -1 of one like."""
    if len(vectors) < 2:
        return -1.0
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1.0)
    return float(np.quantile(cosines.max(axis=1), 0.25))


def _push(query: Query, index: LiveIndex, columns: np.ndarray) -> np.ndarray | float:
    """What nearness to something disliked takes from the scores of columns."""
    _, disliked = index.vectors(query.profile.disliked[:DISLIKED])
    if len(disliked) == 0 or len(columns) == 0:
        return 0.0
    _, vectors = index.vectors(columns)
    return PUSH * np.maximum((vectors @ disliked.T).max(axis=1), 0)


def _most_alike(query: Query, index: LiveIndex, half_life: float | None, columns: np.ndarray) -> np.ndarray:
    behind = np.full(len(columns), -1, np.int64)
    likes = _Likes(query, index, half_life)
    here, vectors = index.vectors(columns)
    if len(likes) and here.any():
        behind[here] = likes.rows[(vectors @ likes.vectors.T).argmax(axis=1)]
    return behind
