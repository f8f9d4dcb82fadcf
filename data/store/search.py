"""The text index of the catalogue, in the database itself: shared by all processes, nothing of it in their memory.

FTS5 on SQLite, tsvector on PostgreSQL. It follows the catalogue: whoever searches first brings in what was written
since (`catch_up`), so that no writer has to think of it. Words are split and folded here (`data.words`), so that both
databases find the same. A word that stands nowhere is read as those that are spelled like it: words are alike that
become the same without one letter each (Garbe, Symmetric Delete, 2012).
"""

import difflib
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from data.schema import VideoRecord
from data.store.tables import counters, search_spellings, videos
from data.store.writing import insert_into, writing
from data.words import is_unspaced, words

BATCH = 500
SEARCH_LOCK = 7_231_979
#: Counters: the catalogue's version, and the last number of a video of that version, up to which all is indexed.
VERSION, NUMBER = "search_version", "search_number"
_ALL = 2**62
#: Words of a description that are looked at, and of a question.
DESCRIPTION_WORDS, QUESTION_WORDS = 400, 16
#: Shorter words are not corrected: too many others are like them.
CORRECTED_FROM = 4
#: Longer words are alike when they begin alike.
SPELLED_BY = 8
ALIKE, CORRECTIONS = 0.7, 5
#: A word in more videos than this is common: it finds nothing by itself beside others that are rarer.
MANY = 20_000
#: PostgreSQL counts places of words no further.
LAST_PLACE = 16_383
#: A video that has only some of the words counts this much of one that has them all.
SOME_WORDS = 0.5
_FIELDS = ("title", "tags", "labels", "predicted_labels", "creator", "series", "description")
#: What a word counts: in the title, in tags, labels, creator and series, in the description.
_WEIGHTS = (10.0, 4.0, 1.0)


