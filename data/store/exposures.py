"""What viewers were shown, list by list: places, scores, propensities, and what a ranker saw of each item.

Written in batches beside the requests and read by whoever learns from what was served or evaluates it. A list that
could not be kept was still shown: this is a sample, where the event log is a record.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import sqlalchemy as sa

from data.store.tables import erasures, exposure_words, exposures, videos
from data.store.viewers import viewer_hash
from data.store.writing import EXPOSURES_LOCK, insert_into, writing

#: `number` is that of the video; `propensity`: the probability that it stands at its place; `sources`: a bit for each
#: of the words for sources; `rule`: a place in the words for rules, -1 for none.
ITEM = np.dtype([("number", "<u4"), ("score", "<f4"), ("propensity", "<f4"), ("sources", "<u4"), ("rule", "<i2")])
FEATURE = np.dtype("<f2")
#: Videos that are named in one question: databases bound how many parameters it may have.
AT_ONCE = 5_000
EXPORTED_AT_ONCE = 100


@dataclass(frozen=True)
class Words:
    """What the numbers in exposures stand for: the names of sources, rules and features, in order."""

    sources: tuple[str, ...]
    rules: tuple[str, ...]
    features: tuple[str, ...]

    @cached_property
    def id(self) -> str:
        return hashlib.blake2b(self.to_json(), digest_size=8).hexdigest()

    def to_json(self) -> bytes:
        return orjson.dumps([self.sources, self.rules, self.features])

    @classmethod
    def from_json(cls, text: str) -> "Words":
        return cls(*(tuple(names) for names in orjson.loads(text)))


@dataclass(frozen=True)
class Exposure:
    """A list, or a page of one, as it was shown at `shown_at` (seconds since 1970); `first_rank` is 1 on a first page.

    items: (k,) `ITEM`; features: (k, F) float16, NaN where nothing was known, None where no ranker's view was at hand.
    """

    request_id: str
    user_id: str
    shown_at: float
    surface: str | None
    country: str | None
    release: str
    settings: str
    cache: str
    first_rank: int
    words: Words
    items: np.ndarray
    features: np.ndarray | None


@dataclass(frozen=True)
class ShownLists:
    """G lists with features, in the order in which they were kept, and their n items one list after another.

    request_ids, user_ids: (G,) str objects; shown_at: (G,) float64; sizes: (G,) int64 items of each; items: (n,)
    `ITEM`; features: (n, F) float16.
    """

    request_ids: np.ndarray
    user_ids: np.ndarray
    shown_at: np.ndarray
    sizes: np.ndarray
    items: np.ndarray
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)


class Exposures:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._known_words: set[str] = set()

    def add(self, batch: Sequence[Exposure]) -> None:
        """Keeps lists, in one transaction; but none that was shown to a viewer who has been erased since."""
        if not batch:
            return
        new_words = {each.words.id: each.words for each in batch if each.words.id not in self._known_words}
        with writing(self._engine, EXPOSURES_LOCK) as connection:
            batch = _of_those_not_erased(connection, batch)
            if new_words:
                rows = [{"id": name, "words": words.to_json().decode()} for name, words in new_words.items()]
                connection.execute(insert_into(connection, exposure_words).on_conflict_do_nothing(), rows)
            if batch:
                connection.execute(sa.insert(exposures), [_row(each) for each in batch])
        self._known_words |= new_words.keys()

    def with_features(self, names: Sequence[str], before: float, limit: int) -> ShownLists:
        """The newest lists, at most `limit`, that were shown before a moment and kept with features of these names."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(exposure_words)).tuples()
            words = [name for name, text in rows if Words.from_json(text).features == tuple(names)]
            columns = ("request_id", "user_id", "shown_at", "items", "features")
            query = sa.select(*(exposures.c[name] for name in columns)).where(
                exposures.c.words.in_(words),
                exposures.c.features.is_not(None),
                exposures.c.shown_at < before,
            )
            found = connection.execute(query.order_by(exposures.c.seq.desc()).limit(limit)).all()[::-1]
        request_ids, user_ids, shown_at, items, features = zip(*found, strict=True) if found else ([],) * 5
        packed = np.frombuffer(b"".join(items), ITEM)
        return ShownLists(
            np.array(request_ids, dtype=object),
            np.array(user_ids, dtype=object),
            np.array(shown_at, np.float64),
            np.array([len(each) for each in items], np.int64) // ITEM.itemsize,
            packed,
            np.frombuffer(b"".join(features), FEATURE).reshape(len(packed), len(names)),
        )

    def newest(self, limit: int = 20, user_id: str | None = None) -> Iterator[dict[str, Any]]:
        """The newest lists, newest first, in words: what was shown, where it came from and how likely it was."""
        query = sa.select(exposures).order_by(exposures.c.seq.desc()).limit(limit)
        if user_id is not None:
            query = query.where(exposures.c.user_id == user_id)
        for _, found in self._in_words(query):
            yield found

    def all_of(self, user_id: str) -> Iterator[dict[str, Any]]:
        """All lists of a viewer, as `newest` tells of them, in the order in which they were kept: read in pages."""
        query = sa.select(exposures).where(exposures.c.user_id == user_id).order_by(exposures.c.seq)
        after = 0
        while page := self._in_words(query.where(exposures.c.seq > after).limit(EXPORTED_AT_ONCE)):
            after = page[-1][0]
            yield from (found for _, found in page)

    def _in_words(self, query: sa.Select[Any]) -> list[tuple[int, dict[str, Any]]]:
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
            texts: dict[str, str] = dict(connection.execute(sa.select(exposure_words)).tuples().all())
            items = [np.frombuffer(row["items"], ITEM) for row in rows]
            numbers = np.unique(np.concatenate([*(each["number"] for each in items), np.zeros(0, np.uint32)]))
            video_of: dict[int, str] = {}
            for start in range(0, len(numbers), AT_ONCE):
                some = videos.c.number.in_(numbers[start : start + AT_ONCE].tolist())
                named = sa.select(videos.c.number, videos.c.id).where(some)
                video_of |= dict(connection.execute(named).tuples().all())
        return [
            (row["seq"], _in_words(row, shown, Words.from_json(texts[row["words"]]), video_of))
            for row, shown in zip(rows, items, strict=True)
        ]

    def forget_before(self, moment: float, at_most: int = 10_000) -> int:
        """Removes the oldest lists that were shown before a moment, so many in one transaction; how many went."""
        old = sa.select(exposures.c.seq).where(exposures.c.shown_at < moment).order_by(exposures.c.shown_at)
        with writing(self._engine) as connection:
            return connection.execute(sa.delete(exposures).where(exposures.c.seq.in_(old.limit(at_most)))).rowcount


