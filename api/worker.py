"""The worker: what has to be done again and again beside the servers, in one process.

    the catalogue     videos that wait are encoded
    the clock         a release that has become old is refreshed
    the event stream  what is trending and what follows what are brought up to date

Several workers share the work: claims, the lock of refreshes and that of pulses see to it that nothing is done twice.
A worker may be killed at any moment, since each of the three is safe from that by itself. What fails is told, counted
and tried again after growing pauses; it ends nothing. Knows no HTTP, and nothing of how any of it is done.
"""

import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from api.leash import LEASHED_VARIABLE, end_with_parent
from api.settings import Settings
from data.home import Home
from data.store import Store
from embedder.batch import embed
from embedder.claims import free_claims_of_the_dead
from embedder.encoders import Encoder, load_encoder
from recommender.building import GateError
from recommender.refresh import BusyError, is_due, refresh
from recommender.release import Releases
from recommender.stream import take_pulse

log = logging.getLogger(__name__)

#: Encoding goes on after so long a turn, so that a large catalogue does not hold up the clock.
ENCODE_AT_MOST_S = 60.0
#: A video that failed for now (its share is away, its decoder ran out of memory) is left alone for so long at first.
VIDEO_PAUSE_S = 60.0
#: How often the clock is looked at.
CLOCK_EVERY_S = 1.0
#: What fails again and again is tried this often at least.
LONGEST_PAUSE_S = 300.0
#: How long the thread of the event stream may take to end; what it writes it writes at once or not at all.
PATIENCE_S = 5.0

CATALOGUE, CLOCK, STREAM = "encode", "refresh", "stream"


@dataclass
class WorkReport:
    """What a worker did. encoded, reused, failed: videos; releases: their ids; pulses: how many; failures: by what
    failed, how often and why last."""

    encoded: int = 0
    reused: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    releases: list[str] = field(default_factory=list)
    pulses: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "encoded": self.encoded,
            "reused": self.reused,
            "failed": dict(self.failed),
            "releases": self.releases,
            "pulses": self.pulses,
            "failures": {name: {"times": times, "reason": self.reasons[name]} for name, times in self.failures.items()},
        }


def run_worker(settings: Settings, once: bool = False) -> WorkReport:
    """Works until SIGTERM or SIGINT; with `once`, does what is due now."""
    if LEASHED_VARIABLE in os.environ:
        end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    home = settings.open_home()
    store = Store.open(settings.database(home))
    worker = Worker(store, home, settings)
    with _signals_that_stop():
        try:
            worker.run_once() if once else worker.run()
        except KeyboardInterrupt:
            log.info("stopped")
        finally:
            worker.stop()
            store.close()
    return worker.report


