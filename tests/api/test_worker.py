"""The worker as a process: it encodes, refreshes and follows the events, alone or beside others, until it ends."""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from flask import Flask

from api.cli import main
from api.engines import EngineKeeper
from api.leash import LEASHED_VARIABLE
from api.settings import load_settings
from api.worker import Worker
from data.embeddings import EmbeddingTable
from data.home import Home
from data.schema import Event, Video, VideoState
from data.store import Store
from recommender.pulse import Pulses
from recommender.refresh import BusyError, is_due, refresh
from recommender.release import Releases
from recommender.settings import RecommenderSettings
from tests.api.conftest import DAY, START
from tests.embedder.made_clips import repeat_video, write_video

LIMIT_S = 60.0
#: Quick to load, and quick at work.
ENCODER = {"WATCHNEXT_EMBED__ENCODER__NAME": "handcrafted", "WATCHNEXT_EMBED__WORKERS": "1"}
NEVER = {"WATCHNEXT_WORKER__REFRESH_EVERY_S": "0"}
OFTEN = {"WATCHNEXT_WORKER__REFRESH_EVERY_S": "0.5"}
AT_ONCE = {"WATCHNEXT_WORKER__REFRESH_EVERY_S": "0.01"}
QUICK = {"WATCHNEXT_WORKER__ENCODE_EVERY_S": "0.1", "WATCHNEXT_WORKER__STREAM_EVERY_S": "0.1"}

OFTEN_LOOKED = {"encode_every_s": 0.01, "refresh_every_s": 0.0, "stream_every_s": 0.1}


def command(home: Home, *options: str) -> list[str]:
    return [sys.executable, "-m", "api.cli", "--home", str(home.root), "worker", *options]


class Running:
    """A worker process, and what it logs."""

    def __init__(self, home: Home, *options: str, **environment: str) -> None:
        self._log = home.root / f"worker-{secrets.token_hex(4)}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command(home, *options, "--json"),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | ENCODER | {"OMP_NUM_THREADS": "1"} | environment,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def report(self, code: int = 0) -> dict[str, Any]:
        """What it says that it did, at its end."""
        out, _ = self.process.communicate(timeout=LIMIT_S)
        assert self.process.returncode == code, self.log
        found: dict[str, Any] = json.loads(out)
        return found

    def stop(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGTERM)
        return self.report()


@contextmanager
def working(home: Home, **environment: str) -> Iterator[Running]:
    """A worker that works until the end of the block, where it is killed if it has not been stopped."""
    worker = Running(home, **QUICK, **environment)
    try:
        until(lambda: "working on" in worker.log, worker)
        yield worker
    finally:
        worker.process.kill()
        worker.process.communicate(timeout=LIMIT_S)


def until(happened: Callable[[], object], worker: Running | None = None) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        if worker is not None and worker.process.poll() is not None:
            pytest.fail(f"the worker has ended: {worker.log}")
        time.sleep(0.02)


def current(home: Home) -> str | None:
    return Releases(home.releases).current_id()


def shelf(home: Home) -> set[str]:
    return {manifest["id"] for manifest in Releases(home.releases).list()}


def add_clips(store: Store, folder: Path, numbers: range) -> list[str]:
    folder.mkdir(exist_ok=True)
    files = [write_video(folder / f"clip-{number}.mp4", 24, seed=number, size=(192, 144)) for number in numbers]
    store.catalogue.upsert(Video(id=path.stem, media_path=str(path), published_at=time.time() - 60) for path in files)
    return [path.stem for path in files]


def state_of(store: Store, video_id: str) -> VideoState | None:
    record = store.catalogue.get(video_id)
    return None if record is None else record.state


def like(store: Store, viewer: str, *videos: str) -> None:
    first = store.events.last_seq()
    store.events.add(
        [
            Event.model_validate(
                {"event_id": f"live-{first}-{place}", "user_id": viewer, "video_id": video, "type": "complete"}
                | {"occurred_at": START + 8 * DAY + first + place}
            )
            for place, video in enumerate(videos)
        ]
    )


