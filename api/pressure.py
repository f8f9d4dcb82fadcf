"""Back-pressure: so many requests are worked on at a time, so many more wait a little, and the others are told at once
to come again. What has begun is then answered in time, and the queue does not grow.

What takes long without working - a file that is sent or received - and what watches the service pass by; so does a list
that is ready (`shortcut`), which takes less than a refusal.
"""

import threading

from flask import Flask, g, request

from api.errors import Problem

#: Endpoints that pass by, for one of the two reasons.
PASSING = frozenset({"health.healthz", "health.readyz", "health.metrics", "storefront.media", "videos.put_media"})
RETRY_AFTER_S = 1
#: In the WSGI environment of a request that came to the gate before Flask: whether it was let in, by who lets it out
#: again, and when it came (`time.perf_counter`).
HAS_PLACE, CAME_AT = "watchnext.has_place", "watchnext.came_at"


class Gate:
    """Lets `at_once` pass; `waiting` more wait for `wait_s` at most. Safe to use from many threads."""

    def __init__(self, at_once: int, waiting: int, wait_s: float) -> None:
        self._free = threading.Semaphore(at_once)
        self._seats = threading.Semaphore(waiting)
        self._wait_s = wait_s

    def enter(self) -> bool:
        """Whether it may begin; each that may has to leave."""
        if self._free.acquire(blocking=False):
            return True
        if not self._seats.acquire(blocking=False):
            return False
        try:
            return self._free.acquire(timeout=self._wait_s)
        finally:
            self._seats.release()

    def leave(self) -> None:
        self._free.release()


def install(app: Flask, gate: Gate) -> None:
    """Refuses with Problem 429 what cannot be worked on soon. Before everything else that a request does."""

    @app.before_request
    def enter() -> None:
        if request.endpoint in PASSING:
            return
        has_place = request.environ.get(HAS_PLACE)
        if has_place is None:
            has_place = g.passed_gate = gate.enter()
        if not has_place:
            detail = "more requests than this process can answer in time; come again"
            raise Problem(429, "too_busy", detail, {"Retry-After": str(RETRY_AFTER_S)})

    @app.teardown_request
    def leave(_error: BaseException | None) -> None:
        if g.pop("passed_gate", False):
            gate.leave()
