"""Errors as answers: `application/problem+json` (RFC 9457) with a stable `code`, never a page of HTML."""

import errno
import logging
from typing import Any

import orjson
from flask import Flask, Response, g
from werkzeug.exceptions import HTTPException

from data.store import DatabaseError

log = logging.getLogger(__name__)


class Problem(Exception):  # noqa: N818 - it is the RFC's word
    """An answer other than the one that was asked for.

    `code` is stable and made for programs, `detail` says what was wrong and what would be right; `more` are further
    members such as `field`.
    """

    def __init__(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.more = more


def problem_response(problem: Problem) -> Response:
    body = {
        "type": f"urn:watchnext:problem:{problem.code}",
        "title": problem.code.replace("_", " ").capitalize(),
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "request_id": g.get("request_id"),
        **problem.more,
    }
    return Response(
        orjson.dumps(body), problem.status, headers=problem.headers, content_type="application/problem+json"
    )


def install(app: Flask) -> None:
    @app.errorhandler(Problem)
    def on_problem(problem: Problem) -> Response:
        return problem_response(problem)

    @app.errorhandler(HTTPException)
    def on_http(error: HTTPException) -> Response:
        status = error.code or 500
        code = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}.get(status, f"http_{status}")
        headers = {name: value for name, value in error.get_headers() if name == "Allow"}
        return problem_response(Problem(status, code, error.description or code, headers))

    @app.errorhandler(DatabaseError)
    def on_database(error: Exception) -> Response:
        log.error("request %s: the database does not answer: %s", g.get("request_id"), error)
        detail = "the database does not answer; nothing was changed, try again"
        return problem_response(Problem(503, "database_unavailable", detail, {"Retry-After": "1"}))

    @app.errorhandler(OSError)
    def on_system(error: OSError) -> Response:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return on_anything(error)
        log.error("request %s: %s", g.get("request_id"), error)
        return problem_response(Problem(507, "disk_full", "the server's disk is full; nothing was changed"))

    @app.errorhandler(Exception)
    def on_anything(error: Exception) -> Response:
        log.exception("request %s failed", g.get("request_id"))
        return problem_response(
            Problem(500, "internal", "this request hit a defect; the log has it under its request id")
        )
