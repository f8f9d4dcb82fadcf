"""A thin, typed client of the WatchNext API: see `WatchNext` and `AsyncWatchNext`."""

from watchnext_client.client import AsyncEventSender, AsyncWatchNext, EventSender, WatchNext
from watchnext_client.errors import ProblemError, UnreachableError, WatchNextError

__all__ = [
    "AsyncEventSender",
    "AsyncWatchNext",
    "EventSender",
    "ProblemError",
    "UnreachableError",
    "WatchNext",
    "WatchNextError",
]
