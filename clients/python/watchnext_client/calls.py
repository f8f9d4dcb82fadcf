"""What is sent and what comes back, without sending: addresses, headers, problems, and when to try again."""

import random
import uuid
from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict
from urllib.parse import quote

import httpx

from watchnext_client.errors import ProblemError

Content = bytes | Iterable[bytes] | AsyncIterable[bytes]

#: The service, or what stands before it, had no time for the request.
TRY_AGAIN = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Call:
    """One request. `repeatable`: sent twice it does the same as once; `keyed`: it does once its key is sent along."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    content: Content | None = None
    content_type: str | None = None
    repeatable: bool = False
    keyed: bool = False

    @property
    def may_be_sent_again(self) -> bool:
        # What has been read once from a stream is gone.
        return (self.repeatable or self.keyed) and (self.content is None or isinstance(self.content, bytes))


@dataclass(frozen=True)
class Options:
    """Of one call or of many; see `WatchNext`."""

    timeout_s: float = 10.0
    deadline_ms: int | None = None
    request_id: str | None = None
    retries: int = 2
    longest_wait_s: float = 20.0


class Changes(TypedDict, total=False):
    """Options by name."""

    timeout_s: float
    deadline_ms: int | None
    request_id: str | None
    retries: int
    longest_wait_s: float


@dataclass(frozen=True)
class Attempt:
    """A call as it is sent, the same each time."""

    call: Call
    options: Options
    request: httpx.Request
    request_id: str

    def wait_before_next(self, number: int, response: httpx.Response | None) -> float | None:
        """Seconds until the attempt after the `number`-th (from 0) may follow; None: it may not.

        response: what came, None when nothing did.
        """
        if number >= self.options.retries or not self.call.may_be_sent_again:
            return None
        if response is not None and response.status_code not in TRY_AGAIN:
            return None
        backoff = 0.2 * 2**number * random.uniform(0.5, 1.0)
        wait = max(backoff, _retry_after(response) or 0.0)
        return wait if wait <= self.options.longest_wait_s else None


def attempt(client: httpx.Client | httpx.AsyncClient, call: Call, options: Options) -> Attempt:
    """The request that a call makes."""
    request_id = options.request_id or uuid.uuid4().hex
    headers = {"X-Request-ID": request_id}
    if options.deadline_ms is not None:
        headers["X-Deadline-Ms"] = str(options.deadline_ms)
    if call.keyed:
        headers["Idempotency-Key"] = uuid.uuid4().hex
    if call.content is not None and call.content_type is not None:
        headers["Content-Type"] = call.content_type
    request = client.build_request(
        call.method,
        call.path,
        params={name: value for name, value in call.query.items() if value is not None},
        headers=headers,
        json=call.body,
        content=call.content,
        timeout=options.timeout_s,
    )
    return Attempt(call, options, request, request_id)


def answer(response: httpx.Response) -> Any:
    """What the service answered. Raises ProblemError."""
    if response.is_success:
        return response.json() if response.content else None
    try:
        problem = response.json()
    except ValueError:
        problem = None
    raise ProblemError(
        response.status_code,
        problem if isinstance(problem, dict) else {},
        response.headers.get("X-Request-ID"),
        _retry_after(response),
    )


def path(template: str, *parameters: str) -> str:
    """`template` with each `{name}` replaced by the next parameter, whatever characters it holds."""
    for parameter in parameters:
        before, _, rest = template.partition("{")
        template = before + quote(parameter, safe="") + rest.partition("}")[2]
    return template


def after_cursor(given: tuple[Any, ...], named: dict[str, Any], cursor: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the next page's call: the cursor goes into the body where there is one, else into the query."""
    if "body" in named:
        return given, {**named, "body": {**named["body"], "cursor": cursor}}
    if given and isinstance(given[-1], Mapping):
        return (*given[:-1], {**given[-1], "cursor": cursor}), named
    return given, {**named, "cursor": cursor}


def _retry_after(response: httpx.Response | None) -> float | None:
    try:
        return None if response is None else float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
