"""The clients: how calls are sent and tried again, pages followed and events batched, with and without await."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack

import httpx

from watchnext_client.calls import Call, Changes, Options, after_cursor, answer, attempt
from watchnext_client.errors import UnreachableError
from watchnext_client.events import EventBuffer, OnRejected
from watchnext_client.operations import AsyncOperations, Operations

P = ParamSpec("P")
Page = TypeVar("Page")


class WatchNext(Operations):
    """A client of one service. Safe to use from many threads; close it, or use it as a context manager.

    key: a bearer key; none where the service runs on this machine without keys. timeout_s: for each attempt.
    deadline_ms: how long the service may work on an answer. request_id: for the log of the service; a new one for each
    call unless given. retries: further attempts, of calls that do the same twice as once, after no answer or one that
    asks to come again; `Retry-After` is honoured up to longest_wait_s.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        key: str | None = None,
        *,
        timeout_s: float = 10.0,
        deadline_ms: int | None = None,
        retries: int = 2,
        longest_wait_s: float = 20.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._options = Options(timeout_s, deadline_ms, None, retries, longest_wait_s)
        self._http = httpx.Client(base_url=url, headers=_headers(key), transport=transport)

    def with_options(self, **changed: Unpack[Changes]) -> Self:
        """The same client, over the same connections, with other `timeout_s`, `deadline_ms`, `request_id`, `retries` or
        `longest_wait_s`."""
        other = type(self).__new__(type(self))
        other._http = self._http
        other._options = replace(self._options, **changed)
        return other

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def pages(self, operation: Callable[P, Page], *given: P.args, **named: P.kwargs) -> Iterator[Page]:
        """Every page of a list: `client.pages(client.list_videos, label="space")`."""
        arguments: tuple[tuple[Any, ...], dict[str, Any]] = (given, dict(named))
        while True:
            page: Any = operation(*arguments[0], **arguments[1])
            yield page
            if page.get("cursor") is None:
                return
            arguments = after_cursor(*arguments, page["cursor"])

    def items(self, operation: Callable[P, Any], *given: P.args, **named: P.kwargs) -> Iterator[Any]:
        """Every item of every page."""
        for page in self.pages(operation, *given, **named):
            yield from page["items"]

    def events(self, *, size: int = 500, every_s: float = 5.0, on_rejected: OnRejected | None = None) -> "EventSender":
        """Sends events in batches: when `size` are there, or when one is added `every_s` after the first."""
        return EventSender(self, EventBuffer(size, every_s, on_rejected))

    def _send(self, call: Call) -> Any:
        made = attempt(self._http, call, self._options)
        number = 0
        while True:
            response, reason = None, ""
            try:
                response = self._http.send(made.request)
            except httpx.TransportError as error:
                reason = f"{type(error).__name__}: {error}"
            wait = made.wait_before_next(number, response)
            if response is not None and (response.is_success or wait is None):
                return answer(response)
            if wait is None:
                raise UnreachableError(reason, made.request_id)
            time.sleep(wait)
            number += 1


class EventSender:
    """Gathers events and sends them in batches. What could not be sent stays and goes with the next batch."""

    def __init__(self, client: WatchNext, buffer: EventBuffer) -> None:
        self._client = client
        self._buffer = buffer
        self._lock = threading.Lock()

    def add(self, **event: Any) -> str:
        """Adds an event by the fields of `Event`; returns its id.

        Raises WatchNextError when a batch was due and could not be sent; the event is kept all the same.
        """
        with self._lock:
            event_id = self._buffer.put(event)
            if self._buffer.is_due:
                self._send_batch()
        return event_id

    def flush(self) -> None:
        """Sends all that waits. Raises WatchNextError; what was not sent stays."""
        with self._lock:
            while len(self._buffer):
                self._send_batch()

    def _send_batch(self) -> None:
        batch = self._buffer.batch()
        self._buffer.sent(batch, self._client.post_events({"events": batch}))

    def __len__(self) -> int:
        return len(self._buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.flush()


class AsyncWatchNext(AsyncOperations):
    """`WatchNext` with await."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        key: str | None = None,
        *,
        timeout_s: float = 10.0,
        deadline_ms: int | None = None,
        retries: int = 2,
        longest_wait_s: float = 20.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._options = Options(timeout_s, deadline_ms, None, retries, longest_wait_s)
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key), transport=transport)

    def with_options(self, **changed: Unpack[Changes]) -> Self:
        """See `WatchNext.with_options`."""
        other = type(self).__new__(type(self))
        other._http = self._http
        other._options = replace(self._options, **changed)
        return other

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def pages(
        self, operation: Callable[P, Awaitable[Page]], *given: P.args, **named: P.kwargs
    ) -> AsyncIterator[Page]:
        """See `WatchNext.pages`."""
        arguments: tuple[tuple[Any, ...], dict[str, Any]] = (given, dict(named))
        while True:
            page: Any = await operation(*arguments[0], **arguments[1])
            yield page
            if page.get("cursor") is None:
                return
            arguments = after_cursor(*arguments, page["cursor"])

    async def items(
        self, operation: Callable[P, Awaitable[Any]], *given: P.args, **named: P.kwargs
    ) -> AsyncIterator[Any]:
        """Every item of every page."""
        async for page in self.pages(operation, *given, **named):
            for item in page["items"]:
                yield item

    def events(
        self, *, size: int = 500, every_s: float = 5.0, on_rejected: OnRejected | None = None
    ) -> "AsyncEventSender":
        """See `WatchNext.events`."""
        return AsyncEventSender(self, EventBuffer(size, every_s, on_rejected))

    async def _send(self, call: Call) -> Any:
        made = attempt(self._http, call, self._options)
        number = 0
        while True:
            response, reason = None, ""
            try:
                response = await self._http.send(made.request)
            except httpx.TransportError as error:
                reason = f"{type(error).__name__}: {error}"
            wait = made.wait_before_next(number, response)
            if response is not None and (response.is_success or wait is None):
                return answer(response)
            if wait is None:
                raise UnreachableError(reason, made.request_id)
            await asyncio.sleep(wait)
            number += 1


class AsyncEventSender:
    """`EventSender` with await."""

    def __init__(self, client: AsyncWatchNext, buffer: EventBuffer) -> None:
        self._client = client
        self._buffer = buffer
        self._lock = asyncio.Lock()

    async def add(self, **event: Any) -> str:
        """See `EventSender.add`."""
        async with self._lock:
            event_id = self._buffer.put(event)
            if self._buffer.is_due:
                await self._send_batch()
        return event_id

    async def flush(self) -> None:
        """See `EventSender.flush`."""
        async with self._lock:
            while len(self._buffer):
                await self._send_batch()

    async def _send_batch(self) -> None:
        batch = self._buffer.batch()
        self._buffer.sent(batch, await self._client.post_events({"events": batch}))

    def __len__(self) -> int:
        return len(self._buffer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.flush()


def _headers(key: str | None) -> dict[str, str]:
    return {"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
