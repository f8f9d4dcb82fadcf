"""Lists for many viewers in one call, for e-mails and other work that nobody waits for at a screen.

What the database knows of the viewers is read for many of them at a time. Lists are made one after another, as requests
for them would make them, but without the cache: a job over all viewers would push out of it whoever is there now.
Between two lists it gives way to requests that somebody waits for, and a process makes one batch at a time. Knows
nothing of Flask.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from api.answer import release_facts
from api.errors import Problem
from api.schemas.lists import BatchRequest, BatchViewer
from api.schemas.recommendations import Context, RecommendationRequest
from data.schema import first_error
from data.store import EventLog, Store
from data.store.events import History, NumberedHistory
from recommender.engine import Engine

log = logging.getLogger(__name__)

#: Viewers whose events are read at once.
CHUNK = 50
#: How long one list gives way at most.
GIVE_WAY_S = 0.05
#: Long enough for a request that waits for the interpreter to get it, short beside the making of a list.
PAUSE_S = 0.0005

#: The list of a viewer out of what a store says: (store, user id, request, request id).
Recommend = Callable[[Store, str, RecommendationRequest, str], dict[str, Any]]


class Batches:
    """One for each process."""

    def __init__(self, store: Store, recommend: Recommend, current_engine: Callable[[], Engine]) -> None:
        self._store = store
        self._current_engine = current_engine
        self._recommend = recommend
        self._one_at_a_time = threading.Lock()
        self._waiting = threading.Condition()
        self._others = 0

    @contextmanager
    def others_first(self) -> Iterator[None]:
        """Around a request that somebody waits for."""
        with self._waiting:
            self._others += 1
        try:
            yield
        finally:
            with self._waiting:
                self._others -= 1
                self._waiting.notify_all()

    @property
    def is_busy(self) -> bool:
        """Whether a batch is being made."""
        return self._one_at_a_time.locked()

    def recommend(self, asked: BatchRequest, request_id: str) -> dict[str, Any]:
        """A result for each viewer, in order, as `schemas.lists.BatchAnswer` without its request id. A row that cannot
        be answered costs no other. Raises Problem 429 while another batch is being made."""
        if not self._one_at_a_time.acquire(blocking=False):
            detail = "this process makes the lists of another batch; send one batch after another"
            raise Problem(429, "batch_busy", detail, {"Retry-After": "1"})
        try:
            results: list[dict[str, Any]] = []
            for start in range(0, len(asked.users), CHUNK):
                some = [_viewer(row) for row in asked.users[start : start + CHUNK]]
                ahead = _StoreAhead(self._store, [each.user_id for each in some if isinstance(each, BatchViewer)])
                for place, viewer in enumerate(some, start=start):
                    results.append(self._result(ahead, viewer, asked, f"{request_id[:150]}.{place}"))
                    self._give_way()
            return {"results": results, "release": release_facts(self._current_engine())}
        finally:
            self._one_at_a_time.release()

    def _result(
        self, ahead: Store, viewer: "BatchViewer | _Refused", asked: BatchRequest, request_id: str
    ) -> dict[str, Any]:
        if isinstance(viewer, BatchViewer):
            try:
                answer = self._recommend(ahead, viewer.user_id, _question(viewer, asked), request_id)
            except Exception:
                log.exception("the list %s of a batch failed", request_id)
                viewer = _Refused(
                    viewer.user_id, "internal", "this list hit a defect; the log has it under its request id"
                )
            else:
                kept = ("user_id", "items", "fallback", "degraded", "warnings", "propensity")
                return {name: answer[name] for name in kept} | {"request_id": request_id, "error": None}
        return {
            "user_id": viewer.user_id,
            "items": [],
            "fallback": None,
            "degraded": False,
            "warnings": [],
            "propensity": [],
            "request_id": request_id,
            "error": viewer.error,
        }

    def _give_way(self) -> None:
        time.sleep(PAUSE_S)
        with self._waiting:
            self._waiting.wait_for(lambda: self._others == 0, GIVE_WAY_S)


class _Refused:
    """A row without a list, and why."""

    def __init__(self, user_id: str | None, code: str, detail: str, field: str | None = None) -> None:
        self.user_id = user_id
        self.error = {"code": code, "detail": detail, "field": field}


def _viewer(row: object) -> "BatchViewer | _Refused":
    try:
        return BatchViewer.model_validate(row)
    except ValidationError as error:
        field, message = first_error(error, BatchViewer)
        given = row.get("user_id") if isinstance(row, dict) else None
        return _Refused(given if isinstance(given, str) else None, "invalid_request", f"{field}: {message}", field)


def _question(viewer: BatchViewer, asked: BatchRequest) -> RecommendationRequest:
    """What is asked of one viewer: what is asked of all, and what the row says."""
    return RecommendationRequest(
        limit=asked.limit,
        labels=asked.labels,
        not_labels=asked.not_labels,
        exclude=[*viewer.exclude, *asked.exclude],
        surface=asked.surface,
        include=[*asked.include],
        context=Context(
            country=viewer.country or asked.country,
            max_rating=asked.max_rating if viewer.max_rating is None else viewer.max_rating,
        ),
    )


# ---- What is read ahead --------------------------------------------------------------------------------------


class _StoreAhead(Store):
    """The store, with what it knows of some viewers read already."""

    def __init__(self, store: Store, user_ids: Sequence[str]) -> None:
        super().__init__(store.engine)
        self._user_ids = user_ids

    @cached_property
    def events(self) -> "_EventsAhead":
        return _EventsAhead(self, self._user_ids)


class _EventsAhead(EventLog):
    def __init__(self, store: Store, user_ids: Sequence[str]) -> None:
        super().__init__(store.engine, store.quick)
        self._user_ids = user_ids
        self._seen: tuple[float, dict[str, History]] | None = None

    @cached_property
    def _known(self) -> dict[str, NumberedHistory]:
        return self.numbered_histories(self._user_ids)

    def numbered_history(self, user_id: str, after: int = 0) -> NumberedHistory:
        return super().numbered_history(user_id, after) if after else self._known[user_id]

    def seen_since(self, user_id: str, since: float, limit: int = 0) -> History:
        # Each asks for a little less than the first of them.
        if self._seen is None or since < self._seen[0]:
            self._seen = (since, self.all_seen_since(self._user_ids, since))
        return self._seen[1][user_id]
