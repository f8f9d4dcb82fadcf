"""The exposure log: what was shown is kept beside the requests, in batches, so that no request waits for it.

Best effort: what comes faster than the set pace, or while the database is away and the queue is full, is dropped and
counted. Knows neither Flask nor how a list is made.
"""

import atexit
import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from api.telemetry import Telemetry
from data.store import DatabaseError, Store
from data.store.exposures import Exposure

log = logging.getLogger(__name__)

BATCH = 500
GATHERING_S = 0.25
DAY_S = 86_400.0
FORGET_EVERY_S = 600.0
#: What has not been kept for so long may be kept at once.
BURST_S = 50.0
_BUCKETS = 1 << 32


class ExposureSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    share: float = Field(
        default=1.0, ge=0, le=1, description="share of the viewers whose lists are kept, with propensities and features"
    )
    per_second: float = Field(default=2.0, gt=0, description="lists that a process keeps at most, on average")
    queue: int = Field(default=1_000, ge=1, description="lists that wait for the database; more are dropped")
    keep_days: float = Field(default=14.0, gt=0, description="older ones are forgotten")


class ExposureLog:
    """Safe to use from many threads."""

    def __init__(self, store: Store, settings: ExposureSettings, telemetry: Telemetry) -> None:
        self._store = store
        self._settings = settings
        self._telemetry = telemetry
        self._waiting: queue.Queue[Exposure] = queue.Queue(settings.queue)
        self._pace = _Pace(settings.per_second, burst=max(1.0, BURST_S * settings.per_second))
        self._start = threading.Lock()
        self._writer: threading.Thread | None = None
        self._next_forgetting = 0.0

    def wants(self, user_id: str) -> bool:
        """Whether the lists of a viewer are kept: all of them, or none."""
        bucket = int.from_bytes(hashlib.blake2b(user_id.encode(), digest_size=4).digest())
        return bucket < self._settings.share * _BUCKETS

    def takes(self, user_id: str) -> bool:
        """Whether a list that is made for a viewer now is to be kept; one that is not for want of room is counted."""
        if not self.wants(user_id):
            return False
        if self._pace.has_room():
            return True
        self._telemetry.exposed("dropped", 1)
        return False

    def keep(self, make: Callable[[], Exposure]) -> None:
        """Keeps what `make` makes; never waits and never raises."""
        try:
            if not self._pace.allows():
                raise queue.Full
            self._waiting.put_nowait(make())
            if self._writer is None:
                self._begin()
        except queue.Full:
            self._telemetry.exposed("dropped", 1)
        except Exception:
            log.exception("a shown list could not be kept")
            self._telemetry.exposed("dropped", 1)

    def flush(self, within_s: float | None = None) -> None:
        """Waits until all that was given has been written or dropped; so long at most, where given."""
        done = self._waiting.all_tasks_done
        with done:
            done.wait_for(lambda: not self._waiting.unfinished_tasks, within_s)

    def _begin(self) -> None:
        with self._start:
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="exposures", daemon=True)
                self._writer.start()
                atexit.register(self.flush)

    def _write(self) -> None:
        while True:
            batch = self._gather()
            try:
                self._store.exposures.add(batch)
                self._telemetry.exposed("kept", len(batch))
                self._forget_now_and_then()
            except DatabaseError as error:
                log.warning("%d shown lists could not be kept: %s", len(batch), error.orig)
                self._telemetry.exposed("dropped", len(batch))
            except Exception:
                log.exception("%d shown lists could not be kept", len(batch))
                self._telemetry.exposed("dropped", len(batch))
            finally:
                for _ in batch:
                    self._waiting.task_done()

    def _gather(self) -> list[Exposure]:
        """The next list, and those that come soon after it."""
        batch = [self._waiting.get()]
        until = time.monotonic() + GATHERING_S
        while len(batch) < BATCH and (left := until - time.monotonic()) > 0:
            try:
                batch.append(self._waiting.get(timeout=left))
            except queue.Empty:
                break
        return batch

    def _forget_now_and_then(self) -> None:
        if time.monotonic() >= self._next_forgetting:
            self._next_forgetting = time.monotonic() + FORGET_EVERY_S
            self._store.exposures.forget_before(time.time() - self._settings.keep_days * DAY_S)


class _Pace:
    """A token bucket: `rate` a second on average, `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def has_room(self) -> bool:
        return self._tokens + (time.monotonic() - self._at) * self._rate >= 1

    def allows(self) -> bool:
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