class SearchIndex:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._texts: _Texts = _SqliteTexts() if engine.dialect.name == "sqlite" else _PostgresTexts()

    # ---- Keeping up with the catalogue ---------------------------------------------------------------------

    def is_current(self) -> bool:
        """Whether all that was written to the catalogue is in it."""
        with self._engine.connect() as connection:
            current, version, number = _state(connection)
        return version >= current and number == _ALL

    def catch_up(self) -> None:
        """Brings in what was written to the catalogue since, a little at a time: other writers get their turn."""
        while not self.is_current():
            with writing(self._engine, SEARCH_LOCK) as connection:
                self._take_batch(connection)

    def _take_batch(self, connection: sa.Connection) -> None:
        current, version, number = _state(connection)
        place = sa.tuple_(videos.c.version, videos.c.number)
        query = (
            sa.select(videos.c.number, videos.c.version, videos.c.removed, *(videos.c[name] for name in _FIELDS))
            .where(place > sa.tuple_(version, number), videos.c.version <= current)
            .order_by(videos.c.version, videos.c.number)
            .limit(BATCH)
        )
        rows = connection.execute(query).mappings().all()
        self._texts.forget(connection, [row["number"] for row in rows])
        parts = {row["number"]: _words_of(row) for row in rows if not row["removed"]}
        self._texts.add(connection, parts)
        _learn(connection, set(chain.from_iterable(chain(*some[:2]) for some in parts.values())))
        last = (rows[-1]["version"], rows[-1]["number"]) if len(rows) == BATCH else (current, _ALL)
        for name, value in zip((VERSION, NUMBER), last, strict=True):
            connection.execute(sa.update(counters).where(counters.c.name == name).values(value=value))

    # ---- Finding -------------------------------------------------------------------------------------------

    def find(self, text: str, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of videos, best first, and how well each fits, 0..1: (n,) int64, (n,) float32.

        Those with all the words (or words that begin so) stand before those with some of them. Up to `limit`; where all
        the words are common, up to `MANY`, which fit alike. Nothing for a text without words.
        """
        asked = list(dict.fromkeys(words(text)))[:QUESTION_WORDS]
        with self._engine.connect() as connection:
            meant = [self._meant(connection, word) for word in asked]
            known = [each for each in meant if each.words]
            if not known:
                found: dict[int, float] = {}
            elif all(each.is_common for each in known):
                found = self._among_many(connection, [each.words for each in known], limit)
            else:
                found = self._ranked(connection, known, len(known) == len(meant), limit)
        return np.fromiter(found.keys(), np.int64, len(found)), np.fromiter(found.values(), np.float32, len(found))

    def _ranked(
        self, connection: sa.Connection, known: Sequence["_Meant"], all_known: bool, limit: int
    ) -> dict[int, float]:
        found: dict[int, float] = {}
        if all_known:
            found = _relative(
                self._texts.ranked(connection, [each.words for each in known], limit, all_of_them=True), 1
            )
        rare = [each.words for each in known if not each.is_common]
        if len(found) < limit and not (all_known and len(known) == 1):
            some = _relative(self._texts.ranked(connection, rare, limit, all_of_them=False), SOME_WORDS)
            found |= {number: score for number, score in some.items() if number not in found}
        return dict(list(found.items())[:limit])

    def _among_many(self, connection: sa.Connection, known: Sequence[Sequence[str]], limit: int) -> dict[int, float]:
        """Newest first, since to rank that many would take long; those with the words in the title where there are
        enough."""
        found = self._texts.newest(connection, known, MANY, in_title=True)
        if len(found) < limit:
            found = list(dict.fromkeys([*found, *self._texts.newest(connection, known, MANY, in_title=False)]))
        return dict.fromkeys(found, 1.0)

    def _meant(self, connection: sa.Connection, word: str) -> "_Meant":
        """A word, where any video has it or one that begins so; else the words that are spelled like it."""
        count = self._texts.count(connection, [word], MANY + 1)
        if count:
            return _Meant([word], count > MANY)
        if len(word) < CORRECTED_FROM or not word.isalpha():
            return _Meant([], False)
        like = sa.select(search_spellings.c.word).where(search_spellings.c.variant.in_(_variants(word)))
        alike = sorted(set(connection.execute(like).scalars()))
        corrected = difflib.get_close_matches(word, alike, CORRECTIONS, ALIKE)
        return _Meant(corrected, bool(corrected) and self._texts.count(connection, corrected, MANY + 1) > MANY)


class _Meant(NamedTuple):
    """What one word of a question stands for, and whether more than `MANY` videos have it."""

    words: list[str]
    is_common: bool


def _state(connection: sa.Connection) -> tuple[int, int, int]:
    """(version of the catalogue, version and number up to which it is indexed)."""
    names = ("catalogue", VERSION, NUMBER)
    rows = connection.execute(sa.select(counters.c.name, counters.c.value).where(counters.c.name.in_(names))).all()
    values = {name: int(value) for name, value in rows}
    return values["catalogue"], values[VERSION], values[NUMBER]


def _words_of(row: sa.RowMapping) -> tuple[list[str], list[str], list[str]]:
    """The words of the title, of what else the video is filed under, and of the description."""
    labels = VideoRecord.model_construct(labels=row["labels"], predicted_labels=row["predicted_labels"]).shown_labels
    filed = [*row["tags"], *labels, *(name for name in (row["creator"], row["series"]) if name)]
    return (
        list(words(row["title"])),
        list(chain.from_iterable(map(words, filed))),
        list(words(row["description"][: 20 * DESCRIPTION_WORDS]))[:DESCRIPTION_WORDS],
    )


def _variants(word: str) -> set[str]:
    """The beginning of a word, and that without any one of its letters."""
    head = word[:SPELLED_BY]
    return {head, *(head[:place] + head[place + 1 :] for place in range(len(head)))}


def _learn(connection: sa.Connection, found: set[str]) -> None:
    """Keeps how words are spelled. They stay when their videos go: a word that leads to nothing is no harm."""
    able = sorted(word for word in found if len(word) >= CORRECTED_FROM and word.isalpha() and not is_unspaced(word))
    known: set[str] = set()
    for some in _batches(able):
        heads = {word[:SPELLED_BY] for word in some}
        query = sa.select(search_spellings.c.word).where(search_spellings.c.variant.in_(heads))
        known.update(connection.execute(query).scalars())
    rows = [
        {"variant": variant, "word": word} for word in able if word not in known for variant in sorted(_variants(word))
    ]
    if rows:
        connection.execute(insert_into(connection, search_spellings).on_conflict_do_nothing(), rows)


def _batches(items: Sequence[str]) -> Iterator[Sequence[str]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def _relative(hits: Sequence[tuple[int, float]], best: float) -> dict[int, float]:
    """Scores as shares of the first one's, which is `best`."""
    top = hits[0][1] if hits else 0.0
    return {number: best * score / top if top > 0 else best for number, score in hits}


# ---- The two databases --------------------------------------------------------------------------------------

#: By the numbers of videos: words of the title, of what else they are filed under, of the description.
_Parts = dict[int, tuple[list[str], list[str], list[str]]]


class _Texts:
    """How one kind of database writes the index and looks things up in it.

    `meant`: for each word of a question the words that it may be.
    """

    RANKED: str
    NEWEST: str
    COUNT: str

    def forget(self, connection: sa.Connection, numbers: Sequence[int]) -> None:
        raise NotImplementedError

    def add(self, connection: sa.Connection, parts: _Parts) -> None:
        raise NotImplementedError

    def question(self, meant: Sequence[Sequence[str]], *, all_of_them: bool, in_title: bool = False) -> str:
        raise NotImplementedError

    def ranked(
        self, connection: sa.Connection, meant: Sequence[Sequence[str]], limit: int, *, all_of_them: bool
    ) -> list[tuple[int, float]]:
        """(number, score) of videos with one of the words of each, or of any; best first."""
        question = self.question(meant, all_of_them=all_of_them)
        found = connection.execute(sa.text(self.RANKED), {"question": question, "limit": limit})
        return [(int(number), float(score)) for number, score in found]

    def newest(
        self, connection: sa.Connection, meant: Sequence[Sequence[str]], limit: int, *, in_title: bool
    ) -> list[int]:
        """The numbers of videos with one of the words of each, the last added first."""
        question = self.question(meant, all_of_them=True, in_title=in_title)
        return list(connection.execute(sa.text(self.NEWEST), {"question": question, "limit": limit}).scalars())

    def count(self, connection: sa.Connection, some: Sequence[str], limit: int) -> int:
        """How many videos have one of these words, as far as `limit`."""
        question = self.question([some], all_of_them=True)
        return int(connection.execute(sa.text(self.COUNT), {"question": question, "limit": limit}).scalar_one())


class _SqliteTexts(_Texts):
    RANKED = (
        f"SELECT rowid, -bm25(search_texts, {', '.join(map(str, _WEIGHTS))}) AS score FROM search_texts"
        " WHERE search_texts MATCH :question ORDER BY score DESC, rowid LIMIT :limit"
    )
    NEWEST = "SELECT rowid FROM search_texts WHERE search_texts MATCH :question ORDER BY rowid DESC LIMIT :limit"
    COUNT = "SELECT COUNT(*) FROM (SELECT 1 FROM search_texts WHERE search_texts MATCH :question LIMIT :limit)"

    def forget(self, connection: sa.Connection, numbers: Sequence[int]) -> None:
        if numbers:
            rows = [{"number": number} for number in numbers]
            connection.execute(sa.text("DELETE FROM search_texts WHERE rowid = :number"), rows)

    def add(self, connection: sa.Connection, parts: _Parts) -> None:
        rows = [
            {"number": number, "title": " ".join(title), "filed": " ".join(filed), "description": " ".join(description)}
            for number, (title, filed, description) in parts.items()
        ]
        insert = "INSERT INTO search_texts(rowid, title, filed, description)"
        if rows:
            connection.execute(sa.text(f"{insert} VALUES (:number, :title, :filed, :description)"), rows)

    def question(self, meant: Sequence[Sequence[str]], *, all_of_them: bool, in_title: bool = False) -> str:
        groups = ("(" + " OR ".join(chain.from_iterable(map(self._either, some))) + ")" for some in meant)
        joined = (" AND " if all_of_them else " OR ").join(groups)
        return f"title : ({joined})" if in_title else joined

    @staticmethod
    def _either(word: str) -> Iterator[str]:
        """The word itself counts for both."""
        yield f'"{word}"'
        if _begins(word):
            yield f'"{word}"*'


class _PostgresTexts(_Texts):
    RANKED = (
        "SELECT number, ts_rank('{{0, {2}, {1}, {0}}}', words, question) AS score FROM search_texts,"
        " CAST(:question AS tsquery) AS question WHERE words @@ question ORDER BY score DESC, number LIMIT :limit"
    ).format(*(weight / max(_WEIGHTS) for weight in _WEIGHTS))
    _FOUND = "FROM search_texts WHERE words @@ CAST(:question AS tsquery)"
    NEWEST = f"SELECT number {_FOUND} ORDER BY number DESC LIMIT :limit"
    COUNT = f"SELECT COUNT(*) FROM (SELECT 1 {_FOUND} LIMIT :limit) AS counted"

    def forget(self, connection: sa.Connection, numbers: Sequence[int]) -> None:
        delete = sa.text("DELETE FROM search_texts WHERE number = ANY(:numbers)")
        connection.execute(delete, {"numbers": list(numbers)})

    def add(self, connection: sa.Connection, parts: _Parts) -> None:
        rows = [{"number": number, "words": _vector(some)} for number, some in parts.items()]
        if rows:
            insert = "INSERT INTO search_texts (number, words) VALUES (:number, CAST(:words AS tsvector))"
            connection.execute(sa.text(insert), rows)

    def question(self, meant: Sequence[Sequence[str]], *, all_of_them: bool, in_title: bool = False) -> str:
        where = "A" if in_title else ""
        groups = ("(" + " | ".join(self._either(word, where) for word in some) + ")" for some in meant)
        return (" & " if all_of_them else " | ").join(groups)

    @staticmethod
    def _either(word: str, where: str) -> str:
        begins = "*" if _begins(word) else ""
        alone = f"'{word}'" + (f":{where}" if where else "")
        return f"{alone} | '{word}':{begins}{where}" if begins else alone


def _begins(word: str) -> bool:
    """Whether longer words that begin so are meant, too."""
    return len(word) > 1 and not is_unspaced(word)


def _vector(parts: Sequence[Sequence[str]]) -> str:
    """As PostgreSQL writes a tsvector; words are letters and digits, so that nothing in it has to be quoted."""
    place, placed = 0, []
    for letter, some in zip("ABC", parts, strict=True):
        for word in some:
            place = min(place + 1, LAST_PLACE)
            placed.append(f"'{word}':{place}{letter}")
    return " ".join(placed)
