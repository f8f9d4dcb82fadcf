"""Front ends under a constant load: so many reads and batches of events a second, whatever becomes of the answers.

Requests begin at set times (an open loop), and the time of an answer counts from when its request was due, so that a
service that stalls is not asked less (Tene: How NOT to Measure Latency, 2015). A read whose connection breaks is sent
once more, and after a moment a third time, as front ends do; an answer that is no list is never asked for again: it
is a failed read.
"""

import queue
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

THREADS = 24
ATTEMPTS, PAUSE_S = 3, 0.1
EVENTS_AT_ONCE = 10
#: A front end gives up on an answer that takes longer.
PATIENCE_S = 15.0


@dataclass
class Tally:
    """What happened in one phase. times_ms: of reads; said: where lists came from; reasons: why reads failed."""

    reads: int = 0
    failed: int = 0
    sent_again: int = 0
    degraded: int = 0
    times_ms: list[float] = field(default_factory=list)
    said: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    refused: int = 0

    def as_dict(self) -> dict[str, Any]:
        times = self.times_ms or [float("nan")]
        return {
            "reads": self.reads,
            "failed": self.failed,
            "sent_again": self.sent_again,
            "degraded": self.degraded,
            "p50_ms": float(np.percentile(times, 50)),
            "p99_ms": float(np.percentile(times, 99)),
            "max_ms": float(np.max(times)),
            "cache": dict(self.said),
            "failures": dict(self.reasons),
            "events_acknowledged": self.acknowledged,
            "events_refused": self.refused,
        }


class FrontEnds:
    """Asks from `__enter__` to `__exit__`. `acknowledged`: the ids of all events that were."""

    def __init__(self, address: str, viewers: list[str], videos: list[str], reads_s: float, batches_s: float) -> None:
        self._address = address
        self._viewers, self._videos = viewers, videos
        self._reads_s, self._batches_s = reads_s, batches_s
        self._rng = np.random.default_rng(0)
        self._tally = Tally()
        self._lock = threading.Lock()
        self._due: queue.Queue[tuple[str, float] | None] = queue.Queue()
        self._stop = threading.Event()
        self._number = 0
        self.acknowledged: list[str] = []

    def __enter__(self) -> "FrontEnds":
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(THREADS)]
        self._threads += [
            threading.Thread(target=self._keep_asking, args=(kind, per_second), daemon=True)
            for kind, per_second in (("read", self._reads_s), ("events", self._batches_s))
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for _ in range(THREADS):
            self._due.put(None)
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)

    def next_phase(self) -> Tally:
        """What happened since the last call."""
        with self._lock:
            done, self._tally = self._tally, Tally()
        return done

    def _keep_asking(self, kind: str, per_second: float) -> None:
        due = time.perf_counter()
        while not self._stop.wait(max(0.0, due - time.perf_counter())):
            self._due.put((kind, due))
            due += 1 / per_second

    def _work(self) -> None:
        with httpx.Client(base_url=self._address, timeout=PATIENCE_S) as client:
            while (task := self._due.get()) is not None:
                kind, due = task
                if kind == "read":
                    self._read(client, due)
                else:
                    self._send_events(client)

    def _read(self, client: httpx.Client, due: float) -> None:
        viewer = self._viewers[int(self._rng.integers(len(self._viewers)))]
        answer, again, reason = None, False, ""
        for attempt in range(ATTEMPTS):
            again = attempt > 0
            time.sleep(max(0, attempt - 1) * PAUSE_S)
            try:
                answer = client.get(f"/v1/users/{viewer}/recommendations", params={"limit": 10})
                break
            except httpx.TransportError as error:
                reason = type(error).__name__
        taken_ms = 1000 * (time.perf_counter() - due)
        found = answer.json() if answer is not None and answer.status_code == 200 else {}
        with self._lock:
            tally = self._tally
            tally.reads += 1
            tally.sent_again += again
            tally.times_ms.append(taken_ms)
            if found.get("items"):
                tally.degraded += found["degraded"]
                tally.said[found["cache"]] += 1
            else:
                tally.failed += 1
                tally.reasons[reason if answer is None else f"{answer.status_code} {answer.text[:200]}"] += 1

    def _send_events(self, client: httpx.Client) -> None:
        with self._lock:
            self._number += EVENTS_AT_ONCE
            numbers = range(self._number - EVENTS_AT_ONCE, self._number)
        rows = [
            {
                "event_id": f"sent-{number}",
                "user_id": self._viewers[number * 7 % len(self._viewers)],
                "video_id": self._videos[number * 13 % len(self._videos)],
                "type": "like",
                "occurred_at": time.time() - 1,
            }
            for number in numbers
        ]
        try:
            answer = client.post("/v1/events", json={"events": rows})
            results = answer.json()["results"] if answer.status_code == 202 else []
        except (httpx.TransportError, ValueError):
            # Nobody knows what became of them: a real front end would send them again under the same ids.
            results = []
        taken = [row["event_id"] for row in results if row["status"] in ("accepted", "duplicate")]
        with self._lock:
            self.acknowledged += taken
            self._tally.acknowledged += len(taken)
            self._tally.refused += len(rows) - len(taken)