class Worker:
    """The three duties of a worker on one home."""

    def __init__(self, store: Store, home: Home, settings: Settings) -> None:
        self.report = WorkReport()
        self._store = store
        self._home = home
        self._settings = settings
        self._encoder: Encoder | None = None
        self._stopped = threading.Event()
        self._streaming: threading.Thread | None = None
        choices = settings.worker
        self._catalogue = _Duty(CATALOGUE, self._encode, choices.encode_every_s, self.report, eager=True)
        self._clock = _Duty(CLOCK, self._refresh, CLOCK_EVERY_S, self.report)
        self._stream = _Duty(STREAM, lambda: self._pulse(choices.stream_every_s), choices.stream_every_s, self.report)

    def run(self) -> None:
        """Works until it is interrupted."""
        log.info("working on %s", self._home.root)
        # In a thread of its own: what is trending does not wait for an encoder or a refresh.
        self._streaming = threading.Thread(target=self._repeat, args=([self._stream],), name="stream", daemon=True)
        self._streaming.start()
        self._repeat([self._catalogue, self._clock])

    def run_once(self) -> None:
        """Does what is due now; all that waits is encoded."""
        while self._catalogue.turn():
            pass
        self._clock.turn()
        _Duty(STREAM, self._pulse, 0.0, self.report).turn()

    def stop(self) -> None:
        self._stopped.set()
        if self._streaming is not None:
            self._streaming.join(PATIENCE_S)

    def _repeat(self, duties: "Sequence[_Duty]") -> None:
        while not self._stopped.is_set():
            for duty in duties:
                if time.monotonic() >= duty.next_at:
                    duty.turn()
            self._stopped.wait(max(0.0, min(duty.next_at for duty in duties) - time.monotonic()))

    # ---- The duties: each tells whether it did anything ----------------------------------------------------

    def _encode(self) -> bool:
        free_claims_of_the_dead(self._home, self._store.catalogue)
        # Nothing has been encoded by "": as long as there are no files at all, no encoder is loaded.
        if not self._waiting("" if self._encoder is None else self._encoder.id):
            return False
        if self._encoder is None:
            self._encoder = load_encoder(self._settings.embed.encoder, self._home, self._settings.embed.decode)
            if not self._waiting(self._encoder.id):
                return False
        with _set_after(ENCODE_AT_MOST_S) as enough:
            done = embed(
                self._store,
                self._home,
                self._settings.embed,
                self._encoder,
                stop=enough,
                labels=self._settings.labels,
                pause_s=VIDEO_PAUSE_S,
            )
        self.report.encoded += done.encoded
        self.report.reused += done.reused
        self.report.failed.update({str(reason): count for reason, count in done.failed.items()})
        number_failed = sum(done.failed.values())
        if done.encoded + done.reused + number_failed == 0:
            return False  # another worker was quicker
        log.info("%d encoded, %d reused, %d failed in %.1f s", done.encoded, done.reused, number_failed, done.seconds)
        return True

    def _waiting(self, encoder_id: str) -> int:
        return self._store.catalogue.count_to_encode(encoder_id, claimable=True)

    def _refresh(self) -> bool:
        if not self._refresh_is_due():
            return False
        try:
            done = refresh(self._store, self._home, self._settings.recommender, still_due=self._refresh_is_due)
        except BusyError:
            return False
        except GateError as error:
            # It is no longer due: the pause until it is again is that of a refresh.
            self.report.failures[CLOCK] += 1
            self.report.reasons[CLOCK] = str(error)
            log.error("the refresh was held up and the old release goes on serving: %s", error)
            return False
        self.report.releases.append(done.release_id)
        log.info("release %s is published", done.release_id)
        Releases(self._home.releases).prune(
            self._settings.worker.keep_releases, lambda name: log.info("release %s is deleted", name)
        )
        return True

    def _refresh_is_due(self) -> bool:
        every_s = self._settings.worker.refresh_every_s
        return every_s > 0 and is_due(self._store, self._home, every_s)

    def _pulse(self, every_s: float = 0.0) -> bool:
        try:
            pulse = take_pulse(self._store, self._home, every_s, self._stopped.is_set)
        except InterruptedError:
            return False
        if pulse is None:
            return False
        self.report.pulses += 1
        log.info("release %s: what is trending is known up to event %d", pulse.release, pulse.until_seq)
        return True


class _Duty:
    """Something that is done every so often; where it fails, after pauses that grow; where it is `eager`, at once
    again as long as there is something to do."""

    def __init__(
        self, name: str, do: Callable[[], bool], every_s: float, report: WorkReport, eager: bool = False
    ) -> None:
        self._name = name
        self._do = do
        self._every_s = every_s
        self._eager = eager
        self._report = report
        self._failures_in_a_row = 0
        self.next_at = 0.0

    def turn(self) -> bool:
        """Does it; whether there was anything to do."""
        pause = self._every_s
        did = False
        try:
            did = self._do()
            self._failures_in_a_row = 0
            if did and self._eager:
                pause = 0.0
        except Exception as error:
            self._failures_in_a_row += 1
            pause = min(LONGEST_PAUSE_S, max(pause, 1.0) * 2.0 ** (self._failures_in_a_row - 1))
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._report.failures[self._name] += 1
            self._report.reasons[self._name] = reason
            log.error("%s failed, again in %.0f s: %s", self._name, pause, reason)
            log.debug("%s failed", self._name, exc_info=True)
        self.next_at = time.monotonic() + pause
        return did


@contextmanager
def _set_after(seconds: float) -> Iterator[threading.Event]:
    """An event that is set so much later."""
    event = threading.Event()
    timer = threading.Timer(seconds, event.set)
    timer.daemon = True
    timer.start()
    try:
        yield event
    finally:
        timer.cancel()


@contextmanager
def _signals_that_stop() -> Iterator[None]:
    """SIGTERM and SIGINT interrupt once, as Ctrl-C does: whatever runs gives back what it holds. Later ones are
    ignored, so that it can."""

    def interrupt(_number: int, _frame: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    for each in before:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
