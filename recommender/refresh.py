"""Refresh: from what the database and the embedding table hold now to a published release.

Phases (`recommender.building`) write their files into a folder aside; a run that was killed is continued by the next
one from the phase where it stopped, on the same frozen inputs. The last of them is gates; the old release serves until
then, and goes on serving when a gate fails.
"""

import contextlib
import logging
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from filelock import FileLock, Timeout

from data.digest import about_as_large
from data.embeddings import EmbeddingTable
from data.files import CorruptFileError, write_json
from data.home import Home
from data.progress import progress
from data.schema import VideoState
from data.store import Store
from recommender import release as parts
from recommender.building import Building, GateError, RefreshError
from recommender.gates import Gate
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
#: What is known of the last run, if a gate held it up.
FAILED = ".failed.json"


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


@dataclass(frozen=True)
class RefreshProgress:
    """How far a refresh is: the phase that begins now, how many are done, and all of them as in `RefreshPlan`."""

    phase: str
    done: int
    phases: list[tuple[str, float | None]]


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
    tell: Callable[[RefreshProgress], None] = lambda _: None,
) -> RefreshReport:
    """Builds, checks and publishes a release. Raises RefreshError (GateError) when nothing was published.

    accept: gates (of ACCEPTABLE) that it may fail, because somebody has looked and wants it all the same;
    still_due: is asked once no other refresh can run, and where it answers no, BusyError is raised; tell: is called at
    the beginning of each phase.
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
                report = _Refresh(store, home, settings, accept).run(tell)
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
        raise BusyError(_busy(owner)) from None


def running_elsewhere(home: Home) -> str | None:
    """Why a refresh would not begin now: who runs one; None while nobody does."""
    if home.releases.exists():
        try:
            with FileLock(home.releases / LOCK).acquire(timeout=0):
                pass
        except Timeout:
            return _busy(home.releases / OWNER)
    return None


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


def _busy(owner: Path) -> str:
    return f"another refresh is running{_by_whom(owner)}; wait for it to end"


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
        self._home = home
        self._table = _table_to_serve(store, home)
        self._state: dict[str, Any] = {}

    # ---- The run -------------------------------------------------------------------------------------------

    def run(self, tell: Callable[[RefreshProgress], None]) -> RefreshReport:
        inputs = self._inputs()
        finished = self._publish_what_was_finished(inputs)
        if finished is not None:
            return finished
        if not _can_be_continued(_read_state(self._folder / STATE), inputs):
            shutil.rmtree(self._folder, ignore_errors=True)
        room = self._room(self._sizes())
        if room.lacks:
            raise RefreshError(f"there is too little {room.lacks}")
        self._freeze(inputs, room)
        report = RefreshReport(self._state["id"], {})
        building = self._building(self._state)
        phases = building.phases()
        timed = self._timed(building)
        shares = _shares_of_time(timed)
        with progress("refresh", 100, "%") as advance:
            for name, phase in phases:
                advance(0, name)
                tell(RefreshProgress(name, len(self._state["done"]), timed))
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
            tell(RefreshProgress("publish", len(phases), timed))
            report.facts = building.facts()
            self._publish(report.facts)
        return report

    def plan(self) -> RefreshPlan:
        state = _read_state(self._folder / STATE)
        known_until = self._running.manifest["until_seq"] if self._running else 0
        sizes = self._sizes()
        return RefreshPlan(
            running=self._running.id if self._running else None,
            sizes=sizes,
            new_events=self._store.events.last_seq() - known_until,
            phases=self._timed(self._building({})),
            done=state["done"] if _can_be_continued(state, self._inputs()) else [],
            room=self._room(sizes),
        )

    def _room(self, sizes: Sizes) -> Room:
        room = room_for(sizes, self._settings, self._releases.root)
        # What an interrupted run has written is there already.
        written = sum(path.stat().st_size for path in self._folder.glob("*") if path.is_file())
        return replace(room, disk_there=room.disk_there + written)

    def _sizes(self) -> Sizes:
        table = self._table
        events, viewers = about_as_large(self._store, self._home.digest)
        return Sizes(
            videos=sum(self._store.catalogue.counts().values()),
            events=events,
            viewers=viewers,
            embeddings=len(table) if table is not None else 0,
            dim=table.dim if table is not None else 0,
        )

    def _timed(self, building: Building) -> list[tuple[str, float | None]]:
        """The phases, and the seconds that each took last time."""
        took = self._running.manifest.get("seconds", {}) if self._running else {}
        return [(name, took.get(name)) for name, _ in building.phases()]

    def _inputs(self) -> dict[str, Any]:
        return {
            "catalogue_version": self._store.catalogue.version(),
            "encoder": self._table.encoder_id if self._table else NO_ENCODER,
            "embeddings": len(self._table) if self._table else 0,
            "settings": self._settings.model_dump(),
            "accept": sorted(self._accept),
            # A run that was interrupted may have learned from a viewer who has been erased meanwhile.
            "erasures": self._store.viewers.erasures(),
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
            "format": parts.FORMAT,
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

    def _publish(self, facts: dict[str, Any]) -> None:
        parts.seal(self._folder, facts, self._state["files"])
        self._releases.adopt(self._folder, self._state["id"])
        self._releases.publish(self._state["id"])
        (self._releases.folder(self._state["id"]) / STATE).unlink()

    @cached_property
    def _running(self) -> Release | None:
        """The release that is served meanwhile; None without one, or where it cannot be read."""
        try:
            return self._releases.load_current()
        except (ReleaseError, CorruptFileError) as error:
            log.info("nothing to begin with and to compare with: %s", error)
            return None

    def _building(self, state: dict[str, Any]) -> Building:
        return Building(
            self._store, self._home, self._settings, self._accept, self._folder, state, self._table, self._running
        )


def _shares_of_time(timed: Sequence[tuple[str, float | None]]) -> dict[str, float]:
    """Which part of 100 each phase is likely to take: as last time, all alike where that is not known."""
    expected = np.array([took or 0.0 for _, took in timed]) + 1e-3
    return dict(zip((name for name, _ in timed), (100 * expected / expected.sum()).tolist(), strict=True))


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


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return state


def _can_be_continued(state: dict[str, Any], inputs: dict[str, Any]) -> bool:
    is_ours = state.get("format") == parts.FORMAT and state["inputs"] == inputs
    return is_ours and time.time() - state["frozen_at"] < CONTINUE_WITHIN_S
