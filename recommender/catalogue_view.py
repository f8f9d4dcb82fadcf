"""The catalogue as the pipeline reads it: one array per property, in the columns of one release.

Kept current between requests from what the database says has changed, so that a takedown counts with the next
request. Videos that came after the release have their columns behind it (`with_videos`). Knows nothing of viewers.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import numpy as np
import scipy.sparse as sp

from data.schema import Listing, RuleRecord, VideoRecord, VideoState
from data.store import Store
from recommender.words import NO_WORD, WORDS_KEPT, word_codes

#: Labels of a video that `label_codes` has room for: nothing is learned from more.
LABELS_KEPT = 8
_KEPT_MASKS = 64

_ARRAYS: dict[str, tuple[type, object]] = {
    "numbers": (np.int64, -1),
    "shown": (np.bool_, False),
    "available_from": (np.float64, -np.inf),
    "available_until": (np.float64, np.inf),
    "rating": (np.int16, 0),
    "published_at": (np.float64, np.nan),
    "created_at": (np.float64, np.nan),
    "duration_s": (np.float32, np.nan),
    "creator": (np.int32, -1),
    "series": (np.int32, -1),
    "episode": (np.int32, -1),
    "content": (np.int64, -1),
}


class CatalogueView:
    """Properties of V videos.

    shown: (V,) bool, neither hidden, removed nor failed; available_from, available_until, published_at, created_at:
    (V,) float64 seconds; duration_s: (V,) float32, NaN where unknown; rating: (V,) int16 minimum age; creator,
    series: (V,) int32 codes, and episode: (V,) int32, -1 for none; label_codes: (V, 8) int32, places in
    `label_names`, -1 for none; word_codes: (V, 24) uint16 as in `recommender.words`; content: (V,) int64, the same for
    the same bytes, -1 for none; numbers: (V,) int64 as in `VideoRecord.number`, -1 for a video that is gone; `titles`
    and `labels` by column for answers.
    """

    numbers: np.ndarray
    shown: np.ndarray
    available_from: np.ndarray
    available_until: np.ndarray
    rating: np.ndarray
    published_at: np.ndarray
    created_at: np.ndarray
    duration_s: np.ndarray
    creator: np.ndarray
    series: np.ndarray
    episode: np.ndarray
    content: np.ndarray

    def __init__(self, videos: Sequence[str]) -> None:
        size = len(videos)
        self.videos = list(videos)
        self.column_of = {name: column for column, name in enumerate(videos)}
        self.version = -1
        # The version at which videos last became eligible that were not: candidates from before lack them.
        self.opened = -1
        #: The editors' rules; another list when they have changed.
        self.rules: list[RuleRecord] = []
        self._label_matrix: sp.csr_matrix | None = None
        self._duplicate_group: np.ndarray | None = None
        # Videos that have no column, or whose media may have been encoded anew, since they were last asked for.
        self._news: set[str] = set()
        # What the vector of each video depends on.
        self._media = np.zeros(size, np.int64)
        self._generation = 0
        for name, (kind, fill) in _ARRAYS.items():
            setattr(self, name, np.full(size, fill, kind))
        self.label_codes = np.full((size, LABELS_KEPT), -1, np.int32)
        self.word_codes = np.full((size, WORDS_KEPT), NO_WORD, np.uint16)
        self.titles: list[str] = [""] * size
        self.labels: list[list[str]] = [[] for _ in range(size)]
        self._available: tuple[float, float, np.ndarray] = (np.inf, -np.inf, np.zeros(0, bool))
        self._by_series: tuple[np.ndarray, np.ndarray] | None = None
        self._labels_beyond: dict[int, list[int]] = {}
        self._code_of: dict[str, dict[str, int]] = {"label": {}, "creator": {}, "series": {}}
        self._everywhere = np.ones(size, bool)
        self._in_country: dict[str, np.ndarray] = {}
        self._with_label: dict[str, np.ndarray] = {}
        self._column_of_number = np.full(1, -1, np.int32)
        self._lock = threading.Lock()

    @classmethod
    def load(cls, store: Store, videos: Sequence[str]) -> "CatalogueView":
        """Reads the whole catalogue once."""
        view = cls(videos)
        view.version = view.opened = store.catalogue.version()
        view.rules = store.rules.list()
        with view._changing():
            for batch in store.catalogue.listings():
                view._take(batch, news_of_known=False)
        return view

    def update(self, store: Store) -> None:
        """Reads what was written since the last look."""
        with self._lock:
            version, changed, removed = store.catalogue.changed_since(self.version)
            with self._changing():
                if self._take(changed):
                    self.opened = version
                for name in removed:
                    self._news.discard(name)
                    if (column := self.column_of.get(name)) is not None:
                        self.shown[column] = False
            # The rules last: that they cannot be read must not hold up a takedown.
            rules = store.rules.list()
            if rules != self.rules:
                self.rules = rules
            self.version = version

    @property
    def has_news(self) -> bool:
        """Whether the catalogue holds videos that `take_news` would name: lists made now may lack them."""
        return bool(self._news)

    def take_news(self) -> list[str]:
        """The ids of videos that have no column here, or may have been encoded anew, since the last call."""
        with self._lock:
            news, self._news = self._news, set()
        return sorted(news)

    def put_back_news(self, ids: Sequence[str]) -> None:
        """What was taken could not be used: the next `take_news` gives it again."""
        with self._lock:
            self._news |= set(ids)

    def with_videos(self, records: Sequence[VideoRecord], read_at: int | None = None) -> "CatalogueView":
        """This view and, behind its columns, these videos, which it does not know yet.

        read_at: the version of this view before the records were read: what was written to them since is read again.
        """
        with self._lock:
            grown = CatalogueView([*self.videos, *(record.id for record in records)])
            size = len(self.videos)
            for name in (*_ARRAYS, "label_codes", "word_codes", "_everywhere", "_media"):
                getattr(grown, name)[:size] = getattr(self, name)
            grown.titles[:size], grown.labels[:size] = self.titles, self.labels
            grown._code_of = {kind: dict(codes) for kind, codes in self._code_of.items()}
            for country, mask in self._in_country.items():
                grown._in_country[country] = np.concatenate([mask, np.zeros(len(records), bool)])
            grown._labels_beyond = dict(self._labels_beyond)
            grown._column_of_number = self._column_of_number.copy()
            grown.rules = self.rules
            grown.version = grown.opened = self.version
            if read_at is not None:
                grown.version = min(grown.version, read_at)
            grown._news = self._news
        with grown._changing():
            grown._take(records, news_of_known=False)
        return grown

    def in_columns(self, videos: Sequence[str]) -> "CatalogueView":
        """The same in the columns of another release, whose videos are all known here; those that it lacks are news.

        Nothing is read again, and what is text is shared: it takes a small part of what `load` does.
        """
        with self._lock:
            columns = np.fromiter((self.column_of[name] for name in videos), np.int64, len(videos))
            moved = CatalogueView(videos)
            for name in (*_ARRAYS, "label_codes", "word_codes", "_everywhere", "_media"):
                setattr(moved, name, getattr(self, name)[columns])
            moved.titles = [self.titles[column] for column in columns]
            moved.labels = [self.labels[column] for column in columns]
            moved._code_of = {kind: dict(codes) for kind, codes in self._code_of.items()}
            moved._in_country = {country: mask[columns] for country, mask in self._in_country.items()}
            beyond = self._labels_beyond
            moved._labels_beyond = {
                place: beyond[column] for place, column in enumerate(columns.tolist()) if column in beyond
            }
            numbered = np.flatnonzero(moved.numbers >= 0)
            moved._column_of_number = np.full(int(moved.numbers.max(initial=0)) + 1, -1, np.int32)
            moved._column_of_number[moved.numbers[numbered]] = numbered
            moved.rules, moved.version, moved.opened = self.rules, self.version, self.opened
            moved._news = self._news | (self.column_of.keys() - moved.column_of.keys())
        return moved

    # ---- Reading -------------------------------------------------------------------------------------------

    @property
    def state(self) -> int | None:
        """Another number for every state of the arrays; None while they are being changed."""
        generation = self._generation
        return None if generation % 2 else generation

    @property
    def label_names(self) -> list[str]:
        """The labels by their codes."""
        return list(self._code_of["label"])

    @property
    def label_matrix(self) -> sp.csr_matrix:
        """(V, L) bool, by the codes of the labels; another one when a label has changed."""
        matrix = self._label_matrix
        if matrix is None:
            state = self.state
            has = self.label_codes >= 0
            indptr = np.concatenate([[0], np.cumsum(has.sum(axis=1))])
            indices = self.label_codes[has]
            shape = (len(self.videos), len(self._code_of["label"]))
            matrix = sp.csr_matrix((np.ones(len(indices), bool), indices, indptr), shape)
            if state is not None and state == self.state:
                self._label_matrix = matrix
        return matrix

    @property
    def duplicate_group(self) -> np.ndarray:
        """(V,) int32: the same for videos that are the same file, -1 for those that are one of a kind; another array
        when a file has changed."""
        found = self._duplicate_group
        if found is None:
            generation = self._generation
            _, group, count = np.unique(self.content, return_inverse=True, return_counts=True)
            found = np.where((self.content >= 0) & (count[group] > 1), group, -1).astype(np.int32)
            if generation == self._generation:
                self._duplicate_group = found
        return found

    def codes(self, kind: str) -> Mapping[str, int]:
        """The codes of all labels, creators or series (`kind`)."""
        return self._code_of[kind]

    def columns_of_numbers(self, numbers: np.ndarray) -> np.ndarray:
        """The columns (n,) int64 of videos by their numbers (n,); -1 for those that have none here."""
        known = (numbers >= 0) & (numbers < len(self._column_of_number))
        return np.where(known, self._column_of_number[np.where(known, numbers, 0)], -1).astype(np.int64)

    def knows(self, country: str | None) -> bool:
        """Whether any video was ever licensed for this country by name."""
        return country is not None and country in self._in_country

    def available_in(self, country: str | None) -> np.ndarray:
        """(V,) bool: videos without regions, and those of this country; of an unknown country only the former."""
        there = None if country is None else self._in_country.get(country)
        return self._everywhere if there is None else self._everywhere | there

    def available_at(self, now: float) -> np.ndarray:
        """(V,) bool: videos inside their window at a moment. Worked out once for all moments between two boundaries."""
        return self._availability(now)[2]

    def available_since(self, now: float) -> float:
        """The last boundary of any video's window before a moment: `available_at` is the same since then."""
        return self._availability(now)[0]

    def available_until_then(self, now: float) -> float:
        """The next boundary of any video's window: until then `available_at` stays as it is."""
        return self._availability(now)[1]

    def _availability(self, now: float) -> tuple[float, float, np.ndarray]:
        since, until, mask = self._available
        if not since <= now < until:
            state = self.state
            mask = (self.available_from <= now) & (now < self.available_until)
            edges = np.concatenate([self.available_from, self.available_until])
            since = float(edges[edges <= now].max(initial=-np.inf))
            until = float(edges[edges > now].min(initial=np.inf))
            if state is not None and state == self.state:
                self._available = (since, until, mask)
        return since, until, mask

    def with_any_label(self, labels: Iterable[str]) -> np.ndarray:
        """(V,) bool: videos that carry at least one of the labels."""
        mask = np.zeros(len(self.videos), bool)
        for label in labels:
            mask |= self._with(label)
        return mask

    def episodes_of(self, series: int) -> np.ndarray:
        """The columns (e,) int64 of a series by its code, in the order of their episodes."""
        found = self._by_series
        if found is None:
            state = self.state
            columns = np.flatnonzero(self.series >= 0)
            order = columns[np.lexsort((self.episode[columns], self.series[columns]))]
            found = (order, self.series[order])
            if state is not None and state == self.state:
                self._by_series = found
        columns, codes = found
        return columns[np.searchsorted(codes, series) : np.searchsorted(codes, series, "right")]

    def label_counts(self) -> dict[str, int]:
        names = self.label_names
        beyond = [code for codes in self._labels_beyond.values() for code in codes]
        counts = np.bincount(np.concatenate([self.label_codes[self.label_codes >= 0], np.array(beyond, np.int32)]))
        return dict(sorted((names[code], int(count)) for code, count in enumerate(counts) if count))

    def _with(self, label: str) -> np.ndarray:
        # What is worked out from what is being changed must not be kept for after the change.
        masks = self._with_label
        mask = masks.get(label)
        if mask is None:
            code = self._code_of["label"].get(label, -1)
            mask = (self.label_codes == code).any(axis=1) if code >= 0 else np.zeros(len(self.videos), bool)
            for column, codes in self._labels_beyond.items():
                mask[column] |= code in codes
            if len(masks) >= _KEPT_MASKS:
                masks.clear()
            masks[label] = mask
        return mask

    # ---- Taking over ---------------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Around all that changes the arrays, so that nothing that is worked out meanwhile is kept."""
        self._generation += 1
        try:
            yield
        finally:
            self._generation += 1

    def _take(self, records: Sequence[Listing | VideoRecord], news_of_known: bool = True) -> bool:
        """Takes records over; whether one may be shown now where it might not before."""
        places = [self.column_of.get(record.id, -1) for record in records]
        self._news.update(record.id for record, place in zip(records, places, strict=True) if place < 0)
        known = [record for record, place in zip(records, places, strict=True) if place >= 0]
        if not known:
            return False
        columns = np.array([place for place in places if place >= 0])

        def of_each(value: Callable[[Listing | VideoRecord], Any], kind: type) -> np.ndarray:
            return np.fromiter(map(value, known), kind, len(known))

        media = of_each(lambda record: hash((record.encoder_id, record.content_hash, record.state)), np.int64)
        if news_of_known:
            encoded_anew = media != self._media[columns]
            encoded_anew &= of_each(lambda record: record.state == VideoState.READY, np.bool_)
            self._news.update(known[row].id for row in np.flatnonzero(encoded_anew))
        self._media[columns] = media
        # Countries that are new have had no videos.
        for name in dict.fromkeys(name for record in known for name in record.regions):
            self._in_country.setdefault(name, np.zeros(len(self.videos), bool))
        before = self._limits(columns)
        shown = of_each(lambda record: not record.hidden and record.state != VideoState.FAILED, np.bool_)
        # A takedown counts at once; what comes is shown when all is known of it.
        self.shown[columns] &= shown
        if any(record.series is not None for record in known) or (self.series[columns] >= 0).any():
            self._by_series = None
        for name in ("available_from", "available_until", "published_at", "created_at", "duration_s", "episode"):
            _, unknown = _ARRAYS[name]
            values = map(attrgetter(name), known)
            getattr(self, name)[columns] = [unknown if value is None else value for value in values]
        self._available = (np.inf, -np.inf, self._available[2])
        self.rating[columns] = of_each(lambda record: record.rating or 0, np.int16)
        self.creator[columns] = of_each(lambda record: self._coded("creator", record.creator), np.int32)
        self.series[columns] = of_each(lambda record: self._coded("series", record.series), np.int32)
        self._set_numbers(columns, of_each(attrgetter("number"), np.int64))
        content = of_each(lambda record: int((record.content_hash or "-1")[:15], 16), np.int64)
        if (content != self.content[columns]).any():
            self.content[columns] = content
            self._duplicate_group = None
        self._set_countries(columns, known)
        for column, record in zip(columns.tolist(), known, strict=True):
            self.titles[column] = record.title
            self._set_labels(column, record.shown_labels)
        # Words take longest, and keep nobody from seeing anything: they come behind all that does.
        self.word_codes[columns] = [word_codes([*record.tags, record.title, record.description]) for record in known]
        self.shown[columns] = shown
        changed = np.any([now != then for now, then in zip(self._limits(columns), before, strict=True)], axis=0)
        return bool((self.shown[columns] & changed).any())

    def _limits(self, columns: np.ndarray) -> list[np.ndarray]:
        """All that decides whether videos may be shown to somebody, (n,) each."""
        arrays = (self.shown, self.available_from, self.available_until, self.rating, *self._in_country.values())
        return [array[columns] for array in arrays]

    def _coded(self, kind: str, name: str | None) -> int:
        codes = self._code_of[kind]
        return -1 if name is None else codes.setdefault(name, len(codes))

    def _set_numbers(self, columns: np.ndarray, numbers: np.ndarray) -> None:
        self.numbers[columns] = numbers
        there, needed = len(self._column_of_number), int(numbers.max()) + 1
        if needed > there:
            more = np.full(max(needed, 2 * there) - there, -1, np.int32)
            self._column_of_number = np.concatenate([self._column_of_number, more])
        self._column_of_number[numbers] = columns

    def _set_labels(self, column: int, names: list[str]) -> None:
        if names != self.labels[column]:
            codes = [self._coded("label", name) for name in names]
            self.label_codes[column] = (codes + [-1] * LABELS_KEPT)[:LABELS_KEPT]
            self._labels_beyond.pop(column, None)
            if len(codes) > LABELS_KEPT:
                self._labels_beyond[column] = codes[LABELS_KEPT:]
            self.labels[column] = names
            # Other masks than those in use: a request keeps what it began with.
            self._with_label = {}
            self._label_matrix = None

    def _set_countries(self, columns: np.ndarray, records: Sequence[Listing | VideoRecord]) -> None:
        rows: dict[str, list[int]] = {name: [] for name in self._in_country}
        for row, record in enumerate(records):
            for name in record.regions:
                rows[name].append(row)
        for name, mask in self._in_country.items():
            # At once: a request that looks meanwhile must not find them nowhere.
            licensed = np.zeros(len(columns), bool)
            licensed[rows[name]] = True
            mask[columns] = licensed
        self._everywhere[columns] = [not record.regions for record in records]
