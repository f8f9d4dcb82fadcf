"""The pipeline: a list of named stages, each timed, from a query to scored candidates and a slate.

A request does not fail because a part of it did: a source that raises, or for which no time is left, is left out
and named in the warnings; the popular source from memory is the last resort. The list of stages in `Pipeline` is
the architecture.
"""

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from recommender.pipeline.stages import (
    Candidates,
    Filter,
    Found,
    Hydrator,
    Query,
    Ranked,
    Scorer,
    Selector,
    Source,
    Trace,
)

log = logging.getLogger(__name__)

NAMED_FROM_SHARE = 0.1


class PipelineSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    candidates: int = Field(default=300, ge=10, le=5_000, description="candidates per source")
    reserve: int = Field(default=500, ge=100, description="scored candidates that are kept for the next pages")
    deadline_ms: float = Field(
        default=200.0, gt=0, description="after this no further source is asked but the popular one"
    )
    content_weight: float = Field(default=0.3, ge=0, description="weight of content ranks beside collaborative's 1")
    popular_prior_items: float = Field(default=0.5, ge=0, description="likes at which popularity counts half")
    disabled_sources: list[Literal["collaborative", "content", "popular"]] = Field(
        default_factory=list, description="names of sources not to ask"
    )


class Pipeline:
    """Stages over the columns of one release; `size` is the number of its videos."""

    def __init__(
        self,
        size: int,
        filters: Sequence[Filter],
        sources: Sequence[Source],
        scorer: Scorer,
        selector: Selector,
        hydrators: Sequence[Hydrator],
        settings: PipelineSettings,
    ) -> None:
        self.size = size
        self.filters = filters
        self.sources = sources
        self.scorer = scorer
        self.selector = selector
        self.hydrators = hydrators
        self.settings = settings

    def rank(self, query: Query, trace: Trace, only: Collection[str] | None = None) -> Ranked:
        """The scored candidates of a request: at most `reserve`, at least `limit` where so many are eligible.

        With `only`, none but the sources of these names are asked, and nothing is filled up.
        """
        started = time.perf_counter()
        with timed(trace, "filters"):
            eligible = self.eligible(query)
        finds: list[Found] = []
        answered: list[Source] = []
        for source in self.sources:
            if only is not None and source.name not in only:
                continue
            found = self._ask(source, query, eligible, started, trace)
            if found is not None:
                finds.append(found)
                answered.append(source)
        with timed(trace, "score"):
            candidates = _merge(answered, finds)
            weights = np.array(
                [query.weights.get(source.name, source.weight(query)) for source in answered], np.float32
            )
            ranked = self._best(candidates, self.scorer.parts(query, candidates, weights))
        if only is None and len(ranked) < query.limit:
            with timed(trace, "back_fill"):
                ranked = _back_fill(ranked, eligible, query.limit)
        return ranked

    def hydrate(self, query: Query, slate: Ranked, trace: Trace, skip: Collection[str] = ()) -> list[dict[str, Any]]:
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
        """(V,) bool: what every filter keeps."""
        mask = np.ones(self.size, bool)
        for each in self.filters:
            kept = each.keep(query)
            if kept is not None:
                mask &= kept
        return mask

    def removed_by(self, query: Query, column: int) -> list[str]:
        """The names of the filters that keep a video out of this request."""
        kept = ((each.name, each.keep(query)) for each in self.filters)
        return [name for name, mask in kept if mask is not None and not mask[column]]

    def source_names(self, found_by: int) -> list[str]:
        """The sources behind a `found_by` bit set."""
        return [source.name for bit, source in enumerate(self.sources) if found_by >> bit & 1]

    def _ask(self, source: Source, query: Query, eligible: np.ndarray, started: float, trace: Trace) -> Found | None:
        late = (time.perf_counter() - started) * 1000 > self.settings.deadline_ms
        if late and not source.last_resort:
            trace.warnings.append(f"source {source.name} was left out: the deadline had passed")
            return None
        try:
            if not source.enabled(query):
                return None
            with timed(trace, source.name):
                found = source.candidates(query, eligible, max(self.settings.candidates, query.limit))
        except Exception:
            log.exception("source %s failed", source.name)
            trace.warnings.append(f"source {source.name} was left out: it failed")
            return None
        trace.found[source.name] = len(found.columns)
        return found

    def _best(self, candidates: Candidates, parts: np.ndarray) -> Ranked:
        """The highest sums of parts; a source is named behind an item when a tenth of the score is its part."""
        scores = parts.sum(axis=0)
        order = np.lexsort((candidates.columns, -scores))[: self.settings.reserve]
        bits = np.array([1 << self._bit(name) for name in candidates.sources], np.int64)
        behind = (parts > 0) & (parts >= NAMED_FROM_SHARE * scores)
        return Ranked(candidates.columns[order], scores[order], (behind.T @ bits)[order].astype(np.uint8))

    def _bit(self, name: str) -> int:
        return next(bit for bit, source in enumerate(self.sources) if source.name == name)


def _merge(sources: Sequence[Source], finds: Sequence[Found]) -> Candidates:
    parts = [found.columns for found in finds] or [np.zeros(0, np.int64)]
    columns, place = np.unique(np.concatenate(parts), return_inverse=True)
    ranks = np.zeros((len(finds), len(columns)), np.int32)
    start = 0
    for row, found in enumerate(finds):
        end = start + len(found.columns)
        ranks[row, place[start:end]] = np.arange(1, len(found.columns) + 1)
        start = end
    return Candidates(columns, tuple(source.name for source in sources), ranks)


def _back_fill(ranked: Ranked, eligible: np.ndarray, wanted: int) -> Ranked:
    """Appends eligible videos that no source found, at score 0, so that a list is as long as it can be."""
    left = eligible.copy()
    left[ranked.columns] = False
    more = np.flatnonzero(left)[: wanted - len(ranked)]
    return Ranked(
        np.concatenate([ranked.columns, more]),
        np.concatenate([ranked.scores, np.zeros(len(more), np.float32)]),
        np.concatenate([ranked.found_by, np.zeros(len(more), np.uint8)]),
    )


@contextmanager
def timed(trace: Trace, stage: str) -> Iterator[None]:
    """Adds the milliseconds of the block to the trace."""
    started = time.perf_counter()
    try:
        yield
    finally:
        trace.timings_ms[stage] = trace.timings_ms.get(stage, 0.0) + (time.perf_counter() - started) * 1000
