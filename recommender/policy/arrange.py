"""One place after another: the row of the greatest worth, less the preferences' penalties, that is not closed.

Knows neither videos nor why a preference or a constraint is what it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recommender.policy.stages import Constraint, Preference


@dataclass(frozen=True)
class Arrangement:
    """rows: (limit,) int64, the row at each place, -1 where none was left; relaxed: constraints that were given up, in
    that order; `held`: the others."""

    rows: np.ndarray
    relaxed: tuple[str, ...]
    held: tuple[Constraint, ...]

    @property
    def is_full(self) -> bool:
        return bool(self.rows.min(initial=0) >= 0)


def arrange(
    worth: np.ndarray,
    fixed: Mapping[int, int],
    preferences: Sequence[Preference],
    constraints: Sequence[Constraint],
    limit: int,
    relax: bool,
) -> Arrangement:
    """Arranges n rows.

    worth: (n,) float32; fixed: place -> row, settled beforehand; constraints: in the order in which they are given up,
    when `relax`, by a place that nothing else can fill, from there on.
    """
    worth = worth.copy()
    if len(preferences) == 1 and not constraints and not fixed:
        arranged = preferences[0].arranged(worth, limit)
        if arranged is not None:
            return Arrangement(arranged, (), ())
    rows = np.full(limit, -1, np.int64)
    held = list(constraints)
    relaxed: list[str] = []

    def place_row(row: int, place: int) -> None:
        rows[place] = row
        worth[row] = -np.inf
        for preference in preferences:
            preference.placed(row)
        for constraint in held:
            constraint.placed(row, place)

    for place, row in fixed.items():
        place_row(row, place)
    value = np.empty_like(worth)
    for place in range(limit):
        if place in fixed:
            continue
        while (row := _best(worth, preferences, held, place, value)) < 0:
            given_up = _first_that_closes(held, worth > -np.inf, place) if relax else None
            if given_up is None:
                return Arrangement(rows, tuple(relaxed), tuple(held))
            held.remove(given_up)
            relaxed.append(given_up.name)
        place_row(row, place)
    return Arrangement(rows, tuple(relaxed), tuple(held))


def _best(
    worth: np.ndarray,
    preferences: Sequence[Preference],
    constraints: Sequence[Constraint],
    place: int,
    value: np.ndarray,
) -> int:
    """The row that is worth most at this place among those that may have it, -1 for none; value: (n,) to work in."""
    if len(worth) == 0:
        return -1
    np.copyto(value, worth)
    for preference in preferences:
        weighed = value[: len(preference.penalty)]
        weighed -= preference.penalty
    for constraint in constraints:
        value[constraint.closed(place)] = -np.inf
    row = int(value.argmax())
    return row if value[row] > -np.inf else -1


def _first_that_closes(constraints: Sequence[Constraint], free: np.ndarray, place: int) -> Constraint | None:
    """The first constraint that keeps a free row, (n,) bool, out of this place."""
    return next((each for each in constraints if (each.closed(place) & free).any()), None)
