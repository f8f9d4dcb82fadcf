"""Live gauges: what is measured of the serving engine every minute, beside the requests, and what is warned of.

A share of the requests leaves a question or the scores of a list behind, which costs each a tenth of a microsecond;
a thread takes them up, asks the index and an exact search the same, and compares scores with those of the first lists
of the release. Knows neither Flask nor how any of it is measured.
"""

import atexit
import logging
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from threadpoolctl import threadpool_limits

from api.telemetry import Telemetry
from recommender.drift import Drift, drift_between, embedding_drift
from recommender.gauges import Measured, read, recall_of
from recommender.live_index import LiveIndex
from recommender.pipeline.stages import Query

# Every command reads these settings, and few need an engine.
if TYPE_CHECKING:
    from recommender.engine import Engine

log = logging.getLogger(__name__)

#: Scores of a list that count.
BEST = 10
#: Lists that may wait for the next measuring; of more, the newest.
WAITING = 1_000
#: After so much work the thread lets the others go first for a while.
REST_S = 0.002
END_WITHIN_S = 5.0


class GaugeSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    every_s: float = Field(default=60.0, gt=0, description="pause between two measurings in a process")
    share: float = Field(default=0.05, ge=0, le=1, description="share of the requests that are measured with")
    queries: int = Field(default=32, ge=1, le=1_000, description="newest searches that the index is tried with")
    lists: int = Field(
        default=200,
        ge=50,
        description="first lists of a release whose scores newer ones are compared with, and newest ones that are",
    )
    min_recall: float = Field(
        default=0.95, ge=0, le=1, description="warns when the index finds less of the exact neighbours"
    )
    max_release_age_s: float = Field(default=172_800.0, gt=0, description="warns when the release is older")
    max_delta_share: float = Field(
        default=0.2, ge=0, le=1, description="warns when more of the index came after the release"
    )
    max_drift: float = Field(
        default=0.25, gt=0, description="warns when embeddings or scores have drifted farther (PSI), beyond chance"
    )


# ---- What is too much: the one place that knows --------------------------------------------------------------

#: All that is warned of.
ABOUT = ("index_recall", "release_age", "delta_share", "embedding_drift", "score_drift")


def warnings_of(measured: Measured, settings: GaugeSettings) -> dict[str, str]:
    """A line for each threshold that is crossed, by what it is about. What was not measured crosses none."""
    found = {}
    if measured.recall is not None and measured.recall < settings.min_recall:
        found["index_recall"] = (
            f"the index finds {measured.recall:.3f} of the exact neighbours, less than {settings.min_recall:g}"
            " (gauges.min_recall)"
        )
    if measured.ages_s["release"] > settings.max_release_age_s:
        found["release_age"] = (
            f"the release is {measured.ages_s['release'] / 3600:,.1f} hours old, more than"
            f" {settings.max_release_age_s / 3600:,.1f} (gauges.max_release_age_s); run `watchnext refresh`"
        )
    # A release without vectors is all delta, however little there is: its age tells when that is too long ago.
    if measured.delta_videos < measured.videos and measured.delta_share > settings.max_delta_share:
        found["delta_share"] = (
            f"{measured.delta_share:.0%} of the index came after the release, more than"
            f" {settings.max_delta_share:.0%} (gauges.max_delta_share); run `watchnext refresh`"
        )
    compared = {
        "embedding": "new embeddings are distributed otherwise than those of the release",
        "score": "scores are distributed otherwise than in the first lists of the release",
    }
    for about, what in compared.items():
        drifts = {name: drift for name, drift in measured.drift.items() if name.startswith(about)}
        far = {name: drift.psi for name, drift in drifts.items() if drift.exceeds(settings.max_drift)}
        if far:
            found[f"{about}_drift"] = (
                f"{what}: PSI {max(far.values()):.2f} of {max(far, key=far.__getitem__)}, more than"
                f" {settings.max_drift:g} (gauges.max_drift)"
            )
    return found


# ---- Measuring ----------------------------------------------------------------------------------------------


class _EndedError(Exception):
    """The process ends, or the application has gone: nobody wants to know any more."""


