"""What the policy's stages speak in: a request, scored candidates, a slate; and two roles, preference and constraint.

Arrays only: the policy knows neither the catalogue, nor histories, nor models.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np

#: Why an item is at its place where its score alone does not say so.
RULES = ("pinned", "boosted", "new", "explored")


def _no_columns() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class SlateRequest:
    """What is asked for. `now`: seconds since 1970; eligible: (V,) bool, what may be shown at all in this request.

    watched: (w,) int64 columns; taste: (L,) float32, shares of the labels in what was watched, None when unknown;
    shown: (s,) int64 columns and showings: (s,) int, how often each was shown without a click lately
    (`unclicked_showings`); is_new: (V,) bool, of which few know yet at this moment, None: of none; known_by: (V,)
    int32 viewers of each; lifted_by: bits of the sources whose new videos may be lifted; seed: of what is left to
    chance, one for each request (`seed_of`).
    """

    limit: int
    now: float
    eligible: np.ndarray
    surface: str | None = None
    country: str | None = None
    watched: np.ndarray = field(default_factory=_no_columns)
    taste: np.ndarray | None = None
    shown: np.ndarray = field(default_factory=_no_columns)
    showings: np.ndarray = field(default_factory=_no_columns)
    is_new: np.ndarray | None = None
    known_by: np.ndarray | None = None
    lifted_by: int = 0xFFFF_FFFF
    seed: int = 0


@dataclass(frozen=True)
class Scored:
    """Candidates, best first, each once: columns (n,) int64, scores (n,) float32, finite, on any scale, found_by (n,)
    uint32 (a bit for each source)."""

    columns: np.ndarray
    scores: np.ndarray
    found_by: np.ndarray


@dataclass(frozen=True)
class Slate:
    """What is shown, in order: k items.

    rows: (k,) int64 rows of the candidates, -1 for what no source found; columns (k,) int64; scores (k,) float32 after
    all factors, on the candidates' scale; found_by (k,) uint32. `rules` says why an item is at its place where its
    score alone does not: pinned, boosted, new, explored. propensity: (k,) float64 in (0, 1], see `exploration`.
    `relaxed` names the constraints that were given up so that the slate is not short. `kept_out` works
    out pairs of a stage and the columns that it kept out, for those who ask.
    """

    rows: np.ndarray
    columns: np.ndarray
    scores: np.ndarray
    found_by: np.ndarray
    rules: tuple[str | None, ...]
    propensity: np.ndarray
    relaxed: tuple[str, ...]
    kept_out: Callable[[], list[tuple[str, np.ndarray]]]

    def __len__(self) -> int:
        return len(self.columns)

    @classmethod
    def best_first(cls, candidates: Scored, rows: np.ndarray) -> "Slate":
        """These rows (k,) of the candidates as they stand, with no stage at work."""
        return cls(
            rows=rows,
            columns=candidates.columns[rows],
            scores=candidates.scores[rows],
            found_by=candidates.found_by[rows],
            rules=(None,) * len(rows),
            propensity=np.ones(len(rows)),
            relaxed=(),
            kept_out=list,
        )

    def take(self, places: np.ndarray) -> "Slate":
        """The items at these places, in this order."""
        return replace(
            self,
            rows=self.rows[places],
            columns=self.columns[places],
            scores=self.scores[places],
            found_by=self.found_by[places],
            rules=tuple(self.rules[place] for place in places.tolist()),
            propensity=self.propensity[places],
        )

    @cached_property
    def removed(self) -> dict[int, str]:
        """Candidate -> the first stage that kept it out; what its own score left behind the last place is not in it."""
        return {column: stage for stage, columns in reversed(self.kept_out()) for column in columns.tolist()}


class Preference(Protocol):
    """Makes some candidates less welcome the more the slate has of their like."""

    #: (p,) float32 to subtract from the worth of the first p rows.
    penalty: np.ndarray

    def placed(self, row: int) -> None:
        """Takes note of a row that has got a place."""

    def arranged(self, worth: np.ndarray, limit: int) -> np.ndarray | None:
        """All places at once, where nothing else counts: (limit,) int64 rows, each worth most less the penalty that it
        has by then, -1 where none is left; None where that takes one place after the other. worth: (n,) float32, to
        work in."""
        return None


class Constraint(Protocol):
    """Keeps rows out of a slate, or out of a place, as long as it is not given up."""

    name: str

    def closed(self, place: int | None) -> np.ndarray:
        """(n,) bool: rows that may not have this place; with None those that may have none any more."""

    def placed(self, row: int, place: int) -> None:
        """Takes note of a row that has got a place; places count from 0."""
