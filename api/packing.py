"""Scored candidates, and what a ranker saw of them, as bytes: for caches and cursors, where videos stand by number."""

from dataclasses import dataclass

import numpy as np

from recommender.catalogue_view import CatalogueView
from recommender.pipeline.stages import Ranked, Snapshot

_NUMBER, _FEATURE = np.dtype("<u4"), np.dtype("<f2")
_DTYPE = np.dtype([("number", "<u4"), ("score", "<f4"), ("found_by", "<u4")])
BYTES_PER_CANDIDATE = _DTYPE.itemsize


@dataclass(frozen=True)
class Numbered:
    """`Ranked` with the numbers of videos (n,) int64 in place of the columns of one release."""

    numbers: np.ndarray
    scores: np.ndarray
    found_by: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def first(self, count: int) -> "Numbered":
        return Numbered(self.numbers[:count], self.scores[:count], self.found_by[:count])


def by_number(ranked: Ranked, view: CatalogueView) -> Numbered:
    """Candidates in the columns of a view, by number; without videos that are gone."""
    numbers = view.numbers[ranked.columns]
    here = numbers >= 0
    if not here.all():
        ranked, numbers = ranked.take(np.flatnonzero(here)), numbers[here]
    return Numbered(numbers, ranked.scores, ranked.found_by)


def by_column(numbered: Numbered, view: CatalogueView) -> Ranked:
    """The other way round; without videos that the view does not know."""
    columns = view.columns_of_numbers(numbered.numbers)
    return Ranked(columns, numbered.scores, numbered.found_by).take(np.flatnonzero(columns >= 0))


def pack(numbered: Numbered) -> bytes:
    packed = np.empty(len(numbered), _DTYPE)
    packed["number"], packed["score"], packed["found_by"] = numbered.numbers, numbered.scores, numbered.found_by
    return packed.tobytes()


def unpack(content: bytes) -> Numbered:
    """Raises ValueError when the length fits no number of candidates."""
    packed = np.frombuffer(content, _DTYPE)
    return Numbered(packed["number"].astype(np.int64), packed["score"].copy(), packed["found_by"].copy())


def pack_snapshot(snapshot: Snapshot, view: CatalogueView) -> bytes:
    """Without videos that are gone."""
    here = view.numbers[snapshot.columns] >= 0
    numbers = view.numbers[snapshot.columns[here]].astype(_NUMBER)
    return numbers.tobytes() + snapshot.features[here].astype(_FEATURE, copy=False).tobytes()


def unpack_snapshot(content: bytes, features: int, view: CatalogueView) -> Snapshot:
    """The other way round, of so many features each. Raises ValueError when the length fits no number of candidates."""
    each = _NUMBER.itemsize + features * _FEATURE.itemsize
    count, rest = divmod(len(content), each)
    if rest:
        raise ValueError(f"{len(content)} bytes are no snapshot of {features} features")
    columns = view.columns_of_numbers(np.frombuffer(content, _NUMBER, count).astype(np.int64))
    values = np.frombuffer(content, _FEATURE, offset=count * _NUMBER.itemsize).reshape(count, features)
    return Snapshot(columns[columns >= 0], values[columns >= 0])
