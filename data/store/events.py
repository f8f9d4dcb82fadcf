"""The event log in SQL: what viewers did, added once per event id, read back as histories and as a stream."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import Any, Literal, TypeVar

import numpy as np
import orjson
import pandas as pd
import sqlalchemy as sa

from data.schema import Event, EventType
from data.signals import type_codes
from data.store.grouping import GroupCommit
from data.store.quick import QuickReader
from data.store.tables import events, removed_events, videos
from data.store.writing import EVENT_LOG_LOCK, newest_number, note_newest_number, writing

EventOutcome = Literal["accepted", "duplicate", "unknown_video"]
INSERT_BATCH = 5_000
READ_BATCH = 100_000
EXPORTED_AT_ONCE = 1_000
HISTORY_LIMIT = 20_000
#: The type of a row whose event was taken back: it keeps the event's id from coming in again, and says nothing.
RETRACTED = "retracted"
IS_THERE = events.c.type != RETRACTED
_KEPT_BESIDE = ("seq", "first_seq", "was", "video_number")
COLUMNS = tuple(str(column.name) for column in events.c if column.name not in _KEPT_BESIDE)
#: The values of a row by the order of `COLUMNS`.
_Row = tuple[Any, ...]
_OF_COLUMNS, _ID_AND_VIDEO = itemgetter(*COLUMNS), itemgetter(COLUMNS.index("event_id"), COLUMNS.index("video_id"))
_VIDEO_OF = itemgetter(COLUMNS.index("video_id"))
_Known = TypeVar("_Known")
_IS_A_DOING = events.c.type.not_in((EventType.IMPRESSION, RETRACTED))
#: What an event is, or was before it was taken back.
_WAS = sa.func.coalesce(events.c.was, events.c.type).label("type")
_OF_HISTORY = (events.c.video_id, events.c.type, events.c.value, events.c.occurred_at)
_OF_NUMBERED = (events.c.video_number, *_OF_HISTORY[1:])
_FRAME = [events.c[name] for name in ("seq", "user_id", "video_id", "type", "value", "occurred_at", "country")]
_FRAME_OF = [
    *(column if column.name != "type" else _WAS for column in _FRAME),
    sa.func.coalesce(events.c.first_seq, events.c.seq).label("first_seq"),
    (events.c.type == RETRACTED).label("retracted"),
]
_KINDS = {"seq": np.int64, "first_seq": np.int64, "value": np.float64, "occurred_at": np.float64, "retracted": np.bool_}


@dataclass(frozen=True)
class History:
    """A viewer's n events, newest first: `values` float64 (NaN where there is none), `times` float64 seconds."""

    user_id: str
    video_ids: Sequence[str]
    types: Sequence[str]
    values: np.ndarray
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.video_ids)


@dataclass(frozen=True)
class NumberedHistory:
    """A viewer's events, newest first, by the numbers of the videos: numbers (n,) int64, codes (n,) int8 of the types
    as in `data.signals`, values (n,) float64 (NaN where there is none), times (n,) float64 seconds."""

    numbers: np.ndarray
    codes: np.ndarray
    values: np.ndarray
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def before(self, earlier: "NumberedHistory") -> "NumberedHistory":
        """These events and those that were added before them; of the same time those added later stand first."""
        order = np.argsort(-np.concatenate([self.times, earlier.times]), kind="stable")
        parts = ("numbers", "codes", "values", "times")
        return NumberedHistory(
            *(np.concatenate([getattr(self, part), getattr(earlier, part)])[order] for part in parts)
        )


@dataclass(frozen=True)
class Impressions:
    """Which videos of which lists came into sight: (n,) str objects each."""

    user_ids: np.ndarray
    request_ids: np.ndarray
    video_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.video_ids)


