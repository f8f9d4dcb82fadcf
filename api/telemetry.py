"""What the service counts, in the words of Prometheus. Worker processes add up through files when `serve` runs them."""

import os
from collections.abc import Mapping
from typing import Literal

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

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
_EVENTS = Counter("watchnext_events", "Events received, by outcome", ["outcome"])
_EXPOSURES = Counter("watchnext_exposures", "Shown lists of the sampled viewers, by outcome", ["outcome"])


class Telemetry:
    """The counters of this process; stateless, because the registry is the process's."""

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        known = method if method in METHODS else "other"
        _REQUESTS.labels(route, known, str(status)).observe(seconds)

    def recommended(self, cache: str, fallback: str | None, degraded: bool, timings_ms: Mapping[str, float]) -> None:
        _RECOMMENDED.labels(cache, fallback or "none", str(degraded).lower()).inc()
        for stage, milliseconds in timings_ms.items():
            _STAGES.labels(stage).observe(milliseconds / 1000)

    def ingested(self, counts: Mapping[str, int]) -> None:
        for outcome, number in counts.items():
            _EVENTS.labels(outcome).inc(number)

    def exposed(self, outcome: Literal["kept", "dropped"], number: int) -> None:
        _EXPOSURES.labels(outcome).inc(number)

    def exposition(self) -> bytes:
        """All metrics of all worker processes, in the text format."""
        if MULTIPROCESS_VARIABLE not in os.environ:
            return generate_latest(REGISTRY)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)
