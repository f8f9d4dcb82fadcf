"""One recommendation request on its way: what is known of the viewer, candidates from cache or engine, the page.

Here a request is kept from failing: without the cache it computes; without the database it answers from what was kept
of the viewer, or as for a stranger; without time it leaves out; and it says so. Knows nothing of Flask.
"""

import logging
import time
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from api.budget import Budget
from api.candidates import Cached, CandidateCache
from api.cursors import Cursor, read_cursor, write_cursor
from api.engines import EngineKeeper
from api.exposures import ExposureLog
from api.gauges import LiveGauges
from api.histories import HistoryCache
from api.packing import by_column, by_number, pack_snapshot, unpack_snapshot
from api.schemas.recommendations import RecommendationRequest
from api.turns import Turns
from data.schema import EventType
from data.signals import type_codes
from data.store import Store, ViewerState
from data.store.events import NumberedHistory
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
NOTHING_SHOWN = (np.zeros(0, np.int64), np.zeros(0, np.int64))
NOTHING_KNOWN = NumberedHistory(np.zeros(0, np.int64), np.zeros(0, np.int8), np.zeros(0), np.zeros(0))
NO_REASONS = (Reasons.name,)
#: Release and settings, viewer, and what else candidates depend on.
_Place = tuple[str, str, tuple[object, ...]]
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
    videos, names_of = engine.videos, engine.pipeline.source_names
    facts = zip(items, slate.columns.tolist(), slate.found_by.tolist(), slate.scores.tolist(), strict=True)
    for rank, (item, column, found_by, score) in enumerate(facts, shown + 1):
        item["video_id"] = videos[column]
        item["rank"] = rank
        item["sources"] = names_of(found_by)
        if scores:
            item["score"] = round(score, 6)
    return items


@dataclass(frozen=True)
class Parts:
    """What answers are made with."""

    store: Store
    candidates: CandidateCache
    histories: HistoryCache
    engines: EngineKeeper
    exposures: ExposureLog
    gauges: LiveGauges
    turns: Turns
    #: Has the candidates of a viewer made anew beside the requests, as this request would have made them.
    renew: Callable[[str, RecommendationRequest], None]


