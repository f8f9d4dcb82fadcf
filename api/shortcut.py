"""Lists that are ready, given before Flask: to find the route and to make requests and responses takes several times as
long as such an answer.

All that is not as simple goes through, errors too: here a request has its answer, or nothing has happened to it. An
answer from here takes less time than a refusal, so it needs no place among those that are worked on.
"""

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from api.auth import Gatekeeper
from api.request_ids import request_id_of
from api.service import Service

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

log = logging.getLogger(__name__)

ROUTE = "/v1/users/<path:user_id>/recommendations"
_BEFORE, _AFTER = ROUTE.split("<path:user_id>")


class Shortcut:
    """WSGI around an application."""

    def __init__(self, application: "WSGIApplication", service: Service, gatekeeper: Gatekeeper) -> None:
        self._application = application
        self._service = service
        self._gatekeeper = gatekeeper

    def __call__(self, environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        started = time.perf_counter()
        request_id = request_id_of(environ)
        try:
            body = self._ready_list(environ, request_id)
        except Exception:
            log.exception("request %s: a ready list cannot be given", request_id)
            body = None
        if body is None:
            return self._application(environ, start_response)
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("X-Request-ID", request_id),
            ("X-Content-Type-Options", "nosniff"),
        ]
        start_response("200 OK", headers)
        self._service.telemetry.answered(ROUTE, "GET", 200, time.perf_counter() - started)
        return [body]

    def _ready_list(self, environ: dict[str, Any], request_id: str) -> bytes | None:
        path: str = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "GET" or not (path.startswith(_BEFORE) and path.endswith(_AFTER)):
            return None
        try:
            user_id = path[len(_BEFORE) : -len(_AFTER)].encode("latin-1").decode()
        except UnicodeDecodeError:
            return None
        if self._gatekeeper.refusal("read", environ) is not None:
            return None
        return self._service.ready_answer(user_id, environ["QUERY_STRING"].encode("latin-1"), request_id)
