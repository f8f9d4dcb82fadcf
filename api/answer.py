"""One recommendation request on its way: what is known of the viewer, candidates from cache or engine, the page.

Here a request is kept from failing: without the cache it computes, without the history it answers as for a
stranger, and says so. Knows nothing of Flask.
"""

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from api.cache import Cached, CandidateCache
from api.cursors import Cursor, read_cursor, write_cursor
from api.engines import EngineKeeper
from api.exposures import ExposureLog
from api.gauges import LiveGauges
from api.packing import by_column, by_number, pack_snapshot, unpack_snapshot
from api.schemas.recommendations import RecommendationRequest
from data.schema import EventType
from data.store import Store
from data.store.events import History
from data.store.exposures import ITEM, Exposure, Words
from recommender.engine import FEATURES, Engine
from recommender.pipeline import timed
from recommender.pipeline.hydrators import Reasons
from recommender.pipeline.stages import Query, Ranked, Shown, Snapshot, Trace
from recommender.policy import RULES, Slate
from recommender.policy.exploration import seed_of
from recommender.policy.fatigue import DAY_S, unclicked_showings
from recommender.profile import Profile, nobody

log = logging.getLogger(__name__)

SEED_LASTS_S = 600.0
NO_REASONS = (Reasons.name,)
NOBODY = nobody()


def release_facts(engine: Engine) -> dict[str, Any]:
    manifest = engine.release.manifest
    facts = {name: manifest[name] for name in ("id", "encoder", "index", "collaborative")}
    return {**facts, "age_s": max(0, int(time.time() - manifest["created_at"]))}


