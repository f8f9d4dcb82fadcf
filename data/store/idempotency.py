"""What was answered to requests that are to be done once, for a day. Knows nothing of HTTP: ids, texts and times."""

import time

import sqlalchemy as sa

from data.store.tables import idempotency
from data.store.writing import insert_into, writing

KEEP_S = 24 * 3600.0
#: Whoever has been at work for longer has died.
PATIENCE_S = 60.0


class AskedOtherwiseError(ValueError):
    """This id has been used for another request."""


class InProgressError(RuntimeError):
    """The first request of this id is still being worked on."""


class Answers:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def begin(self, request_id: str, asked: str) -> str | None:
        """The answer that was given to a request; None where the caller is to work on it now, then `keep` or `forget`.

        request_id: 64 characters that name it; asked: 64 characters that differ where what is asked for does. Raises
        AskedOtherwiseError and InProgressError.
        """
        now = time.time()
        with writing(self._engine) as connection:
            dead = sa.and_(idempotency.c.answer.is_(None), idempotency.c.begun_at < now - PATIENCE_S)
            over = sa.or_(idempotency.c.begun_at < now - KEEP_S, dead)
            connection.execute(sa.delete(idempotency).where(over))
            insert = insert_into(connection, idempotency).values(id=request_id, asked=asked, begun_at=now)
            if connection.execute(insert.on_conflict_do_nothing().returning(idempotency.c.id)).first() is not None:
                return None
            known = connection.execute(sa.select(idempotency).where(idempotency.c.id == request_id)).first()
        if known is None or (known.asked == asked and known.answer is None):
            raise InProgressError(request_id)
        if known.asked != asked:
            raise AskedOtherwiseError(request_id)
        return str(known.answer)

    def keep(self, request_id: str, answer: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(sa.update(idempotency).where(idempotency.c.id == request_id).values(answer=answer))

    def forget(self, request_id: str) -> None:
        """It came to nothing: the next such request is worked on again."""
        with writing(self._engine) as connection:
            connection.execute(sa.delete(idempotency).where(idempotency.c.id == request_id))
