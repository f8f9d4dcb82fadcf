"""Requests that are done once, however often they are sent: those with the header `Idempotency-Key`.

The answer to the first is kept in the database for a day and given to all that follow, by whichever process. What ends
with a problem has done nothing and is not kept. Knows nothing of what is done.
"""

import contextlib
import hashlib
import logging
import re
from collections.abc import Callable

import orjson
from flask import Response

from api.errors import Problem
from data.store import Answers, AskedOtherwiseError, DatabaseError, InProgressError

log = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
_GOOD_KEY = re.compile(r"[\x21-\x7e]{1,200}")


class Idempotency:
    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def once(self, scope: str, key: str, asked: object, work: Callable[[], Response]) -> Response:
        """What `work` answers, or has answered to the first request of this key.

        scope: whatever shares no keys with others; asked: what the request says, as JSON knows it. Raises Problem 422
        when the key is unusable or was used for something else, 409 while the first request is being worked on.
        """
        if not _GOOD_KEY.fullmatch(key):
            detail = f"{HEADER}: 1 to 200 printable characters without spaces"
            raise Problem(422, "invalid_request", detail, field=HEADER)
        request_id = _digest(f"{scope}\n{key}".encode())
        try:
            kept = self._answers.begin(request_id, _digest(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)))
        except AskedOtherwiseError:
            detail = f"{HEADER} {key} came with another body before; take a new key for a new request"
            raise Problem(422, "idempotency_key_reused", detail, field=HEADER) from None
        except InProgressError:
            detail = f"the first request with {HEADER} {key} is still being worked on; try again"
            raise Problem(409, "idempotency_in_progress", detail, {"Retry-After": "1"}) from None
        if kept is not None:
            return _response(kept)
        try:
            response = work()
        except BaseException:
            with contextlib.suppress(DatabaseError):
                self._answers.forget(request_id)
            raise
        try:
            self._answers.keep(request_id, _text(response))
        except DatabaseError:
            # What was done is done: that it is not known next time must not make it look undone.
            log.exception("the answer to a request with %s is not kept", HEADER)
        return response


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _text(response: Response) -> str:
    kept = {"status": response.status_code, "headers": dict(response.headers), "body": response.get_data(as_text=True)}
    return orjson.dumps(kept).decode()


def _response(kept: str) -> Response:
    answer = orjson.loads(kept)
    return Response(answer["body"], answer["status"], headers=answer["headers"] | {REPLAYED: "true"})
