"""A viewer as the sources see one: recent likes, dislikes, what was watched already and what was left half-way.

Built from a history (or from session events that are not stored); knows nothing of models. How much an older like
still counts is each source's own choice (`Profile.recent`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.schema import SKIP_BELOW, WATCHED_FROM, EventType
from data.signals import CODE, excludes, signals, type_codes
from data.store.events import HISTORY_LIMIT, History
from recommender.compiled import WHOLE, compiled, reads
from recommender.ordering import least_first

_IMPRESSION, _WATCH = CODE[EventType.IMPRESSION.value], CODE[EventType.WATCH.value]
#: A like that counts less than this share of the newest one is left out.
LEAST_RECENCY = 0.01


class ProfileSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    recent_items: int = Field(default=1_000, ge=1, description="likes that count at all")


@dataclass(frozen=True)
class Profile:
    """A viewer's history in columns of one release.

    liked: (h,) int64 columns, newest first, with `signal` (h,) float32 > 0 and `times` (h,) float64, seconds of the
    last event about each; disliked: (d,) int64 columns, newest first; watched: (w,) int64 columns that are not
    recommended again; unfinished: (u,) int64 columns that were left half-way, newest first.
    """

    liked: np.ndarray
    signal: np.ndarray
    times: np.ndarray
    disliked: np.ndarray
    watched: np.ndarray
    unfinished: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    #: What models have worked out of it, by model: a list and its reasons ask for the same.
    memo: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)

    def recent(self, half_life_items: float | None) -> tuple[np.ndarray, np.ndarray]:
        """The likes that still count, newest first, and how much: (r,) columns and (r,) float32 weights.

        A like counts half as much `half_life_items` likes later; with None all likes count by their signal alone.
        """
        if half_life_items is None:
            return self.liked, self.signal
        recency = _recency(half_life_items)[: len(self.liked)]
        return self.liked[: len(recency)], self.signal[: len(recency)] * recency

    def in_columns(self, column_there: np.ndarray) -> "Profile":
        """The same of another release: (V,) int64 its column of each of these, -1 for those that it does not know."""
        liked = column_there[self.liked]
        here = liked >= 0
        others = (column_there[columns] for columns in (self.disliked, self.watched, self.unfinished))
        disliked, watched, unfinished = (columns[columns >= 0] for columns in others)
        return Profile(liked[here], self.signal[here], self.times[here], disliked, np.sort(watched), unfinished)

    @property
    def known(self) -> bool:
        """Whether there is anything to personalise from."""
        return len(self.liked) > 0


@lru_cache
def _recency(half_life_items: float) -> np.ndarray:
    """How much each of the newest likes counts, (r,) float32, as long as it is worth counting."""
    count = min(HISTORY_LIMIT, int(np.ceil(-np.log2(LEAST_RECENCY) * half_life_items)))
    return np.exp2(-np.arange(count) / half_life_items).astype(np.float32)


def nobody() -> Profile:
    """The profile of a viewer of whom nothing is known."""
    none = np.zeros(0, np.int64)
    return Profile(none, np.zeros(0, np.float32), np.zeros(0), none, none)


def build_profile(history: History, column_of_video: Mapping[str, int], settings: ProfileSettings) -> Profile:
    """Folds a history (newest first) into a profile; videos that the release does not know are passed over."""
    found = map(column_of_video.get, history.video_ids, repeat(-1))
    columns = np.fromiter(found, np.int64, len(history))
    return profile_of(columns, type_codes(history.types), history.values, history.times, settings)


def profile_of(
    columns: np.ndarray, codes: np.ndarray, values: np.ndarray, times: np.ndarray, settings: ProfileSettings
) -> Profile:
    """The same from the columns (n,) int64 of the videos, -1 for unknown ones, and the codes (n,) int8 of the types."""
    graded, excluding = signals(codes, values), excludes(codes, values)
    liked, signal, disliked, watched, unfinished = _told(
        columns, codes, values, graded, excluding, least_first(columns), settings.recent_items
    )
    watched.sort()
    return Profile(columns[liked], signal, times[liked], columns[disliked], watched, columns[unfinished])


@compiled(
    reads("int64"), reads("int8"), reads("float64"), reads("float32"), reads("bool_"), reads("int64"), WHOLE,
)  # fmt: skip
def _told(
    columns: np.ndarray,
    codes: np.ndarray,
    values: np.ndarray,
    signal: np.ndarray,
    excludes: np.ndarray,
    by_video: np.ndarray,
    most_liked: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What n events, newest first, tell of the videos that they are about: the rows of the newest event about each
    liked one, and the signals of all events about it added up; the rows of those about disliked ones; the columns of
    the excluded ones, in no order; and the rows of those about ones that were left half-way.

    Of each type the strongest event counts: watching twice is not liking twice. by_video: (n,) rows, those about the
    same video together, newest first.
    """
    count = len(columns)
    total, excluded = np.zeros(count), np.zeros(count, np.bool_)
    is_newest = np.zeros(count, np.bool_)
    strongest = np.zeros(128, np.float32)
    begin = 0
    while begin < count:
        column = columns[by_video[begin]]
        end = begin
        newest = -1
        while end < count and columns[by_video[end]] == column:
            event = by_video[end]
            end += 1
            # Showing a video says nothing of taste, and nothing of when it was watched.
            if column < 0 or codes[event] == _IMPRESSION:
                continue
            if newest < 0:
                newest = event
            excluded[newest] |= excludes[event]
            if abs(signal[event]) >= abs(strongest[codes[event]]):
                strongest[codes[event]] = signal[event]
        if newest >= 0:
            is_newest[newest] = True
            for place in range(begin, end):
                code = codes[by_video[place]]
                total[newest] += strongest[code]
                strongest[code] = 0.0
        begin = end
    liked, sums = np.empty(count, np.int64), np.empty(count, np.float32)
    disliked, watched, unfinished = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    likes, dislikes, exclusions, half_ways = 0, 0, 0, 0
    for event in range(count):
        if not is_newest[event]:
            continue
        if total[event] > 0 and likes < most_liked:
            liked[likes] = event
            sums[likes] = total[event]
            likes += 1
        if total[event] < 0:
            disliked[dislikes] = event
            dislikes += 1
        if excluded[event]:
            watched[exclusions] = columns[event]
            exclusions += 1
        elif total[event] > 0 and codes[event] == _WATCH and SKIP_BELOW <= values[event] < WATCHED_FROM:
            unfinished[half_ways] = event
            half_ways += 1
    return liked[:likes], sums[:likes], disliked[:dislikes], watched[:exclusions], unfinished[:half_ways]


def profile_of_likes(
    columns: np.ndarray, signal: np.ndarray, times: np.ndarray, settings: ProfileSettings | None = None
) -> Profile:
    """The profile of a viewer who watched these videos (newest first, each once) with these signals at these times."""
    columns = columns.astype(np.int64)
    liked = np.flatnonzero(signal > 0)[: (settings or ProfileSettings()).recent_items]
    return Profile(
        columns[liked],
        signal[liked].astype(np.float32),
        times[liked],
        columns[signal < 0],
        np.unique(columns),
    )
