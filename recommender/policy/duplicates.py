"""Near-duplicates: of a group of videos that look alike at most one, and none when one of them was watched."""

import numpy as np

from recommender.policy.facts import Facts


class Duplicates:
    name = "duplicates"

    def __init__(self, groups: np.ndarray, watched: np.ndarray) -> None:
        """groups: (n,) int32, -1 for none; watched: (G,) bool."""
        self._groups = groups
        # The group -1 picks the last entry, which stands for no group.
        self._closed = np.append(watched, False)[groups]

    def closed(self, place: int | None) -> np.ndarray:
        return self._closed

    def placed(self, row: int, place: int) -> None:
        group = self._groups[row]
        if group >= 0:
            self._closed |= self._groups == group


def duplicates(facts: Facts, columns: np.ndarray, watched: np.ndarray) -> Duplicates | None:
    """The constraint on (n,) columns after (w,) columns were watched; None when none of them has a like."""
    if facts.duplicate_groups == 0:
        return None
    groups = facts.duplicate_group[columns]
    if groups.max(initial=-1) < 0:
        return None
    group_watched = np.zeros(facts.duplicate_groups + 1, bool)
    group_watched[facts.duplicate_group[watched]] = True
    return Duplicates(groups, group_watched[:-1])
