"""Events -> who liked what, and how much: sparse viewer x video matrices and their id maps.

The grading comes from `data.signals`. Knows nothing of models.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from data.digest import Digest, digest_of
from data.signals import begins_of_runs
from data.store import Store


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
        return replace(self, videos=_names(videos), video=column).take(column >= 0)

    def audience(self) -> np.ndarray:
        """(V,) int32: how many viewers liked each video."""
        return np.bincount(self.video[self.signal > 0], minlength=len(self.videos)).astype(np.int32)

    def positives(self) -> sp.csr_matrix:
        """(U, V) float32: the signals above 0."""
        liked = self.signal > 0
        cells = (self.viewer[liked], self.video[liked])
        return sp.csr_matrix((self.signal[liked], cells), (len(self.viewers), len(self.videos)), dtype=np.float32)


def load_interactions(store: Store, until_seq: int | None = None, kept: Path | None = None) -> Interactions:
    """What the event log holds, up to event number `until_seq` where given; kept: see `digest_of`."""
    return _interactions_of(digest_of(store, until_seq, kept))


def collect_interactions(frames: Iterable[pd.DataFrame]) -> Interactions:
    """Folds frames of events (columns user_id, video_id, type, value, occurred_at, country) into interactions.

    Showing a video says nothing of taste: impressions are passed over.
    """
    return _interactions_of(Digest().with_frames(frames))


def _interactions_of(digest: Digest) -> Interactions:
    """One row for each pair out of rows for each type of event."""
    rows = digest.rows
    begins = begins_of_runs(rows["viewer"].astype(np.int64) * max(len(digest.videos), 1) + rows["video"])
    if len(begins) == 0:
        signal, newest, oldest, place, last_logged = rows["signal"], rows["last"], rows["first"], rows["place"], begins
    else:
        signal = np.add.reduceat(rows["signal"].astype(np.float64), begins).astype(np.float32)
        newest, oldest = np.maximum.reduceat(rows["last"], begins), np.minimum.reduceat(rows["first"], begins)
        place = np.maximum.reduceat(rows["place"], begins)
        sizes = np.diff(begins, append=len(rows["place"]))
        last_logged = np.flatnonzero(rows["place"] == np.repeat(place, sizes))
    order = _in_order(newest, place)
    return Interactions(
        viewers=_names(digest.viewers),
        videos=_names(digest.videos),
        viewer=rows["viewer"][begins][order],
        video=rows["video"][begins][order],
        signal=signal[order],
        time=newest[order],
        country=rows["country"][last_logged][order],
        first=oldest[order],
        countries=digest.countries,
    )


def _in_order(time: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Rows by (n,) times, those of the same time by their places (n,) in the log, of which each is there once."""
    by_place = np.argsort(place)
    # A log is nearly in the order of time, which this sort is quick with.
    return by_place[np.argsort(time[by_place], kind="stable")]


def _names(names: Sequence[str]) -> np.ndarray:
    array = np.empty(len(names), dtype=object)
    array[:] = names
    return array
