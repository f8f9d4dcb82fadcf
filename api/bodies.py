"""The body of a request is there before the request takes a place: who sends slowly keeps nobody else waiting.

So many are read at a time; a further one is told to come again. What comes as a file is read by who takes it.
"""

import threading

from flask import Flask, request

from api.errors import Problem
from api.pressure import RETRY_AFTER_S

#: In each process; each has a thread.
READ_AT_ONCE = 16


def install(app: Flask) -> None:
    """Refuses with Problem 429 what cannot be read now, 400 what is broken off and 413 what is too large."""
    seats = threading.Semaphore(READ_AT_ONCE)

    @app.before_request
    def read() -> None:
        if request.mimetype != "application/json":
            return
        if not seats.acquire(blocking=False):
            detail = "as many bodies as this process reads are on their way; come again"
            raise Problem(429, "too_busy", detail, {"Retry-After": str(RETRY_AFTER_S)})
        try:
            body, most = request.get_data(), request.max_content_length
            # Of a body whose length nobody tells no more than this is read.
            if most is not None and len(body) >= most and request.environ["wsgi.input"].read(1):
                raise Problem(413, "body_too_large", f"a body may have {most:,} bytes here")
        finally:
            seats.release()
        if request.content_length is not None and len(body) < request.content_length:
            detail = f"{len(body):,} of {request.content_length:,} bytes came; send it again"
            raise Problem(400, "incomplete_body", detail)
