"""What a ranker sees of a candidate: the one place that computes it, for training and for serving alike.

Pure functions of arrays: what is known of the videos when a release is built, the viewer's history, and what the
sources said of the candidates. Nothing of who the viewer is (age, sex, place) and nothing of models.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recommender.compiled import NUMBER, WHOLE, compiled, reads, writes
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
            self._table = self._look_up(every), self._labels_of(every)
        self.names = feature_names(sources, facts.popularity_names)
        self._row = {name: row for row, name in enumerate(self.names)}
        self._rows_of_sources: dict[tuple[str, ...], np.ndarray] = {}

    def build(self, profile: Profile, candidates: Candidates, now: float) -> np.ndarray:
        """(n, F) float32, a column for each of `names`; NaN where nothing is known. `now` is seconds since 1970."""
        columns = candidates.columns
        # Feature by feature, which is how they are computed; turned round at the end.
        features = np.full((len(self.names), len(columns)), np.nan, np.float32)
        if not len(columns):
            return features.T
        scores, ranks = (np.ascontiguousarray(array) for array in (candidates.scores, candidates.ranks))
        rows = self._rows_of(candidates.sources)
        _put_sources(scores, ranks, candidates.fused, rows, len(self._sources), features)
        looked_up = self._look_up(columns)
        _put_facts(looked_up, now / SECONDS_PER_YEAR, features[self._row[FUSION] + 1 :])
        if profile.known:
            self._put_history(profile, columns, looked_up, now, features)
        return features.T

    def _look_up(self, columns: np.ndarray) -> np.ndarray:
        """(n, 2 P + 2) float64 of videos: popularity, trend, and the three last."""
        if self._table is not None:
            return self._table[0].take(columns, axis=0)
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
        return np.ascontiguousarray(found.T)

    def _labels_of(self, columns: np.ndarray) -> np.ndarray:
        """(n, K) int32: the labels of each video side by side, L where there is none."""
        if self._table is not None:
            return self._table[1].take(columns, axis=0)
        begins = self._label_begins[columns]
        lengths = self._label_begins[columns + 1] - begins
        most = int(lengths.max(initial=0))
        if most == 0:
            return np.full((len(columns), 1), self._labels, np.int32)
        places = np.arange(most)
        ids = self._label_ids.take(begins[:, None] + places, mode="clip")
        ids[places >= lengths[:, None]] = self._labels
        return ids.astype(np.int32, copy=False)

    def _rows_of(self, sources: tuple[str, ...]) -> np.ndarray:
        """The rows of the scores of these sources, -1 where there are no features for one: (S,) int64."""
        found = self._rows_of_sources.get(sources)
        if found is None:
            rows = [self._sources.index(name) if name in self._sources else -1 for name in sources]
            found = self._rows_of_sources[sources] = np.array(rows, np.int64)
        return found

    def _put_history(
        self, profile: Profile, columns: np.ndarray, looked_up: np.ndarray, now: float, features: np.ndarray
    ) -> None:
        row, liked = self._row, profile.liked
        of_liked = self._look_up(liked)
        affinities, means = np.empty((3, len(columns))), np.empty((3, of_liked.shape[1]))
        _weigh_likes(
            self._labels_of(columns), of_liked, self._labels_of(liked), profile.signal, profile.times, now,
            self._usual, affinities, means,
        )  # fmt: skip
        usual = means[0, 0] if self._windows else np.nan
        minutes = max(now - float(profile.times[0]), 0.0) / 60
        _put_comparisons(affinities, looked_up, means, usual, features[row["label_affinity"] :])
        if self._facts.vectors is not None:
            self._put_similarity(self._facts.vectors, columns, liked, profile.signal, features)
        features[row["history_length"] :] = np.array([[len(liked)], [usual], [math.log1p(minutes)]])

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


@compiled(reads("float32"), writes("float32"))
def _standardise(values: np.ndarray, standardised: np.ndarray) -> None:
    """In standard deviations from the mean of those that are known (not NaN); 0 where all are alike."""
    known, total, squares = 0, 0.0, 0.0
    for value in values:
        if not np.isnan(value):
            known += 1
            total += value
    mean = total / max(known, 1)
    for value in values:
        if not np.isnan(value):
            squares += (value - mean) ** 2
    spread = np.sqrt(squares / max(known, 1))
    for place in range(len(values)):
        standardised[place] = (values[place] - mean) / (spread if spread > 0 else 1.0)


@compiled(reads("float32", 2), reads("int32", 2), reads("float32"), reads("int64"), WHOLE, writes("float32", 2))
def _put_sources(
    scores: np.ndarray, ranks: np.ndarray, fused: np.ndarray, rows: np.ndarray, sources: int, features: np.ndarray
) -> None:
    """rows: (S,), where the scores of each source go, -1 for nowhere; the ranks go `sources` rows further on, and the
    fusion behind all of them."""
    for source in range(len(rows)):
        row = rows[source]
        if row >= 0:
            # Some sources score only what they found; of one that found nothing there is nothing to compare.
            _standardise(scores[source], features[row])
            for candidate in range(len(fused)):
                rank = ranks[source, candidate]
                features[sources + row, candidate] = rank if rank > 0 else np.nan
    _standardise(fused, features[2 * sources])


@compiled(reads("float64", 2), NUMBER, writes("float32", 2))
def _put_facts(looked_up: np.ndarray, now: float, features: np.ndarray) -> None:
    """Popularity and trends, as they were looked up (n, M), and behind them the age; now: in years since 1970."""
    as_they_are = looked_up.shape[1] + PUBLISHED
    for candidate in range(len(looked_up)):
        for fact in range(as_they_are):
            features[fact, candidate] = looked_up[candidate, fact]
        features[as_they_are, candidate] = now - looked_up[candidate, PUBLISHED]


@compiled(reads("float64", 2), reads("float64", 2), reads("float64", 2), NUMBER, writes("float32", 2))
def _put_comparisons(
    affinities: np.ndarray, looked_up: np.ndarray, means: np.ndarray, usual: float, features: np.ndarray
) -> None:
    """From the label affinities (3, n) on what `_weigh_likes` found, beside what was looked up of candidates (n, M)."""
    for candidate in range(len(looked_up)):
        for way in range(3):
            features[way, candidate] = affinities[way, candidate] * looked_up[candidate, LABEL_SHARE]
        features[3, candidate] = looked_up[candidate, PUBLISHED] - means[0, PUBLISHED]
        features[4, candidate] = looked_up[candidate, PUBLISHED] - means[1, PUBLISHED]
        features[5, candidate] = looked_up[candidate, 0] - usual
        features[6, candidate] = looked_up[candidate, LOG_DURATION] - means[1, LOG_DURATION]


@compiled(
    reads("int32", 2), reads("float64", 2), reads("int32", 2), reads("float32"), reads("float64"), NUMBER,
    reads("float64"), writes("float64", 2), writes("float64", 2),
)  # fmt: skip
def _weigh_likes(
    labels: np.ndarray,
    liked: np.ndarray,
    labels_of_liked: np.ndarray,
    signal: np.ndarray,
    times: np.ndarray,
    now: float,
    usual: np.ndarray,
    affinities: np.ndarray,
    means: np.ndarray,
) -> None:
    """What is known of the likes, weighed in three ways: by signal, and what is recent more, and what was liked at this
    time of the day more.

    labels: (n, K) of the candidates; liked: (h, M) and labels_of_liked (h, K), what is looked up of the likes; usual:
    (L,) shares of the labels. affinities: (3, n), summed over a candidate's labels how much more often than usual the
    viewer likes them, 1 a label is as usual; NaN where nothing that was liked has labels. means: (3, M) of what is
    known; NaN where nothing is.
    """
    unlabelled = len(usual)
    taste, known = np.zeros((3, unlabelled)), np.zeros(means.shape)
    total = np.zeros(3)
    means[:] = 0.0
    weights = np.empty(3)
    for like in range(len(liked)):
        turn = (times[like] - now) * (2 * np.pi / SECONDS_PER_DAY)
        # On the clock, whatever the day and the time zone: an hour or two count as the same, half a day does not count.
        nearness_in_the_day = np.exp(HOURS_MATTER * (np.cos(turn) - 1))
        weights[0] = signal[like]
        weights[1] = signal[like] * np.exp2(-like / RECENT_HALF_LIFE_ITEMS)
        weights[2] = signal[like] * nearness_in_the_day
        for way in range(3):
            share = weights[way] * liked[like, LABEL_SHARE]
            for label in labels_of_liked[like]:
                if label != unlabelled:
                    taste[way, label] += share
                    total[way] += share
            for fact in range(liked.shape[1]):
                value = liked[like, fact]
                if not np.isnan(value):
                    known[way, fact] += weights[way]
                    means[way, fact] += weights[way] * value
    means /= known
    for way in range(3):
        for candidate in range(len(labels)):
            affinity = 0.0 if total[way] > 0 else np.nan
            for label in labels[candidate]:
                if label != unlabelled:
                    affinity += taste[way, label] / (total[way] * usual[label])
            affinities[way, candidate] = affinity
