"""The catalogue as the pipeline reads it: one array per property, in the columns of one release.

Kept current between requests from what the database says has changed, so that a takedown counts with the next
request. Knows nothing of viewers.
"""

import threading
from collections.abc import Iterable, Sequence

import numpy as np

from data.schema import VideoRecord, VideoState
from data.store import Catalogue


class CatalogueView:
    """Properties of the V videos of a release.

    shown: (V,) bool, neither hidden, removed nor failed; available_from, available_until: (V,) float64 seconds;
    rating: (V,) int16 minimum age; `titles` and `labels` by column for answers.
    """

    def __init__(self, videos: Sequence[str]) -> None:
        size = len(videos)
        self.videos = np.array(videos, dtype=object)
        self.column_of = {name: column for column, name in enumerate(videos)}
        self.version = -1
        # The version at which videos last became eligible that were not: candidates from before lack them.
        self.opened = -1
        self.shown = np.zeros(size, bool)
        self.available_from = np.full(size, -np.inf)
        self.available_until = np.full(size, np.inf)
        self.rating = np.zeros(size, np.int16)
        self.titles: list[str] = [""] * size
        self.labels: list[list[str]] = [[] for _ in range(size)]
        self._everywhere = np.ones(size, bool)
        self._in_country: dict[str, np.ndarray] = {}
        self._with_label: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    @classmethod
    def load(cls, catalogue: Catalogue, videos: Sequence[str]) -> "CatalogueView":
        """Reads the whole catalogue once."""
        view = cls(videos)
        view.version = view.opened = catalogue.version()
        view._take(catalogue.all())
        return view

    def update(self, catalogue: Catalogue) -> None:
        """Reads what was written since the last look."""
        with self._lock:
            version, changed, removed = catalogue.changed_since(self.version)
            if self._take(changed):
                self.opened = version
            for name in removed:
                if (column := self.column_of.get(name)) is not None:
                    self.shown[column] = False
            self.version = version

    def available_in(self, country: str | None) -> np.ndarray:
        """(V,) bool: videos without regions, and those of this country; of an unknown country only the former."""
        there = None if country is None else self._in_country.get(country)
        return self._everywhere if there is None else self._everywhere | there

    def with_any_label(self, labels: Iterable[str]) -> np.ndarray:
        """(V,) bool: videos that carry at least one of the labels."""
        mask = np.zeros(len(self.videos), bool)
        for label in labels:
            if label in self._with_label:
                mask |= self._with_label[label]
        return mask

    def label_counts(self) -> dict[str, int]:
        return {name: int(mask.sum()) for name, mask in sorted(self._with_label.items()) if mask.any()}

    def _take(self, records: Iterable[VideoRecord]) -> bool:
        """Takes records over; whether one may be shown now where it might not before."""
        opened = False
        for record in records:
            column = self.column_of.get(record.id)
            if column is None:
                continue
            before = self._limits(column)
            self.shown[column] = not record.hidden and record.state != VideoState.FAILED
            self.available_from[column] = -np.inf if record.available_from is None else record.available_from
            self.available_until[column] = np.inf if record.available_until is None else record.available_until
            self.rating[column] = record.rating or 0
            self.titles[column] = record.title
            self._set_members(self._in_country, column, record.regions)
            self._everywhere[column] = not record.regions
            self._set_members(self._with_label, column, record.shown_labels)
            self.labels[column] = record.shown_labels
            opened |= bool(self.shown[column]) and self._limits(column) != before
        return opened

    def _limits(self, column: int) -> tuple[object, ...]:
        """All that decides whether a video may be shown to somebody."""
        countries = tuple(name for name, mask in self._in_country.items() if mask[column])
        arrays = (self.shown, self.available_from, self.available_until, self.rating)
        return (*(array[column].item() for array in arrays), countries)

    def _set_members(self, masks: dict[str, np.ndarray], column: int, names: Sequence[str]) -> None:
        for name in names:
            masks.setdefault(name, np.zeros(len(self.videos), bool))
        for name, mask in masks.items():
            mask[column] = name in names
