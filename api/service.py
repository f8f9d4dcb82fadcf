"""The service behind the routes: one for each process, it holds the database, the cache and the engine that answers.

Questions in the words of the contract go in, answers come out; how a recommendation request is kept from failing
is in `answer`. Knows nothing of Flask.
"""

import logging
import math
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
from pydantic import ValidationError

from api.answer import NO_REASONS, NOBODY, Answer, Parts, items_of, release_facts
from api.batching import Batches
from api.budget import Budget
from api.cache import Cache, key_of
from api.candidates import KIND as CANDIDATES
from api.candidates import CandidateCache
from api.catalogue import CatalogueDesk, unknown_video
from api.engines import EngineKeeper
from api.errors import Problem
from api.exposures import ExposureLog
from api.gauges import LiveGauges
from api.histories import KIND as HISTORY
from api.histories import HistoryCache
from api.home_page import HomePages
from api.idempotency import Idempotency
from api.maintenance import Maintenance
from api.ready import KIND as ANSWER
from api.ready import ReadyAnswer, ReadyAnswers, SharedAnswers
from api.renewal import Renewal
from api.schemas.lists import NextQuery
from api.schemas.recommendations import RecommendationQuery, RecommendationRequest, SimilarQuery, WhyQuery
from api.searching import Searching
from api.settings import Settings
from api.telemetry import Telemetry
from api.turns import Turns
from api.uploads import MediaUploads
from api.viewers import Viewers
from data.home import Home
from data.schema import Event, first_error
from data.store import DatabaseError, Store
from recommender.engine import Engine
from recommender.pipeline.stages import Query, Ranked, Trace
from recommender.profile import Profile
from recommender.release import Releases
from recommender.why import why

log = logging.getLogger(__name__)

CLOCK_SKEW_S = 300.0
_PLAIN = RecommendationRequest()


