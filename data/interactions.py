"""Events -> who liked what, and how much: sparse viewer x video matrices and their id maps.

The grading comes from the one signal table in `data.schema`. Knows nothing of models.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from data.schema import SIGNALS, SKIP_BELOW, EventType
from data.store import Store

_TYPES = list(EventType)
_CODE = {event_type.value: code for code, event_type in enumerate(_TYPES)}
_WEIGHT = np.array([SIGNALS[name].weight for name in _TYPES], np.float32)
_SLOPE = np.array([SIGNALS[name].slope for name in _TYPES], np.float32)
_SKIP = np.array([np.nan if SIGNALS[name].skip is None else SIGNALS[name].skip for name in _TYPES], np.float32)
_EXCLUDES_FROM = np.array([SIGNALS[name].excludes_from for name in _TYPES], np.float64)


def type_codes(types: Iterable[str]) -> np.ndarray:
    """Event type names -> int8 codes, the form that `signals` and `excludes` take."""
    return np.fromiter((_CODE[name] for name in types), np.int8)


def signals(codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What each event says of its video, by the signal table: (n,) codes and values (NaN: none) -> (n,) float32."""
    value = np.nan_to_num(values).astype(np.float32)
    graded = _WEIGHT[codes] + _SLOPE[codes] * value
    skip = _SKIP[codes]
    return np.where(~np.isnan(skip) & (value < SKIP_BELOW), skip, graded).astype(np.float32)


