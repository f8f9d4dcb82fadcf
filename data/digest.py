"""What was read of the event log, folded so far that what comes later can be folded in: one row for each viewer, video
and type of event.

A refresh keeps it in a file, and reads of the log only what came since: the log of years is read once. Of viewers whose
events were retracted, merged or erased since, all is forgotten and what is left is read again. The file is no truth;
one that is damaged, of another version, or of a log that was changed in another way is passed over.
"""

import dataclasses
import hashlib
import logging
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
import pandas as pd

from data.files import replacing
from data.schema import SIGNALS, SKIP_BELOW, EventType
from data.signals import CODE, begins_of_runs, signals
from data.store import Store
from data.store.viewers import viewer_hash

log = logging.getLogger(__name__)

#: A share by which the log may have grown before it is kept anew: so little is soon read again.
LITTLE = 0.01
#: Viewers whose events are read again at a time.
VIEWERS_AT_ONCE = 500
#: What a file holds depends on this format and on the signal table.
FORMAT = 2
_TABLE = [(name, dataclasses.astuple(signal)) for name, signal in SIGNALS.items()]
_GRADED_BY = hashlib.sha256(repr((FORMAT, SKIP_BELOW, _TABLE)).encode()).hexdigest()
ROWS: dict[str, type[np.generic]] = {
    "viewer": np.int32,
    "video": np.int32,
    "code": np.int8,
    "signal": np.float32,
    "first": np.float64,
    "last": np.float64,
    "place": np.int64,
    "country": np.int16,
}


@dataclass(frozen=True)
class Digest:
    """The log up to event number `until_seq`: n rows in the order of (viewer, video, code).

    viewers, videos and countries: names, in the order in which they came first. Of the rows, viewer and video (n,)
    int32 and country (n,) int16 (-1: unknown) are places in them; code (n,) int8: see `type_codes`; signal (n,)
    float32: of the strongest of these events, of the last of equals; first and last (n,) float64: their times; place
    (n,) int64: the number of the last of them, whose country this is. events: how many the log had then; showings among
    them say nothing of taste and have no rows. newest: see `EventLog.newest_until`.
    """

    viewers: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    rows: dict[str, np.ndarray] = field(
        default_factory=lambda: {name: np.zeros(0, kind) for name, kind in ROWS.items()}
    )
    until_seq: int = 0
    events: int = 0
    newest: tuple[Any, ...] = ()

    def with_frames(self, frames: Iterable[pd.DataFrame]) -> Self:
        """The same with events that came later, in frames (columns user_id, video_id, type, value, occurred_at,
        country, and seq where they are of the log) in the order of the log, or of each viewer's."""
        viewers, videos = _places(self.viewers), _places(self.videos)
        countries: dict[str | None, int] = {None: -1} | _places(self.countries)
        parts, read = [dict(self.rows)], 0
        for frame in frames:
            place = frame["seq"].to_numpy(np.int64) if "seq" in frame else read + np.arange(len(frame))
            read += len(frame)
            did = (frame["type"] != EventType.IMPRESSION.value).to_numpy()
            frame = frame[did]
            code = _coded(frame["type"], CODE.__getitem__, np.int8)
            time = frame["occurred_at"].to_numpy(np.float64)
            parts.append(
                {
                    "viewer": _coded(frame["user_id"], lambda name: viewers.setdefault(name, len(viewers)), np.int32),
                    "video": _coded(frame["video_id"], lambda name: videos.setdefault(name, len(videos)), np.int32),
                    "code": code,
                    "signal": signals(code, frame["value"].to_numpy(np.float64, na_value=np.nan)),
                    "first": time,
                    "last": time,
                    "place": place[did],
                    "country": _coded(
                        frame["country"], lambda name: countries.setdefault(name, len(countries) - 1), np.int16
                    ),
                }
            )
        rows = {name: np.concatenate([part.pop(name) for part in parts]) for name in ROWS}
        return replace(
            self,
            viewers=tuple(viewers),
            videos=tuple(videos),
            countries=tuple(filter(None, countries)),
            rows=_folded(rows, len(videos)) if len(parts) > 1 else rows,
        )

    def without(self, viewers: Collection[str]) -> Self:
        """The same as if some viewers had never been, and what they alone have met neither."""
        forgotten = frozenset(viewers)
        kept = np.fromiter((name not in forgotten for name in self.viewers), bool, len(self.viewers))
        rows = {name: values[kept[self.rows["viewer"]]] for name, values in self.rows.items()}
        names = {}
        for column, known in (("viewer", self.viewers), ("video", self.videos), ("country", self.countries)):
            used = np.zeros(len(known) + 1, bool)
            used[rows[column]] = True
            # What is unknown has the place -1, which is the last.
            used[-1] = False
            place = np.where(used, np.cumsum(used) - 1, -1).astype(ROWS[column])
            rows[column] = place[rows[column]]
            names[column] = tuple(name for name, is_used in zip(known, used, strict=False) if is_used)
        return replace(self, viewers=names["viewer"], videos=names["video"], countries=names["country"], rows=rows)

    # ---- On disk -------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        facts = {
            "graded_by": _GRADED_BY,
            "until_seq": self.until_seq,
            "events": self.events,
            "newest": self.newest,
            "viewers": self.viewers,
            "videos": self.videos,
            "countries": self.countries,
        }
        with replacing(path) as file:
            np.savez(file, allow_pickle=False, facts=np.frombuffer(orjson.dumps(facts), np.uint8), **self.rows)

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """None where there is no file, or none that this version can read; its own checksums are verified."""
        stored = _read(path, ROWS)
        return None if stored is None else cls(rows=stored[1], **stored[0])


