"""The event stream: what has changed since a release, worked out from the newest events alone.

A viewer who did something is taken out as known at the pulse before and put in as known now; so the histories of those
viewers are read and nothing else, and the sums are those that a refresh would measure. What is not: events dated in
the future when they came, which count as new then and fade from then on; what viewers did who were erased since, which
stays in the sums until the next release; a guest who became a user, who counts as two until then; and what
`GrownTransitions` tells of. Viewers whom the release was not to learn from are passed over here, too. Knows nothing of
who serves a pulse.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from filelock import FileLock, Timeout

from data.files import CorruptFileError
from data.home import Home
from data.interactions import Interactions, collect_interactions
from data.store import Store
from recommender.gates import held_back
from recommender.popularity import Popularity, measure_popularity
from recommender.pulse import Pulse, Pulses, moved, popularity_settings, transition_settings
from recommender.release import Releases, read_manifest, read_videos
from recommender.sequential import count_following

log = logging.getLogger(__name__)

#: Viewers whose histories are read at a time.
VIEWERS_AT_ONCE = 200
#: A change of a count that is smaller than this is rounding.
LEAST_CHANGE = 1e-5


def take_pulse(
    store: Store, home: Home, every_s: float = 0.0, stop: Callable[[], bool] = lambda: False
) -> Pulse | None:
    """Works out what has changed since the last pulse of the served release and publishes it.

    None where there is nothing to do: no release, no event since, a pulse younger than `every_s`, or somebody else at
    it. Raises InterruptedError as soon as `stop` answers yes, and ArithmeticError where numbers are not finite;
    nothing was published then.
    """
    releases, pulses = Releases(home.releases), Pulses(home.live)
    pulses.sweep(releases)
    served = releases.current_id()
    if served is None or store.events.last_seq() == 0:
        return None
    home.live.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(home.live / ".lock").acquire(timeout=0):
            return _take(store, releases.folder(served), pulses, every_s, stop)
    except Timeout:
        return None


def _take(store: Store, folder: Path, pulses: Pulses, every_s: float, stop: Callable[[], bool]) -> Pulse | None:
    manifest = read_manifest(folder)
    measured_at = manifest.get("newest_event_at")
    if measured_at is None and manifest["counts"]["interactions"]:
        return None  # made by a version that did not note it: the next refresh does
    fresh = Pulse.nothing(manifest["id"], manifest["until_seq"], measured_at or 0.0)
    try:
        last = pulses.read(manifest["id"]) or fresh
    except CorruptFileError as error:
        log.error("%s; going on from the release", error)
        last = fresh
    now, until = time.time(), store.events.last_seq()
    if until <= last.until_seq or 0 <= now - last.taken_at < every_s:
        return None
    viewers = np.array(store.events.viewers_between(last.until_seq, until), dtype=object)
    viewers = viewers[~held_back(viewers, manifest.get("held_back", 0.0))]
    if len(viewers) == 0:
        pulses.note(replace(last, until_seq=until, taken_at=now))
        return None
    taker = _Taker(store, manifest, read_videos(folder), last, until, now)
    for start in range(0, len(viewers), VIEWERS_AT_ONCE):
        if stop():
            raise InterruptedError("what has changed was not worked out to the end")
        taker.take(viewers[start : start + VIEWERS_AT_ONCE].tolist())
    return pulses.write(taker.pulse())


@dataclass(frozen=True)
class _Known:
    """What some viewers did, before and now, in the same columns."""

    before: Interactions
    now: Interactions


class _Taker:
    """Adds up what a crowd of viewers has changed, a part of them at a time."""

    def __init__(
        self, store: Store, manifest: dict[str, Any], videos: Sequence[str], last: Pulse, until: int, now: float
    ) -> None:
        self._store = store
        self._manifest = manifest
        self._in_release = frozenset(videos)
        self._last = last
        self._until = until
        self._now = now
        self._place_of = {name: place for place, name in enumerate(last.videos)}
        self._at = last.at
        self._changes: list[_Known] = []

    def take(self, viewers: list[str]) -> None:
        frame = self._store.events.frame_of(viewers, self._until)
        # Of a video that the release does not have, what happened before it is of one that was removed.
        ours = frame["video_id"].isin(self._in_release) | (frame["first_seq"] > self._manifest["until_seq"])
        frame = frame[ours]
        if frame.empty:
            return
        for name in pd.unique(frame["video_id"]):
            self._place_of.setdefault(str(name), len(self._place_of))
        until = self._last.until_seq
        then = frame[(frame["first_seq"] <= until) & ~(frame["retracted"] & (frame["seq"] <= until))]
        before = collect_interactions([then.assign(seq=then["first_seq"]).sort_values("seq")])
        now = collect_interactions([frame[~frame["retracted"]]])
        self._at = max(self._at, min(float(now.time.max(initial=0.0)), self._now))
        self._changes.append(_Known(before, now))

    def pulse(self) -> Pulse:
        names, last = list(self._place_of), self._last
        size = len(names)
        settings = popularity_settings(self._manifest)
        of_transitions = transition_settings(self._manifest)
        places = np.arange(len(last.videos))
        popularity = last.popularity.aged(self._at - last.at, settings)
        popularity = popularity.plus(Popularity.nothing(), places[:0], size)
        viewers = np.zeros(size, np.int32)
        viewers[places] = last.viewers
        counts = moved(last.counts, places, size).astype(np.float64)
        for known in self._changes:
            for interactions, sign in ((known.before, -1.0), (known.now, 1.0)):
                there = interactions.in_columns(names)
                measured = measure_popularity(there, self._at, settings)
                popularity = popularity.plus(measured.times(sign), np.arange(size), size)
                viewers += (sign * there.audience()).astype(np.int32)
                counts = counts + sign * count_following(there, of_transitions)
        if not (np.isfinite(popularity.world).all() and np.isfinite(counts.data).all()):
            raise ArithmeticError("what has changed holds numbers that are not finite; nothing is published of it")
        return _without_noise(
            Pulse(last.release, self._until, self._at, names, popularity, viewers, counts, taken_at=self._now)
        )


def _without_noise(pulse: Pulse) -> Pulse:
    """The same of those videos alone that anything has changed of."""
    counts = pulse.counts.tocoo()
    real = np.abs(counts.data) > LEAST_CHANGE
    row, column, data = counts.row[real], counts.col[real], counts.data[real].astype(np.float32)
    changed = (np.abs(pulse.popularity.world) > LEAST_CHANGE).any(axis=0) | (pulse.viewers != 0)
    changed[row] = changed[column] = True
    for here in pulse.popularity.countries.values():
        changed[here.columns[(np.abs(here.sums) > LEAST_CHANGE).any(axis=0)]] = True
    kept = np.flatnonzero(changed)
    place = np.full(len(changed), -1, np.int64)
    place[kept] = np.arange(len(kept))
    return replace(
        pulse,
        videos=[pulse.videos[column] for column in kept.tolist()],
        popularity=Popularity.nothing(len(kept)).plus(pulse.popularity, place, len(kept)),
        viewers=pulse.viewers[kept],
        counts=sp.csr_matrix((data, (place[row], place[column])), (len(kept), len(kept))),
    )
