"""The shortlist: the rows that a slate is arranged from, and what they are worth before anything has a place."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recommender.policy.facts import Facts, Members
from recommender.policy.rescoring import Rescored

#: Worth of what stands behind the pool: far below any penalty there, with bits to spare for a million rows in order.
BEHIND = np.float32(-(2.0**40))
STEP = np.float32(2.0**-20)


@dataclass(frozen=True)
class Shortlist:
    """n rows: `pinned` ones, then `candidates` ones, best first, then the back-fill in its order.

    rows: (n,) int64 rows of the request's candidates, -1 for none; columns: (n,) int64; relevance: (n,) float32.
    """

    rows: np.ndarray
    columns: np.ndarray
    relevance: np.ndarray
    pinned: int
    candidates: int
    facts: Facts

    @classmethod
    def build(cls, facts: Facts, scored: Rescored, pins: Mapping[int, int], back_fill: np.ndarray) -> "Shortlist":
        """pins: place -> column; back_fill: (b,) int64 columns that are neither."""
        if not pins and len(back_fill) == 0:
            return cls(scored.rows, scored.columns, scored.relevance, 0, len(scored.rows), facts)
        pinned = np.array(list(pins.values()), np.int64)
        found = {column: row for row, column in enumerate(scored.columns.tolist()) if column in set(pins.values())}
        others = np.delete(np.arange(len(scored.columns)), list(found.values()))
        source = np.array([found.get(column, -1) for column in pins.values()], np.int64)
        nothing = np.zeros(len(back_fill), np.float32)
        return cls(
            np.concatenate([_pick(scored.rows, source, -1), scored.rows[others], np.full(len(back_fill), -1)]),
            np.concatenate([pinned, scored.columns[others], back_fill]),
            np.concatenate([_pick(scored.relevance, source, 0), scored.relevance[others], nothing]),
            len(pins),
            len(others),
            facts,
        )

    @cached_property
    def labels(self) -> Members:
        return self.facts.labels_of(self.columns)

    def labels_of_first(self, rows: int) -> Members:
        """Those of the first rows only, which is quicker where nobody asks for the others."""
        return self.facts.labels_of(self.columns[:rows])

    def weighed(self, pool: int) -> int:
        """How many rows preferences weigh up: the pinned and the best `pool` candidates."""
        return self.pinned + min(pool, self.candidates)

    def worth(self, pool: int, spread: float) -> np.ndarray:
        """(n,) float32: relevance of the best `pool` candidates in units of `spread`; the rest by their order."""
        worth = BEHIND * (1 + STEP * np.arange(len(self.rows), dtype=np.float32))
        end = self.weighed(pool)
        weighed = self.relevance[self.pinned : end]
        if len(weighed) > 0:
            worth[self.pinned : end] = (weighed - weighed[-1]) / (spread if spread > 0 else 1.0)
        return worth


def _pick(values: np.ndarray, rows: np.ndarray, default: float) -> np.ndarray:
    """values[rows], and `default` where a row is -1."""
    return np.append(values, values.dtype.type(default))[rows]