def _of_those_not_erased(connection: sa.Connection, batch: Sequence[Exposure]) -> list[Exposure]:
    hashes = {each.user_id: viewer_hash(each.user_id) for each in batch}
    last = sa.select(erasures.c.viewer, sa.func.max(erasures.c.erased_at)).group_by(erasures.c.viewer)
    erased_at = dict(connection.execute(last.where(erasures.c.viewer.in_(hashes.values()))).tuples().all())
    return [each for each in batch if each.shown_at > erased_at.get(hashes[each.user_id], -math.inf)]


_COPIED = ("request_id", "user_id", "shown_at", "surface", "country", "release", "settings", "cache", "first_rank")


def _row(exposure: Exposure) -> dict[str, Any]:
    features = exposure.features
    return {
        **{name: getattr(exposure, name) for name in _COPIED},
        "words": exposure.words.id,
        "items": exposure.items.astype(ITEM, copy=False).tobytes(),
        "features": None if features is None else features.astype(FEATURE, copy=False).tobytes(),
    }


def _in_words(row: sa.RowMapping, shown: np.ndarray, words: Words, video_of: dict[int, str]) -> dict[str, Any]:
    places = range(len(shown))
    features = None
    if row["features"] is not None:
        features = np.frombuffer(row["features"], FEATURE).reshape(len(shown), len(words.features)).astype(float)
    return {
        **{name: row[name] for name in _COPIED},
        "items": [
            {
                "video_id": video_of.get(int(shown["number"][place])),
                "rank": row["first_rank"] + place,
                "score": float(shown["score"][place]),
                "propensity": float(shown["propensity"][place]),
                "sources": [name for bit, name in enumerate(words.sources) if int(shown["sources"][place]) >> bit & 1],
                "rule": words.rules[shown["rule"][place]] if shown["rule"][place] >= 0 else None,
                "features": None if features is None else _known(words.features, features[place]),
            }
            for place in places
        ],
    }


def _known(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {name: value for name, value in zip(names, values.tolist(), strict=True) if not np.isnan(value)}
