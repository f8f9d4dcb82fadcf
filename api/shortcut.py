"""Lists, given before Flask: to find the route and to make requests and responses takes several times as long as a list
that is ready, and a tenth of one that is not.

All that is not as simple goes through, errors too. An answer out of memory takes less time than a refusal, so it needs
no place among those that are worked on.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from werkzeug.datastructures import MultiDict

from api.auth import Gatekeeper
from api.errors import Problem
from api.operations import json_of, query_of
from api.pressure import CAME_AT, HAS_PLACE, Gate
from api.request_ids import request_id_of
from api.routes import DEADLINE_VARIABLE, budget_of
from api.schemas.recommendations import RecommendationQuery, RecommendationRequest
from api.service import Service, as_request

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

log = logging.getLogger(__name__)

ROUTE = "/v1/users/<path:user_id>/recommendations"
_BEFORE, _AFTER = ROUTE.split("<path:user_id>")
#: So many questions are known again, none longer than so many bytes.
_QUESTIONS, _SHORT = 1_000, 200
_GOOD_VIEWER = re.compile(r"[^\x00-\x1f]{1,200}")


class Shortcut:
    """WSGI around an application."""

    def __init__(self, application: "WSGIApplication", service: Service, gatekeeper: Gatekeeper, gate: Gate) -> None:
        self._application = application
        self._service = service
        self._gatekeeper = gatekeeper
        self._gate = gate

    def __call__(self, environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        started = time.perf_counter()
        viewer = self._asked_viewer(environ)
        if viewer is None:
            return self._application(environ, start_response)
        question, request_id = environ["QUERY_STRING"].encode("latin-1"), request_id_of(environ)

        def given(body: bytes) -> Iterable[bytes]:
            headers = [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("X-Request-ID", request_id),
                ("X-Content-Type-Options", "nosniff"),
            ]
            start_response("200 OK", headers)
            self._service.telemetry.answered(ROUTE, "GET", 200, time.perf_counter() - started)
            return [body]

        body = self._tried(self._service.ready_answer, viewer, question, request_id)
        if body is not None:
            return given(body)
        environ[CAME_AT], environ[HAS_PLACE] = started, self._gate.enter()
        if not environ[HAS_PLACE]:
            return self._application(environ, start_response)
        try:
            body = self._tried(self._service.shared_answer, viewer, question, request_id)
            if body is None:
                make = partial(self._made_list, environ, viewer, question, request_id)
                body = self._tried(self._service.turns.do, make)
            return self._application(environ, start_response) if body is None else given(body)
        finally:
            self._gate.leave()

    def _asked_viewer(self, environ: dict[str, Any]) -> str | None:
        """Whose list a request asks for, where it does and may."""
        path: str = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "GET" or not (path.startswith(_BEFORE) and path.endswith(_AFTER)):
            return None
        try:
            viewer = path[len(_BEFORE) : -len(_AFTER)].encode("latin-1").decode()
            if (
                not _GOOD_VIEWER.fullmatch(viewer)
                or viewer != viewer.strip()
                or self._gatekeeper.refusal("read", environ) is not None
            ):
                return None
            if DEADLINE_VARIABLE in environ:
                budget_of(self._service, environ)
            return viewer
        except (UnicodeDecodeError, Problem):
            return None

    def _made_list(self, environ: dict[str, Any], viewer: str, question: bytes, request_id: str) -> bytes | None:
        asked = (_asked_before if len(question) <= _SHORT else _asked)(question)
        found = self._service.recommend(viewer, asked, request_id, budget_of(self._service, environ), question)
        return json_of({"request_id": request_id} | found)

    def _tried(self, give: Callable[..., bytes | None], *asked: Any) -> bytes | None:
        """An answer; None where something is wrong, with the request or here, of which Flask tells."""
        try:
            return give(*asked)
        except (Problem, UnicodeDecodeError):
            return None
        except Exception:
            log.exception("a list cannot be given before Flask")
            return None


def _asked(question: bytes) -> RecommendationRequest:
    """What the query of a URL asks for. Raises Problem 422, or UnicodeDecodeError."""
    args = MultiDict(parse_qsl(question.decode(), keep_blank_values=True, errors="werkzeug.url_quote"))
    return as_request(query_of(RecommendationQuery, args))


#: A front end asks all its viewers' lists by a few questions. What is asked is not to be changed.
_asked_before = lru_cache(_QUESTIONS)(_asked)
