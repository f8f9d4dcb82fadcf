"""What a ranker sees of a candidate: the one place that computes it, for training and for serving alike.

Pure functions of arrays: what is known of the videos when a release is built, the viewer's history, and what the
sources said of the candidates. Nothing of who the viewer is (age, sex, place) and nothing of models.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recommender.pipeline.stages import Candidates
from recommender.popularity import SECONDS_PER_DAY
from recommender.profile import Profile
from recommender.ranking.ranker import FUSION

#: In what is recent about a viewer a like counts half as much this many likes later.
RECENT_HALF_LIFE_ITEMS = 10.0
#: How quickly likes of other times of the day cease to count: four hours away a seventh, twelve hours away nothing.
HOURS_MATTER = 4.0
#: Candidates are compared with the vectors of so many likes.
RECENT_VECTORS = 10
#: The windows of `recommender.popularity.Popularity`.
POPULARITY = ("all_time", "decayed", "recent")
SECONDS_PER_YEAR = 365.25 * SECONDS_PER_DAY
#: Where the last of what is looked up of a video stands.
PUBLISHED, LOG_DURATION, LABEL_SHARE = -3, -2, -1

#: Of so many videos all that is looked up is worked out once and kept; of more it would take too much memory.
TABLE_UP_TO = 100_000

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
        FUSION,
        *(f"popularity.{name}" for name in popularity),
        *(f"trend.{name}" for name in popularity[1:]),
        "age_years",
        "label_affinity",
        "recent_label_affinity",
        "label_affinity_at_this_hour",
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
        self._windows = len(facts.popularity)
        # Of all videos, each counted once more than it was.
        total = facts.popularity.sum(axis=1, dtype=np.float64) + facts.popularity.shape[1]
        self._growth = np.diff(np.log(total))[:, None]
        self._labels = facts.labels.shape[1]
        self._label_begins, self._label_ids = facts.labels.indptr, facts.labels.indices
        lengths = np.diff(self._label_begins)
        share = (facts.popularity[0] + 1) / total[0] if self._windows else np.ones(len(lengths))
        usual = np.bincount(self._label_ids, np.repeat(share / np.maximum(lengths, 1), lengths), self._labels)
        # Of labels that hardly anything popular has, one like would say far too much.
        self._usual = np.maximum(usual / max(usual.sum(), 1e-9), 1e-3)
        self._table: tuple[np.ndarray, np.ndarray] | None = None
        if len(lengths) <= TABLE_UP_TO:
            every = np.arange(len(lengths))
            self._table = np.ascontiguousarray(self._look_up(every).T), self._labels_of(every)
        self.names = feature_names(sources, facts.popularity_names)
        self._row = {name: row for row, name in enumerate(self.names)}
        self._first_of_windows = self._row[FUSION] + 1
        self._rows_of_sources: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]] = {}

    def build(self, profile: Profile, candidates: Candidates, now: float) -> np.ndarray:
        """(n, F) float32, a column for each of `names`; NaN where nothing is known. `now` is seconds since 1970."""
        columns = candidates.columns
        # Feature by feature, which is how they are computed; turned round at the end.
        features = np.full((len(self.names), len(columns)), np.nan, np.float32)
        if not len(columns):
            return features.T
        self._put_sources(candidates, features)
        looked_up = self._look_up(columns)
        features[self._first_of_windows : self._first_of_windows + len(looked_up) - 3] = looked_up[:-3]
        features[self._row["age_years"]] = now / SECONDS_PER_YEAR - looked_up[PUBLISHED]
        if profile.known:
            self._put_history(profile, columns, looked_up, now, features)
        return features.T

    def _look_up(self, columns: np.ndarray) -> np.ndarray:
        """(2 P + 2, n) float64 of videos: popularity, trend, and the three last."""
        if self._table is not None:
            return self._table[0][columns].T
        facts, windows = self._facts, self._windows
        found = np.empty((max(2 * windows - 1, 0) + 3, len(columns)))
        popularity = found[:windows]
        np.log1p(facts.popularity.take(columns, axis=1), out=popularity, dtype=np.float64)
        # How much larger a share of all a video has in a shorter memory than in the longer one.
        np.subtract(popularity[1:], popularity[:-1], out=found[windows:-3])
        found[windows:-3] -= self._growth
        np.divide(facts.published_at[columns], SECONDS_PER_YEAR, out=found[PUBLISHED])
        np.log(np.maximum(facts.duration_s[columns], 1.0), out=found[LOG_DURATION])
        lengths = self._label_begins[columns + 1] - self._label_begins[columns]
        # What each label of a video counts in it; NaN without any.
        np.divide(1.0, np.where(lengths > 0, lengths, np.nan), out=found[LABEL_SHARE])
        return found

    def _labels_of(self, columns: np.ndarray) -> np.ndarray:
        """(n, K) int32: the labels of each video side by side, L where there is none."""
        if self._table is not None:
            return self._table[1][columns]
        begins = self._label_begins[columns]
        lengths = self._label_begins[columns + 1] - begins
        most = int(lengths.max(initial=0))
        if most == 0:
            return np.full((len(columns), 1), self._labels, np.int32)
        places = np.arange(most)
        ids = self._label_ids.take(begins[:, None] + places, mode="clip")
        ids[places >= lengths[:, None]] = self._labels
        return ids

    def _put_sources(self, candidates: Candidates, features: np.ndarray) -> None:
        # Some sources score only what they found; of one that found nothing there is nothing to compare.
        known = ~np.isnan(candidates.scores)
        count = np.maximum(known.sum(axis=1, keepdims=True), 1)
        centred = candidates.scores - np.where(known, candidates.scores, 0).sum(axis=1, keepdims=True) / count
        spread = np.sqrt(np.where(known, centred * centred, 0).sum(axis=1, keepdims=True) / count)
        here, rows = self._rows_of(candidates.sources)
        # Of a source that scores all alike the candidates are all average.
        features[rows] = (centred / np.where(spread > 0, spread, 1))[here]
        features[rows + len(self._sources)] = np.where(candidates.ranks > 0, candidates.ranks, np.nan)[here]
        features[self._row[FUSION]] = _standardised(candidates.fused)

    def _rows_of(self, sources: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Which of these sources there are features for, and the rows of their scores: (m,) int64 each."""
        found = self._rows_of_sources.get(sources)
        if found is None:
            pairs = [(place, self._sources.index(name)) for place, name in enumerate(sources) if name in self._sources]
            here, rows = np.array(pairs, np.int64).reshape(-1, 2).T
            found = self._rows_of_sources[sources] = here, rows
        return found

    def _put_history(
        self, profile: Profile, columns: np.ndarray, looked_up: np.ndarray, now: float, features: np.ndarray
    ) -> None:
        row, liked, weights = self._row, profile.liked, profile.signal
        of_liked = self._look_up(liked).T
        weightings = np.empty((3, len(liked)))
        weightings[0] = weights
        weightings[1] = weights * np.exp2(-np.arange(len(liked)) / RECENT_HALF_LIFE_ITEMS)
        weightings[2] = weights * _nearness_in_the_day(profile.times, now)
        affinities = self._label_affinities(columns, liked, weightings * of_liked[:, LABEL_SHARE])
        features[row["label_affinity"] : row["label_affinity_at_this_hour"] + 1] = affinities * looked_up[LABEL_SHARE]
        of_all, of_recent = _means_of_known(of_liked, weightings[:2])
        features[row["published_after_history"]] = looked_up[PUBLISHED] - of_all[PUBLISHED]
        features[row["published_after_recent"]] = looked_up[PUBLISHED] - of_recent[PUBLISHED]
        usual = of_all[0] if self._windows else np.nan
        features[row["more_popular_than_history"]] = looked_up[0] - usual
        features[row["duration_after_history"]] = looked_up[LOG_DURATION] - of_recent[LOG_DURATION]
        if self._facts.vectors is not None:
            self._put_similarity(self._facts.vectors, columns, liked, weights, features)
        features[row["history_length"]] = len(liked)
        features[row["history_popularity"]] = usual
        features[row["log_minutes_since_last"]] = np.log1p(max(now - profile.times[0], 0.0) / 60)

    def _label_affinities(self, columns: np.ndarray, liked: np.ndarray, weightings: np.ndarray) -> np.ndarray:
        """The sum over a candidate's labels of how much more often than usual the viewer likes them.

        weightings: (w, h), of the likes, spread over their labels. (w, n): 1 a label is as usual; NaN where nothing
        that was liked has labels.
        """
        ids = self._labels_of(liked)
        taste = self._label_sums(ids, weightings)
        total = taste.sum(axis=1, keepdims=True)
        # A place without a label adds nothing.
        lift = np.zeros((len(weightings), self._labels + 1))
        lift[:, :-1] = taste / (np.where(total > 0, total, np.nan) * self._usual)
        return lift.take(self._labels_of(columns).T, axis=1).sum(axis=1)

    def _label_sums(self, ids: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(w, L) sums of weights (w, n) of the videos that carry each label; ids: (n, K) as of `_labels_of`."""
        bins = self._labels + 1
        places = ids.ravel() + bins * np.arange(len(weights))[:, None]
        sums = np.bincount(places.ravel(), weights.repeat(ids.shape[1], axis=1).ravel(), bins * len(weights))
        return sums.reshape(len(weights), bins)[:, :-1]

    def _put_similarity(
        self, vectors_of: VectorsOf, columns: np.ndarray, liked: np.ndarray, weights: np.ndarray, features: np.ndarray
    ) -> None:
        """Cosines with the mean of all likes, and with the nearest of the last ones."""
        liked_here, history = vectors_of(liked)
        here, vectors = vectors_of(columns)
        if not liked_here.any() or not here.any():
            return
        centre = weights[liked_here] @ history
        centre /= max(float(np.linalg.norm(centre)), 1e-9)
        cosines = vectors @ np.vstack([centre, history[:RECENT_VECTORS]]).T
        features[self._row["similarity"], here] = cosines[:, 0]
        features[self._row["recent_similarity"], here] = cosines[:, 1:].max(axis=1)


def _standardised(values: np.ndarray) -> np.ndarray:
    """In standard deviations from the mean; 0 where all are alike."""
    centred = values - values.mean()
    spread = math.sqrt(float(centred @ centred) / len(values))
    return centred / (spread if spread > 0 else 1)


def _nearness_in_the_day(times: np.ndarray, now: float) -> np.ndarray:
    """(h,) in 0..1: how near moments are to now on the clock, whatever the day and the time zone; an hour or two count
    as the same, half a day does not count."""
    turn = (times - now) * (2 * np.pi / SECONDS_PER_DAY)
    return np.exp(HOURS_MATTER * (np.cos(turn) - 1))


def _means_of_known(values: np.ndarray, weightings: np.ndarray) -> np.ndarray:
    """The weighted means of the values (h, m) that are not NaN, for each weighting (w, h) > 0; NaN when none is known.

    (w, m).
    """
    known = ~np.isnan(values)
    total = weightings @ known
    return weightings @ np.where(known, values, 0) / np.where(total > 0, total, np.nan)
