"""Arrays that grow in place: what comes later is written into room behind them, so that nothing is copied for it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

#: Room for so many more rows, or for this share of them, before all is copied.
ROOM, ROOM_SHARE = 1_000, 1 / 16


@dataclass(frozen=True)
class Kind:
    """What an array holds in rows that nobody has written yet, and how long these are (None: single numbers)."""

    dtype: type
    unknown: float
    width: int | None = None

    def full(self, rows: int) -> np.ndarray:
        return np.full(rows if self.width is None else (rows, self.width), self.unknown, self.dtype)


class GrowingArrays:
    """Arrays by name, all of as many rows. Only one may use the room behind them: others get copies."""

    def __init__(self, kinds: Mapping[str, Kind], used: int, whole: Mapping[str, np.ndarray] | None = None) -> None:
        """whole: arrays with room behind the rows that are `used`; without them all rows are unknown."""
        self._kinds = dict(kinds)
        self._used = used
        self._capacity = with_room(used) if whole is None else min(map(len, whole.values()))
        self._whole = {name: kind.full(self._capacity) for name, kind in kinds.items()} if whole is None else whole

    def first(self, rows: int) -> dict[str, np.ndarray]:
        return {name: array[:rows] for name, array in self._whole.items()}

    def grown(self, rows: int, more: int) -> "GrowingArrays":
        """Those with the first `rows` of these and `more` that are unknown behind them: these, while they have room."""
        if self._used == rows and rows + more <= self._capacity:
            self._used += more
            return self
        copied = GrowingArrays(self._kinds, rows + more)
        for name, array in copied._whole.items():
            array[:rows] = self._whole[name][:rows]
        return copied


def with_room(rows: int) -> int:
    return rows + max(ROOM, int(ROOM_SHARE * rows))