class LiveGauges:
    """One for each process. Requests may leave something behind from many threads; one thread measures."""

    def __init__(
        self,
        current_engine: Callable[[], "Engine"],
        catalogue_version: Callable[[], int],
        embeddings: Path,
        settings: GaugeSettings,
        telemetry: Telemetry,
    ) -> None:
        self._current_engine = current_engine
        self._catalogue_version = catalogue_version
        self._embeddings = embeddings
        self._settings = settings
        self._telemetry = telemetry
        # Appending to them and copying them is one step each, which no lock is needed for.
        self._questions: deque[tuple[str, Query]] = deque(maxlen=settings.queries)
        self._lists: deque[tuple[str, np.ndarray]] = deque(maxlen=WAITING)
        self._scores = _ScoreHistory("", settings.lists)
        self._tried: tuple[LiveIndex | None, Query | None, float | None] = (None, None, None)
        self._compared: tuple[LiveIndex | None, Mapping[str, Drift]] = (None, {})
        self._catalogue_seen_at = time.time()
        self._crossed: dict[str, str] = {}
        self._begun = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # ---- From requests -------------------------------------------------------------------------------------

    def asked(self, engine: "Engine", query: Query) -> None:
        """A request has been answered from the index, by this engine. What it searched for is found out when it is
        measured with: a mask or a vector that is kept would be memory for nothing."""
        if random.random() < self._settings.share:
            self._questions.append((engine.release.id, query))

    def listed(self, engine: "Engine", scores: np.ndarray) -> None:
        """The candidates of a list have these scores (n,), best first."""
        if random.random() < self._settings.share:
            self._lists.append((engine.release.id, scores[:BEST].copy()))

    @property
    def warnings(self) -> list[str]:
        """Of the last measuring."""
        return list(self._crossed.values())

    # ---- The thread ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Measures from now on, until the process ends or nobody holds this any more."""
        if self._thread is not None:
            return
        with self._begun:
            if self._thread is None:
                arguments = (weakref.ref(self), self._stop, self._settings.every_s)
                self._thread = threading.Thread(target=_keep_measuring, args=arguments, name="gauges", daemon=True)
                self._thread.start()
                weakref.finalize(self, self._stop.set)
                # An interpreter must not go while a thread is in the midst of FAISS.
                atexit.register(_end, self._stop, self._thread)

    def measure(self) -> Measured:
        """Measures once, tells Prometheus, and logs each threshold when it is crossed and when that is over."""
        engine = self._current_engine()
        # One thread, as everywhere in a server: the others are for requests.
        with threadpool_limits(1, "blas"):
            recall = self._recall(engine)
            drift = {f"embedding_{name}": each for name, each in self._embedding_drift(engine.index).items()}
        scores = self._score_drift(engine)
        if scores is not None:
            drift["score"] = scores
        now = time.time()
        measured = read(engine, self._embeddings, now, recall, drift)
        ages = {**measured.ages_s, "catalogue": self._catalogue_age(engine, now)}
        crossed = warnings_of(measured, self._settings)
        self._telemetry.measured(measured, ages, {about: about in crossed for about in ABOUT})
        for about in crossed.keys() - self._crossed.keys():
            log.warning("%s", crossed[about])
        # As loud as the warning was: who has read that one is to read this one.
        for about in self._crossed.keys() - crossed.keys():
            log.warning("no longer: %s", self._crossed[about])
        self._crossed = crossed
        return measured

    def _recall(self, engine: "Engine") -> float | None:
        questions = [query for release, query in self._questions.copy() if release == engine.release.id]
        newest = questions[-1] if questions else None
        index, asked, recall = self._tried
        # Of the same questions to the same index the answer is known: a service that nobody uses rests.
        if index is not engine.index or asked is not newest:
            searches = [engine.content_search(query) for query in questions]
            recall = recall_of(engine.index, [search for search in searches if search is not None], self._rest)
            self._tried = (engine.index, newest, recall)
        return recall

    def _embedding_drift(self, index: LiveIndex) -> Mapping[str, Drift]:
        if self._compared[0] is not index:
            self._compared = (index, embedding_drift(index))
        return self._compared[1]

    def _score_drift(self, engine: "Engine") -> Drift | None:
        if self._scores.release != engine.release.id:
            self._scores = _ScoreHistory(engine.release.id, self._settings.lists)
        while self._lists:
            self._scores.take(*self._lists.popleft())
        return self._scores.drift()

    def _catalogue_age(self, engine: "Engine", now: float) -> float:
        try:
            if self._catalogue_version() == engine.view.version:
                self._catalogue_seen_at = now
        except Exception as error:
            log.warning("the catalogue's version cannot be read: %s", type(error).__name__)
        return now - self._catalogue_seen_at

    def _rest(self) -> None:
        if self._stop.wait(REST_S):
            raise _EndedError


class _ScoreHistory:
    """The best scores of the first lists of a release in this process, and of the newest."""

    def __init__(self, release: str, lists: int) -> None:
        self.release = release
        self._lists = lists
        self._first: list[np.ndarray] = []
        self._newest: deque[np.ndarray] = deque(maxlen=lists)

    def take(self, release: str, scores: np.ndarray) -> None:
        if release == self.release and len(scores):
            if len(self._first) < self._lists:
                self._first.append(scores)
            else:
                self._newest.append(scores)

    def drift(self) -> Drift | None:
        if not self._newest:
            return None
        # The scores of one list belong together: it is lists that are drawn.
        return drift_between(
            np.concatenate(self._first), np.concatenate(self._newest), (len(self._first), len(self._newest))
        )


def _keep_measuring(gauges: "weakref.ref[LiveGauges]", stop: threading.Event, every_s: float) -> None:
    while not stop.wait(every_s):
        measuring = gauges()
        if measuring is None:
            return
        try:
            measuring.measure()
        except _EndedError:
            return
        except Exception:
            log.exception("the gauges could not be measured")
        # Whoever else let go of it lets it go.
        del measuring


def _end(stop: threading.Event, thread: threading.Thread) -> None:
    stop.set()
    thread.join(END_WITHIN_S)
