"""Refresh: from what the database and the embedding table hold now to a published release.

Phases write their files into a folder aside; a run that was killed is continued by the next one from the phase
where it stopped, on the same frozen inputs. Much begins with the running release: factors with its factors, the index
with its cells. Gates look at the finished folder before it is published; the old release serves until then, and goes on
serving when a gate fails.
"""

import contextlib
import logging
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from filelock import FileLock, Timeout
from pydantic import ValidationError

from data.embeddings import EmbeddingTable
from data.files import CorruptFileError, write_json
from data.home import Home
from data.interactions import Interactions, load_interactions
from data.progress import progress
from data.schema import VideoState
from data.store import Store
from recommender import release as parts
from recommender.catalogue_view import CatalogueView
from recommender.cold_start import fit_cold_start
from recommender.collaborative import LatentFactors
from recommender.engine import FEATURES, Engine
from recommender.fitting import FITS, QUICK, fit_model
from recommender.gates import Comparison, Failure, Gate, compare, held_back, quality_failures, size_failures
from recommender.index import VectorIndex, recall
from recommender.live_index import LiveIndex
from recommender.pipeline.sources.history import SPARSE_FROM
from recommender.popularity import measure_popularity
from recommender.ranking.exposures import shown_requests
from recommender.ranking.ranker import PastRequests, train_ranker
from recommender.ranking.windows import most_requests, past_requests, rolling_windows
from recommender.release import NO_ENCODER, Release, ReleaseError, Releases
from recommender.room import Room, Sizes, room_for
from recommender.settings import RecommenderSettings

log = logging.getLogger(__name__)

BUILDING = ".building"
LOCK, OWNER = ".refresh.lock", ".refresh.owner.json"
STATE = ".state.json"
#: Share of the videos with any vector of which an encoder must have one to take over from another.
ENOUGH = 0.9
#: An interrupted run is continued within this time; after it what it froze is too old to publish.
CONTINUE_WITHIN_S = 3600.0
#: How many queries the recall of an index is measured with, and among how many neighbours.
ASKED, RECALL_AT = 200, 100
#: What is known of the last run, if a gate held it up.
FAILED = ".failed.json"


class RefreshError(RuntimeError):
    """Nothing was published: another refresh runs, there is nothing to build from, or not enough room to build in."""


