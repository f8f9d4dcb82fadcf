"""What goes wrong, as exceptions."""

from collections.abc import Mapping
from typing import Any


class WatchNextError(Exception):
    """Whatever this client raises."""


class UnreachableError(WatchNextError):
    """No answer came: the service is away or too slow. `request_id` is what was sent along."""

    def __init__(self, reason: str, request_id: str) -> None:
        super().__init__(f"{reason} (request {request_id})")
        self.request_id = request_id


class ProblemError(WatchNextError):
    """The service answered with a problem (RFC 9457).

    status: of HTTP. code: stable, for programs. detail: what was wrong and what would be right. field: what is to
    blame, where something is. retry_after_s: when to come again, where the service says so. problem: the whole of it.
    """

    def __init__(
        self, status: int, problem: Mapping[str, Any], request_id: str | None, retry_after_s: float | None
    ) -> None:
        self.status = status
        self.problem = problem
        self.code = str(problem.get("code", f"http_{status}"))
        self.detail = str(problem.get("detail", "the answer was no problem document"))
        self.field: str | None = problem.get("field")
        self.request_id = request_id or problem.get("request_id")
        self.retry_after_s = retry_after_s
        super().__init__(f"{status} {self.code}: {self.detail} (request {self.request_id})")