class Answer:
    """One recommendation request on its way."""

    def __init__(
        self, parts: Parts, user_id: str, asked: RecommendationRequest, request_id: str, budget: Budget
    ) -> None:
        self._store = parts.store
        self._cache = parts.candidates
        self._histories = parts.histories
        self._exposures = parts.exposures
        self._gauges = parts.gauges
        self._renew = parts.renew
        self._turns = parts.turns
        self._budget = budget
        self._user_id = user_id
        self._asked = asked
        self._request_id = request_id
        # A list for another moment than this one is a question and not shown.
        self.age_s: float | None = None
        self._is_kept = asked.context.now is None and parts.exposures.takes(user_id)
        self._snapshot: Callable[[], Snapshot | None] = lambda: None
        self._started = time.perf_counter()
        self._trace = Trace()
        self._cache_state = "off"
        self._engine = parts.engines.current()
        self._trace.warnings += parts.engines.warnings
        self.state = self._look_at_database()
        self._profile: Profile | None = None
        self._eligible: np.ndarray | None = None
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
        if wants_reasons and not self._budget.left_ms:
            wants_reasons = False
            self._trace.warnings.append("reasons were left out: no time was left for them")
        with_history = wants_reasons or self._engine.slates.needs_history
        profile = self._known_profile() if with_history else NOBODY
        shown_before, showings = self._showings()
        query = self._question.but(profile=profile, shown=shown_before, showings=showings)
        with self._turns.take(self._budget.left_ms / 1000):
            eligible = self._engine.pipeline.eligible(query) if self._eligible is None else self._eligible
            rest = self._engine.allowed(query, ranked, eligible)
            if self._is_usual():
                self._gauges.listed(self._engine, rest.scores)
            with timed(self._trace, "policy"):
                # A later page shows what the first one left, whatever a list of its own would be filled up with.
                closed = self._asked.cursor is not None or not with_history
                slate = self._engine.select(query, rest, self._trace, closed, eligible)
            is_left = np.ones(len(rest), bool)
            is_left[slate.rows[slate.rows >= 0]] = False
            left = rest.take(is_left.nonzero()[0])
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
            "propensity": [round(value, 6) for value in slate.propensity.tolist()],
            "release": release_facts(self._engine),
            "cache": self._cache_state,
            "timings_ms": self._timings(),
        }

    # ---- What is known of the viewer -----------------------------------------------------------------------

    def _look_at_database(self) -> ViewerState | None:
        """What the database says now; brings the catalogue view up to date on the way."""
        try:
            state = self._store.state_for(self._user_id)
        except Exception as error:
            self._lacks("the database does not answer: the catalogue may be out of date", error)
            return None
        try:
            if state.catalogue != self._engine.view.version:
                self._engine.view.update(self._store)
        except Exception as error:
            self._lacks("the catalogue cannot be read: it may be out of date", error)
        return state

    def _lacks(self, what: str, error: Exception) -> None:
        # There is one for each request while it lasts: its readers are told, a log would only be filled.
        log.debug("%s", what, exc_info=error)
        self._trace.warnings.append(what)

    def _known_profile(self) -> Profile:
        if self._profile is None:
            started = time.perf_counter()
            self._profile = self._profile_of_history()
            self._trace.timings_ms["history"] = (time.perf_counter() - started) * 1000
        return self._profile

    def _profile_of_history(self) -> Profile:
        try:
            history = self._stored_history()
            if self._asked.history:
                history = self._session().before(history)
            return self._engine.profile_by_numbers(history)
        except Exception as error:
            self._lacks("the history cannot be read: the list is not personalised", error)
            return self._engine.profile_by_numbers(self._session())

    def _stored_history(self) -> NumberedHistory:
        if self.state is not None:
            return self._histories.of(self._user_id, self.state.did)
        kept = self._histories.last_known(self._user_id)
        if kept is None:
            raise LookupError("nothing is kept of this viewer")
        self._trace.warnings.append("the history cannot be read: what came last may not count")
        return kept

    def _session(self) -> NumberedHistory:
        """The events of this session that are used and not stored, newest first."""
        session = self._asked.history[::-1]
        if not session:
            return NOTHING_KNOWN
        columns = [self._engine.column_of.get(event.video_id, -1) for event in session]
        numbers = np.where(np.array(columns) >= 0, self._engine.view.numbers[columns], -1)
        values = np.array([event.value for event in session], np.float64)
        return NumberedHistory(
            numbers, type_codes(event.type for event in session), values, np.full(len(session), time.time())
        )

    # ---- Candidates ----------------------------------------------------------------------------------------

    @cached_property
    def _question(self) -> Query:
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
            deadline_ms=self._budget.left_ms,
        )

    def _seed(self) -> int:
        """Of what is left to chance: the same for a viewer for a while, so that a list that is asked for again is the
        same list."""
        turn, _ = _turn_of(self._user_id)
        return seed_of(f"{self._user_id} {self._engine.release.id} {turn}")

    def _showings(self) -> tuple[np.ndarray, np.ndarray]:
        """What the viewer was shown lately and passed over, and how often, as a query says it."""
        fatigue, now = self._engine.settings.policy.fatigue, self._question.now
        since = now - fatigue.window_days * DAY_S
        if fatigue.after is None or self.state is None or self.state.latest < since:
            return NOTHING_SHOWN
        try:
            seen = self._store.events.seen_since(self._user_id, since)
        except Exception as error:
            self._lacks("what was shown before cannot be read: it may be shown again", error)
            return NOTHING_SHOWN
        if not len(seen):
            return NOTHING_SHOWN
        columns = np.array([self._engine.column_of.get(name, -1) for name in seen.video_ids], np.int64)
        impression = np.array([kind == EventType.IMPRESSION for kind in seen.types])
        return unclicked_showings(
            columns[columns >= 0], impression[columns >= 0], seen.times[columns >= 0], now, fatigue
        )

    def _candidates(self) -> Ranked:
        """Scored candidates: from the cache where they still are what would be computed now."""
        place = self._place_in_cache()
        if place is not None:
            found = self._cached_candidates(place)
            if found is not None:
                return found
            self._cache_state = "miss" if self._cache.state == "up" else "off"
        return self._made_candidates(place)

    def _cached_candidates(self, place: _Place) -> Ranked | None:
        cached = self._cache.get(*place)
        if self.state is not None and (cached is None or not self._is_current(cached)):
            # What would not be kept is not announced either: others would wait for it in vain.
            is_kept = self.is_whole and not self._restricted()
            if not is_kept or self._cache.state != "up" or self._cache.is_first(*place, self.state.did):
                return None
            cached = self._cache.wait_for(*place, self.state.did, self._budget.left_ms / 1000)
        if cached is None or not self._is_current(cached) or not self._fills_the_page(cached):
            return None
        self._cache_state = "hit" if cached.is_fresh and self.state is not None else "stale"
        self.age_s = time.time() - cached.made_at
        if self._cache_state == "stale" and self.state is not None:
            self._renew(self._user_id, self._asked)
        self._snapshot = partial(self._cached_snapshot, cached)
        return by_column(cached.candidates, self._engine.view)

    def make_candidates(self) -> None:
        """Puts scored candidates of this viewer into the cache, unless somebody else just does."""
        place = self._place_in_cache()
        if place is not None and self.state is not None and self._cache.is_first(*place, self.state.did):
            self._made_candidates(place)

    def _made_candidates(self, place: _Place | None) -> Ranked:
        # As many as are kept, whatever this request shows of them: the next one may want more.
        version = self._engine.view.version
        limit = max(self._question.limit, self._engine.settings.pipeline.reserve)
        query = self._question.but(profile=self._known_profile(), limit=limit)
        with self._turns.take(self._budget.left_ms / 1000):
            with timed(self._trace, "filters"):
                self._eligible = self._engine.pipeline.eligible(query)
            ranked, trace = self._engine.rank(query, self._eligible)
        self._gauges.asked(self._engine, query)
        self._trace.timings_ms |= trace.timings_ms
        self._trace.warnings += trace.warnings
        self._snapshot = lambda: trace.snapshot
        if place is not None and self.is_whole and self.state is not None and not self._restricted():
            view = self._engine.view
            snapshot = pack_snapshot(trace.snapshot, view) if trace.snapshot is not None else b""
            self._cache.put(*place, Cached(by_number(ranked, view), self.state.did, version, snapshot))
        return ranked

    @property
    def is_whole(self) -> bool:
        """Whether nothing was missing, so that the same may be said again."""
        return self.state is not None and not self._trace.warnings and not self._engine.view.has_news

    def _place_in_cache(self) -> _Place | None:
        asked = self._asked
        if not self._cache.is_on or asked.history or asked.weights or asked.context.now is not None:
            return None
        return self._engine.fingerprint, self._user_id, (self._country, asked.context.max_rating)

    def _restricted(self) -> bool:
        return bool(self._asked.labels or self._asked.not_labels or self._asked.exclude)

    def _is_usual(self) -> bool:
        """Whether scores may be compared with those of other lists."""
        asked = self._asked
        return not (asked.cursor or asked.weights or asked.context.now is not None or self._restricted())

    def _is_current(self, cached: Cached) -> bool:
        """Whether cached candidates are what would be computed now, but for their age."""
        # While the database is away nobody knows of anything newer.
        of_now = self.state is None or cached.did == self.state.did
        return of_now and cached.catalogue_version >= self._engine.view.opened

    def _fills_the_page(self, cached: Cached) -> bool:
        """Whether cached candidates are enough under this request's wishes."""
        candidates = by_column(cached.candidates, self._engine.view)
        known = len(candidates) == len(cached.candidates)
        return known and len(self._engine.allowed(self._question, candidates)) > self._asked.limit

    def _cached_snapshot(self, cached: Cached) -> Snapshot | None:
        return unpack_snapshot(cached.snapshot, len(FEATURES), self._engine.view) if cached.snapshot else None

    def _after_cursor(self, text: str) -> tuple[Ranked, int]:
        """What the pages before left, without what was watched since; and how many they showed."""
        cursor = read_cursor(text, self._binding)
        rest = by_column(cursor.rest, self._engine.view)
        return rest.take(np.flatnonzero(~np.isin(rest.columns, self._known_profile().watched))), cursor.shown

    # ---- What the answer says of itself --------------------------------------------------------------------

    @property
    def world(self) -> str:
        return self._engine.fingerprint

    @property
    def released_at(self) -> float:
        """When the release was made: seconds since 1970."""
        return float(self._engine.release.manifest["created_at"])

    def same_until(self) -> float:
        """Until when the same question has the same answer, if nothing is written: seconds since 1970."""
        return min(self._engine.same_until(time.time()), _turn_of(self._user_id)[1])

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
        stranger = self.state is not None and self.state.did == 0 and not self._asked.history
        return "cold_start" if stranger or not self._known_profile().known else "popular"

    def _timings(self) -> dict[str, float]:
        timings = self._trace.timings_ms | {"total": (time.perf_counter() - self._started) * 1000}
        wanted = timings if "trace" in self._asked.include else {"history", "score", "total"}
        return {name: round(value, 3) for name, value in timings.items() if name in wanted}


def _turn_of(user_id: str) -> tuple[int, float]:
    """The number of a viewer's turn, each `SEED_LASTS_S` long, and when it ends: not all viewers' at once."""
    offset = zlib.crc32(user_id.encode()) % 1_000 / 1_000 * SEED_LASTS_S
    turn = int((time.time() + offset) // SEED_LASTS_S)
    return turn, (turn + 1) * SEED_LASTS_S - offset