def number_of_released(home: Home) -> int:
    return len(shelf(home))


# ---- The catalogue -------------------------------------------------------------------------------------------


def test_videos_that_are_added_are_encoded_and_in_the_lists_of_running_servers(
    home: Home, store: Store, tmp_path: Path
) -> None:
    clips = add_clips(store, tmp_path / "clips", range(4))
    like(store, "ann", *clips[:2])
    with working(home) as worker:
        until(lambda: current(home), worker)
        keeper = EngineKeeper(home, store, RecommenderSettings(), 1e-6)
        assert len(keeper.current().release.index), "the first release waited for vectors"
        (late,) = add_clips(store, tmp_path / "clips", range(4, 5))
        until(lambda: state_of(store, late) == VideoState.READY, worker)
        until(lambda: late in keeper.current().column_of, worker)
        engine = keeper.current()
        here, _ = engine.index.vectors(engine.columns([late]))
        assert here.all() and engine.release.id == current(home) and number_of_released(home) == 1


def test_after_kill_9_the_next_worker_finishes_and_two_share_what_is_left(
    home: Home, store: Store, tmp_path: Path
) -> None:
    clips = add_clips(store, tmp_path / "clips", range(8))
    with working(home, WATCHNEXT_EMBED__AHEAD="8") as worker:
        until(store.catalogue.lease_owners, worker)
    assert store.catalogue.lease_owners(), "it was killed while it held claims"
    both = [Running(home, "--once", **NEVER, WATCHNEXT_EMBED__AHEAD="1") for _ in range(2)]
    encoded = [worker.report()["encoded"] for worker in both]
    assert {state_of(store, name) for name in clips} == {VideoState.READY} and sum(encoded) <= len(clips)
    (table,) = EmbeddingTable.all(home.embeddings)
    table.verify()
    assert sorted(table.ids) == clips and sum(block.rows for block in table._blocks) == len(clips)
    assert store.catalogue.lease_owners() == []


def test_a_video_that_fails_for_now_is_left_alone_for_a_while(home: Home, store: Store, tmp_path: Path) -> None:
    store.catalogue.upsert([Video(id="away", media_path=str(tmp_path / "away.mp4"))])
    settings = load_settings(home=home.root, embed={"encoder": {"name": "handcrafted"}, "workers": 1})
    first, second = (Worker(store, home, settings) for _ in range(2))
    for worker in (first, second):
        worker.run_once()
    assert (first.report.failed, second.report.failed) == ({"not_found": 1}, {})
    record = store.catalogue.get("away")
    assert record is not None and (record.state, record.attempts) == (VideoState.PENDING, 1)


