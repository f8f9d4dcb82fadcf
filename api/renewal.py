"""Renewal of stale candidates beside the requests: by one thread, and each viewer's once.

Knows neither how candidates are made nor where they are kept.
"""

import logging
import queue
import threading
from collections.abc import Callable

from api.schemas.recommendations import Context, RecommendationRequest

log = logging.getLogger(__name__)

#: More than these is too much to be done soon: what is dropped is asked for again.
ROOM = 1_000


class Renewal:
    """Safe to use from many threads."""

    def __init__(self, make: Callable[[str, RecommendationRequest], None]) -> None:
        self._make = make
        self._waiting: queue.Queue[tuple[str, RecommendationRequest]] = queue.Queue(ROOM)
        self._viewers: set[str] = set()
        self._start = threading.Lock()
        self._worker: threading.Thread | None = None

    def ask(self, user_id: str, asked: RecommendationRequest) -> None:
        """Has the candidates of a viewer made in the circumstances of this request; never waits."""
        if user_id in self._viewers:
            return
        context = Context(country=asked.context.country or asked.country, max_rating=asked.context.max_rating)
        try:
            self._waiting.put_nowait((user_id, RecommendationRequest(context=context)))
        except queue.Full:
            return
        self._viewers.add(user_id)
        with self._start:
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="renewal", daemon=True)
                self._worker.start()

    def _work(self) -> None:
        while True:
            user_id, asked = self._waiting.get()
            self._viewers.discard(user_id)
            try:
                self._make(user_id, asked)
            except Exception:
                log.exception("stale candidates could not be made anew")
