"""What the service counts and measures, in the words of Prometheus. Worker processes add up through files when `serve`
runs them."""

import math
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from recommender.gauges import Measured

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: Methods beyond these are one label, so that a stranger cannot grow the metrics.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5)

_REQUESTS = Histogram(
    "watchnext_http_request_seconds", "Time to answer, errors too", ["route", "method", "status"], buckets=BUCKETS
)
_RECOMMENDED = Counter(
    "watchnext_recommendations", "Lists served, by cache state and fallback", ["cache", "fallback", "degraded"]
)
_STAGES = Histogram("watchnext_stage_seconds", "Time of a stage of the pipeline", ["stage"], buckets=BUCKETS)
_CACHED_FOR = Histogram(
    "watchnext_cache_age_seconds",
    "Age of the candidates that a list came from, of those from the cache",
    buckets=(1, 5, 15, 60, 150, 300, 600, 900, 1_800),
)
_CACHE_FAILURES = Counter("watchnext_cache_failures", "Questions that the cache did not answer", ["reason"])
# One process that is without is enough.
_CACHE_UP = Gauge("watchnext_cache_up", "0 where a process goes on without the cache", multiprocess_mode="livemin")
_EVENTS = Counter("watchnext_events", "Events received, by outcome", ["outcome"])
_EXPOSURES = Counter("watchnext_exposures", "Shown lists of the sampled viewers, by outcome", ["outcome"])


def _measured(name: str, about: str, *labels: str) -> Gauge:
    """Of several processes the one counts that measured last: they measure the same, and one of them knows when
    something is not known any more (NaN)."""
    return Gauge(name, about, labels, multiprocess_mode="livemostrecent")


_RECALL = _measured(
    "watchnext_index_recall",
    "Share 0..1 of the exact nearest neighbours that the index finds, over sampled searches of requests",
)
# Without a word it would be 0 until it is measured.
_RECALL.set(math.nan)
_AGE = _measured("watchnext_age_seconds", "Age in seconds of what is served, by part", "part")
_VIDEOS = _measured(
    "watchnext_index_videos", "Videos in the index: all, and the delta that came after the release", "part"
)
_SHARE = _measured("watchnext_index_share", "Share 0..1 of the index that is delta, and that is hidden or gone", "of")
_DRIFT = _measured("watchnext_drift_psi", "Population Stability Index against what the release began with", "of")
# One process that warns is enough.
_WARNINGS = Gauge(
    "watchnext_warnings", "1 where a threshold of [gauges] is crossed", ["about"], multiprocess_mode="livemax"
)
PARTS = ("release", "events", "embeddings", "ranker", "catalogue")
DRIFTS = ("embedding_mean", "embedding_nearest", "score")


# Finding a child by its labels takes longer than counting with it.
@cache
def _requests_of(route: str, method: str, status: int) -> Histogram:
    return _REQUESTS.labels(route, method, str(status))


@cache
def _recommended_of(cache: str, fallback: str | None, degraded: bool) -> Counter:
    return _RECOMMENDED.labels(cache, fallback or "none", str(degraded).lower())


@cache
def _exposures_of(outcome: str) -> Counter:
    return _EXPOSURES.labels(outcome)


@cache
def _stage_of(stage: str) -> Histogram:
    return _STAGES.labels(stage)


def forget_dead_processes() -> None:
    """What workers measured that have been killed since counts no more. For a worker that begins in their place."""
    for path in Path(os.environ.get(MULTIPROCESS_VARIABLE, os.devnull)).glob("gauge_live*.db"):
        pid = int(path.stem.rsplit("_", 1)[1])
        if not psutil.pid_exists(pid):
            mark_process_dead(pid)


class Telemetry:
    """The numbers of this process; stateless, because the registry is the process's."""

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        known = method if method in METHODS else "other"
        _requests_of(route, known, status).observe(seconds)

    def recommended(self, cache: str, fallback: str | None, degraded: bool, timings_ms: Mapping[str, float]) -> None:
        _recommended_of(cache, fallback, degraded).inc()
        for stage, milliseconds in timings_ms.items():
            _stage_of(stage).observe(milliseconds / 1000)

    def cached_for(self, seconds: float) -> None:
        _CACHED_FOR.observe(seconds)

    def cache_is(self, up: bool) -> None:
        _CACHE_UP.set(up)

    def cache_failed(self, reason: Literal["away", "timeout", "refused"]) -> None:
        _CACHE_FAILURES.labels(reason).inc()

    def ingested(self, counts: Mapping[str, int]) -> None:
        for outcome, number in counts.items():
            _EVENTS.labels(outcome).inc(number)

    def exposed(self, outcome: Literal["kept", "dropped"], number: int) -> None:
        _exposures_of(outcome).inc(number)

    def measured(self, found: Measured, ages_s: Mapping[str, float], crossed: Mapping[str, bool]) -> None:
        _RECALL.set(math.nan if found.recall is None else found.recall)
        for part in PARTS:
            _AGE.labels(part).set(ages_s.get(part, math.nan))
        _VIDEOS.labels("all").set(found.videos)
        _VIDEOS.labels("delta").set(found.delta_videos)
        _SHARE.labels("delta").set(found.delta_share)
        _SHARE.labels("hidden").set(found.hidden_share)
        for name in DRIFTS:
            _DRIFT.labels(name).set(found.drift[name].psi if name in found.drift else math.nan)
        for about, is_crossed in crossed.items():
            _WARNINGS.labels(about).set(is_crossed)

    def exposition(self) -> bytes:
        """All metrics of all worker processes, in the text format."""
        if MULTIPROCESS_VARIABLE not in os.environ:
            return generate_latest(REGISTRY)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)