def test_an_encoder_that_cannot_be_had_stops_nothing_else(
    world: Home, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip.mp4").touch()
    store.catalogue.upsert([Video(id="clip", media_path=str(tmp_path / "clip.mp4"))])
    like(store, "ann", "space-1")
    environment = {"WATCHNEXT_HOME": str(world.root), "WATCHNEXT_EMBED__ENCODER__NAME": f"hub:{tmp_path / 'nowhere'}"}
    for name, value in (AT_ONCE | environment).items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main(["worker", "--once", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert exit_.value.code == 1 and report["failures"]["encode"]["times"] == 1
    assert "nowhere" in report["failures"]["encode"]["reason"] and report["releases"] == [current(world)]


def test_what_fails_is_tried_again_after_growing_pauses(
    home: Home, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.catalogue.upsert([Video(id="clip", media_path=str(tmp_path / "clip.mp4"))])
    encoder = {"name": f"hub:{tmp_path / 'nowhere'}"}
    worker = Worker(store, home, load_settings(home=home.root, embed={"encoder": encoder}, worker=OFTEN_LOOKED))
    working = threading.Thread(target=worker.run)
    working.start()
    try:
        until(lambda: "encode failed, again in 2 s" in caplog.text)
    finally:
        worker.stop()
        working.join(LIMIT_S)
    assert not working.is_alive() and worker.report.failures["encode"] == 2
    assert caplog.text.count("encode failed, again in 1 s") == 1


# ---- The clock -----------------------------------------------------------------------------------------------


def test_of_two_workers_one_refreshes_on_schedule_and_once_for_what_is_new(world: Home, store: Store) -> None:
    seen = {current(world)}
    with working(world, **OFTEN) as one, working(world, **OFTEN) as other:
        for turn in range(2):
            like(store, f"guest-{turn}", "space-1", "space-2")
            until(lambda: current(world) not in seen, one)
            seen.add(current(world))
        assert one.stop()["failures"] == other.stop()["failures"] == {}
    assert shelf(world) == seen and len(seen) == 3, "each change was refreshed for once"


def test_after_a_refresh_old_releases_are_deleted(world: Home, store: Store) -> None:
    refresh(store, world)
    worker = Worker(store, world, load_settings(home=world.root, worker={"refresh_every_s": 1e-6, "keep_releases": 2}))
    like(store, "ann", "space-1")
    worker.run_once()
    worker.run_once()
    assert worker.report.releases == [current(world)] and number_of_released(world) == 2


def test_a_refresh_is_due_when_the_last_one_is_old_and_something_has_changed(world: Home, store: Store) -> None:
    assert not is_due(store, world, 0.0), "nothing has changed"
    like(store, "ann", "space-1")
    assert is_due(store, world, 0.0) and not is_due(store, world, 3600.0)
    second = refresh(store, world).release_id
    store.catalogue.set_hidden("space-1", True)
    assert is_due(store, world, 0.0)
    # What was rolled back is not built again at once.
    Releases(world.releases).rollback()
    assert not is_due(store, world, 3600.0)
    with pytest.raises(BusyError):
        refresh(store, world, still_due=lambda: False)
    assert second in shelf(world) and number_of_released(world) == 2
    # One that was killed before it could publish has not ended: it is taken up.
    refreshed = refresh(store, world).release_id
    assert not is_due(store, world, 0.0)
    Releases(world.releases).rollback()
    (world.releases / refreshed / ".state.json").touch()
    assert is_due(store, world, 0.0)


def test_the_first_refresh_waits_for_something_to_build_from(home: Home, store: Store) -> None:
    assert not is_due(store, home, 3600.0)
    store.catalogue.upsert([Video(id="clip", media_path="clip.mp4")])
    assert not is_due(store, home, 3600.0), "its vector is on its way"
    store.catalogue.mark_failed("clip", "empty_file", "some encoder")
    assert is_due(store, home, 3600.0)


def test_a_failed_gate_is_told_once_and_the_old_release_serves_until_something_changes(
    world: Home, store: Store
) -> None:
    row = {"event_id": "huge", "user_id": "u", "video_id": "space-0", "type": "watch", "value": 1e39}
    store.events.add_rows([row | {"occurred_at": 1.0, "received_at": 1.0}])
    served = current(world)
    with working(world, **AT_ONCE, PYTHONWARNINGS="ignore") as worker:
        until((world.releases / ".failed.json").exists, worker)
        assert current(world) == served
        with store.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM events WHERE event_id = 'huge'")
        like(store, "ann", "space-1", "space-2")
        until(lambda: current(world) != served, worker)
        report = worker.stop()
    assert worker.log.count("the refresh was held up") == 1 and "finite" in report["failures"]["refresh"]["reason"]
    assert number_of_released(world) == 2


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_failed_gate_is_not_tried_again_while_nothing_changes(world: Home, store: Store) -> None:
    row = {"event_id": "huge", "user_id": "u", "video_id": "space-0", "type": "watch", "value": 1e39}
    store.events.add_rows([row | {"occurred_at": 1.0, "received_at": 1.0}])
    worker = Worker(store, world, load_settings(home=world.root, worker={"refresh_every_s": 1e-6}))
    worker.run_once()
    worker.run_once()
    assert worker.report.failures["refresh"] == 1 and worker.report.releases == []
    assert worker.report.failures["stream"] == 2, "numbers that are not finite are no pulse either"
    assert Pulses(world.live).read(str(current(world))) is None


# ---- The event stream ----------------------------------------------------------------------------------------


def test_what_is_trending_and_what_follows_what_change_without_a_refresh(
    make_app: Callable[..., Flask], world: Home, store: Store
) -> None:
    served = current(world)
    like(store, "watcher", "comedy-3")
    with make_app(cache={"enabled": False}).test_client() as client, working(world, **NEVER) as worker:

        def listed(viewer: str) -> dict[str, list[str]]:
            answer = client.get(f"/v1/users/{viewer}/recommendations", query_string={"limit": 20}).get_json()
            assert answer["release"]["id"] == served and answer["warnings"] == []
            return {item["video_id"]: item["sources"] for item in answer["items"]}

        assert next(iter(listed("stranger"))) != "space-7"
        assert "sequential" not in listed("watcher").get("space-7", [])
        for guest in range(12):
            like(store, f"guest-{guest}", "comedy-3", "space-7")
            like(store, f"other-{guest}", "space-7")
        until(lambda: next(iter(listed("stranger"))) == "space-7", worker)
        assert "trending" in listed("stranger")["space-7"]
        until(lambda: "sequential" in listed("watcher").get("space-7", []), worker)
    assert number_of_released(world) == 1


def test_a_server_passes_over_a_damaged_pulse_and_takes_the_next(
    world: Home, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(store, world, load_settings(home=world.root, worker={"refresh_every_s": 0}))
    keeper = EngineKeeper(world, store, RecommenderSettings(), 1e-6)
    like(store, "guest", "space-7")
    worker.run_once()
    taken = keeper.current().pulse
    assert taken is not None and taken.until_seq == store.events.last_seq()
    like(store, "other guest", "space-7")
    worker.run_once()
    (path,) = (path for path in world.live.glob("*/*.npz") if path.name != taken.file)
    path.write_bytes(path.read_bytes()[:-100])
    for _ in range(3):
        assert keeper.current().pulse is taken
    assert caplog.text.count("cannot be read") == 1
    assert EngineKeeper(world, store, RecommenderSettings(), 1e-6).current().pulse is None
    like(store, "third guest", "space-7")
    worker.run_once()
    newest = keeper.current().pulse
    assert newest is not None and newest.until_seq == store.events.last_seq()
    column = keeper.current().column_of["space-7"]
    gained = keeper.current().popularity.world[0, column] - keeper.current().release.popularity.world[0, column]
    assert gained == pytest.approx(3.0)


# ---- Its end -------------------------------------------------------------------------------------------------


def test_sigterm_ends_it_and_gives_back_what_it_holds(home: Home, store: Store, tmp_path: Path) -> None:
    """In the middle of a film that takes long to decode."""
    short = write_video(tmp_path / "short.mp4", size=(1280, 720), frames=24, bframes=False)
    film = repeat_video(short, tmp_path / "film.ts", 600)
    store.catalogue.upsert([Video(id="film", media_path=str(film))])
    with working(home, WATCHNEXT_EMBED__DECODE__EXACT_MEGAPIXELS="1000000000") as worker:
        until(store.catalogue.lease_owners, worker)
        family = psutil.Process(worker.process.pid).children(recursive=True)
        asked = time.monotonic()
        report = worker.stop()
        assert time.monotonic() - asked < 10
    assert "stopped" in worker.log and "Traceback" not in worker.log
    assert report["failures"] == report["failed"] == {} and state_of(store, "film") == VideoState.PENDING
    assert store.catalogue.lease_owners() == []
    _, alive = psutil.wait_procs(family, 10)
    assert alive == []


def test_it_ends_with_its_starter_where_it_is_leashed(home: Home) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, time; subprocess.Popen({command(home)}); time.sleep(600)"],
        env=os.environ | {LEASHED_VARIABLE: "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: psutil.Process(starter.pid).children())
        (worker,) = psutil.Process(starter.pid).children()
        until((home.root / "watchnext.db").exists)
    finally:
        starter.kill()
        starter.wait()
    _, alive = psutil.wait_procs([worker], 30)
    assert alive == []