def _read(path: Path, rows: Iterable[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """All of a digest but its rows, and some of these."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts: dict[str, Any] = orjson.loads(stored["facts"].tobytes())
            if facts.pop("graded_by", None) != _GRADED_BY:
                return None
            lists = {name: tuple(facts[name]) for name in ("viewers", "videos", "countries", "newest")}
            return facts | lists, {name: stored[name] for name in rows}
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        log.warning("%s is damaged, the whole log is read: %s", path, error)
        return None


def about_as_large(store: Store, kept: Path) -> tuple[int, int]:
    """(events, viewers) of the log; without counting again what a file counts that keeps it, and so not exactly."""
    before = _read(kept, ())
    if before is None or before[0]["newest"] != store.events.newest_until(before[0]["until_seq"]):
        return store.events.count(), store.events.count_viewers()
    facts, _ = before
    return facts["events"] + store.events.count(after=facts["until_seq"]), len(facts["viewers"])


def digest_of(store: Store, until_seq: int | None = None, kept: Path | None = None) -> Digest:
    """The log up to an event number, or all of it, read without holding its rows at once.

    kept: a file that keeps it; what this holds already is not read again, but of viewers of whom something has gone.
    """
    until_seq = store.events.last_seq() if until_seq is None else until_seq
    before = _kept_of(store, kept) if kept is not None else None
    if before is None or before.until_seq > until_seq:
        before = Digest()
    bereft = store.events.bereft_since(before.until_seq)
    if before.until_seq == until_seq and not bereft:
        return before
    # Nobody hashes all viewers for nothing.
    again = [name for name in before.viewers if viewer_hash(name) in bereft] if bereft else []
    left = before.without(again) if again else before
    frames = chain(_frames_again(store, again, before.until_seq), store.events.frames(until_seq, before.until_seq))
    digest = replace(
        left.with_frames(frames),
        until_seq=until_seq,
        events=store.events.count(until_seq),
        newest=store.events.newest_until(until_seq),
    )
    if kept is not None and (bereft or digest.events > before.events * (1 + LITTLE)):
        try:
            digest.save(kept)
            store.events.forget_removed(until_seq)
        except OSError as error:
            log.warning("%s is not kept, the next refresh reads the log again: %s", kept, error)
    return digest


def _frames_again(store: Store, viewers: list[str], until_seq: int) -> Iterator[pd.DataFrame]:
    for start in range(0, len(viewers), VIEWERS_AT_ONCE):
        yield from store.events.frames(until_seq, of=viewers[start : start + VIEWERS_AT_ONCE])


def _kept_of(store: Store, kept: Path) -> Digest | None:
    """What a file holds of the log; one of another log, or of one that somebody else has changed since, is deleted."""
    for left_by_a_killed_run in kept.parent.glob(f".{kept.name}.*.tmp"):
        left_by_a_killed_run.unlink(missing_ok=True)
    digest = Digest.load(kept)
    if digest is None:
        return None
    if digest.events == store.events.count(digest.until_seq) and _newest_is_the_same(store, digest):
        return digest
    kept.unlink()
    return None


def _newest_is_the_same(store: Store, digest: Digest) -> bool:
    if digest.newest == store.events.newest_until(digest.until_seq):
        return True
    return bool(digest.newest) and store.events.was_removed(digest.newest[-1])


def _places(names: Iterable[str]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names)}


def _coded(names: pd.Series, code_of: Callable[[Any], int], kind: type) -> np.ndarray:
    """The code of each name, -1 for none; each is asked for once, in the order in which they come."""
    places, distinct = pd.factorize(names)
    # None has the place -1, which is the last.
    return np.append(np.fromiter(map(code_of, distinct), kind, len(distinct)), kind(-1))[places]


def _folded(rows: dict[str, np.ndarray], videos: int) -> dict[str, np.ndarray]:
    """One row for each viewer, video and code; of equal ones those that come first were logged first."""
    key = (rows["viewer"].astype(np.int64) * videos + rows["video"]) * len(CODE) + rows["code"]
    # What was folded before is in order already: sorting it once more takes hardly any time.
    order = np.argsort(key, kind="stable")
    begins = begins_of_runs(key[order])
    del key
    rows = {name: values[order] for name, values in rows.items()}
    if len(begins) == len(order):
        return rows
    ends = np.append(begins[1:], len(order)) - 1
    magnitude = np.abs(rows["signal"])
    strongest = magnitude == np.repeat(np.maximum.reduceat(magnitude, begins), np.diff(begins, append=len(order)))
    of_strongest = np.maximum.reduceat(np.where(strongest, np.arange(len(order)), -1), begins)
    return {name: values[ends] for name, values in rows.items()} | {
        "signal": rows["signal"][of_strongest],
        "first": np.minimum.reduceat(rows["first"], begins),
        "last": np.maximum.reduceat(rows["last"], begins),
    }