class GateError(RefreshError):
    """The built release did not pass a gate; the message names the number that failed."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        super().__init__("; ".join(map(str, failures)))
        self.failures = list(failures)


class BusyError(RefreshError):
    """Another refresh runs, or has just done what this one was for."""


@dataclass(frozen=True)
class RefreshPlan:
    """What a refresh would do: on what, phase by phase (name, seconds that it took last time or None), in which room.

    done: phases of an interrupted run that it would take over; running: the release that it would begin with.
    """

    running: str | None
    sizes: Sizes
    new_events: int
    phases: list[tuple[str, float | None]]
    done: list[str]
    room: Room


@dataclass
class RefreshReport:
    """What a refresh did: the published release, seconds by phase, phases taken over from an interrupted run."""

    release_id: str
    facts: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)
    resumed: list[str] = field(default_factory=list)


def refresh(
    store: Store,
    home: Home,
    settings: RecommenderSettings | None = None,
    accept: Collection[Gate] = (),
    still_due: Callable[[], bool] = lambda: True,
) -> RefreshReport:
    """Builds, checks and publishes a release. Raises RefreshError (GateError) when nothing was published.

    accept: gates (of ACCEPTABLE) that it may fail, because somebody has looked and wants it all the same;
    still_due: is asked once no other refresh can run, and where it answers no, BusyError is raised.
    """
    settings = settings or RecommenderSettings()
    home.releases.mkdir(parents=True, exist_ok=True)
    # The system takes the lock from a process that has died: there is no stale one.
    lock, owner = FileLock(home.releases / LOCK), home.releases / OWNER
    try:
        with lock.acquire(timeout=0):
            if not still_due():
                raise BusyError("another refresh has just ended")
            known = _known(store)
            write_json(owner, {"pid": os.getpid(), "host": socket.gethostname(), "started_at": time.time()})
            try:
                report = _Refresh(store, home, settings, accept).run()
            except GateError as error:
                # A full disk must not hide which gate it was.
                with contextlib.suppress(OSError):
                    write_json(home.releases / FAILED, {"at": time.time(), "known": known, "reason": str(error)})
                raise
            finally:
                owner.unlink(missing_ok=True)
            (home.releases / FAILED).unlink(missing_ok=True)
            return report
    except Timeout:
        raise BusyError(f"another refresh is running{_by_whom(owner)}; wait for it to end") from None


def is_due(store: Store, home: Home, every_s: float) -> bool:
    """Whether a refresh on a schedule would begin now: the last one is so long ago, and something has changed since.

    A refresh that a gate held up counts as one, and so does a release that was rolled back: neither is built again at
    once. The first one waits for the first video to be encoded, where any will be.
    """
    last = _last_run(home)
    if last is None:
        counts = store.catalogue.counts()
        return bool(counts) and (VideoState.PENDING not in counts or VideoState.READY in counts)
    at, known = last
    return time.time() - at >= every_s and known != _known(store)


def _known(store: Store) -> dict[str, int]:
    """What a release is built from, in two numbers: an encoder that adds a vector writes to the catalogue, too."""
    return {"catalogue_version": store.catalogue.version(), "until_seq": store.events.last_seq()}


def _last_run(home: Home) -> tuple[float, dict[str, int]] | None:
    """When the last refresh ended, and what it knew; None before the first."""
    runs = []
    failed = _read_state(home.releases / FAILED)
    if {"at", "known"} <= set(failed):
        runs.append((float(failed["at"]), dict(failed["known"])))
    for manifest in Releases(home.releases).list():
        # One that was killed before it could publish what it had built has not ended.
        ended = manifest["current"] or not (home.releases / manifest["id"] / STATE).exists()
        if ended and "damaged" not in manifest:
            known = {name: manifest[name] for name in ("catalogue_version", "until_seq")}
            runs.append((manifest["created_at"], known))
    return max(runs, key=lambda run: run[0], default=None)


def plan_refresh(store: Store, home: Home, settings: RecommenderSettings | None = None) -> RefreshPlan:
    """What `refresh` would do now. Changes nothing."""
    home.releases.mkdir(parents=True, exist_ok=True)
    return _Refresh(store, home, settings or RecommenderSettings()).plan()


def _by_whom(owner: Path) -> str:
    try:
        facts = orjson.loads(owner.read_bytes())
        since = int(time.time() - facts["started_at"])
        return f" (process {facts['pid']} on {facts['host']}, for {since} s)"
    except (OSError, orjson.JSONDecodeError, KeyError):
        return ""


class _Refresh:
    def __init__(self, store: Store, home: Home, settings: RecommenderSettings, accept: Collection[Gate] = ()) -> None:
        self._store = store
        self._settings = settings
        self._accept = set(accept)
        self._releases = Releases(home.releases)
        self._folder = home.releases / BUILDING
        self._embeddings = home.embeddings
        self._digest = home.digest
        self._table = _table_to_serve(store, home)
        self._state: dict[str, Any] = {}

    # ---- The run -------------------------------------------------------------------------------------------

    def run(self) -> RefreshReport:
        inputs = self._inputs()
        finished = self._publish_what_was_finished(inputs)
        if finished is not None:
            return finished
        if not _can_be_continued(_read_state(self._folder / STATE), inputs):
            shutil.rmtree(self._folder, ignore_errors=True)
        room = self._room()
        if room.lacks:
            raise RefreshError(f"there is too little {room.lacks}")
        self._freeze(inputs, room)
        report = RefreshReport(self._state["id"], {})
        phases = self._phases()
        shares = self._shares_of_time([name for name, _ in phases])
        with progress("refresh", 100, "%") as advance:
            for name, phase in phases:
                advance(0, name)
                if name in self._state["done"]:
                    report.resumed.append(name)
                else:
                    started = time.perf_counter()
                    try:
                        phase()
                    except GateError:
                        # What failed is not taken up again: the next run begins with what is known then.
                        shutil.rmtree(self._folder)
                        raise
                    report.seconds[name] = self._state["seconds"][name] = time.perf_counter() - started
                    self._state["done"].append(name)
                    self._save_state()
                    log.info("refresh: %s took %.1f s", name, report.seconds[name])
                advance(shares[name])
            advance(0, "publish")
            report.facts = self._publish()
        return report

    def plan(self) -> RefreshPlan:
        took = self._running.manifest.get("seconds", {}) if self._running else {}
        state = _read_state(self._folder / STATE)
        known_until = self._running.manifest["until_seq"] if self._running else 0
        return RefreshPlan(
            running=self._running.id if self._running else None,
            sizes=self._sizes(),
            new_events=self._store.events.last_seq() - known_until,
            phases=[(name, took.get(name)) for name, _ in self._phases()],
            done=state["done"] if _can_be_continued(state, self._inputs()) else [],
            room=self._room(),
        )

    def _room(self) -> Room:
        room = room_for(self._sizes(), self._settings, self._releases.root)
        # What an interrupted run has written is there already.
        written = sum(path.stat().st_size for path in self._folder.glob("*") if path.is_file())
        return replace(room, disk_there=room.disk_there + written)

    def _phases(self) -> list[tuple[str, Callable[[], None]]]:
        return [
            ("catalogue", self._write_videos),
            *((name.replace("_", " "), partial(self._write_model, name)) for name in FITS),
            ("popularity", self._write_popularity),
            ("index", self._write_index),
            ("cold start", self._write_cold_start),
            ("ranker", self._write_ranker),
            ("gates", self._pass_gates),
        ]

    def _sizes(self) -> Sizes:
        table = self._table
        return Sizes(
            videos=sum(self._store.catalogue.counts().values()),
            events=self._store.events.count(),
            viewers=self._store.events.count_viewers(),
            embeddings=len(table) if table is not None else 0,
            dim=table.dim if table is not None else 0,
        )

    def _shares_of_time(self, phases: Sequence[str]) -> dict[str, float]:
        """Which part of 100 each phase is likely to take: that of the running release's, all alike without one."""
        took = self._running.manifest.get("seconds", {}) if self._running else {}
        expected = np.array([took.get(name, 0.0) for name in phases]) + 1e-3
        return dict(zip(phases, (100 * expected / expected.sum()).tolist(), strict=True))

    def _inputs(self) -> dict[str, Any]:
        return {
            "catalogue_version": self._store.catalogue.version(),
            "encoder": self._table.encoder_id if self._table else NO_ENCODER,
            "embeddings": len(self._table) if self._table else 0,
            "settings": self._settings.model_dump(),
            "accept": sorted(self._accept),
        }

    def _publish_what_was_finished(self, inputs: dict[str, Any]) -> RefreshReport | None:
        """A run that was killed between moving its release onto the shelf and publishing it: publishes it."""
        for path in self._releases.root.glob(f"[!.]*/{STATE}"):
            state = _read_state(path)
            waits = _can_be_continued(state, inputs) and self._releases.current_id() != path.parent.name
            try:
                if waits:
                    self._releases.publish(path.parent.name)
            except CorruptFileError as error:
                log.error("what the last run has built is passed over: %s", error)
                waits = False
            path.unlink()
            if waits:
                return RefreshReport(path.parent.name, parts.read_manifest(path.parent), resumed=state["done"])
        return None

    def _freeze(self, inputs: dict[str, Any], room: Room) -> None:
        """Fixes what this release is built from, or takes up an interrupted run with the same inputs."""
        self._state = _read_state(self._folder / STATE)
        if self._state:
            return
        self._folder.mkdir(exist_ok=True)
        self._state = {
            "id": time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(3),
            "inputs": inputs,
            "frozen_at": time.time(),
            "memory_estimated": round(room.memory),
            "until_seq": self._store.events.last_seq(),
            "models": [],
            "done": [],
            "seconds": {},
            "gates": {},
            "accepted": [],
        }
        self._save_state()

    def _save_state(self) -> None:
        write_json(self._folder / STATE, self._state)

    def _publish(self) -> dict[str, Any]:
        facts = self._facts()
        parts.seal(self._folder, facts)
        self._releases.adopt(self._folder, self._state["id"])
        self._releases.publish(self._state["id"])
        (self._releases.folder(self._state["id"]) / STATE).unlink()
        return facts

    def _facts(self) -> dict[str, Any]:
        index = self._built_index
        return {
            "id": self._state["id"],
            "created_at": time.time(),
            "encoder": self._state["inputs"]["encoder"],
            "index": index.description,
            "collaborative": "+".join(self._state["models"]) or "none",
            "counts": {"videos": len(self._videos), "embeddings": len(index), **self._state["counts"]},
            "until_seq": self._state["until_seq"],
            "newest_event_at": self._state.get("newest_event_at"),
            **self._state["inputs"],
            "gates": self._state["gates"],
            "accepted": self._state["accepted"],
            "cold_start": self._state["cold_start"],
            "ranker": self._state["ranker"],
            "held_back": self._state["held_back"],
            "seconds": self._state["seconds"],
            "memory_estimated": self._state["memory_estimated"],
        }

    # ---- The phases ----------------------------------------------------------------------------------------

    def _write_videos(self) -> None:
        videos = self._store.catalogue.ids(removed=False)
        if not videos:
            raise RefreshError("the catalogue is empty; add videos first (`watchnext videos add FOLDER`)")
        parts.write_videos(self._folder, videos)

    def _write_model(self, name: str) -> None:
        try:
            start = self._factors_so_far() if name == "collaborative" else None
            model = fit_model(name, self._interactions, self._settings, self._folder / f".{name}", start)
        except ArithmeticError as error:
            raise GateError([Failure("finite", str(error))]) from error
        shutil.rmtree(self._folder / f".{name}", ignore_errors=True)
        if model is not None:
            parts.write_model(self._folder, name, model)
            self._state["models"].append(name)
        if isinstance(model, LatentFactors) and len(model.items) >= SPARSE_FROM:
            # Without any viewer a video has no factors, and nobody is led to it by them.
            met = np.flatnonzero(model.items.any(axis=1))
            viewers = _some_viewers(model, self._interactions)
            parts.write_factor_index(self._folder, self._index_of(model.items[met], met, asked=viewers))

    def _factors_so_far(self) -> np.ndarray | None:
        """The factors (V, F) of the running release in the columns of this one, 0 for videos that it does not know."""
        factors = self._running.models.get("collaborative") if self._running else None
        if self._running is None or not isinstance(factors, LatentFactors) or self._running_knows_held_back:
            return None
        column_there = {name: column for column, name in enumerate(self._running.videos)}
        there = np.fromiter((column_there.get(name, -1) for name in self._videos), np.int64, len(self._videos))
        return np.where((there >= 0)[:, None], factors.items[there], np.float32(0))

    def _write_popularity(self) -> None:
        interactions = self._interactions
        # Popularity is decayed to the newest event's time, but never to the future.
        newest = min(float(interactions.time.max(initial=0.0)), time.time())
        parts.write_popularity(
            self._folder,
            measure_popularity(interactions, newest, self._settings.popularity),
            interactions.audience(),
        )
        self._state["newest_event_at"] = newest if len(interactions.time) else None
        self._state["counts"] = {
            "viewers": len(np.unique(self._everybody.viewer)),
            "interactions": int((self._everybody.signal > 0).sum()),
        }
        self._state["held_back"] = self._share_held_back

    def _write_index(self) -> None:
        if self._table is not None:
            try:
                self._table.verify()
            except CorruptFileError as error:
                raise GateError([Failure("checksums", str(error))]) from error
        self._refuse_lost_embeddings()
        parts.write_index(self._folder, self._built_index)

    def _refuse_lost_embeddings(self) -> None:
        """Videos that count as encoded must have their vectors, or a lost folder would silently empty the lists."""
        encoder = self._state["inputs"]["encoder"]
        encoded = self._store.catalogue.encoded_ids(None if encoder == NO_ENCODER else encoder)
        here = 0 if self._table is None else int((self._table.rows_of(encoded) >= 0).sum())
        least = self._settings.gates.embedded
        if here < least * len(encoded):
            self._hold_against(
                [
                    Failure(
                        "embeddings",
                        f"{here} of {len(encoded)} encoded videos have a vector,"
                        f" {least:.0%} are needed; run `watchnext embed`, which encodes the others again",
                    )
                ]
            )

    def _write_cold_start(self) -> None:
        factors = parts.read_model(self._folder, "collaborative")
        self._state["cold_start"] = None
        if isinstance(factors, LatentFactors):
            audience = self._interactions.audience()
            choices = self._settings.cold_start
            young = self._young_part_of_running("cold_start", choices.keep_hours)
            like = self._running.cold_start if self._running is not None and young is not None else None
            fitted = fit_cold_start(self._view, LiveIndex(self._built_index), factors, audience, choices, like)
            if fitted is not None:
                parts.write_cold_start(self._folder, fitted)
                at = young["trained_at"] if young is not None and like is not None else time.time()
                self._state["cold_start"] = {"trust": fitted.trust, "trained_at": at}

    def _write_ranker(self) -> None:
        """A ranker, where there is enough to learn from and it is better than the fusion on what it has not seen."""
        choices, interactions = self._settings.ranker, self._interactions
        if self._take_over_ranker():
            return
        self._state["ranker"] = {"serves": False}
        # The past cannot be asked with models that are not fitted for it: no ranker would serve beside them.
        if not choices.enabled or any(name not in QUICK for name in self._state["models"]):
            return
        windows = rolling_windows(interactions, choices)
        if most_requests(windows, interactions) < choices.min_groups:
            return
        some = interactions.of_some_viewers(choices.viewers_fitted)
        found = (
            past_requests(window, number, some, self._view, self._built_index, self._settings, interactions)
            for number, window in enumerate(windows)
        )
        past = [requests for requests in found if requests is not None]
        if not past:
            return
        shown = self._shown_requests([window.start for window in windows])
        trained = train_ranker(PastRequests.together(past), FEATURES, choices, shown=shown)
        if trained is None:
            return
        ranker, comparison = trained
        self._state["ranker"] = {
            "serves": comparison.trees_are_better,
            "trained_at": time.time(),
            **asdict(comparison),
        }
        if comparison.trees_are_better:
            parts.write_ranker(self._folder, ranker)

    def _take_over_ranker(self) -> bool:
        """Takes over the running release's ranker, or that none was better, while it is young; whether it did."""
        running = self._running
        trained = self._young_part_of_running("ranker", self._settings.ranker.keep_hours)
        if running is None or trained is None:
            return False
        readable = running.ranker is not None and running.ranker.names == FEATURES
        if trained["serves"] and not readable:
            return False
        if trained["serves"] and running.ranker is not None:
            parts.write_ranker(self._folder, running.ranker)
        self._state["ranker"] = trained
        return True

    def _young_part_of_running(self, name: str, keep_hours: float) -> dict[str, Any] | None:
        """What the running release says of one of its parts, where that was found for the same settings and encoder, in
        the last hours, and without viewers who are held back now; else None."""
        running = self._running
        if running is None or self._running_knows_held_back:
            return None
        if any(running.manifest[key] != self._state["inputs"][key] for key in ("settings", "encoder")):
            return None
        facts: dict[str, Any] = running.manifest[name] or {}
        return facts if time.time() - facts.get("trained_at", 0.0) < keep_hours * 3600 else None

    def _shown_requests(self, window_starts: Sequence[float]) -> PastRequests | None:
        """What came of lists that were shown, once all that counts as their doing has happened."""
        choices = self._settings.ranker
        horizon_s = choices.exposure_hours * 3600
        lists = self._store.exposures.with_features(FEATURES, self._state["frozen_at"] - horizon_s, choices.exposures)
        if len(lists) == 0:
            return None
        impressions = self._store.events.impressions(float(lists.shown_at.min()))
        return shown_requests(lists, impressions, self._interactions, self._view, window_starts, horizon_s)

    def _pass_gates(self) -> None:
        """The finished release is read as a server would read it, and measured."""
        parts.seal(self._folder, {"id": self._state["id"], "created_at": 0.0, "encoder": self._encoder})
        built = parts.load_release(self._folder)
        (self._folder / parts.MANIFEST).unlink()
        bounds, measured = self._settings.gates, self._state["gates"]
        for path in sorted(self._folder.glob("*.npy")):
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise GateError([Failure("finite", f"{path.stem} hold numbers that are not finite")])
        failures: list[Failure] = []
        for name, index, matrix, asked in self._searched(built):
            measured[name] = found = recall(index, matrix, asked, min(RECALL_AT, len(index)))
            if found < bounds.recall and name == "recall":
                failures.append(
                    Failure("recall", f"{found:.4f} of the exact neighbours are found, {bounds.recall} are needed")
                )
            elif found < bounds.recall:
                # Among videos that hardly anybody met it is noise; what lists lose is for the gate of quality.
                log.warning("%s is %.4f, below %.2f", name, found, bounds.recall)
        if self._running is not None:
            here = {"videos": len(built.videos), "embeddings": len(built.index), **self._state["counts"]}
            failures += size_failures(here, self._running.manifest["counts"], bounds.least_size)
            compared = self._compared_with(self._running, built)
            if compared is not None:
                measured["quality"] = asdict(compared)
                failures += quality_failures(compared, bounds)
        self._hold_against(failures)

    def _hold_against(self, failures: Sequence[Failure]) -> None:
        """Raises GateError for those that nobody has accepted beforehand."""
        refused = [failure for failure in failures if failure.gate not in self._accept]
        if refused:
            raise GateError(refused)
        for failure in failures:
            log.warning("%s; accepted", failure)
        self._state["accepted"] += map(str, failures)

    def _searched(self, built: Release) -> Iterator[tuple[str, VectorIndex, np.ndarray, np.ndarray]]:
        """(name of the measure, index, what it was built from, what it is asked for) of each that is approximate."""
        if self._vectors is None or built.index.kind == "flat":
            self._state["gates"]["recall"] = 1.0
        else:
            some = np.random.default_rng(1).choice(len(self._vectors), min(ASKED, len(self._vectors)), replace=False)
            yield "recall", built.index, self._vectors, self._vectors[np.sort(some)]
        factors = built.models.get("collaborative")
        if built.factor_index is not None and isinstance(factors, LatentFactors):
            viewers = _some_viewers(factors, self._interactions, seed=1)
            yield "factor_recall", built.factor_index, factors.items[built.factor_index.ids], viewers

    def _compared_with(self, running: Release, built: Release) -> Comparison | None:
        """Both releases, each with the settings that it was made with, on viewers whom neither has learned from."""
        share = min(self._share_held_back, running.manifest.get("held_back", 0.0))
        names = self._everybody.viewers
        unseen = self._everybody.take(held_back(names, share)[self._everybody.viewer]) if share else None
        if unseen is None or len(unseen) == 0:
            return None
        try:
            settings = RecommenderSettings.model_validate(running.manifest["settings"])
        except ValidationError:
            settings = self._settings
        new = Engine(built, self._view, self._settings)
        known = all(name in self._view.column_of for name in running.videos)
        view = self._view.in_columns(running.videos) if known else CatalogueView.load(self._store, running.videos)
        there = Engine(running, view, settings).with_newest_videos(self._store.catalogue, self._embeddings)
        return compare(new, there, unseen, self._settings)

    # ---- What several phases need --------------------------------------------------------------------------

    @cached_property
    def _videos(self) -> list[str]:
        videos: list[str] = orjson.loads((self._folder / "videos.json").read_bytes())
        return videos

    @cached_property
    def _column_of(self) -> dict[str, int]:
        return {name: column for column, name in enumerate(self._videos)}

    @cached_property
    def _running(self) -> Release | None:
        """The release that is served meanwhile; None without one, or where it cannot be read."""
        try:
            return self._releases.load_current()
        except (ReleaseError, CorruptFileError) as error:
            log.info("nothing to begin with and to compare with: %s", error)
            return None

    @cached_property
    def _everybody(self) -> Interactions:
        """What viewers did until the run began, in the columns of this release."""
        return load_interactions(self._store, self._state["until_seq"], self._digest).in_columns(self._videos)

    @cached_property
    def _share_held_back(self) -> float:
        """That of the running release while it is about as large as one would choose now, so that it stays the same."""
        wanted = self._settings.gates.share_held_back(len(self._everybody.viewers))
        there = self._running.manifest.get("held_back", 0.0) if self._running else 0.0
        return there if 0.8 * there <= wanted <= 1.25 * there else wanted

    @property
    def _running_knows_held_back(self) -> bool:
        """Whether the running release has learned from viewers who are held back now: nothing may begin with it."""
        return self._running is not None and self._share_held_back > self._running.manifest.get("held_back", 0.0)

    @cached_property
    def _interactions(self) -> Interactions:
        """What is learned from: what everybody did but those who are held back."""
        everybody = self._everybody
        if not self._share_held_back:
            return everybody
        return everybody.take(~held_back(everybody.viewers, self._share_held_back)[everybody.viewer])

    @cached_property
    def _view(self) -> CatalogueView:
        return CatalogueView.load(self._store, self._videos)

    @property
    def _encoder(self) -> str:
        return str(self._state["inputs"]["encoder"])

    @cached_property
    def _rows(self) -> np.ndarray:
        """Which rows (n,) int64 of the embedding table are of videos of this release, in the order of its columns."""
        if self._table is None:
            return np.zeros(0, np.int64)
        rows = self._table.rows_of(self._videos)
        return rows[rows >= 0]

    @cached_property
    def _vectors(self) -> np.ndarray | None:
        """(n, D) float32, in the order of the columns; None where there are none."""
        if self._table is None or len(self._rows) == 0:
            return None
        in_order = len(self._rows) == len(self._table) and bool((self._rows == np.arange(len(self._rows))).all())
        return self._table.matrix if in_order else self._table.matrix[self._rows]

    @cached_property
    def _built_index(self) -> VectorIndex:
        if "index" in self._state["done"]:
            return parts.read_index(self._folder)
        if self._table is None or self._vectors is None:
            return VectorIndex.build(np.zeros((0, 1), np.float32))
        names = self._table.ids[self._rows]
        columns = np.fromiter((self._column_of[name] for name in names), np.int64, len(names))
        same_encoder = self._running is not None and self._running.manifest["encoder"] == self._encoder
        before = self._running.index if self._running is not None and same_encoder else None
        return self._index_of(self._vectors, columns, before=before)

    def _index_of(
        self,
        matrix: np.ndarray,
        ids: np.ndarray | None = None,
        asked: np.ndarray | None = None,
        before: VectorIndex | None = None,
    ) -> VectorIndex:
        try:
            return VectorIndex.build(matrix, ids, self._settings.index, asked, before)
        except ValueError as error:
            raise RefreshError(str(error)) from error


