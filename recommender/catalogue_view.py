"""The catalogue as the pipeline reads it: one array per property, in the columns of one release.

Kept current between requests from what the database says has changed, so that a takedown counts with the next
request. Videos that came after the release have their columns behind it (`with_videos`). Knows nothing of viewers.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any
from zlib import crc32

import numpy as np
import orjson
import scipy.sparse as sp

from data.schema import Listing, RuleRecord, VideoRecord, VideoState
from data.store import Store
from recommender.growing import GrowingArrays, Kind, with_room
from recommender.strings import StringColumn, StringTable
from recommender.words import NO_WORD, WORDS_KEPT, word_codes

#: Labels of a video that `label_codes` has room for: nothing is learned from more.
LABELS_KEPT = 8
_KEPT_MASKS = 64
#: Of more changed videos than this all are read, a part at a time.
MANY_CHANGES = 20_000

_ARRAYS = {
    "numbers": Kind(np.int64, -1),
    "shown": Kind(np.bool_, False),
    "available_from": Kind(np.float64, -np.inf),
    "available_until": Kind(np.float64, np.inf),
    "rating": Kind(np.int16, 0),
    "published_at": Kind(np.float64, np.nan),
    "created_at": Kind(np.float64, np.nan),
    "duration_s": Kind(np.float32, np.nan),
    "creator": Kind(np.int32, -1),
    "series": Kind(np.int32, -1),
    "episode": Kind(np.int32, -1),
    "content": Kind(np.int64, -1),
    "label_codes": Kind(np.int32, -1, LABELS_KEPT),
    "word_codes": Kind(np.uint16, NO_WORD, WORDS_KEPT),
    # Whether it may be shown in every country, and what its vector depends on.
    "_everywhere": Kind(np.bool_, True),
    "_media": Kind(np.int64, 0),
}
_CODED = ("label", "creator", "series")


class CatalogueView:
    """Properties of V videos.

    shown: (V,) bool, neither hidden, removed nor failed; available_from, available_until, published_at, created_at:
    (V,) float64 seconds; duration_s: (V,) float32, NaN where unknown; rating: (V,) int16 minimum age; creator,
    series: (V,) int32 codes, and episode: (V,) int32, -1 for none; label_codes: (V, 8) int32, places in
    `label_names`, -1 for none; word_codes: (V, 24) uint16 as in `recommender.words`; content: (V,) int64, the same for
    the same bytes, -1 for none; numbers: (V,) int64 as in `VideoRecord.number`, -1 for a video that is gone; `titles`
    and `labels` by column for answers.

    What is stored of it (`arrays`) is mapped into memory, and each process keeps for itself the pages alone that it has
    written to since.
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
    label_codes: np.ndarray
    word_codes: np.ndarray
    _everywhere: np.ndarray
    _media: np.ndarray

    def __init__(self, videos: Sequence[str], growing: GrowingArrays | None = None) -> None:
        """growing: the arrays of the videos; without them nothing is known yet."""
        self.videos = videos.copy() if isinstance(videos, StringTable) else StringTable.of(videos)
        size = len(self.videos)
        self.version = -1
        # The version at which videos last became eligible that were not: candidates from before lack them.
        self.opened = -1
        #: The editors' rules; another list when they have changed.
        self.rules: list[RuleRecord] = []
        self._label_matrix: sp.csr_matrix | None = None
        self._duplicate_group: np.ndarray | None = None
        # Videos that have no column, or whose media may have been encoded anew, since they were last asked for.
        self._news: set[str] = set()
        self._generation = 0
        self._growing = growing or GrowingArrays(_ARRAYS, size)
        for name, array in self._growing.first(size).items():
            setattr(self, name, array)
        self.titles = StringColumn.empty(size)
        self._available: tuple[float, float, np.ndarray] = (np.inf, -np.inf, np.zeros(0, bool))
        self._by_series: tuple[np.ndarray, np.ndarray] | None = None
        self._labels_beyond: dict[int, list[int]] = {}
        self._code_of = {kind: StringTable.of([]) for kind in _CODED}
        self._label_names: list[str] = []
        self._in_country: dict[str, np.ndarray] = {}
        self._with_label: dict[str, np.ndarray] = {}
        self._column_of_number = np.full(1, -1, np.int32)
        # Whether another view goes on with these very arrays.
        self._lent = False
        self._lock = threading.Lock()

    @classmethod
    def load(cls, store: Store, videos: Sequence[str]) -> "CatalogueView":
        """Reads the whole catalogue once."""
        view = cls(videos)
        view._read_all(store, news_of_known=False)
        return view

    def catch_up(self, store: Store) -> None:
        """As `update`, where much may have been written since."""
        if store.catalogue.count_changed_since(self.version) <= MANY_CHANGES:
            self.update(store)
        else:
            self._read_all(store)

    def _read_all(self, store: Store, news_of_known: bool = True) -> None:
        with self._lock:
            self._keep_own_arrays()
            self.version = self.opened = store.catalogue.version()
            self.rules = store.rules.list()
            there = np.zeros(len(self.videos), bool)
            with self._changing():
                for batch in store.catalogue.listings():
                    there[self._take(batch, news_of_known)[0]] = True
                self.shown &= there

    def update(self, store: Store) -> None:
        """Reads what was written since the last look."""
        with self._lock:
            version, changed, removed = store.catalogue.changed_since(self.version)
            self._keep_own_arrays()
            with self._changing():
                if self._take(changed)[1]:
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
            size, more = len(self.videos), len(records)
            videos = self.videos.copy()
            for record in records:
                videos.add(record.id)
            grown = CatalogueView(videos, self._growing.grown(size, more))
            grown.titles = self.titles.grown(size + more)
            # Codes are for ever: views of one catalogue may share them.
            grown._code_of = self._code_of
            for country, mask in self._in_country.items():
                grown._in_country[country] = np.concatenate([mask, np.zeros(more, bool)])
            grown._labels_beyond = dict(self._labels_beyond)
            self._lent = grown._growing is self._growing
            grown._column_of_number = self._column_of_number if self._lent else self._column_of_number.copy()
            grown.rules = self.rules
            grown.version = grown.opened = self.version
            if read_at is not None:
                grown.version = min(grown.version, read_at)
            grown._news = self._news
        with grown._changing():
            grown._take(records, news_of_known=False)
        return grown

    def _keep_own_arrays(self) -> None:
        """Before anything is written to them: the view that goes on with these sees for itself what has changed."""
        if self._lent:
            copied = {name: getattr(self, name).copy() for name in _ARRAYS}
            self._growing = GrowingArrays(_ARRAYS, len(self.videos), copied)
            for name, array in copied.items():
                setattr(self, name, array)
            self._column_of_number = self._column_of_number.copy()
            self._lent = False

    # ---- On disk -------------------------------------------------------------------------------------------

    def arrays(self) -> dict[str, np.ndarray]:
        """All that `from_arrays` needs beside the videos; no objects."""
        size = len(self.videos)
        roomy = GrowingArrays(_ARRAYS, 0).grown(0, size).first(with_room(size))
        for name, array in roomy.items():
            array[:size] = getattr(self, name)
        countries = sorted(self._in_country)
        matrix = self.label_matrix
        facts = {
            "version": self.version,
            "news": sorted(self._news),
            "countries": countries,
            "labels_beyond": list(self._labels_beyond.items()),
        }
        tables = {kind: table.arrays() for kind, table in self._code_of.items()} | {"titles": self.titles.arrays()}
        return {
            **roomy,
            **{f"{table}.{name}": array for table, arrays in tables.items() for name, array in arrays.items()},
            "in_country": np.array([self._in_country[name] for name in countries], bool).reshape(-1, size),
            "column_of_number": self._column_of_number,
            "label_matrix.indices": matrix.indices,
            "label_matrix.indptr": matrix.indptr,
            "duplicate_group": self.duplicate_group,
            "facts": np.frombuffer(orjson.dumps(facts), np.uint8),
        }

    @classmethod
    def from_arrays(cls, videos: StringTable, arrays: Mapping[str, np.ndarray]) -> "CatalogueView":
        """The view as it was stored. The arrays are its own from now on, and may be written to."""

        def parts(table: str) -> dict[str, np.ndarray]:
            begin = f"{table}."
            return {name.removeprefix(begin): array for name, array in arrays.items() if name.startswith(begin)}

        facts = orjson.loads(arrays["facts"].tobytes())
        view = cls(videos, GrowingArrays(_ARRAYS, len(videos), {name: arrays[name] for name in _ARRAYS}))
        view.version = view.opened = facts["version"]
        view.titles = StringColumn.from_arrays(parts("titles"))
        view._code_of = {kind: StringTable.from_arrays(parts(kind)) for kind in _CODED}
        view._in_country = dict(zip(facts["countries"], arrays["in_country"], strict=True))
        view._labels_beyond = dict(facts["labels_beyond"])
        view._column_of_number = arrays["column_of_number"]
        view._news = set(facts["news"])
        labels = parts("label_matrix")
        has, shape = np.ones(len(labels["indices"]), bool), (len(videos), len(view._code_of["label"]))
        view._label_matrix = sp.csr_matrix((has, labels["indices"], labels["indptr"]), shape)
        view._duplicate_group = arrays["duplicate_group"]
        return view

    # ---- Reading -------------------------------------------------------------------------------------------

    @property
    def state(self) -> int | None:
        """Another number for every state of the arrays; None while they are being changed."""
        generation = self._generation
        return None if generation % 2 else generation

    @property
    def label_names(self) -> list[str]:
        """The labels by their codes."""
        known = self._code_of["label"]
        if len(self._label_names) < len(known):
            self._label_names = list(known)
        return self._label_names

    @property
    def column_of(self) -> Mapping[str, int]:
        """The columns of videos by their ids."""
        return self.videos.place_of

    @property
    def labels(self) -> "_Labels":
        """The labels that are shown of a video, by its column."""
        return _Labels(self)

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
        return self._code_of[kind].place_of

    def columns_of_numbers(self, numbers: np.ndarray) -> np.ndarray:
        """The columns (n,) int64 of videos by their numbers (n,); -1 for those that have none here."""
        # Nothing has the number 0. Meanwhile there may be a longer one.
        column_of = self._column_of_number
        columns = column_of.take(numbers, mode="clip").astype(np.int64)
        beyond = numbers >= len(column_of)
        # A view with more videos may be there already.
        beyond |= columns >= len(self.videos)
        columns[beyond] = -1
        return columns

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
            code = self.codes("label").get(label, -1)
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

    def _take(self, records: Sequence[Listing | VideoRecord], news_of_known: bool = True) -> tuple[np.ndarray, bool]:
        """Takes records over: their columns, and whether one may be shown now where it might not before."""
        places = [self.column_of.get(record.id, -1) for record in records]
        self._news.update(record.id for record, place in zip(records, places, strict=True) if place < 0)
        known = [record for record, place in zip(records, places, strict=True) if place >= 0]
        columns = np.array([place for place in places if place >= 0], np.int64)
        if not known:
            return columns, False

        def of_each(value: Callable[[Listing | VideoRecord], Any], kind: type) -> np.ndarray:
            return np.fromiter(map(value, known), kind, len(known))

        content = of_each(lambda record: int((record.content_hash or "-1")[:15], 16), np.int64)
        # The same in every process.
        media = content ^ of_each(lambda record: crc32(f"{record.encoder_id} {record.state}".encode()), np.int64)
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
            unknown = _ARRAYS[name].unknown
            values = map(attrgetter(name), known)
            getattr(self, name)[columns] = [unknown if value is None else value for value in values]
        self._available = (np.inf, -np.inf, self._available[2])
        self.rating[columns] = of_each(lambda record: record.rating or 0, np.int16)
        self.creator[columns] = of_each(lambda record: self._coded("creator", record.creator), np.int32)
        self.series[columns] = of_each(lambda record: self._coded("series", record.series), np.int32)
        self._set_numbers(columns, of_each(attrgetter("number"), np.int64))
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
        return columns, bool((self.shown[columns] & changed).any())

    def _limits(self, columns: np.ndarray) -> list[np.ndarray]:
        """All that decides whether videos may be shown to somebody, (n,) each."""
        arrays = (self.shown, self.available_from, self.available_until, self.rating, *self._in_country.values())
        return [array[columns] for array in arrays]

    def _coded(self, kind: str, name: str | None) -> int:
        return -1 if name is None else self._code_of[kind].add(name)

    def _set_numbers(self, columns: np.ndarray, numbers: np.ndarray) -> None:
        self.numbers[columns] = numbers
        there, needed = len(self._column_of_number), int(numbers.max()) + 1
        if needed > there:
            more = np.full(with_room(needed) - there, -1, np.int32)
            self._column_of_number = np.concatenate([self._column_of_number, more])
        self._column_of_number[numbers] = columns

    def labels_of(self, columns: np.ndarray) -> list[list[str]]:
        """The names of the labels of each of these videos (n,)."""
        names, beyond = self.label_names, self._labels_beyond
        found = [[names[code] for code in codes if code >= 0] for codes in self.label_codes[columns].tolist()]
        for labels, column in zip(found, columns.tolist() if beyond else (), strict=False):
            labels += [names[code] for code in beyond.get(column, ())]
        return found

    def _labels_at(self, column: int) -> list[int]:
        codes = [code for code in self.label_codes[column].tolist() if code >= 0]
        return codes + self._labels_beyond.get(column, [])

    def _set_labels(self, column: int, names: list[str]) -> None:
        codes = [self._coded("label", name) for name in names]
        if codes != self._labels_at(column):
            self.label_codes[column] = (codes + [-1] * LABELS_KEPT)[:LABELS_KEPT]
            self._labels_beyond.pop(column, None)
            if len(codes) > LABELS_KEPT:
                self._labels_beyond[column] = codes[LABELS_KEPT:]
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


class _Labels:
    def __init__(self, view: CatalogueView) -> None:
        self._view = view
        self._names = view.label_names

    def __getitem__(self, column: int) -> list[str]:
        return [self._names[code] for code in self._view._labels_at(column)]