class Service:
    """One per process. Safe to use from many threads."""

    def __init__(self, settings: Settings, home: Home, store: Store, redis_url: str | None) -> None:
        self.settings = settings
        self.home = home
        self.store = store
        self.telemetry = Telemetry()
        self.cache = Cache(redis_url, settings.cache, self.telemetry)
        self.engines = EngineKeeper(
            home, store, settings.recommender, settings.server.release_check_s, settings.server.release_wait_s
        )
        self.home_pages = HomePages(self)
        self.batches = Batches(store, self._recommend_of, self.engines.current)
        self.searching = Searching(settings.search, settings.embed, home, store, self.current_engine)
        self.exposures = ExposureLog(store, settings.exposures, self.telemetry)
        self.gauges = LiveGauges(
            self.engines.current, store.catalogue.version, home.embeddings, settings.gauges, self.telemetry
        )
        self.idempotency = Idempotency(store.answers)
        self.uploads = MediaUploads(home, store.catalogue, settings.embed, max(1, settings.server.threads // 2))
        self.catalogue = CatalogueDesk(store.catalogue, self.uploads)
        self.maintenance = Maintenance(settings, home)

        self.ready = ReadyAnswers(settings.cache.process_mb if settings.cache.enabled else 0)
        self.shared = SharedAnswers(self.cache, settings.cache.shared_answers)
        self._renewal = Renewal(self._make_candidates)
        self.turns = Turns()
        self._parts = Parts(
            self.store,
            CandidateCache(self.cache, settings.cache),
            HistoryCache(self.cache, settings.cache, store.events),
            self.engines,
            self.exposures,
            self.gauges,
            self.turns,
            self._renewal.ask,
        )
        self._no_cache = Cache(None, settings.cache, self.telemetry)
        self._no_candidates = CandidateCache(self._no_cache, settings.cache)
        self.viewers = Viewers(store, home, self.exposures, self.forget, settings.cache)

    # ---- Recommendations -----------------------------------------------------------------------------------

    def recommend(
        self,
        user_id: str,
        asked: RecommendationRequest,
        request_id: str,
        budget: Budget | None = None,
        question: bytes | None = None,
    ) -> dict[str, Any]:
        """A page of recommendations, as `schemas.RecommendationAnswer` without its request id, which events about the
        list will name. question: whatever the same is asked by another time, where `ready_answer` may answer then."""
        answer = Answer(self._parts, user_id, asked, request_id, budget or self.budget())
        with self.batches.others_first():
            given = self._given(answer)
        keeps = self.ready.is_on or self.shared.is_on
        if question is not None and keeps and answer.is_whole and asked.cursor is None:
            self._keep_ready(user_id, question, answer, given)
        return given

    def _recommend_of(
        self, store: Store, user_id: str, asked: RecommendationRequest, request_id: str
    ) -> dict[str, Any]:
        """The same out of what a store says, past the cache."""
        histories = HistoryCache(self._no_cache, self.settings.cache, store.events)
        parts = replace(self._parts, store=store, candidates=self._no_candidates, histories=histories)
        return self._given(Answer(parts, user_id, asked, request_id, Budget(math.inf)))

    def _given(self, answer: Answer) -> dict[str, Any]:
        self.gauges.begin()
        given = answer.give()
        self.telemetry.recommended(given["cache"], given["fallback"], given["degraded"], given["timings_ms"])
        if answer.age_s is not None:
            self.telemetry.cached_for(answer.age_s)
        return given

    def ready_answer(self, user_id: str, question: bytes, request_id: str) -> bytes | None:
        """The JSON of a list that this process gave to the same question, where it is the same list still."""
        started = time.perf_counter()
        found = self.ready.get(user_id, question)
        return None if found is None else self._given_again(found, user_id, request_id, started)

    def shared_answer(self, user_id: str, question: bytes, request_id: str) -> bytes | None:
        """The same of a list that any process gave."""
        started = time.perf_counter()
        found = self.shared.get(self.engines.current().fingerprint, user_id, question)
        if found is None:
            return None
        given = self._given_again(found, user_id, request_id, started)
        if given is not None:
            self.ready.put(user_id, question, found)
        return given

    def _given_again(self, found: ReadyAnswer, user_id: str, request_id: str, started: float) -> bytes | None:
        world, now = self.engines.current().fingerprint, time.time()
        try:
            state = self.store.state_for(user_id)
        except DatabaseError:
            return None
        if self.engines.warnings or not found.is_good(state, world, now):
            return None
        if self.exposures.takes(user_id):
            # What is kept of a list is only known while it is made.
            return None
        self.telemetry.recommended("hit", found.fallback, False, {})
        return found.bytes_for(request_id, now, started)

    def budget(self, milliseconds: float | None = None, began: float | None = None) -> Budget:
        """The time of a request, which may ask for less than the settings give, and may have begun earlier (by
        `time.perf_counter`)."""
        most = self.settings.server.deadline_ms
        return Budget(most if milliseconds is None else min(most, milliseconds), began)

    def forget(self, user_id: str) -> bool:
        """Takes what is kept of a viewer out of the caches; whether that can be said of Redis, too. In the other
        processes it is useless since the viewer's events are gone."""
        self.ready.forget(user_id)
        releases = [manifest["id"] for manifest in Releases(self.home.releases).list()]
        settings_id = self.engines.current().settings_id
        worlds = [f"{release}:{settings_id}" for release in releases]
        keys = [key_of(kind, world, user_id) for kind in (CANDIDATES, ANSWER) for world in worlds]
        dropped = [self.cache.drop(key) for key in (*keys, key_of(HISTORY, "any", user_id))]
        return all(dropped)

    def _keep_ready(self, user_id: str, question: bytes, answer: Answer, given: dict[str, Any]) -> None:
        assert answer.state is not None
        stays = {name: value for name, value in given.items() if name not in ("release", "cache", "timings_ms")}
        release = dict(given["release"])
        del release["age_s"]
        ttl_s = self.settings.cache.ttl_s * (1 - self.settings.cache.jitter * random.random())
        ready = ReadyAnswer(
            body=orjson.dumps(stays)[1:-1],
            release=orjson.dumps(release)[1:-1],
            released_at=answer.released_at,
            state=answer.state,
            world=answer.world,
            until=min(time.time() + ttl_s, answer.same_until()),
            fallback=given["fallback"],
        )
        self.ready.put(user_id, question, ready)
        self.shared.put(user_id, question, ready)

    def _make_candidates(self, user_id: str, asked: RecommendationRequest) -> None:
        Answer(self._parts, user_id, asked, "", self.budget()).make_candidates()

    def similar(self, video_id: str, asked: SimilarQuery) -> dict[str, Any]:
        """Videos like one video. Raises Problem 404 for an unknown one."""
        engine, trace = self.current_engine(), Trace()
        query = _plain_query(engine, asked, NOBODY)
        try:
            ranked = engine.similar(video_id, query, asked.by, trace)
        except KeyError:
            raise self._unknown_video(video_id) from None
        return {"video_id": video_id, **_listed(engine, query, ranked, trace)}

    def watch_next(self, video_id: str, asked: NextQuery) -> dict[str, Any]:
        """What to watch after a video. Raises Problem 404 for an unknown one."""
        engine, trace = self.current_engine(), Trace()
        query = _plain_query(engine, asked, self._profile(engine, asked.user_id, trace))
        try:
            ranked = engine.next_after(video_id, query, trace)
        except KeyError:
            raise self._unknown_video(video_id) from None
        return {"video_id": video_id, "user_id": asked.user_id, **_listed(engine, query, ranked, trace)}

    def _profile(self, engine: Engine, user_id: str | None, trace: Trace) -> Profile:
        if user_id is None:
            return NOBODY
        try:
            return engine.profile(self.store.events.history(user_id))
        except Exception:
            log.exception("the history of a viewer cannot be read")
            trace.warnings.append("the history cannot be read: the list is not personalised")
            return NOBODY

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
                field, message = first_error(error, Event)
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


def _plain_query(engine: Engine, asked: SimilarQuery | NextQuery, profile: Profile) -> Query:
    """The filters of a list that depends on nothing else of a request."""
    return Query(
        profile,
        asked.limit,
        time.time(),
        country=asked.country,
        max_rating=asked.max_rating,
        labels=tuple(asked.labels),
        not_labels=tuple(asked.not_labels),
        exclude=engine.columns(asked.exclude),
    )


def _listed(engine: Engine, query: Query, ranked: Ranked, trace: Trace) -> dict[str, Any]:
    items = items_of(engine, query, ranked, trace, skip=NO_REASONS)
    return {"items": items, "warnings": trace.warnings, "release": release_facts(engine)}


def _rejected(event_id: str | None, code: str, detail: str) -> dict[str, Any]:
    return {"event_id": event_id, "status": "rejected", "code": code, "detail": detail}


def as_request(query: RecommendationQuery) -> RecommendationRequest:
    """A GET's question, which is valid, as the POST that asks the same."""
    return _PLAIN.model_copy(update=query.__dict__)