def excludes(codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which events take their video out of the viewer's recommendations: (n,) -> (n,) bool."""
    return np.nan_to_num(values) >= _EXCLUDES_FROM[codes]


def strongest_of_each_type(group: np.ndarray, codes: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """The signals (n,) with all but the strongest of each type in each group set to 0.

    Groups are numbers, one per video or per (viewer, video): watching twice is not liking twice.
    """
    order = np.lexsort((np.abs(signal), codes, group))
    last = np.ones(len(order), bool)
    last[:-1] = (np.diff(group[order]) != 0) | (np.diff(codes[order]) != 0)
    kept = np.zeros_like(signal)
    kept[order[last]] = signal[order[last]]
    return kept


@dataclass(frozen=True)
class Interactions:
    """What every viewer's events say of every video, one row per (viewer, video) that ever met.

    viewers: (U,) and videos: (V,) ids, str objects. Of the n pairs, in the order of their last event:
    viewer (n,) int32 and video (n,) int32 index them; signal (n,) float32 is the sum over the event types of the
    strongest event of each type, so that watching twice is not liking twice; time and first (n,) float64 are the last
    and the first event;
    country (n,) int16 is where it was, a place in `countries`, -1 where that is unknown.
    """

    viewers: np.ndarray
    videos: np.ndarray
    viewer: np.ndarray
    video: np.ndarray
    signal: np.ndarray
    time: np.ndarray
    country: np.ndarray
    first: np.ndarray
    countries: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.viewer)

    def take(self, rows: np.ndarray) -> "Interactions":
        """Some of the pairs, by (n,) bool or row numbers in order; viewers and videos keep their places."""
        arrays = {name: getattr(self, name)[rows] for name in ("viewer", "video", "signal", "time", "country", "first")}
        return replace(self, **arrays)

    def of_some_viewers(self, most: int) -> "Interactions":
        """The pairs of so many viewers, drawn by chance; all where there are no more."""
        known = np.unique(self.viewer)
        if len(known) <= most:
            return self
        drawn = np.zeros(len(self.viewers), bool)
        drawn[np.random.default_rng(0).choice(known, most, replace=False)] = True
        return self.take(drawn[self.viewer])

    def begun_before(self, moment: float) -> "Interactions":
        """The pairs that had met before a moment, in the order of the last event before it that is known of each."""
        begun = self.take(self.first < moment)
        begun = replace(begun, time=np.where(begun.time < moment, begun.time, begun.first))
        return begun.take(np.argsort(begun.time, kind="stable"))

    def begun_between(self, start: float, end: float) -> "Interactions":
        """The pairs that met first from `start` on and before `end`, in that order."""
        begun = self.take((self.first >= start) & (self.first < end))
        return replace(begun, time=begun.first).take(np.argsort(begun.first, kind="stable"))

    def in_columns(self, videos: Sequence[str]) -> "Interactions":
        """The same with `video` as places in `videos`; pairs about other videos are left out."""
        column_of = {name: column for column, name in enumerate(videos)}
        column = np.fromiter((column_of.get(name, -1) for name in self.videos), np.int32, len(self.videos))[self.video]
        names = np.empty(len(videos), dtype=object)
        names[:] = list(videos)
        return replace(self, videos=names, video=column).take(column >= 0)

    def audience(self) -> np.ndarray:
        """(V,) int32: how many viewers liked each video."""
        return np.bincount(self.video[self.signal > 0], minlength=len(self.videos)).astype(np.int32)

    def positives(self) -> sp.csr_matrix:
        """(U, V) float32: the signals above 0."""
        liked = self.signal > 0
        cells = (self.viewer[liked], self.video[liked])
        return sp.csr_matrix((self.signal[liked], cells), (len(self.viewers), len(self.videos)), dtype=np.float32)


def load_interactions(store: Store, until_seq: int | None = None) -> Interactions:
    """Reads the event log, up to event number `until_seq` where given, without holding its rows at once."""
    return collect_interactions(store.events.frames(until_seq))


def collect_interactions(frames: Iterable[pd.DataFrame]) -> Interactions:
    """Folds frames of events (columns user_id, video_id, type, value, occurred_at, country) into interactions.

    Showing a video says nothing of taste: impressions are passed over.
    """
    viewers: dict[str, int] = {}
    videos: dict[str, int] = {}
    countries: dict[str | None, int] = {None: -1}
    parts: list[tuple[np.ndarray, ...]] = []
    for frame in frames:
        frame = frame[frame["type"] != EventType.IMPRESSION.value]
        viewer = _coded(frame["user_id"], lambda name: viewers.setdefault(name, len(viewers)), np.int32)
        video = _coded(frame["video_id"], lambda name: videos.setdefault(name, len(videos)), np.int32)
        codes = _coded(frame["type"], _CODE.__getitem__, np.int8)
        values = frame["value"].to_numpy(np.float64, na_value=np.nan)
        where = _coded(frame["country"], lambda name: countries.setdefault(name, len(countries) - 1), np.int16)
        time = frame["occurred_at"].to_numpy(np.float64)
        parts.append((viewer, video, codes, signals(codes, values), time, where))
    if not parts:
        parts = [tuple(np.zeros(0, kind) for kind in (np.int32, np.int32, np.int8, np.float32, np.float64, np.int16))]
    viewer, video, codes, signal, time, where = (np.concatenate(column) for column in zip(*parts, strict=True))
    pair = viewer.astype(np.int64) * max(len(videos), 1) + video
    signal = strongest_of_each_type(pair, codes, signal)
    events = Interactions(
        _names(viewers), _names(videos), viewer, video, signal, time, where, time, tuple(filter(None, countries))
    )
    return _merge_pairs(events, pair)


def _coded(names: pd.Series, code_of: Callable[[Any], int], kind: type) -> np.ndarray:
    """The code of each name, -1 for none; each is asked for once, in the order in which they come."""
    places, distinct = pd.factorize(names)
    # None has the place -1, which is the last.
    return np.append(np.fromiter(map(code_of, distinct), kind, len(distinct)), kind(-1))[places]


def _merge_pairs(events: Interactions, pair: np.ndarray) -> Interactions:
    """One row for each pair out of rows for each event."""
    _, first, group = np.unique(pair, return_index=True, return_inverse=True)
    total = np.bincount(group, events.signal, len(first)).astype(np.float32)
    newest = np.full(len(first), -np.inf)
    np.maximum.at(newest, group, events.time)
    oldest = np.full(len(first), np.inf)
    np.minimum.at(oldest, group, events.time)
    # Of two pairs with the same last time the one that was logged later is the later one.
    last_row = np.zeros(len(first), np.int64)
    np.maximum.at(last_row, group, np.arange(len(pair)))
    order = np.lexsort((last_row, newest))
    return replace(events.take(last_row[order]), signal=total[order], time=newest[order], first=oldest[order])


def _names(index: dict[str, int]) -> np.ndarray:
    names = np.empty(len(index), dtype=object)
    names[:] = list(index)
    return names
