"""What is known of viewers, changed after the fact: an event retracted, a guest merged into a user, a viewer erased.

A row that goes from its place in the log leaves that place's number behind, with a hash of its viewer, for whoever has
folded the log (`data.digest`); a row that stays known moves to the end of the log, where those look who follow it.
Knows nothing of what was learned from the events.
"""

import hashlib
import secrets
import time
from dataclasses import dataclass

import sqlalchemy as sa

from data.store.events import IS_THERE, RETRACTED
from data.store.tables import erasures, events, exposures, removed_events
from data.store.writing import (
    EVENT_LOG_LOCK,
    EXPOSURES_LOCK,
    newest_number,
    note_newest_number,
    take_turn,
    writing,
)


@dataclass(frozen=True)
class Erasure:
    """The receipt of a viewer who was erased: how many events and shown lists went, and when (seconds since 1970)."""

    id: str
    erased_at: float
    events: int
    exposures: int


@dataclass(frozen=True)
class Merged:
    """How many events and shown lists have become another viewer's."""

    events: int
    exposures: int


def viewer_hash(user_id: str) -> str:
    """What stands for a viewer where no name may."""
    return hashlib.blake2b(user_id.encode(), digest_size=16).hexdigest()


class KnownViewers:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def retract(self, event_id: str) -> bool:
        """Takes back an event; False when there is none of this id.

        Its row stays, without the circumstances, so that the same event sent once more is a duplicate.
        """
        named = events.c.event_id == event_id
        with writing(self._engine, EVENT_LOG_LOCK) as connection:
            row = connection.execute(
                sa.select(events.c.seq, events.c.user_id, events.c.type).where(named)
            ).one_or_none()
            if row is None:
                return False
            if row.type != RETRACTED:
                number = newest_number(connection) + 1
                _leave_behind(connection, row.user_id, number, events.c.seq == row.seq)
                connection.execute(
                    sa.update(events)
                    .where(named)
                    .values(
                        seq=number, first_seq=_FIRST_SEQ, type=RETRACTED, was=row.type, duration_s=None,
                        session_id=None, request_id=None, surface=None, position=None,
                    )
                )  # fmt: skip
                note_newest_number(connection, number)
        return True

    def merge(self, guest_id: str, user_id: str) -> Merged:
        """Makes a guest's events and shown lists a user's, in their order; the guest is unknown then.

        Raises ValueError when the two are one.
        """
        if guest_id == user_id:
            raise ValueError(f"{user_id!r} cannot be merged into itself")
        with writing(self._engine, EVENT_LOG_LOCK) as connection:
            take_turn(connection, EXPOSURES_LOCK)
            number = newest_number(connection)
            merged = _leave_behind(connection, guest_id, number + 1, events.c.user_id == guest_id)
            place = sa.func.row_number().over(order_by=events.c.seq).label("place")
            moved = sa.select(events.c.seq, place).where(events.c.user_id == guest_id).subquery()
            rows = connection.execute(
                sa.update(events)
                .where(events.c.seq == moved.c.seq)
                # What the guest had taken back was never the user's: it begins here, and nothing is taken back twice.
                .values(seq=number + moved.c.place, first_seq=sa.case((IS_THERE, _FIRST_SEQ)), user_id=user_id)
            ).rowcount
            note_newest_number(connection, number + rows)
            lists = sa.update(exposures).where(exposures.c.user_id == guest_id).values(user_id=user_id)
            return Merged(merged, connection.execute(lists).rowcount)

    def erase(self, user_id: str) -> Erasure:
        """Deletes all that is known of a viewer; of one who is unknown, nothing.

        Lists shown until then are not kept any more, though they may be waiting for it.
        """
        with writing(self._engine, EVENT_LOG_LOCK) as connection:
            take_turn(connection, EXPOSURES_LOCK)
            number = newest_number(connection) + 1
            went = _leave_behind(connection, user_id, number, events.c.user_id == user_id)
            if connection.execute(sa.delete(events).where(events.c.user_id == user_id)).rowcount:
                note_newest_number(connection, number)
            lists = connection.execute(sa.delete(exposures).where(exposures.c.user_id == user_id)).rowcount
            receipt = Erasure(secrets.token_hex(8), time.time(), went, lists)
            connection.execute(sa.insert(erasures).values(**receipt.__dict__, viewer=viewer_hash(user_id)))
        return receipt

    def erasures(self) -> int:
        """How many receipts there are: who has built something from the log sees whether somebody was erased since."""
        with self._engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(erasures)).scalar_one())


_FIRST_SEQ = sa.func.coalesce(events.c.first_seq, events.c.seq)


def _leave_behind(connection: sa.Connection, user_id: str, number: int, which: sa.ColumnElement[bool]) -> int:
    """Notes that some of a viewer's rows go from their places as the log comes to a number; how many."""
    going = sa.select(events.c.seq, sa.literal(viewer_hash(user_id)), sa.literal(number)).where(which, IS_THERE)
    insert = sa.insert(removed_events).from_select(["seq", "viewer", "removed_as"], going)
    return connection.execute(insert, execution_options={"preserve_rowcount": True}).rowcount
