"""What a ranker sees of a candidate: the one place that computes it, for training and for serving alike.

Pure functions of arrays: what is known of the videos when a release is built, the viewer's history, and what the
sources said of the candidates. Nothing of who the viewer is (age, sex, place) and nothing of models.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recommender.pipeline.stages import Candidates
from recommender.popularity import SECONDS_PER_DAY
from recommender.profile import Profile

#: In what is recent about a viewer a like counts half as much this many likes later.
RECENT_HALF_LIFE_ITEMS = 10.0
#: Candidates are compared with the vectors of so many likes.
RECENT_VECTORS = 10
#: The windows of `recommender.popularity.Popularity`.
POPULARITY = ("all_time", "decayed", "recent")
SECONDS_PER_YEAR = 365.25 * SECONDS_PER_DAY

VectorsOf = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class VideoFacts:
    """What is known of V videos, apart from any viewer.

    popularity: (P, V) >= 0, sums of positive signals, from the longest to the shortest memory of `popularity_names`;
    published_at: (V,) seconds since 1970 and duration_s: (V,), NaN where unknown; labels: (V, L) bool;
    vectors: columns (n,) -> (which of them have a vector (n,) bool, those vectors (m, D) float32 of length 1), as
    `VectorIndex.vectors`; None without an encoder.
    """

    popularity: np.ndarray
    published_at: np.ndarray
    duration_s: np.ndarray
    labels: sp.csr_matrix
    vectors: VectorsOf | None = None
    popularity_names: tuple[str, ...] = POPULARITY


def feature_names(sources: Sequence[str], popularity: Sequence[str] = POPULARITY) -> tuple[str, ...]:
    """What `FeatureBuilder` computes, in order, for sources and windows of popularity of these names."""
    return (
        *(f"score.{name}" for name in sorted(sources)),
        *(f"rank.{name}" for name in sorted(sources)),
        "score.fusion",
        *(f"popularity.{name}" for name in popularity),
        *(f"trend.{name}" for name in popularity[1:]),
        "age_years",
        "label_affinity",
        "recent_label_affinity",
        "published_after_history",
        "published_after_recent",
        "more_popular_than_history",
        "duration_after_history",
        "similarity",
        "recent_similarity",
        "history_length",
        "history_popularity",
        "log_minutes_since_last",
    )


class FeatureBuilder:
    """Features over the columns of one release, for the sources of these names, whatever order they answer in."""

    def __init__(self, facts: VideoFacts, sources: Sequence[str]) -> None:
        self._facts = facts
        self._sources = sorted(sources)
        counts = facts.popularity.astype(np.float64)
        share = (counts + 1) / (counts.sum(axis=1, keepdims=True) + counts.shape[1])
        self._popularity = np.log1p(counts)
        self._trend = np.diff(np.log(share), axis=0)
        self._published_years = facts.published_at / SECONDS_PER_YEAR
        self._log_duration = np.log(np.maximum(facts.duration_s, 1.0))
        labels = facts.labels.tocsr()
        self._label_starts, self._label_ids = labels.indptr.astype(np.int64), labels.indices
        lengths = np.diff(self._label_starts)
        self._label_share = 1 / np.maximum(lengths, 1)
        weight = (share[0] if len(share) else np.ones(len(lengths))) * self._label_share
        usual = np.bincount(self._label_ids, np.repeat(weight, lengths), labels.shape[1])
        # Of labels that hardly anything popular has, one like would say far too much.
        self._usual = np.maximum(usual / max(usual.sum(), 1e-9), 1e-3)
        self.names = feature_names(sources, facts.popularity_names)

    def build(self, profile: Profile, candidates: Candidates, now: float) -> np.ndarray:
        """(n, F) float32, a column for each of `names`; NaN where nothing is known. `now` is seconds since 1970."""
        columns = candidates.columns
        # Feature by feature, which is how they are computed; turned round at the end.
        features = np.full((len(self.names), len(columns)), np.nan, np.float32)
        if not len(columns):
            return features.T
        rows = iter(features)

        def put(values: np.ndarray | float) -> None:
            next(rows)[:] = values

        self._put_sources(candidates, put)
        for row in self._popularity:
            put(row[columns])
        for row in self._trend:
            put(row[columns])
        published = self._published_years[columns]
        put(now / SECONDS_PER_YEAR - published)
        if profile.known:
            liked, weights = profile.liked, profile.signal
            recent = weights * np.exp2(-np.arange(len(liked)) / RECENT_HALF_LIFE_ITEMS)
            for affinity in self._label_affinities(columns, liked, (weights, recent)):
                put(affinity)
            put(published - _mean_of_known(self._published_years[liked], weights))
            put(published - _mean_of_known(self._published_years[liked], recent))
            usual = float(np.average(self._popularity[0][liked], weights=weights)) if len(self._popularity) else np.nan
            put((self._popularity[0][columns] if len(self._popularity) else np.nan) - usual)
            put(self._log_duration[columns] - _mean_of_known(self._log_duration[liked], recent))
            similarity, recent_similarity = self._similarity(columns, liked, weights)
            put(similarity)
            put(recent_similarity)
            put(len(liked))
            put(usual)
            put(np.log1p(max(now - profile.times[0], 0.0) / 60))
        return np.ascontiguousarray(features.T)

    def _put_sources(self, candidates: Candidates, put: Callable[[np.ndarray | float], None]) -> None:
        row_of = {name: row for row, name in enumerate(candidates.sources)}
        # Some sources score only what they found; of one that found nothing there is nothing to compare.
        known = ~np.isnan(candidates.scores)
        count = np.maximum(known.sum(axis=1, keepdims=True), 1)
        centred = candidates.scores - np.where(known, candidates.scores, 0).sum(axis=1, keepdims=True) / count
        spread = np.sqrt(np.where(known, centred**2, 0).sum(axis=1, keepdims=True) / count)
        # Of a source that scores all alike the candidates are all average.
        standard = centred / np.where(spread > 0, spread, 1)
        ranks = np.where(candidates.ranks > 0, candidates.ranks, np.nan)
        for values in (standard, ranks):
            for name in self._sources:
                put(values[row_of[name]] if name in row_of else np.nan)
        spread = float(candidates.fused.std())
        put((candidates.fused - candidates.fused.mean()) / (spread if spread > 0 else 1))

    def _label_affinities(
        self, columns: np.ndarray, liked: np.ndarray, weightings: Sequence[np.ndarray]
    ) -> Iterator[np.ndarray]:
        """How much more often than usual the viewer likes a candidate's labels, for each weighting (h,) of the likes.

        (n,) each: 1 is as usual; NaN where a candidate, or all that was liked, has no labels.
        """
        row_liked, label_liked = self._labels_of(liked)
        row, label = self._labels_of(columns)
        share = np.where(np.bincount(row, minlength=len(columns)) > 0, self._label_share[columns], np.nan)
        for weights in weightings:
            taste = np.bincount(label_liked, (weights * self._label_share[liked])[row_liked], len(self._usual))
            lift = taste / (taste.sum() * self._usual) if len(label_liked) else np.full(len(taste), np.nan)
            yield np.bincount(row, lift[label], len(columns)) * share

    def _labels_of(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The labels of videos, one after another: (place in `columns`, label)."""
        starts = self._label_starts[columns]
        lengths = self._label_starts[columns + 1] - starts
        row = np.repeat(np.arange(len(columns)), lengths)
        first = np.cumsum(lengths) - lengths
        return row, self._label_ids[np.arange(len(row)) + np.repeat(starts - first, lengths)]

    def _similarity(
        self, columns: np.ndarray, liked: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray | float, np.ndarray | float]:
        """Cosines with the mean of all likes, and with the nearest of the last ones: (n,) each, NaN no vector."""
        if self._facts.vectors is None:
            return np.nan, np.nan
        liked_here, history = self._facts.vectors(liked)
        here, vectors = self._facts.vectors(columns)
        if not liked_here.any() or not here.any():
            return np.nan, np.nan
        similarity = np.full((2, len(columns)), np.nan)
        centre = weights[liked_here] @ history
        similarity[0, here] = vectors @ centre / max(float(np.linalg.norm(centre)), 1e-9)
        similarity[1, here] = (vectors @ history[:RECENT_VECTORS].T).max(axis=1)
        return similarity[0], similarity[1]


def _mean_of_known(values: np.ndarray, weights: np.ndarray) -> float:
    """The weighted mean of the values that are not NaN; NaN when none is known."""
    known = ~np.isnan(values)
    return float(np.average(values[known], weights=weights[known])) if known.any() else np.nan
