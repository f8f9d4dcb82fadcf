"""The catalogue in SQL: videos, their states, and the work queue of the encoder.

The catalogue is the queue: a worker claims pending videos under a lease, and a lease that ran out is free
again, so a worker that was killed costs time and nothing else.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import sqlalchemy as sa

from data.schema import Listing, MediaFacts, Video, VideoDescription, VideoRecord, VideoState
from data.store.tables import counters, videos
from data.store.writing import insert_into, next_numbers, next_version, writing

BATCH = 500
LISTED_AT_ONCE = 10_000
MAX_ATTEMPTS = 3
#: Claims that may end with the death of their holder: more than one, because most deaths are not the video's fault.
MAX_CLAIMS = 10
_OWNERS_FIELDS = tuple(Video.model_fields)
_NOT_DESCRIBED = set(Video.model_fields) - set(VideoDescription.model_fields)
#: What is known of a file that nobody has looked into.
_NOTHING_FOUND_OUT: dict[str, Any] = {
    "reason": None, "attempts": 0, "encoder_id": None, "predicted_labels": {}, "thumbnail_path": None,
    "frames_decoded": None, "distinct_share": None, "quality": None,
}  # fmt: skip

#: What became of a video that was described.
Written = Literal["created", "updated", "unchanged"]


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def _record(row: sa.RowMapping) -> VideoRecord:
    return VideoRecord.model_construct(
        **{name: row[name] for name in VideoRecord.model_fields} | {"state": VideoState(row["state"])}
    )


def _read(connection: sa.Connection, video_ids: Sequence[str]) -> dict[str, VideoRecord]:
    found: dict[str, VideoRecord] = {}
    for batch in _batches(list(video_ids)):
        query = sa.select(videos).where(videos.c.id.in_(batch), videos.c.removed.is_(False))
        found |= {row["id"]: _record(row) for row in connection.execute(query).mappings()}
    return found


def _is_free(now: float) -> sa.ColumnElement[bool]:
    return sa.or_(videos.c.lease_until.is_(None), videos.c.lease_until < now)


def _refused(encoder_id: str) -> dict[str, Any]:
    """What becomes of a video that an encoder has given up: one that another has encoded stays ready."""
    ready = videos.c.state == VideoState.READY
    return {
        "state": sa.case((ready, VideoState.READY.value), else_=VideoState.FAILED.value),
        "attempts": sa.case((ready, 0), else_=videos.c.attempts),
        "refused_by": sa.literal(encoder_id),
    }


class Catalogue:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    # ---- Owners: what a video is --------------------------------------------------------------------------

    def upsert(self, entries: Iterable[Video]) -> None:
        """Adds videos or replaces what their owner says of them; what the system found out stays.

        A video whose media is new or has changed becomes pending; one without media is `no_media`. One that
        was removed comes back. All or nothing.
        """
        entries = list({entry.id: entry for entry in entries}.values())
        now = time.time()
        with writing(self._engine) as connection:
            version = next_version(connection)
            for batch in _batches(entries):
                self._upsert_batch(connection, batch, now, version)

    def _upsert_batch(self, connection: sa.Connection, batch: Sequence[Video], now: float, version: int) -> None:
        fresh = _NOTHING_FOUND_OUT | {
            "refused_by": None, "created_at": now, "updated_at": now, "removed": False, "version": version
        }  # fmt: skip
        known = set(connection.execute(sa.select(videos.c.id).where(videos.c.id.in_([e.id for e in batch]))).scalars())
        numbers = iter(next_numbers(connection, len(batch) - len(known)))
        rows = [
            entry.model_dump(include=set(_OWNERS_FIELDS))
            | fresh
            | {"state": VideoState.PENDING if entry.media_path else VideoState.NO_MEDIA}
            | {"number": None if entry.id in known else next(numbers)}
            for entry in batch
        ]
        insert = insert_into(connection, videos)
        new = insert.excluded
        media_changed = sa.or_(
            videos.c.content_hash.is_distinct_from(new.content_hash),
            sa.and_(new.content_hash.is_(None), videos.c.media_path.is_distinct_from(new.media_path)),
            videos.c.removed,
        )
        update: dict[str, Any] = {
            name: new[name] for name in (*_OWNERS_FIELDS, "updated_at", "removed", "version") if name != "id"
        }
        # A takedown is undone by `set_hidden` alone, not by describing the video once more.
        update["hidden"] = sa.case((videos.c.removed, new.hidden), else_=videos.c.hidden)
        # A duration that was probed is better than none.
        update["duration_s"] = sa.func.coalesce(new.duration_s, videos.c.duration_s)
        # A claim on the old media ends: what its holder finds out is not about the new file.
        for name in ("state", *_NOTHING_FOUND_OUT, "lease_owner", "lease_until"):
            update[name] = sa.case((media_changed, new[name]), else_=videos.c[name])
        update["refused_by"] = None  # an encoder that reads may find something now
        connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_=update), rows)

    def describe(self, entries: Sequence[VideoDescription]) -> list[Written]:
        """Adds videos or replaces what their owner says of them; files, takedowns and what the system found out stay.

        What became of each, in their order; of several with one id the last one holds. One that was removed is created
        anew, without its file. All or nothing.
        """
        outcomes: list[Written] = []
        changed: dict[str, Video] = {}
        with writing(self._engine) as connection:
            # First of all, because it holds other catalogue writers.
            version = next_version(connection)
            known: dict[str, Video] = dict(_read(connection, [entry.id for entry in entries]))
            for entry in entries:
                before = known.get(entry.id)
                described = entry.model_dump()
                if before is None:
                    known[entry.id] = changed[entry.id] = Video.model_construct(**described)
                    outcomes.append("created")
                    continue
                if entry.duration_s is None:  # the one that was probed is better than none
                    described["duration_s"] = before.duration_s
                if described == before.model_dump(include=set(described)):
                    outcomes.append("unchanged")
                    continue
                kept = before.model_dump(include=_NOT_DESCRIBED)
                known[entry.id] = changed[entry.id] = Video.model_construct(**described, **kept)
                outcomes.append("updated")
            for batch in _batches(list(changed.values())):
                self._upsert_batch(connection, batch, time.time(), version)
        return outcomes

    def change(self, video_id: str, fields: Mapping[str, Any], version: int) -> bool:
        """Replaces some of what the owner says of a video; False, and nothing is changed, unless this is its version
        still."""
        # An encoder that reads may find something now.
        return self._update([video_id], {**fields, "refused_by": None}, videos.c.version == version) == 1

    def attach_media(self, video_id: str, media_path: str, content_hash: str) -> VideoRecord | None:
        """Gives a video another file, which waits for the encoder; returns what it was before, None when it is unknown.

        A claim on the old file ends.
        """
        with writing(self._engine) as connection:
            version = next_version(connection)
            before = _read(connection, [video_id]).get(video_id)
            if before is None:
                return None
            values = {
                "media_path": media_path, "content_hash": content_hash, "state": VideoState.PENDING,
                "refused_by": None, "lease_owner": None, "lease_until": None,
                "updated_at": time.time(), "version": version,
            }  # fmt: skip
            statement = sa.update(videos).where(videos.c.id == video_id)
            connection.execute(statement.values(_NOTHING_FOUND_OUT | values))
        return before

    def set_hidden(self, video_id: str, hidden: bool) -> bool:
        """Takes a video down (or puts it back) with the next request; False when it is unknown."""
        return self._update([video_id], {"hidden": hidden}) == 1

    def remove(self, video_ids: Sequence[str]) -> int:
        """Removes videos from the catalogue; events about them stay. Returns how many there were."""
        return self._update(video_ids, {"removed": True, "hidden": True, "lease_owner": None, "lease_until": None})

    def _update(self, video_ids: Sequence[str], values: dict[str, Any], *conditions: sa.ColumnElement[bool]) -> int:
        changed = 0
        with writing(self._engine) as connection:
            version = next_version(connection)
            for batch in _batches(video_ids):
                statement = (
                    sa.update(videos)
                    .where(videos.c.id.in_(batch), videos.c.removed.is_(False), *conditions)
                    .values(updated_at=time.time(), version=version, **values)
                )
                changed += connection.execute(statement).rowcount
        return changed

    # ---- Reading -------------------------------------------------------------------------------------------

    def get(self, video_id: str) -> VideoRecord | None:
        return self.get_many([video_id]).get(video_id)

    def get_many(self, video_ids: Sequence[str]) -> dict[str, VideoRecord]:
        """The known ones of these videos, by id."""
        with self._engine.connect() as connection:
            return _read(connection, video_ids)

    def page(
        self, after: str = "", limit: int = 100, state: VideoState | None = None, label: str | None = None
    ) -> list[VideoRecord]:
        """Up to `limit` videos in the order of their ids, behind `after`."""
        query = sa.select(videos).where(videos.c.removed.is_(False), videos.c.id > after).order_by(videos.c.id)
        if state is not None:
            query = query.where(videos.c.state == state)
        found: list[VideoRecord] = []
        with self._engine.connect() as connection:
            for row in connection.execute(query if label else query.limit(limit)).mappings():
                record = _record(row)
                if label is None or label in record.shown_labels:
                    found.append(record)
                    if len(found) == limit:
                        break
        return found

    def all(self, state: VideoState | None = None) -> Iterator[VideoRecord]:
        """Every video, read in pages: the catalogue is never held in memory at once."""
        after = ""
        while batch := self.page(after, BATCH, state):
            yield from batch
            after = batch[-1].id

    def listings(self) -> Iterator[list[Listing]]:
        """Every video, in the order of the ids, a batch at a time."""
        columns = [videos.c[name] for name in Listing._fields]
        state = Listing._fields.index("state")
        after = ""
        while True:
            query = sa.select(*columns).where(videos.c.removed.is_(False), videos.c.id > after)
            with self._engine.connect() as connection:
                rows = connection.execute(query.order_by(videos.c.id).limit(LISTED_AT_ONCE)).all()
            if not rows:
                return
            after = rows[-1].id
            yield [Listing._make((*row[:state], VideoState(row[state]), *row[state + 1 :])) for row in rows]

    def ids(self, removed: bool = True) -> list[str]:
        """The ids of all videos in their order, by default removed ones too: events may refer to any of them."""
        query = sa.select(videos.c.id).order_by(videos.c.id)
        with self._engine.connect() as connection:
            return list(connection.execute(query if removed else query.where(videos.c.removed.is_(False))).scalars())

    def version(self) -> int:
        """A number that grows with every write to the catalogue."""
        with self._engine.connect() as connection:
            return int(
                connection.execute(sa.select(counters.c.value).where(counters.c.name == "catalogue")).scalar_one()
            )

    def count_changed_since(self, version: int) -> int:
        """How many videos were written or removed after `version`."""
        with self._engine.connect() as connection:
            return int(
                connection.execute(
                    sa.select(sa.func.count()).select_from(videos).where(videos.c.version > version)
                ).scalar_one()
            )

    def changed_since(self, version: int) -> tuple[int, list[VideoRecord], list[str]]:
        """(current version, videos written after `version`, ids removed after it), in one snapshot."""
        with self._engine.connect() as connection:
            current = int(
                connection.execute(sa.select(counters.c.value).where(counters.c.name == "catalogue")).scalar_one()
            )
            rows = (
                connection.execute(sa.select(videos).where(videos.c.version > version, videos.c.version <= current))
                .mappings()
                .all()
            )
        return (
            current,
            [_record(row) for row in rows if not row["removed"]],
            [row["id"] for row in rows if row["removed"]],
        )

    def counts(self) -> dict[str, int]:
        """Videos by state."""
        query = sa.select(videos.c.state, sa.func.count()).where(videos.c.removed.is_(False)).group_by(videos.c.state)
        with self._engine.connect() as connection:
            return dict(connection.execute(query).tuples().all())

    # ---- The encoder's queue -------------------------------------------------------------------------------

    def _to_encode(self, encoder_id: str) -> sa.ColumnElement[bool]:
        others = sa.and_(
            videos.c.state == VideoState.READY,
            videos.c.encoder_id.is_distinct_from(encoder_id),
            videos.c.refused_by.is_distinct_from(encoder_id),
        )
        refused_by_another = sa.and_(videos.c.state == VideoState.FAILED, videos.c.refused_by != encoder_id)
        return sa.and_(
            videos.c.removed.is_(False),
            videos.c.media_path.is_not(None),
            sa.or_(videos.c.state == VideoState.PENDING, others, refused_by_another),
        )

    def count_to_encode(self, encoder_id: str, claimable: bool = False) -> int:
        """Videos that `encoder_id` has still to see, claimed or not; or only those that `claim` would give now."""
        query = sa.select(sa.func.count()).where(self._to_encode(encoder_id))
        if claimable:
            query = query.where(_is_free(time.time()))
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def claim(self, owner: str, limit: int, lease_s: float, encoder_id: str) -> list[VideoRecord]:
        """Up to `limit` videos that now belong to `owner` for `lease_s` seconds and nobody else.

        Pending videos, and those that another encoder had encoded, or had made nothing of. Each claim counts as an
        attempt; one whose claims all ended with the death of their holder is given up after `MAX_CLAIMS`.
        """
        now = time.time()
        free = _is_free(now)
        chosen = (
            sa.select(videos.c.id)
            .where(self._to_encode(encoder_id), free)
            .order_by(videos.c.created_at, videos.c.id)
            .limit(limit)
        )
        given_up = {
            **_refused(encoder_id),
            "reason": f"crashed: whoever worked on it died, {MAX_CLAIMS} times",
            "lease_owner": None,
        }
        with writing(self._engine) as connection:
            deadly = sa.and_(
                self._to_encode(encoder_id), free, videos.c.attempts >= MAX_CLAIMS, videos.c.state != VideoState.FAILED
            )
            connection.execute(sa.update(videos).where(deadly).values(given_up))
            if connection.dialect.name != "sqlite":
                chosen = chosen.with_for_update(skip_locked=True)
            ids = list(connection.execute(chosen).scalars())
            if not ids:
                return []
            attempts = sa.case((videos.c.state == VideoState.FAILED, 1), else_=videos.c.attempts + 1)
            lease = {"lease_owner": owner, "lease_until": now + lease_s, "attempts": attempts}
            connection.execute(sa.update(videos).where(videos.c.id.in_(ids)).values(lease))
            rows = connection.execute(
                sa.select(videos).where(videos.c.id.in_(ids)).order_by(videos.c.created_at, videos.c.id)
            ).mappings()
            return [_record(row) for row in rows]

    def renew(self, owner: str, lease_s: float) -> None:
        """Keeps all that `owner` has claimed for another `lease_s` seconds."""
        held = sa.update(videos).where(videos.c.lease_owner == owner)
        with writing(self._engine) as connection:
            connection.execute(held.values(lease_until=time.time() + lease_s))

    def release(self, owner: str, dead: bool = False) -> int:
        """Gives back all that `owner` still holds, as if unclaimed; of a `dead` owner the attempts count."""
        given_back: dict[str, Any] = {"lease_owner": None, "lease_until": None}
        with writing(self._engine) as connection:
            if not dead:
                fewer = sa.func.max if connection.dialect.name == "sqlite" else sa.func.greatest
                given_back["attempts"] = fewer(videos.c.attempts - 1, 0)
            return connection.execute(
                sa.update(videos).where(videos.c.lease_owner == owner).values(given_back)
            ).rowcount

    def lease_owners(self) -> list[str]:
        """Who holds claims at this moment, expired leases too."""
        query = sa.select(videos.c.lease_owner).where(videos.c.lease_owner.is_not(None)).distinct()
        with self._engine.connect() as connection:
            return [str(owner) for owner in connection.execute(query).scalars()]

    def mark_ready(self, video_id: str, encoder_id: str, facts: MediaFacts, *, owner: str | None = None) -> bool:
        """The embedding of this video by this encoder is in the embedding table; what is known of `facts` is kept.

        With `owner`, only while that owner holds the claim: it ends when the media changes meanwhile. False when it
        has ended.
        """
        values: dict[str, Any] = {
            "state": VideoState.READY,
            "reason": None,
            "encoder_id": encoder_id,
            "refused_by": None,
            "attempts": 0,
        }
        known = {name: value for name, value in asdict(facts).items() if value is not None}
        return self._settle(video_id, values | known, owner)

    def mark_failed(
        self,
        video_id: str,
        reason: str,
        encoder_id: str,
        retry: bool = False,
        *,
        owner: str | None = None,
        pause_s: float = 0.0,
    ) -> None:
        """This encoder gives a video up with a reason; with `retry`, only after `MAX_ATTEMPTS` claims.

        One that another encoder has encoded stays ready. With `owner`, only while that owner holds the claim. It can be
        claimed again after `pause_s` times the square of its attempts.
        """
        values = _refused(encoder_id)
        lease_until: Any = None
        if retry:
            again = videos.c.attempts < MAX_ATTEMPTS
            values = {name: sa.case((again, videos.c[name]), else_=value) for name, value in values.items()}
            started_over = sa.and_(again, videos.c.state == VideoState.FAILED)
            values["state"] = sa.case((started_over, VideoState.PENDING.value), else_=values["state"])
            if pause_s:
                later = time.time() + pause_s * videos.c.attempts * videos.c.attempts
                lease_until = sa.case((again, later), else_=None)
        self._settle(video_id, {**values, "reason": reason}, owner, lease_until)

    def _settle(self, video_id: str, values: dict[str, Any], owner: str | None, lease_until: Any = None) -> bool:
        held = [] if owner is None else [videos.c.lease_owner == owner]
        return self._update([video_id], values | {"lease_owner": None, "lease_until": lease_until}, *held) == 1

    def retry(self, video_ids: Sequence[str] | None = None) -> int:
        """Has failed videos (these, or all), and ready ones that another encoder made nothing of, tried again; returns
        how many."""
        tried_again = sa.or_(videos.c.state == VideoState.FAILED, videos.c.refused_by.is_not(None))
        if video_ids is None:
            with self._engine.connect() as connection:
                video_ids = list(connection.execute(sa.select(videos.c.id).where(tried_again)).scalars())
        state = sa.case((videos.c.state == VideoState.FAILED, VideoState.PENDING.value), else_=videos.c.state)
        values = {"state": state, "reason": None, "refused_by": None, "attempts": 0, "lease_until": None}
        return self._update(video_ids, values, tried_again)

    def encoded_ids(self, encoder_id: str | None = None) -> list[str]:
        """The ready videos that were last encoded by this encoder; without one, by any."""
        query = sa.select(videos.c.id).where(videos.c.state == VideoState.READY, videos.c.removed.is_(False))
        if encoder_id is not None:
            query = query.where(videos.c.encoder_id == encoder_id)
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def encode_again(self, video_ids: Sequence[str]) -> int:
        """Makes ready videos pending: their vectors are gone. Returns how many there were."""
        values = {"state": VideoState.PENDING, "encoder_id": None, "attempts": 0}
        return self._update(video_ids, values, videos.c.state == VideoState.READY)

    def note_content(self, video_id: str, content_hash: str) -> None:
        """The file of a video turned out to hold other bytes than when it was added."""
        self._update([video_id], {"content_hash": content_hash})

    def encoded_twin(self, content_hash: str, encoder_id: str) -> VideoRecord | None:
        """A video with the same bytes that this encoder has already encoded."""
        query = sa.select(videos).where(
            videos.c.content_hash == content_hash,
            videos.c.encoder_id == encoder_id,
            videos.c.state == VideoState.READY,
        )
        with self._engine.connect() as connection:
            row = connection.execute(query.limit(1)).mappings().first()
        return _record(row) if row else None

    def set_predicted_labels(self, labels: Mapping[str, Mapping[str, float]]) -> None:
        """Stores label confidences by video id."""
        with writing(self._engine) as connection:
            version = next_version(connection)
            bound = sa.update(videos).where(videos.c.id == sa.bindparam("_id"))
            bound = bound.values(predicted_labels=sa.bindparam("_labels", type_=sa.JSON), version=version)
            for batch in _batches(list(labels.items())):
                connection.execute(bound, [{"_id": video_id, "_labels": dict(found)} for video_id, found in batch])