def items_of(
    engine: Engine,
    query: Query,
    slate: Shown,
    trace: Trace,
    *,
    shown: int = 0,
    scores: bool = True,
    skip: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Items for an answer, `shown` having been on pages before, without the hydrators of the names in `skip`."""
    items = engine.pipeline.hydrate(query, slate, trace, skip)
    for place, (item, column) in enumerate(zip(items, slate.columns.tolist(), strict=True)):
        item["video_id"] = engine.videos[column]
        item["rank"] = shown + place + 1
        item["sources"] = engine.pipeline.source_names(int(slate.found_by[place]))
        if scores:
            item["score"] = round(float(slate.scores[place]), 6)
    return items


class Answer:
    """One recommendation request on its way."""

    def __init__(
        self,
        store: Store,
        cache: CandidateCache,
        engines: EngineKeeper,
        exposures: ExposureLog,
        gauges: LiveGauges,
        user_id: str,
        asked: RecommendationRequest,
        request_id: str,
    ) -> None:
        self._store = store
        self._cache = cache
        self._exposures = exposures
        self._gauges = gauges
        self._user_id = user_id
        self._asked = asked
        self._request_id = request_id
        # A list for another moment than this one is a question and not shown.
        self._is_kept = asked.context.now is None and exposures.wants(user_id)
        self._snapshot: Callable[[], Snapshot | None] = lambda: None
        self._started = time.perf_counter()
        self._trace = Trace()
        self._cache_state = "off"
        self._engine = engines.current()
        self._trace.warnings += engines.warnings
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
        wants_reasons = self._asked.reasons and "reasons" in self._asked.include
        with_history = wants_reasons or self._engine.slates.needs_history
        query = self._with_showings(self._query())
        query = self._with_history(query) if with_history else query
        eligible = self._engine.pipeline.eligible(query)
        rest = self._engine.allowed(query, ranked, eligible)
        if self._is_usual():
            self._gauges.listed(self._engine, rest.scores)
        with timed(self._trace, "policy"):
            # A later page shows what the first one left, whatever a list of its own would be filled up with.
            closed = self._asked.cursor is not None or not with_history
            slate = self._engine.select(query, rest, self._trace, closed, eligible)
        left = rest.take(np.flatnonzero(~np.isin(rest.columns, slate.columns)))
        items = items_of(
            self._engine,
            query,
            slate,
            self._trace,
            shown=shown,
            scores="scores" in self._asked.include,
            skip=() if wants_reasons else NO_REASONS,
        )
        if self._is_kept:
            self._exposures.keep(lambda: self._exposure(query, slate, shown))
        cursor = None
        # A page that is not full is the last one: nobody asks for ever.
        if len(left) and len(slate) == query.limit:
            cursor = write_cursor(Cursor(by_number(left, self._engine.view), shown + len(slate)), self._binding)
        return {
            "user_id": self._user_id,
            "items": items,
            "cursor": cursor,
            "has_more": cursor is not None,
            "degraded": bool(self._trace.warnings),
            "fallback": self._fallback(slate),
            "warnings": self._trace.warnings,
            "release": release_facts(self._engine),
            "propensity": [round(value, 6) for value in slate.propensity.tolist()],
            "cache": self._cache_state,
            "timings_ms": self._timings(),
        }

    # ---- What is known of the viewer -----------------------------------------------------------------------

    def _look_at_database(self) -> int | None:
        """The number of the viewer's newest event; brings the catalogue view up to date on the way."""
        try:
            version, last_seq, _ = self._store.state_for(self._user_id)
        except Exception:
            log.exception("the database does not answer; going on with what is in memory")
            self._trace.warnings.append("the database does not answer: the catalogue may be out of date")
            return None
        try:
            if version != self._engine.view.version:
                self._engine.view.update(self._store)
        except Exception:
            log.exception("the catalogue cannot be read; going on with what is in memory")
            self._trace.warnings.append("the catalogue cannot be read: it may be out of date")
        return last_seq

    def _known_profile(self) -> Profile:
        if self._profile is None:
            started = time.perf_counter()
            self._profile = self._engine.profile(self._with_session(self._stored_history()))
            self._trace.timings_ms["history"] = (time.perf_counter() - started) * 1000
        return self._profile

    def _stored_history(self) -> History:
        try:
            if self._last_seq is not None:
                return self._store.events.history(self._user_id)
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
            surface=asked.surface,
            seed=self._seed() if asked.seed is None else asked.seed,
            described=self._is_kept,
        )

    def _seed(self) -> int:
        """Of what is left to chance: the same for a viewer for a while, so that a list that is asked for again is the
        same list."""
        return seed_of(f"{self._user_id} {self._engine.release.id} {int(time.time() // SEED_LASTS_S)}")

    def _with_showings(self, query: Query) -> Query:
        """The query, and what the viewer was shown lately and passed over."""
        fatigue = self._engine.settings.policy.fatigue
        if fatigue.after is None or self._last_seq is None:
            return query
        since = query.now - fatigue.window_days * DAY_S
        try:
            seen = self._store.events.seen_since(self._user_id, since)
        except Exception:
            log.exception("what a viewer was shown cannot be read")
            self._trace.warnings.append("what was shown before cannot be read: it may be shown again")
            return query
        columns = np.array([self._engine.column_of.get(name, -1) for name in seen.video_ids], np.int64)
        impression = seen.types == EventType.IMPRESSION.value
        shown, showings = unclicked_showings(
            columns[columns >= 0], impression[columns >= 0], seen.times[columns >= 0], query.now, fatigue
        )
        return replace(query, shown=shown, showings=showings)

    def _with_history(self, query: Query) -> Query:
        return replace(query, profile=self._known_profile())

    def _candidates(self) -> Ranked:
        """Scored candidates: from the cache where they still are what would be computed now."""
        key = self._cache_key()
        if key is not None:
            cached = self._cache.get(key)
            if cached is not None and self._usable(cached):
                self._cache_state = "hit"
                self._snapshot = partial(self._cached_snapshot, cached)
                return by_column(cached.candidates, self._engine.view)
            self._cache_state = "miss" if self._cache.state == "up" else "off"
        # As many as are kept, whatever this request shows of them: the next one may want more.
        version = self._engine.view.version
        query = self._with_history(self._query())
        query = replace(query, limit=max(query.limit, self._engine.settings.pipeline.reserve))
        ranked, trace = self._engine.rank(query)
        self._gauges.asked(self._engine, query)
        self._trace.timings_ms |= trace.timings_ms
        self._trace.warnings += trace.warnings
        self._snapshot = lambda: trace.snapshot
        whole = not (self._restricted() or self._trace.warnings or self._engine.view.has_news)
        if key is not None and whole and self._last_seq is not None:
            view = self._engine.view
            snapshot = pack_snapshot(trace.snapshot, view) if trace.snapshot is not None else b""
            self._cache.put(key, Cached(by_number(ranked, view), self._last_seq, version, snapshot))
        return ranked

    def _cache_key(self) -> str | None:
        asked = self._asked
        if asked.history or asked.weights or asked.context.now is not None or self._last_seq is None:
            return None
        return self._cache.key(self._engine.fingerprint, self._user_id, self._country, asked.context.max_rating)

    def _restricted(self) -> bool:
        return bool(self._asked.labels or self._asked.not_labels or self._asked.exclude)

    def _is_usual(self) -> bool:
        """Whether scores may be compared with those of other lists."""
        asked = self._asked
        return not (asked.cursor or asked.weights or asked.context.now is not None or self._restricted())

    def _usable(self, cached: Cached) -> bool:
        """Whether cached candidates are what would be computed now, and fill the page under this request's wishes."""
        current = cached.last_seq == self._last_seq and cached.catalogue_version >= self._engine.view.opened
        candidates = by_column(cached.candidates, self._engine.view)
        known = len(candidates) == len(cached.candidates)
        return current and known and len(self._engine.allowed(self._query(), candidates)) > self._asked.limit

    def _cached_snapshot(self, cached: Cached) -> Snapshot | None:
        return unpack_snapshot(cached.snapshot, len(FEATURES), self._engine.view) if cached.snapshot else None

    def _after_cursor(self, text: str) -> tuple[Ranked, int]:
        """What the pages before left, without what was watched since; and how many they showed."""
        cursor = read_cursor(text, self._binding)
        rest = by_column(cursor.rest, self._engine.view)
        return rest.take(np.flatnonzero(~np.isin(rest.columns, self._known_profile().watched))), cursor.shown

    # ---- What the answer says of itself --------------------------------------------------------------------

    def _exposure(self, query: Query, slate: Slate, shown: int) -> Exposure:
        snapshot = self._snapshot()
        items = np.zeros(len(slate), ITEM)
        items["number"] = self._engine.view.numbers[slate.columns]
        items["score"], items["propensity"], items["sources"] = slate.scores, slate.propensity, slate.found_by
        items["rule"] = [-1 if rule is None else RULES.index(rule) for rule in slate.rules]
        return Exposure(
            request_id=self._request_id,
            user_id=self._user_id,
            shown_at=time.time(),
            surface=query.surface,
            country=query.country,
            release=self._engine.release.id,
            settings=self._engine.settings_id,
            cache=self._cache_state,
            first_rank=shown + 1,
            words=Words(tuple(source.name for source in self._engine.pipeline.sources), RULES, FEATURES),
            items=items,
            features=None if snapshot is None else snapshot.of(slate.columns),
        )

    def _fallback(self, slate: Slate) -> str | None:
        if (slate.found_by & self._engine.personal_sources).any():
            return None
        stranger = self._last_seq == 0 and not self._asked.history
        return "cold_start" if stranger or not self._known_profile().known else "popular"

    def _timings(self) -> dict[str, float]:
        timings = self._trace.timings_ms | {"total": (time.perf_counter() - self._started) * 1000}
        wanted = timings if "trace" in self._asked.include else {"history", "score", "total"}
        return {name: round(value, 3) for name, value in timings.items() if name in wanted}
