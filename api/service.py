"""The service behind the routes: one for each process, it holds the database, the cache and the engine that answers.

Questions in the words of the contract go in, answers come out; how a recommendation request is kept from failing
is in `answer`. Knows nothing of Flask.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from api.answer import NO_REASONS, NOBODY, Answer, items_of, release_facts
from api.cache import CandidateCache
from api.engines import EngineKeeper
from api.errors import Problem
from api.exposures import ExposureLog
from api.gauges import LiveGauges
from api.schemas.recommendations import RecommendationQuery, RecommendationRequest, SimilarQuery, WhyQuery
from api.settings import Settings
from api.telemetry import Telemetry
from data.home import Home
from data.schema import Event, first_error
from data.store import Store
from recommender.engine import Engine
from recommender.pipeline.stages import Query, Trace
from recommender.why import why

log = logging.getLogger(__name__)

CLOCK_SKEW_S = 300.0


class Service:
    """One per process. Safe to use from many threads."""

    def __init__(self, settings: Settings, home: Home, store: Store, redis_url: str | None) -> None:
        self.settings = settings
        self.home = home
        self.store = store
        self.cache = CandidateCache(redis_url, settings.cache)
        self.engines = EngineKeeper(
            home, store, settings.recommender, settings.server.release_check_s, settings.server.release_wait_s
        )
        self.telemetry = Telemetry()
        self.exposures = ExposureLog(store, settings.exposures, self.telemetry)
        self.gauges = LiveGauges(
            self.engines.current, store.catalogue.version, home.embeddings, settings.gauges, self.telemetry
        )

    # ---- Recommendations -----------------------------------------------------------------------------------

    def recommend(self, user_id: str, asked: RecommendationRequest, request_id: str) -> dict[str, Any]:
        """A page of recommendations, as `schemas.RecommendationAnswer` without its request id, which events about the
        list will name."""
        self.gauges.begin()
        parts = (self.store, self.cache, self.engines, self.exposures, self.gauges)
        answer = Answer(*parts, user_id, asked, request_id).give()
        self.telemetry.recommended(answer["cache"], answer["fallback"], answer["degraded"], answer["timings_ms"])
        return answer

    def similar(self, video_id: str, asked: SimilarQuery) -> dict[str, Any]:
        """Videos like one video. Raises Problem 404 for an unknown one."""
        engine = self.current_engine()
        query = Query(
            NOBODY,
            asked.limit,
            time.time(),
            country=asked.country,
            max_rating=asked.max_rating,
            labels=tuple(asked.labels),
            exclude=engine.columns(asked.exclude),
        )
        trace = Trace()
        try:
            ranked = engine.similar(video_id, query, asked.by, trace)
        except KeyError:
            raise self._unknown_video(video_id) from None
        items = items_of(engine, query, ranked, trace, skip=NO_REASONS)
        return {"video_id": video_id, "items": items, "warnings": trace.warnings, "release": release_facts(engine)}

    def why(self, asked: WhyQuery) -> dict[str, Any]:
        """Why a video is, or is not, in a viewer's list. Raises Problem 404 for an unknown video."""
        engine = self.current_engine()
        profile = engine.profile(self.store.events.history(asked.user_id))
        try:
            found = why(engine, Query(profile, 100, time.time(), country=asked.country), asked.video_id)
        except KeyError:
            raise self._unknown_video(asked.video_id) from None
        return {"user_id": asked.user_id, **found, "release": release_facts(engine)}

    def current_engine(self) -> Engine:
        """The engine for a request that begins now, with the catalogue as it is now where the database answers."""
        engine = self.engines.current()
        try:
            if self.store.catalogue.version() != engine.view.version:
                engine.view.update(self.store)
        except Exception:
            log.exception("the catalogue cannot be read; going on with what is in memory")
        return engine

    def _unknown_video(self, video_id: str) -> Problem:
        if self.store.catalogue.get(video_id) is not None:
            detail = f"video {video_id!r} came after the served release; it will be there after the next refresh"
            return Problem(404, "video_not_in_release", detail, field="video_id")
        return unknown_video(video_id)

    # ---- Events --------------------------------------------------------------------------------------------

    def record(self, rows: Sequence[Any]) -> dict[str, Any]:
        """Commits a batch of events; each row has its own result. Good rows count though others are bad."""
        results: list[dict[str, Any]] = [{} for _ in rows]
        events: list[Event] = []
        places: list[int] = []
        for place, row in enumerate(rows):
            event_id = row.get("event_id") if isinstance(row, dict) else None
            try:
                event = Event.model_validate(row)
            except ValidationError as error:
                field, message = first_error(error)
                shown = event_id if isinstance(event_id, str) else None
                results[place] = _rejected(shown, "invalid_event", f"{field}: {message}")
                continue
            if event.occurred_at > time.time() + CLOCK_SKEW_S:
                results[place] = _rejected(
                    event.event_id, "in_the_future", "occurred_at lies in the future; check the clock"
                )
                continue
            events.append(event)
            places.append(place)
        for place, event, outcome in zip(places, events, self.store.events.add(events), strict=True):
            if outcome == "unknown_video":
                results[place] = _rejected(
                    event.event_id, "unknown_video", f"no video {event.video_id!r} in the catalogue"
                )
            else:
                results[place] = {"event_id": event.event_id, "status": outcome}
        statuses = [result["status"] for result in results]
        counts = {
            "accepted": statuses.count("accepted"),
            "duplicates": statuses.count("duplicate"),
            "rejected": statuses.count("rejected"),
        }
        self.telemetry.ingested(counts)
        return {**counts, "results": results}

    # ---- Health --------------------------------------------------------------------------------------------

    def readiness(self) -> dict[str, Any]:
        """The state of every part; `ready` is false only when nothing can be answered from."""
        try:
            self.store.ping()
            database = "up"
        except Exception as error:
            database = f"away: {type(error).__name__}"
        self.gauges.begin()
        engine = self.engines.current()
        return {
            "ready": len(engine.videos) > 0,
            "database": database,
            "cache": self.cache.look(),
            "release": engine.release.id,
            "videos": len(engine.videos),
            "warnings": [*self.engines.warnings, *self.gauges.warnings],
        }


def unknown_video(video_id: str) -> Problem:
    return Problem(404, "unknown_video", f"no video {video_id!r} in the catalogue", field="video_id")


def _rejected(event_id: str | None, code: str, detail: str) -> dict[str, Any]:
    return {"event_id": event_id, "status": "rejected", "code": code, "detail": detail}


def as_request(query: RecommendationQuery) -> RecommendationRequest:
    """A GET's question as the POST that asks the same."""
    return RecommendationRequest(**query.model_dump())
