"""The pipeline: a list of named stages, each timed, from a query to scored candidates and a slate.

A request does not fail because a part of it did: a source that raises, that has been too slow again and again, or
for which no time is left, is left out and named in the warnings; the popular source from memory is the last resort.
The list of stages in `Pipeline` is the architecture.
"""

import logging
import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from recommender.ordering import best_first, best_rows
from recommender.pipeline.merging import side_by_side, who_is_behind
from recommender.pipeline.sources.settings import SourceSettings
from recommender.pipeline.stages import (
    Candidates,
    Filter,
    Found,
    Hydrator,
    Query,
    Ranked,
    Ranker,
    Scorer,
    Shown,
    Snapshot,
    Source,
    Trace,
)

log = logging.getLogger(__name__)

NAMED_FROM_SHARE = 0.05
#: A source that has missed its deadline so often in a row rests for a while.
STRIKES = 3
REST_S = 5.0
_REMEMBERS = 0.2
_KEPT_MASKS = 16
_NOTHING = np.zeros(0, np.int64)


class PipelineSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reserve: int = Field(default=500, ge=100, description="scored candidates that are kept for the next pages")
    ranked: int = Field(default=150, ge=10, le=1_000, description="best candidates of the fusion that the ranker sees")
    deadline_ms: float = Field(
        default=200.0, gt=0, description="time for all sources: one that would take longer than is left is not asked"
    )
    popular_prior_items: float = Field(default=0.5, ge=0, description="likes at which popularity counts half")


class _Pace:
    """What a source has cost lately, so that one that is slow is known before it is asked."""

    def __init__(self, settings: SourceSettings) -> None:
        self.quota = settings.candidates
        self._deadline_ms = settings.deadline_ms
        self.cost_ms = 0.0
        self._strikes = 0
        self._rests_until = 0.0

    @property
    def rests(self) -> bool:
        return time.monotonic() < self._rests_until

    def took(self, ms: float) -> None:
        # One stall must not outweigh what a source usually takes.
        self.cost_ms += _REMEMBERS * (min(ms, 2 * self._deadline_ms) - self.cost_ms)
        self._strikes = self._strikes + 1 if ms > self._deadline_ms else 0
        if self._strikes >= STRIKES:
            self._strikes = 0
            self._rests_until = time.monotonic() + REST_S

    def skipped(self) -> None:
        """What is not asked for a while may be quicker by then: it is tried again."""
        self.cost_ms *= 1 - _REMEMBERS


#: What a ranker sees of the candidates of a request: (n, F) float32.
Describe = Callable[[Query, Candidates], np.ndarray]