class EventLog:
    def __init__(self, engine: sa.Engine, quick: QuickReader) -> None:
        self._engine = engine
        self._quick = quick
        self._adding = GroupCommit(partial(writing, engine, EVENT_LOG_LOCK), _add)

    def add(self, batch: Sequence[Event]) -> list[EventOutcome]:
        """Commits a batch; one outcome per event, in order.

        An event id that is already there (or twice in the batch) is a duplicate and changes nothing; an event
        about an unknown video is refused alone.
        """
        if not batch:
            return []
        now = time.time()
        return self._adding.commit(
            [_OF_COLUMNS(vars(event) | {"type": event.type.value, "received_at": now}) for event in batch]
        )

    def add_rows(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Commits many validated rows about known videos (keys: `COLUMNS`); returns how many were new.

        The importers' way in: one transaction a call, ids that are already there are passed over.
        """
        if not rows:
            return 0
        with writing(self._engine, EVENT_LOG_LOCK) as connection:
            before = connection.execute(_COUNT).scalar_one()
            for start in range(0, len(rows), INSERT_BATCH):
                batch = [tuple(map(row.get, COLUMNS)) for row in rows[start : start + INSERT_BATCH]]
                _insert(connection, batch, _numbers(connection, batch))
            return int(connection.execute(_COUNT).scalar_one() - before)

    def history(self, user_id: str, limit: int = HISTORY_LIMIT) -> History:
        """The newest events of a viewer (by the time they occurred; ties: the later added first), but impressions."""
        return _history(user_id, self._quick.columns(_HISTORY, _ROW, (user_id, limit)))

    def numbered_history(self, user_id: str, after: int = 0) -> NumberedHistory:
        """The same as `history` by the numbers of the videos, removed ones too; those behind event number `after`."""
        if after:
            asked = (user_id, after, HISTORY_LIMIT)
            return _numbered(user_id, self._quick.columns(_NUMBERED_AFTER, _NUMBERED_ROW, asked))
        return _numbered(user_id, self._quick.columns(_NUMBERED, _NUMBERED_ROW, (user_id, HISTORY_LIMIT)))

    def count_of(self, user_id: str, until_seq: int) -> int:
        """How many events of a viewer there are up to an event number, impressions too."""
        return int(self._quick.rows(_COUNT_OF, (user_id, until_seq))[0][0])

    def seen_since(self, user_id: str, since: float, limit: int = HISTORY_LIMIT) -> History:
        """All that a viewer did, or was shown, from a moment on (seconds since 1970), the last added first."""
        return _history(user_id, self._quick.columns(_SEEN, _ROW, (user_id, since, limit)))

    def numbered_histories(self, user_ids: Sequence[str]) -> dict[str, NumberedHistory]:
        """The same as `numbered_history` of many viewers at once."""
        query = sa.select(events.c.user_id, *_OF_NUMBERED).where(events.c.user_id.in_(user_ids), _IS_A_DOING)
        newest_first = query.order_by(events.c.user_id, events.c.occurred_at.desc(), events.c.seq.desc())
        return self._by_viewer(user_ids, newest_first, HISTORY_LIMIT, _numbered)

    def all_seen_since(self, user_ids: Sequence[str], since: float, limit: int = HISTORY_LIMIT) -> dict[str, History]:
        """The same as `seen_since` of many viewers at once."""
        query = sa.select(events.c.user_id, *_OF_HISTORY).where(
            events.c.user_id.in_(user_ids), events.c.occurred_at >= since
        )
        return self._by_viewer(user_ids, query.order_by(events.c.user_id, events.c.seq.desc()), limit, _history)

    def _by_viewer(
        self,
        user_ids: Sequence[str],
        query: sa.Select[Any],
        limit: int,
        known: Callable[[str, Sequence[Sequence[Any]]], _Known],
    ) -> dict[str, _Known]:
        """What is known by the first rows of each viewer of a query whose first column is the viewer, by which it is
        ordered, and whose others are four."""
        with self._engine.connect() as connection:
            rows = connection.execute(query).cursor.fetchall()
        own = {name: list(islice(of_viewer, limit)) for name, of_viewer in groupby(rows, key=itemgetter(0))}
        columns = {name: list(zip(*found, strict=True))[1:] for name, found in own.items()}
        return {name: known(name, columns.get(name, [()] * len(_OF_HISTORY))) for name in user_ids}

    def impressions(self, since: float) -> Impressions:
        """The impressions that name their list and were received from a moment on."""
        columns = (events.c.user_id, events.c.request_id, events.c.video_id)
        query = sa.select(*columns).where(
            events.c.type == EventType.IMPRESSION, events.c.request_id.is_not(None), events.c.received_at >= since
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return Impressions(*(np.array(column, dtype=object) for column in (list(zip(*rows, strict=True)) or [()] * 3)))

    def frames(
        self, until_seq: int | None = None, after: int = 0, of: Sequence[str] | None = None
    ) -> Iterator[pd.DataFrame]:
        """All events in the order they were added, in frames of up to `READ_BATCH` rows: up to event number `until_seq`
        and behind the number `after`; those of a few viewers alone where `of` names them.

        Columns: seq, user_id, video_id, type, value, occurred_at, country.
        """
        while True:
            query = sa.select(*_FRAME).where(events.c.seq > after, IS_THERE).order_by(events.c.seq).limit(READ_BATCH)
            if until_seq is not None:
                query = query.where(events.c.seq <= until_seq)
            if of is not None:
                query = query.where(events.c.user_id.in_(of))
            frame = self._frame(query)
            if frame.empty:
                return
            after = int(frame["seq"].iloc[-1])
            yield frame

    def viewers_between(self, after: int, until_seq: int) -> list[str]:
        """Who did something, or took it back, behind event number `after` and up to `until_seq`; being shown a video is
        no doing."""
        new = sa.select(events.c.user_id).where(
            events.c.seq > after, events.c.seq <= until_seq, events.c.type != EventType.IMPRESSION
        )
        with self._engine.connect() as connection:
            return list(connection.execute(new.distinct().order_by(events.c.user_id)).scalars())

    def frame_of(self, user_ids: Sequence[str], until_seq: int) -> pd.DataFrame:
        """The events of a few viewers up to a number, as one of `frames`, without impressions and with what they have
        taken back.

        Further columns: first_seq, the number that an event had before it moved to the end of the log; and retracted.
        """
        query = sa.select(*_FRAME_OF).where(
            events.c.user_id.in_(user_ids), events.c.seq <= until_seq, _WAS != EventType.IMPRESSION
        )
        return self._frame(query.order_by(events.c.seq))

    def _frame(self, query: sa.Select[Any]) -> pd.DataFrame:
        with self._engine.connect() as connection:
            # As the driver gives them: a row object for each of millions would take longer than all the rest.
            rows = connection.execute(query).cursor.fetchall()
        names = [column.name for column in query.selected_columns]
        columns = zip(*rows, strict=True) if rows else [()] * len(names)
        # None is NaN where a number is missing.
        return pd.DataFrame(
            {name: np.array(values, _KINDS.get(name, object)) for name, values in zip(names, columns, strict=True)}
        )

    def page_of(
        self, user_id: str, limit: int, before: tuple[float, int] | None = None, kind: EventType | None = None
    ) -> list[tuple[tuple[float, int], dict[str, Any]]]:
        """A page of a viewer's events in the order of `history`: behind a place in it, and of one type, where given;
        else without impressions. Each with its place and as a row of `COLUMNS`."""
        query = sa.select(events.c.seq, *[events.c[name] for name in COLUMNS]).where(
            events.c.user_id == user_id, _IS_A_DOING if kind is None else events.c.type == kind
        )
        if before is not None:
            query = query.where(sa.tuple_(events.c.occurred_at, events.c.seq) < sa.tuple_(*before))
        newest_first = query.order_by(events.c.occurred_at.desc(), events.c.seq.desc()).limit(limit)
        with self._engine.connect() as connection:
            rows = connection.execute(newest_first).all()
        return [((row.occurred_at, row.seq), dict(zip(COLUMNS, row[1:], strict=True))) for row in rows]

    def all_of(self, user_id: str) -> Iterator[dict[str, Any]]:
        """All that a viewer did and was shown, as rows of `COLUMNS`, in the order it was added: read in pages."""
        query = sa.select(events.c.seq, *[events.c[name] for name in COLUMNS]).where(
            events.c.user_id == user_id, IS_THERE
        )
        after = 0
        while True:
            page = query.where(events.c.seq > after).order_by(events.c.seq).limit(EXPORTED_AT_ONCE)
            with self._engine.connect() as connection:
                rows = connection.execute(page).all()
            if not rows:
                return
            after = rows[-1].seq
            yield from (dict(zip(COLUMNS, row[1:], strict=True)) for row in rows)

    def last_seq(self) -> int:
        """The number that the log has come to, 0 without any event: events that come or go count it up."""
        with self._engine.connect() as connection:
            return newest_number(connection)

    def count(self, until_seq: int | None = None, after: int | None = None) -> int:
        """How many events there are, or are behind a number; or how many there were when the log had come to a number,
        whatever was retracted, merged or erased since."""
        if after is not None:
            query = _COUNT.where(events.c.seq > after, IS_THERE)
        elif until_seq is not None:
            # Those behind a number are few and soon counted; those up to it would have to be looked up.
            later = _COUNT.where(events.c.seq > until_seq, IS_THERE).scalar_subquery()
            gone = sa.select(sa.func.count()).select_from(removed_events).where(_stood_at(until_seq)).scalar_subquery()
            query = sa.select(_COUNT_THERE - later + gone)
        else:
            query = sa.select(_COUNT_THERE)
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def newest_until(self, until_seq: int) -> tuple[Any, ...]:
        """Id, moment of receiving and number of the last event up to a number, by which two logs can be told apart; ()
        without any."""
        newest = sa.select(events.c.event_id, events.c.received_at, events.c.seq).where(
            events.c.seq <= until_seq, IS_THERE
        )
        with self._engine.connect() as connection:
            return tuple(connection.execute(newest.order_by(events.c.seq.desc()).limit(1)).first() or ())

    def was_removed(self, seq: int) -> bool:
        """Whether an event is known to have gone from its place."""
        query = sa.select(removed_events.c.seq).where(removed_events.c.seq == seq)
        with self._engine.connect() as connection:
            return connection.execute(query).first() is not None

    def bereft_since(self, until_seq: int) -> frozenset[str]:
        """The `viewer_hash` of those of whom events have gone that stood in the log when it had come to a number."""
        query = sa.select(removed_events.c.viewer).where(_stood_at(until_seq)).distinct()
        with self._engine.connect() as connection:
            return frozenset(connection.execute(query).scalars())

    def forget_removed(self, until_seq: int) -> None:
        """Forgets what had gone when the log came to a number: nobody asks `bereft_since` an earlier one."""
        with writing(self._engine, EVENT_LOG_LOCK) as connection:
            connection.execute(sa.delete(removed_events).where(removed_events.c.removed_as <= until_seq))

    def count_viewers(self) -> int:
        """How many viewers have sent an event, also those who have retracted all of theirs."""
        with self._engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count(sa.distinct(events.c.user_id)))).scalar_one())

    def tail(self, limit: int = 20, user_id: str | None = None) -> list[dict[str, Any]]:
        """The newest events, as rows of `COLUMNS`, newest first."""
        columns = [events.c[name] for name in COLUMNS]
        query = sa.select(*columns).where(IS_THERE).order_by(events.c.seq.desc()).limit(limit)
        if user_id is not None:
            query = query.where(events.c.user_id == user_id)
        with self._engine.connect() as connection:
            return [dict(zip(COLUMNS, row, strict=True)) for row in connection.execute(query).all()]

    def viewers(self, limit: int = 100) -> list[tuple[str, int]]:
        """(viewer, number of events) of the viewers with most events, for people who want to try some."""
        counted = sa.select(events.c.user_id, sa.func.count()).group_by(events.c.user_id)
        with self._engine.connect() as connection:
            # Both are read from indexes alone: the log itself is much larger.
            retracted: dict[str, int] = dict(connection.execute(counted.where(_IS_RETRACTED)).tuples().all())
            # So many may stand too high.
            most = counted.order_by(sa.func.count().desc(), events.c.user_id).limit(limit + len(retracted))
            found = {user: count - retracted.get(user, 0) for user, count in connection.execute(most).tuples()}
        return sorted(((user, n) for user, n in found.items() if n), key=lambda pair: (-pair[1], pair[0]))[:limit]


def _history(user_id: str, columns: Sequence[Sequence[Any]]) -> History:
    video_ids, types, values, times = columns
    # None becomes NaN.
    return History(user_id, video_ids, types, np.asarray(values, np.float64), np.asarray(times, np.float64))


def _numbered(_user_id: str, columns: Sequence[Sequence[Any]]) -> NumberedHistory:
    numbers, types, values, times = columns
    return NumberedHistory(
        np.array(numbers, np.int64), type_codes(types), np.asarray(values, np.float64), np.asarray(times, np.float64)
    )


def _add(connection: sa.Connection, batches: Sequence[Sequence[_Row]]) -> list[list[EventOutcome]]:
    """Adds what is new in several batches, in their order; an outcome for each of their rows."""
    ids = set(map(itemgetter(COLUMNS.index("event_id")), chain(*batches)))
    known, seen = _numbers(connection, chain(*batches)), set(_found(connection, events.c.event_id, events.c.seq, ids))
    fresh = []

    def outcome_of(row: _Row) -> EventOutcome:
        event_id, video_id = _ID_AND_VIDEO(row)
        if video_id not in known:
            return "unknown_video"
        if event_id in seen:
            return "duplicate"
        seen.add(event_id)
        fresh.append(row)
        return "accepted"

    outcomes = [[outcome_of(row) for row in batch] for batch in batches]
    if fresh:
        _insert(connection, fresh, known)
    return outcomes


def _numbers(connection: sa.Connection, rows: Iterable[_Row]) -> dict[str, int]:
    """The numbers of the videos of some rows that are in the catalogue, by id."""
    return _found(connection, videos.c.id, videos.c.number, set(map(_VIDEO_OF, rows)))


def _found(
    connection: sa.Connection, key: sa.Column[str], column: sa.Column[int], keys: Collection[str]
) -> dict[str, int]:
    """A column of those rows of its table whose key is one of many, by their keys."""
    if connection.dialect.name == "sqlite":
        # As one value: see `QuickReader.columns`. And there may be more of them than a statement can have parameters.
        query = (
            f"SELECT json_group_object({key.name}, {column.name}) FROM {key.table.name}"
            f" WHERE {key.name} IN (SELECT value FROM json_each(?))"
        )
        found: str = connection.exec_driver_sql(query, (orjson.dumps(list(keys)).decode(),)).scalar_one()
        return dict(orjson.loads(found))
    query = f"SELECT {key.name}, {column.name} FROM {key.table.name} WHERE {key.name} = ANY(%s)"
    return dict(connection.exec_driver_sql(query, (list(keys),)).tuples().all())


def _insert(connection: sa.Connection, rows: Sequence[_Row], number_of: Mapping[str, int]) -> None:
    """Adds rows behind the last number, but those whose id is there; number_of: the numbers of their videos."""
    first = newest_number(connection) + 1
    numbered = [(seq, number_of.get(_VIDEO_OF(row), -1), *row) for seq, row in enumerate(rows, first)]
    # Another process may add the same id between the look and the insert: it wins, nothing breaks.
    placeholder = "?" if connection.dialect.name == "sqlite" else "%s"
    columns = ("seq", "video_number", *COLUMNS)
    statement = (
        f"INSERT INTO events ({', '.join(columns)}) VALUES ({', '.join([placeholder] * len(columns))})"
        " ON CONFLICT (event_id) DO NOTHING"
    )
    connection.exec_driver_sql(statement, numbered)
    note_newest_number(connection, newest_number(connection))


def _stood_at(until_seq: int) -> sa.ColumnElement[bool]:
    """Of `removed_events`, which were there when the log had come to a number."""
    return sa.and_(removed_events.c.seq <= until_seq, removed_events.c.removed_as > until_seq)


_COUNT = sa.select(sa.func.count()).select_from(events)
# Those that were taken back are few, and have an index of their own, which is found by the very word.
_IS_RETRACTED = events.c.type == sa.literal_column(f"'{RETRACTED}'")
_COUNT_THERE = _COUNT.scalar_subquery() - _COUNT.where(_IS_RETRACTED).scalar_subquery()
#: With the digits behind the point that are read of them.
_ROW = (("video_id", None), ("type", None), ("value", 9), ("occurred_at", 6))
_NUMBERED_ROW = (("video_number", None), *_ROW[1:])
_DOINGS = "user_id = ? AND type NOT IN ('impression', 'retracted')"
_NEWEST_FIRST = "ORDER BY occurred_at DESC, seq DESC"
_HISTORY = f"SELECT video_id, type, value, occurred_at FROM events WHERE {_DOINGS} {_NEWEST_FIRST} LIMIT ?"
_NUMBERED = f"SELECT video_number, type, value, occurred_at FROM events WHERE {_DOINGS} {_NEWEST_FIRST} LIMIT ?"
_NUMBERED_AFTER = (
    f"SELECT video_number, type, value, occurred_at FROM events WHERE {_DOINGS} AND seq > ? {_NEWEST_FIRST} LIMIT ?"
)
_COUNT_OF = "SELECT COUNT(*) FROM events WHERE user_id = ? AND seq <= ?"
_SEEN = (
    "SELECT video_id, type, value, occurred_at FROM events WHERE user_id = ? AND occurred_at >= ?"
    " AND type <> 'retracted' ORDER BY seq DESC LIMIT ?"
)