def _table_to_serve(store: Store, home: Home) -> EmbeddingTable | None:
    """The table that has a vector of the most ready videos; of equals, the one they were last encoded for.

    So while another encoder works through the catalogue, releases go on with the old one. They switch when it is done,
    although it may have made nothing of a few videos.
    """
    tables = EmbeddingTable.all(home.embeddings)
    ready = store.catalogue.encoded_ids()
    covered = {table.encoder_id: int((table.rows_of(ready) >= 0).sum()) for table in tables}
    last = {table.encoder_id: len(store.catalogue.encoded_ids(table.encoder_id)) for table in tables}
    most = max(covered.values(), default=0)
    for table in sorted(tables, key=lambda table: last[table.encoder_id], reverse=True):
        share = covered[table.encoder_id] / max(most, 1)
        if last[table.encoder_id] and store.catalogue.count_to_encode(table.encoder_id) == 0:
            if share >= ENOUGH:
                return table
            log.warning(
                "%s has made vectors of %d videos, where there are %d: the release does without it",
                table.encoder_id,
                covered[table.encoder_id],
                most,
            )
    return max(tables, key=lambda table: (covered[table.encoder_id], last[table.encoder_id]), default=None)


def _some_viewers(factors: LatentFactors, interactions: Interactions, seed: int = 0) -> np.ndarray:
    """The factors (n, F) float32 of viewers drawn by chance: what the index of the factors will be asked for."""
    positives = interactions.positives()
    known = np.flatnonzero(np.diff(positives.indptr))
    drawn = np.random.default_rng(seed).permutation(known)[:ASKED]
    entries = [slice(*positives.indptr[viewer : viewer + 2]) for viewer in drawn.tolist()]
    return np.stack([factors.fold_in(positives.indices[each], positives.data[each]) for each in entries])


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return state


def _can_be_continued(state: dict[str, Any], inputs: dict[str, Any]) -> bool:
    return state.get("inputs") == inputs and time.time() - state["frozen_at"] < CONTINUE_WITHIN_S