class Pipeline:
    """Stages over the columns of one release; `size` is the number of its videos. A ranker needs `describe`."""

    def __init__(
        self,
        size: int,
        filters: Sequence[Filter],
        sources: Sequence[Source],
        scorer: Scorer,
        hydrators: Sequence[Hydrator],
        settings: PipelineSettings,
        quotas: Mapping[str, SourceSettings] | None = None,
        ranker: Ranker | None = None,
        describe: Describe | None = None,
    ) -> None:
        self.size = size
        self.filters = filters
        self.sources = sources
        self._bits = {source.name: bit for bit, source in enumerate(sources)}
        self.scorer = scorer
        self.ranker = ranker
        self._describe = describe
        self._paces = {source.name: _Pace((quotas or {}).get(source.name, SourceSettings())) for source in sources}
        self.hydrators = hydrators
        self.settings = settings
        self._left: dict[tuple[Hashable, ...], np.ndarray] = {}

    def rank(
        self, query: Query, trace: Trace, only: Collection[str] | None = None, eligible: np.ndarray | None = None
    ) -> Ranked:
        """The scored candidates of a request: at most `reserve`, at least `limit` where so many are eligible.

        With `only`, none but the sources of these names are asked, and nothing is filled up. eligible: `eligible` of
        this request, where the caller has it already.
        """
        started = time.perf_counter()
        if eligible is None:
            with timed(trace, "filters"):
                eligible = self.eligible(query)
        candidates = self.gather(query, eligible, trace, only)
        with timed(trace, "score"):
            candidates, ranked = self.fuse(query, candidates)
        if only is None and len(ranked):
            ranked = self._rerank(query, candidates, ranked, started, trace)
        if only is None and len(ranked) < query.limit:
            with timed(trace, "back_fill"):
                ranked = _back_fill(ranked, eligible, query.limit)
        return ranked

    def gather(
        self, query: Query, eligible: np.ndarray, trace: Trace, only: Collection[str] | None = None
    ) -> Candidates:
        """What the sources find among the eligible ((V,) bool), merged."""
        started = time.perf_counter()
        finds: list[Found] = []
        answered: list[Source] = []
        for source in self.sources:
            if only is not None and source.name not in only:
                continue
            found = self._ask(source, query, eligible, started, trace)
            if found is not None:
                finds.append(found)
                answered.append(source)
        with timed(trace, "merge"):
            return self._merged(answered, finds, _weights(query, answered, finds))

    def _merged(self, sources: Sequence[Source], finds: Sequence[Found], weights: np.ndarray) -> Candidates:
        named = np.concatenate([found.columns for found in finds] or [_NOTHING])
        begins = np.cumsum([0, *(len(found.columns) for found in finds)])
        columns, rows, ranks = side_by_side(named, begins)
        scores = np.empty((len(finds), len(columns)), np.float32)
        highest = int(columns[-1]) if len(columns) else -1
        for source, found in enumerate(finds):
            if found.every is not None and highest < len(found.every):
                # All of them lie in it: nothing has to be looked at first.
                found.every.take(columns, out=scores[source], mode="clip")
            else:
                scores[source] = found.scores_of(columns, rows[begins[source] : begins[source + 1]])
        names = tuple(source.name for source in sources)
        return Candidates(columns, names, weights, ranks, scores, np.zeros(len(columns), np.float32))

    def fuse(self, query: Query, candidates: Candidates, scorer: Scorer | None = None) -> tuple[Candidates, Ranked]:
        """The best candidates by the sum of their parts, at most `reserve`, as they were and as they are scored; by
        another scorer than the pipeline's, where one is given.

        A source is named behind an item when a twentieth of the score is its part.
        """
        parts = (scorer or self.scorer).parts(query, candidates)
        fused = parts.sum(axis=0)
        order = best_rows(fused, self.settings.reserve)
        scores = fused[order]
        best = candidates.take(order, scores)
        bits = np.array([1 << self._bits[name] for name in candidates.sources], np.uint32)
        found_by = who_is_behind(np.ascontiguousarray(parts, np.float32), order, scores, NAMED_FROM_SHARE, bits)
        return best, Ranked(best.columns, scores, found_by)

    def hydrate(self, query: Query, slate: Shown, trace: Trace, skip: Collection[str] = ()) -> list[dict[str, Any]]:
        """The fields of each item, from all hydrators but those in `skip`; one that fails is left out and named."""
        items: list[dict[str, Any]] = [{} for _ in range(len(slate))]
        for hydrator in self.hydrators:
            if hydrator.name in skip:
                continue
            try:
                with timed(trace, hydrator.name):
                    found = hydrator.hydrate(query, slate)
            except Exception:
                log.exception("hydrator %s failed", hydrator.name)
                trace.warnings.append(f"hydrator {hydrator.name} was left out: it failed")
                continue
            for item, fields in zip(items, found, strict=True):
                item.update(fields)
        return items

    def eligible(self, query: Query) -> np.ndarray:
        """(V,) bool: what every filter leaves; the caller's own."""
        same_for = [each.same_for(query) for each in self.filters]
        shared = [each for each, key in zip(self.filters, same_for, strict=True) if key is not None]
        mask = self._left_by(shared, query, tuple(same_for)).copy()
        for each, key in zip(self.filters, same_for, strict=True):
            if key is None:
                each.take_out(query, mask)
        return mask

    def _left_by(self, filters: Sequence[Filter], query: Query, same_for: tuple[Hashable, ...]) -> np.ndarray:
        """What these leave, worked out once for all requests that have the same in common; not to be changed."""
        mask = self._left.get(same_for)
        if mask is None:
            mask = np.ones(self.size, bool)
            for each in filters:
                each.take_out(query, mask)
            if len(self._left) >= _KEPT_MASKS:
                self._left = {}
            self._left[same_for] = mask
        return mask

    def removed_by(self, query: Query, column: int) -> list[str]:
        """The names of the filters that keep a video out of this request."""
        return [each.name for each in self.filters if not self._leaves(each, query, column)]

    def _leaves(self, each: Filter, query: Query, column: int) -> bool:
        mask = np.ones(self.size, bool)
        each.take_out(query, mask)
        return bool(mask[column])

    def source_names(self, found_by: int) -> list[str]:
        """The sources behind a `found_by` bit set."""
        return [source.name for bit, source in enumerate(self.sources) if found_by >> bit & 1]

    def bits_of(self, names: Collection[str]) -> int:
        """The `found_by` bits of these sources."""
        return sum(1 << bit for bit, source in enumerate(self.sources) if source.name in names)

    def _deadline_ms(self, query: Query) -> float:
        return min(self.settings.deadline_ms, query.deadline_ms)

    def _ask(self, source: Source, query: Query, eligible: np.ndarray, started: float, trace: Trace) -> Found | None:
        pace = self._paces[source.name]
        try:
            if not source.enabled(query):
                return None
            left_ms = self._deadline_ms(query) - (time.perf_counter() - started) * 1000
            if not source.last_resort and (pace.rests or left_ms <= pace.cost_ms):
                pace.skipped()
                why = "it has been too slow" if pace.rests else "no time was left for it"
                trace.warnings.append(f"source {source.name} was left out: {why}")
                return None
            with timed(trace, source.name):
                quota = max(pace.quota, query.limit) if source.last_resort else pace.quota
                found = source.candidates(query, eligible, quota)
            pace.took(trace.timings_ms[source.name])
        except Exception:
            log.exception("source %s failed", source.name)
            trace.warnings.append(f"source {source.name} was left out: it failed")
            return None
        trace.found[source.name] = len(found.columns)
        return found

    def _rerank(self, query: Query, candidates: Candidates, fused: Ranked, started: float, trace: Trace) -> Ranked:
        """The best of the fusion in the ranker's order, the others behind them; as they are without a ranker, or where
        the request weighs the sources itself."""
        ranker = None if query.weights else self.ranker
        if self._describe is None or (ranker is None and not query.described):
            return fused
        if (time.perf_counter() - started) * 1000 > self._deadline_ms(query):
            trace.warnings.append("the ranker was left out: no time was left for it")
            return fused
        best = candidates.first(self.settings.ranked)
        try:
            with timed(trace, "rank"):
                features = self._describe(query, best)
                if query.described:
                    trace.snapshot = Snapshot(best.columns, features.astype(np.float16))
                if ranker is None:
                    return fused
                scores = ranker.scores(features)
        except Exception:
            log.exception("the ranker failed")
            trace.warnings.append("the ranker was left out: it failed")
            return fused
        order = best_first(scores)
        others = fused.scores[len(scores) :]
        behind = scores.min() * others / max(float(fused.scores[0]), 1e-12)
        return Ranked(
            np.concatenate([fused.columns[order], fused.columns[len(scores) :]]),
            np.concatenate([scores[order], behind]).astype(np.float32, copy=False),
            np.concatenate([fused.found_by[order], fused.found_by[len(scores) :]]),
        )


