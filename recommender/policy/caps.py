"""Caps: at most so many of one creator, series or label in a slate, and in any few places in a row."""

from collections import Counter

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from recommender.policy.facts import Members


class CapSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    per_slate: int | None = Field(default=None, ge=1, description="most in a slate; none: any number")
    per_window: int | None = Field(default=None, ge=1, description="most in `window` places in a row; none: any number")
    window: int = Field(default=5, ge=2, le=100, description="places in a row that per_window is about")

    @property
    def limits(self) -> bool:
        """Whether there is anything to hold."""
        return self.per_slate is not None or self.per_window is not None


class CapsSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: CapSettings = Field(default_factory=CapSettings)
    creator: CapSettings = Field(default_factory=CapSettings)
    series: CapSettings = Field(default_factory=CapSettings)

    @property
    def limits(self) -> bool:
        return self.label.limits or self.creator.limits or self.series.limits


class Cap:
    """Of one kind of group. Rows that were placed by others (pins) count, but are not kept out."""

    def __init__(self, name: str, members: Members, settings: CapSettings) -> None:
        self.name = name
        self._members = members
        self._settings = settings
        self._closed = np.zeros(len(members.offsets) - 1, bool)
        self._count: Counter[int] = Counter()
        self._codes_at: dict[int, list[int]] = {}
        self._furthest = -1

    def closed(self, place: int | None) -> np.ndarray:
        most = self._settings.per_window
        if place is None or most is None:
            return self._closed
        crowded = self._crowded(place, most)
        if not crowded:
            return self._closed
        closed = self._closed.copy()
        for code in crowded:
            closed[self._members.rows_of(code)] = True
        return closed

    def placed(self, row: int, place: int) -> None:
        codes = self._codes_at[place] = self._members.codes_of(row)
        self._furthest = max(self._furthest, place)
        for code in codes:
            self._count[code] += 1
            if self._count[code] == self._settings.per_slate:
                self._closed[self._members.rows_of(code)] = True

    def _crowded(self, place: int, most: int) -> set[int]:
        """Groups of which one more at `place` is too many in a window that holds it."""
        window = self._settings.window
        # Only pins stand behind a place that is being filled; without them the window that ends there has all.
        starts = range(place - window + 1, place + 1 if self._furthest > place else place - window + 2)
        crowded: set[int] = set()
        for start in starts:
            near = Counter(code for other in range(start, start + window) for code in self._codes_at.get(other, ()))
            crowded.update(code for code, times in near.items() if times >= most)
        return crowded
