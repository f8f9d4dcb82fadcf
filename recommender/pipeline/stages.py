"""What passes between the stages of the pipeline, and what a stage of each kind looks like.

filters -> sources -> merge -> scorer -> ranker -> hydrators, and the policy (`recommender.policy`) before the last of
them. Everything is arrays over the columns of one release.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from recommender.profile import Profile


@dataclass(frozen=True)
class Query:
    """One request.

    `now` is seconds since 1970; `labels` are OR-ed; `weights` overrides source weights by name; `surface` is where the
    list is shown; `seed` is of what is left to chance; shown (s,) int64 columns and showings (s,) int64: how often each
    was shown to the viewer lately and passed over; `described`: whether the trace is to say what a ranker sees;
    deadline_ms: time for sources and ranker, where that is less than the settings give.
    """

    profile: Profile
    limit: int
    now: float
    country: str | None = None
    max_rating: int | None = None
    labels: tuple[str, ...] = ()
    not_labels: tuple[str, ...] = ()
    exclude: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    weights: dict[str, float] = field(default_factory=dict)
    surface: str | None = None
    seed: int = 0
    shown: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    showings: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    described: bool = False
    deadline_ms: float = math.inf

    def but(self, **fields: Any) -> "Query":
        """The same with other fields; in a fifth of the time that `dataclasses.replace` takes."""
        other = object.__new__(Query)
        other.__dict__.update(self.__dict__, **fields)
        return other


@dataclass(frozen=True)
class Search:
    """One question to the index: the `k` nearest to vector (D,) float32 among the eligible columns (V,) bool."""

    vector: np.ndarray
    k: int
    eligible: np.ndarray


@dataclass(frozen=True)
class Found:
    """What one source found: columns (k,) int64, best first, with its own scores (k,) float32.

    `every`: (W,) float32, its scores of the first W columns, found or not, where it has them.
    """

    columns: np.ndarray
    scores: np.ndarray
    every: np.ndarray | None = None

    def scores_of(self, columns: np.ndarray, place: np.ndarray) -> np.ndarray:
        """The source's scores of any columns (n,), in order, among which what it found stands at `place` (k,): (n,)
        float32, NaN where it has none."""
        scores = np.full(len(columns), np.nan, np.float32)
        if self.every is None:
            scores[place] = self.scores
        else:
            known = columns < len(self.every)
            scores[known] = self.every[columns[known]]
        return scores


@dataclass(frozen=True)
class Candidates:
    """The merged finds of S sources: columns (n,) int64; weights (S,) float32 of the sources; ranks (S, n) int32, 1 is
    best and 0 is not found by it; scores (S, n) float32, of every source for every candidate, NaN where it has none;
    fused (n,) float32, what the fusion makes of them, 0 before it."""

    columns: np.ndarray
    sources: tuple[str, ...]
    weights: np.ndarray
    ranks: np.ndarray
    scores: np.ndarray
    fused: np.ndarray

    def take(self, rows: np.ndarray, fused: np.ndarray) -> "Candidates":
        """Those in these rows (m,), with what the fusion makes of them (m,)."""
        ranks, scores = self.ranks.take(rows, axis=1), self.scores.take(rows, axis=1)
        return Candidates(self.columns[rows], self.sources, self.weights, ranks, scores, fused)

    def first(self, n: int) -> "Candidates":
        """The first n, or all where there are fewer, without a copy."""
        return Candidates(
            self.columns[:n], self.sources, self.weights, self.ranks[:, :n], self.scores[:, :n], self.fused[:n]
        )


@dataclass(frozen=True)
class Ranked:
    """Scored candidates, best first: columns (n,) int64, scores (n,) float32, found_by (n,) uint32 (a bit for each
    source that is behind the score)."""

    columns: np.ndarray
    scores: np.ndarray
    found_by: np.ndarray

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def rules(self) -> tuple[str | None, ...]:
        """Nothing but their scores has put them where they are."""
        return (None,) * len(self.columns)

    def take(self, rows: np.ndarray) -> "Ranked":
        return Ranked(self.columns[rows], self.scores[rows], self.found_by[rows])

    def then(self, others: "Ranked") -> "Ranked":
        """These, and behind them the others that are not among them; scores of others are no higher than the last one
        here."""
        rest = others.take(np.flatnonzero(~np.isin(others.columns, self.columns)))
        lowest = self.scores.min(initial=np.inf)
        return Ranked(
            np.concatenate([self.columns, rest.columns]),
            np.concatenate([self.scores, np.minimum(rest.scores, lowest)]).astype(np.float32, copy=False),
            np.concatenate([self.found_by, rest.found_by]),
        )


@dataclass(frozen=True)
class Snapshot:
    """What a ranker saw of the best candidates, or would have seen: columns (m,) int64, features (m, F) float16."""

    columns: np.ndarray
    features: np.ndarray

    def of(self, columns: np.ndarray) -> np.ndarray:
        """The features of any columns: (n, F) float16, NaN of those that were not among the best."""
        found = np.full((len(columns), self.features.shape[1]), np.nan, np.float16)
        order = np.argsort(self.columns)
        place = np.searchsorted(self.columns, columns, sorter=order)
        inside = np.flatnonzero(place < len(order))
        row = order[place[inside]]
        here = self.columns[row] == columns[inside]
        found[inside[here]] = self.features[row[here]]
        return found


@dataclass
class Trace:
    """How a request went: milliseconds by stage, candidates by source, what had to be left out, and, where the query
    asks for it, what a ranker saw."""

    timings_ms: dict[str, float] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    snapshot: Snapshot | None = None


class Source(Protocol):
    """Finds candidates. One that is a `last_resort` is quick, and is asked after the deadline, too; one that is
    `personal` answers from what the viewer did."""

    name: str
    last_resort: bool
    personal: bool

    def enabled(self, query: Query) -> bool:
        """Whether the source has anything to say to this request."""

    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        """Up to `k` columns among the eligible ones ((V,) bool)."""

    def weight(self, query: Query) -> float:
        """How much its ranks count, >= 0."""

    def explain(self, query: Query, columns: np.ndarray) -> np.ndarray:
        """For each column (n) the row of `query.profile.liked` that speaks most for it, -1 for none: (n,) int64."""


class Filter(Protocol):
    """Says which videos may be shown in this request, whoever found them."""

    name: str

    def take_out(self, query: Query, mask: np.ndarray) -> None:
        """Sets to False in a mask (V,) bool what may not be shown in this request."""

    def same_for(self, query: Query) -> Hashable | None:
        """What requests have in common from which this filter takes the same out, the state of the catalogue included;
        None where no other request may be served from this one's mask."""


class Scorer(Protocol):
    """Gives the candidates their scores."""

    name: str

    def parts(self, query: Query, candidates: Candidates) -> np.ndarray:
        """(S, n) float32: what each source adds to each score, higher is better."""


class Ranker(Protocol):
    """Scores the best candidates of the fusion anew."""

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(n, F) of one request -> (n,) float32 > 0, higher is better."""


class Shown(Protocol):
    """What is shown: columns (k,) int64, scores (k,) float32, found_by (k,) uint32, and for each the rule that put it
    where it is, None for its score."""

    @property
    def columns(self) -> np.ndarray: ...

    @property
    def scores(self) -> np.ndarray: ...

    @property
    def found_by(self) -> np.ndarray: ...

    @property
    def rules(self) -> tuple[str | None, ...]: ...

    def __len__(self) -> int: ...


class Hydrator(Protocol):
    """Adds what people are shown of the items of a slate."""

    name: str

    def hydrate(self, query: Query, slate: Shown) -> list[dict[str, Any]]:
        """For each item its fields, by name."""
