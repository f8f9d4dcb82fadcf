"""The service behind the routes: a request in the words of the contract -> engine, cache and database -> an answer.

Here a request is kept from failing: without the cache it computes, without the history it answers as for a
stranger, and says so. Knows nothing of Flask.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from api.cache import Cached, CandidateCache
from api.cursors import Cursor, read_cursor, write_cursor
from api.engines import EngineKeeper
from api.errors import Problem
from api.schemas import RecommendationQuery, RecommendationRequest, SimilarQuery, WhyQuery
from api.settings import Settings
from api.telemetry import Telemetry
from data.home import Home
from data.schema import Event, first_error
from data.store import Store
from data.store.events import History
from recommender.engine import Engine
from recommender.pipeline.stages import Query, Ranked, Trace
from recommender.profile import Profile

log = logging.getLogger(__name__)

CLOCK_SKEW_S = 300.0
NOBODY = Profile(
    liked=np.zeros(0, np.int64),
    signal=np.zeros(0, np.float32),
    recency=np.zeros(0, np.float32),
    disliked=np.zeros(0, np.int64),
    watched=np.zeros(0, np.int64),
)


class Service:
    """One per process. Safe to use from many threads."""

    def __init__(self, settings: Settings, home: Home, store: Store, redis_url: str | None) -> None:
        self.settings = settings
        self.home = home
        self.store = store
        self.cache = CandidateCache(redis_url, settings.cache)
        self.engines = EngineKeeper(home, store, settings.recommender, settings.server.release_check_s)
        self.telemetry = Telemetry()

    # ---- Recommendations -----------------------------------------------------------------------------------

    def recommend(self, user_id: str, asked: RecommendationRequest) -> dict[str, Any]:
        """A page of recommendations, as `schemas.RecommendationAnswer` without its request id."""
        answer = _Answer(self, user_id, asked).give()
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
            labels=tuple(asked.labels),
            exclude=engine.columns(asked.exclude),
        )
        try:
            ranked = engine.similar(video_id, query, asked.by)
        except KeyError:
            raise self._unknown_video(video_id) from None
        items = items_of(engine, ranked, None)
        return {"video_id": video_id, "items": items, "release": release_facts(engine)}

    def why(self, asked: WhyQuery) -> dict[str, Any]:
        """Why a video is, or is not, in a viewer's list. Raises Problem 404 for an unknown video."""
        engine = self.current_engine()
        profile = engine.profile(self.store.events.history(asked.user_id))
        try:
            found = engine.why(Query(profile, 100, time.time(), country=asked.country), asked.video_id)
        except KeyError:
            raise self._unknown_video(asked.video_id) from None
        return {"user_id": asked.user_id, **found, "release": release_facts(engine)}

    def current_engine(self) -> Engine:
        """The engine for a request that begins now, with the catalogue as it is now where the database answers."""
        engine = self.engines.current()
        try:
            if self.store.catalogue.version() != engine.view.version:
                engine.view.update(self.store.catalogue)
        except Exception:
            log.exception("the catalogue cannot be read; going on with what is in memory")
        return engine

    def _unknown_video(self, video_id: str) -> Problem:
        if self.store.catalogue.get(video_id) is not None:
            detail = f"video {video_id!r} came after the served release; it will be there after the next refresh"
            return Problem(404, "video_not_in_release", detail, field="video_id")
        return unknown_video(video_id)

    # ---- Events --------------------------------------------------------------------------------------------

    def record(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Commits a batch of events; each row has its own result. Good rows count though others are bad."""
        results: list[dict[str, Any]] = [{} for _ in rows]
        events: list[Event] = []
        places: list[int] = []
        for place, row in enumerate(rows):
            event_id = row.get("event_id")
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
        engine = self.engines.current()
        return {
            "ready": len(engine.videos) > 0,
            "database": database,
            "cache": self.cache.state if not self.cache.ping() else "up",
            "release": engine.release.id,
            "videos": len(engine.videos),
            "warnings": self.engines.warnings,
        }


def unknown_video(video_id: str) -> Problem:
    return Problem(404, "unknown_video", f"no video {video_id!r} in the catalogue", field="video_id")


def release_facts(engine: Engine) -> dict[str, Any]:
    manifest = engine.release.manifest
    facts = {name: manifest[name] for name in ("id", "encoder", "index", "collaborative")}
    return {**facts, "age_s": max(0, int(time.time() - manifest["created_at"]))}


def _rejected(event_id: str | None, code: str, detail: str) -> dict[str, Any]:
    return {"event_id": event_id, "status": "rejected", "code": code, "detail": detail}


def items_of(
    engine: Engine, slate: Ranked, query: Query | None, shown: int = 0, scores: bool = True
) -> list[dict[str, Any]]:
    """Items for an answer, `shown` having been on pages before; with `query` each says why it is in its list."""
    reasons = engine.reasons(query, slate) if query is not None else None
    items = []
    for place, column in enumerate(slate.columns.tolist()):
        item: dict[str, Any] = {
            "video_id": engine.videos[column],
            "rank": shown + place + 1,
            "sources": engine.pipeline.source_names(int(slate.found_by[place])),
            "title": engine.view.titles[column],
            "labels": engine.view.labels[column],
        }
        if scores:
            item["score"] = round(float(slate.scores[place]), 6)
        if reasons is not None:
            reason = reasons[place]
            item["reason"] = {"code": reason.code, "text": reason.text, "video_id": reason.video_id}
        items.append(item)
    return items


class _Answer:
    """One recommendation request on its way."""

    def __init__(self, service: Service, user_id: str, asked: RecommendationRequest) -> None:
        self._service = service
        self._user_id = user_id
        self._asked = asked
        self._started = time.perf_counter()
        self._trace = Trace()
        self._cache_state = "off"
        self._engine = service.engines.current()
        self._trace.warnings += service.engines.warnings
        self._last_seq = self._look_at_database()
        self._profile: Profile | None = None
        self._country = asked.context.country or asked.country
        self._binding = repr(
            (user_id, self._country, asked.labels, asked.not_labels, asked.exclude, asked.context.max_rating)
        )

    def give(self) -> dict[str, Any]:
        shown = 0
        if self._asked.cursor is not None:
            ranked, shown = self._after_cursor(self._asked.cursor)
        else:
            ranked = self._candidates()
        rest = self._eligible(ranked)
        query = self._query()
        slate = rest.take(self._engine.pipeline.selector.select(query, rest))
        left = rest.take(np.flatnonzero(~np.isin(rest.columns, slate.columns)))
        wants_reasons = self._asked.reasons and "reasons" in self._asked.include
        items = items_of(
            self._engine,
            slate,
            self._with_history(query) if wants_reasons else None,
            shown,
            "scores" in self._asked.include,
        )
        cursor = None
        if len(left):
            cursor = write_cursor(Cursor(left, shown + len(slate), self._engine.release.id), self._binding)
        return {
            "user_id": self._user_id,
            "items": items,
            "cursor": cursor,
            "has_more": cursor is not None,
            "degraded": bool(self._trace.warnings),
            "fallback": self._fallback(slate),
            "warnings": self._trace.warnings,
            "release": release_facts(self._engine),
            "cache": self._cache_state,
            "timings_ms": self._timings(),
        }

    # ---- What is known of the viewer -----------------------------------------------------------------------

    def _look_at_database(self) -> int | None:
        """The number of the viewer's newest event; brings the catalogue view up to date on the way."""
        try:
            version, last_seq = self._service.store.state_for(self._user_id)
            if version != self._engine.view.version:
                self._engine.view.update(self._service.store.catalogue)
            return last_seq
        except Exception:
            log.exception("the database does not answer; going on with what is in memory")
            self._trace.warnings.append("the database does not answer: the catalogue may be out of date")
            return None

    def _known_profile(self) -> Profile:
        if self._profile is None:
            started = time.perf_counter()
            self._profile = self._engine.profile(self._with_session(self._stored_history()))
            self._trace.timings_ms["history"] = (time.perf_counter() - started) * 1000
        return self._profile

    def _stored_history(self) -> History:
        try:
            if self._last_seq is not None:
                return self._service.store.events.history(self._user_id)
        except Exception:
            log.exception("the history of a viewer cannot be read")
        self._trace.warnings.append("the history cannot be read: the list is not personalised")
        nothing = np.zeros(0, dtype=object)
        return History(self._user_id, nothing, nothing, np.zeros(0), np.zeros(0))

    def _with_session(self, stored: History) -> History:
        session = self._asked.history[::-1]
        if not session:
            return stored
        return History(
            self._user_id,
            np.concatenate([np.array([event.video_id for event in session], dtype=object), stored.video_ids]),
            np.concatenate([np.array([event.type for event in session], dtype=object), stored.types]),
            np.concatenate([[np.nan if event.value is None else event.value for event in session], stored.values]),
            np.concatenate([np.full(len(session), time.time()), stored.times]),
        )

    # ---- Candidates ----------------------------------------------------------------------------------------

    def _query(self) -> Query:
        """The question without the viewer's history: what scored candidates are filtered and selected by."""
        asked = self._asked
        now = asked.context.now
        return Query(
            NOBODY,
            asked.limit,
            time.time() if now is None else now,
            country=self._country,
            max_rating=asked.context.max_rating,
            labels=tuple(asked.labels),
            not_labels=tuple(asked.not_labels),
            exclude=self._engine.columns(asked.exclude),
            weights={str(name): weight for name, weight in asked.weights.items()},
        )

    def _with_history(self, query: Query) -> Query:
        return replace(query, profile=self._known_profile())

    def _candidates(self) -> Ranked:
        """Scored candidates: from the cache where they still are what would be computed now."""
        key = self._cache_key()
        if key is not None:
            cached = self._service.cache.get(key)
            if cached is not None and cached.last_seq == self._last_seq and self._enough(cached.ranked):
                self._cache_state = "hit"
                return cached.ranked
            self._cache_state = "miss" if self._service.cache.state == "up" else "off"
        # What is cached is the answer to the plain question; the wishes of a request come after.
        query = self._with_history(self._query())
        ranked, trace = self._engine.rank(query)
        self._trace.timings_ms |= trace.timings_ms
        self._trace.warnings += trace.warnings
        if key is not None and not self._restricted() and not trace.warnings and self._last_seq is not None:
            self._service.cache.put(key, Cached(ranked, self._last_seq, time.time()))
        return ranked

    def _cache_key(self) -> str | None:
        asked = self._asked
        if asked.history or asked.weights or asked.context.now is not None or self._last_seq is None:
            return None
        return self._service.cache.key(self._engine.fingerprint, self._user_id, self._country, asked.context.max_rating)

    def _restricted(self) -> bool:
        return bool(self._asked.labels or self._asked.not_labels or self._asked.exclude)

    def _enough(self, ranked: Ranked) -> bool:
        """Whether cached candidates still fill the page under this request's wishes."""
        return not self._restricted() or len(self._eligible(ranked)) > self._asked.limit

    def _eligible(self, ranked: Ranked) -> Ranked:
        return ranked.take(np.flatnonzero(self._engine.pipeline.eligible(self._query())[ranked.columns]))

    def _after_cursor(self, text: str) -> tuple[Ranked, int]:
        """What the pages before left, without what was watched since; and how many they showed."""
        cursor = read_cursor(text, self._binding)
        columns = self._service.engines.columns_of(cursor.release_id, cursor.rest.columns, self._engine)
        if columns is None:
            self._trace.warnings.append("the release of this cursor is gone: the list begins anew")
            return self._candidates(), 0
        here = np.flatnonzero((columns >= 0) & ~np.isin(columns, self._known_profile().watched))
        rest = cursor.rest.take(here)
        return Ranked(columns[here], rest.scores, rest.found_by), cursor.shown

    # ---- What the answer says of itself --------------------------------------------------------------------

    def _fallback(self, slate: Ranked) -> str | None:
        names = {name for bits in np.unique(slate.found_by) for name in self._engine.pipeline.source_names(int(bits))}
        if names & {"collaborative", "content"}:
            return None
        stranger = self._last_seq == 0 and not self._asked.history
        return "cold_start" if stranger or not self._known_profile().known else "popular"

    def _timings(self) -> dict[str, float]:
        timings = self._trace.timings_ms | {"total": (time.perf_counter() - self._started) * 1000}
        wanted = timings if "trace" in self._asked.include else {"history", "score", "total"}
        return {name: round(value, 3) for name, value in timings.items() if name in wanted}


def as_request(query: RecommendationQuery) -> RecommendationRequest:
    """A GET's question as the POST that asks the same."""
    return RecommendationRequest(**query.model_dump())
