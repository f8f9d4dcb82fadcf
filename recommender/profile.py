"""A viewer as the sources see one: recent likes, dislikes, what was watched already and what was left half-way.

Built from a history (or from session events that are not stored); knows nothing of models. How much an older like
still counts is each source's own choice (`Profile.recent`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.schema import SKIP_BELOW, WATCHED_FROM, EventType
from data.signals import CODE, excludes, signals, type_codes
from data.store.events import History
from recommender.compiled import compiled, reads, writes
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
        count = min(len(self.liked), int(np.ceil(-np.log2(LEAST_RECENCY) * half_life_items)))
        recency = np.exp2(-np.arange(count) / half_life_items).astype(np.float32)
        return self.liked[:count], self.signal[:count] * recency

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
    # Showing a video says nothing of taste, and nothing of when it was watched.
    here = (columns >= 0) & (codes != _IMPRESSION)
    if not here.all():
        columns, codes, values, times = columns[here], codes[here], values[here], times[here]
    if len(columns) == 0:
        return nobody()
    total, excluded = np.zeros(len(columns)), np.zeros(len(columns), bool)
    by_video = least_first(columns)
    newest = _gather_by_video(
        columns, codes, signals(codes, values), excludes(codes, values), by_video, total, excluded
    )
    columns, times, total, excluded = columns[newest], times[newest], total[newest], excluded[newest]
    is_liked = total > 0
    liked = is_liked.nonzero()[0][: settings.recent_items]
    values = values[newest]
    half_way = (codes[newest] == _WATCH) & (values >= SKIP_BELOW) & (values < WATCHED_FROM)
    return Profile(
        columns[liked],
        total[liked].astype(np.float32),
        times[liked],
        columns[total < 0],
        np.sort(columns[excluded]),
        columns[half_way & ~excluded & is_liked],
    )


@compiled(
    reads("int64"), reads("int8"), reads("float32"), reads("bool_"), reads("int64"), writes("float64"), writes("bool_")
)
def _gather_by_video(
    columns: np.ndarray,
    codes: np.ndarray,
    signal: np.ndarray,
    excludes: np.ndarray,
    by_video: np.ndarray,
    total: np.ndarray,
    excluded: np.ndarray,
) -> np.ndarray:
    """(n,) bool: the newest event about each video, for which `total` has the signals of all events about it added up,
    and `excluded` whether any of them excludes it. Of each type the strongest counts; watching twice is not liking
    twice.

    columns: (n,) of events, newest first; by_video: (n,), those about the same video together, newest first.
    """
    is_newest = np.zeros(len(columns), np.bool_)
    strongest = np.zeros(128, np.float32)
    begin = 0
    while begin < len(by_video):
        newest = by_video[begin]
        is_newest[newest] = True
        end = begin
        while end < len(by_video) and columns[by_video[end]] == columns[newest]:
            event = by_video[end]
            excluded[newest] |= excludes[event]
            if abs(signal[event]) >= abs(strongest[codes[event]]):
                strongest[codes[event]] = signal[event]
            end += 1
        for place in range(begin, end):
            code = codes[by_video[place]]
            total[newest] += strongest[code]
            strongest[code] = 0.0
        begin = end
    return is_newest


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