def _weights(query: Query, sources: Sequence[Source], finds: Sequence[Found]) -> np.ndarray:
    """(S,) float32: the request's weights, else the sources' own; of impersonal sources times what the personal ones
    that found something weigh together, so that they count alike whatever is known of the viewer."""
    weights = np.empty(len(sources), np.float32)
    together, impersonal = 0.0, []
    for place, (source, found) in enumerate(zip(sources, finds, strict=True)):
        weights[place] = weight = source.weight(query)
        if not source.personal:
            impersonal.append(place)
        elif len(found.columns):
            together += weight
    if impersonal:
        weights[impersonal] *= together or 1.0
    for place, source in enumerate(sources if query.weights else ()):
        weights[place] = query.weights.get(source.name, weights[place])
    return weights


def _back_fill(ranked: Ranked, eligible: np.ndarray, wanted: int) -> Ranked:
    """Appends eligible videos that no source found, at score 0, so that a list is as long as it can be."""
    left = eligible.copy()
    left[ranked.columns] = False
    more = np.flatnonzero(left)[: wanted - len(ranked)]
    return Ranked(
        np.concatenate([ranked.columns, more]),
        np.concatenate([ranked.scores, np.zeros(len(more), np.float32)]),
        np.concatenate([ranked.found_by, np.zeros(len(more), np.uint32)]),
    )


class timed:  # noqa: N801 - it is used like a function
    """Adds the milliseconds of the block to the trace. A class, since there are twenty of them in each request."""

    __slots__ = ("_stage", "_started", "_trace")

    def __init__(self, trace: Trace, stage: str) -> None:
        self._trace = trace
        self._stage = stage

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_error: object) -> None:
        timings = self._trace.timings_ms
        timings[self._stage] = timings.get(self._stage, 0.0) + (time.perf_counter() - self._started) * 1000
