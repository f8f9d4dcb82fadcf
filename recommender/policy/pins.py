"""Pins: an editor's choice at its place."""

from collections.abc import Sequence

import numpy as np


def pinned_places(
    pins: Sequence[tuple[int, np.ndarray]],
    limit: int,
    ranked: np.ndarray,
    may_be_shown: np.ndarray,
    newest_first: np.ndarray,
) -> dict[int, int]:
    """Place from 0 -> column.

    pins: as in `RuleEffect`; ranked: (n,) int64 columns of the candidates, best first; may_be_shown: (V,) bool;
    newest_first: (V,) int64. Of several columns that a pin is about, the best candidate is taken, else the newest. A
    place that is taken moves the later pin one place down; behind the end there is none.
    """
    chosen: dict[int, int] = {}
    free = may_be_shown.copy() if pins else may_be_shown
    for place, columns in pins:
        while place in chosen:
            place += 1
        wanted = np.zeros(len(free), bool)
        wanted[columns] = free[columns]
        if place >= limit or not wanted.any():
            continue
        found = ranked[wanted[ranked]]
        column = int(found[0] if len(found) else newest_first[wanted[newest_first].argmax()])
        free[column] = False
        chosen[place] = column
    return chosen
