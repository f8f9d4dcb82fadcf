"""How fast is a running server? `watchnext bench serve --data FOLDER` (with ml-1m); it needs `wrk`.

`watchnext serve` with two processes on MovieLens-1M, everything real, asked for the lists of random viewers (ten videos
each) over ten connections by wrk, which works on the same cores. Four sources of 300 candidates each, the trained
ranker, diversity, reasons. In the same run stand the floors, under the same server and as many processes and threads: a
Flask route that returns a constant body of the same size, and one that returns the bytes of one Redis GET.

    warm         as it comes, after all viewers have been asked for
    warm_redis   the same without the memory of the processes: every list out of Redis
    candidates   the same without ready lists in Redis: every list from the candidates there
    cold         no cache at all: every list is made
    cold_plain   the same without reasons
    redis_down   as it comes, but with a Redis that takes connections and answers nothing
    swap         as it comes, while another release is published every second
    refresh      as it comes, while a refresh runs on the same cores
"""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import orjson
import typer

from api.demonstration import running_server
from api.embedded_redis import embedded_redis
from api.server import free_port
from api.settings import ServerSettings
from benchmarks import main
from benchmarks.engine import CANDIDATES, SHOWN, SOURCES, settings_with
from benchmarks.quality_tasks.movielens import RATINGS, import_ratings, read_ratings
from benchmarks.serving import processes_that_answer, variables
from benchmarks.serving.floors import REDIS, SIZE
from benchmarks.serving.load import Load, loaded, require_wrk
from data.home import Home
from data.store import Store
from recommender.pipeline.sources.settings import SourcesSettings
from recommender.refresh import refresh
from recommender.release import Releases

app = typer.Typer()
VIEWERS = 6_040
PUBLISH_EVERY_S = 1.0
WARM_UP_S, TURNS = 10.0, 8
START_LIMIT_S = 60.0


@app.command()
def serve(
    data: Annotated[Path, typer.Option(help="the folder with ml-1m")],
    seconds: Annotated[float, typer.Option(min=1)] = 10.0,
    connections: Annotated[int, typer.Option(min=1)] = 10,
    only: Annotated[list[str] | None, typer.Option(help="these alone (may be given several times)")] = None,
    into: Annotated[Path | None, typer.Option(help="a folder for the service, used again if it is there")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Requests a second and times of answers: warm, cold, and while things go wrong; beside bare routes."""
    if not (data / "ml-1m" / RATINGS).is_file():
        raise typer.BadParameter(f"--data needs a folder with ml-1m/{RATINGS}")
    require_wrk()
    with tempfile.TemporaryDirectory(prefix="watchnext-bench-") as scratch:
        result = measure(data / "ml-1m", Home.at(into or Path(scratch) / "home"), seconds, connections, only)
    if json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(f"lists of {result['body_bytes']:,} bytes, {connections} connections, {seconds:g} s each")
    for name, figures in result.items():
        if isinstance(figures, dict):
            ratio = f", {figures['ratio']:.2f} of {figures['of']}" if "ratio" in figures else ""
            typer.echo(
                f"{name:<11}{figures['req_s']:>8,.0f} req/s  mean {figures['mean_ms']:.2f} ms, p50"
                f" {figures['p50_ms']:.2f}, p95 {figures['p95_ms']:.2f}, p99 {figures['p99_ms']:.2f}, slowest"
                f" {figures['max_ms']:.0f}; {figures['failed']} failed{ratio}"
            )


def measure(
    folder: Path, home: Home, seconds: float, connections: int, only: list[str] | None = None
) -> dict[str, Any]:
    prepare(folder, home)
    usual = {"seconds": seconds, "connections": connections, "viewers": VIEWERS, "shown": SHOWN}

    def served(
        meanwhile: Callable[[Home, Load], None] | None = None, warm: bool = True, wishes: str = "", **given: str
    ) -> dict[str, Any]:
        with variables(**given), running_server(home, free_port("127.0.0.1", 0)) as (address, _):
            _wait_for_all(home)
            if warm:
                _warm_up(address, usual)
            load = Load(address, **usual, wishes=wishes)
            if meanwhile is not None:
                meanwhile(home, load)
            return load.result()

    with variables(WATCHNEXT_CONFIG=str(_configuration(home))), _silent_server() as silent:
        size = _body_bytes(home)
        floors = {name: _told(name, _floor(name, home, size, usual)) for name in ("constant", "one_get")}
        ways: dict[str, Callable[[], dict[str, Any]]] = {
            "warm": served,
            "warm_redis": lambda: served(WATCHNEXT_CACHE__PROCESS_MB="0"),
            "candidates": lambda: served(WATCHNEXT_CACHE__PROCESS_MB="0", WATCHNEXT_CACHE__SHARED_ANSWERS="false"),
            "cold": lambda: served(WATCHNEXT_CACHE__ENABLED="false", warm=False),
            "cold_plain": lambda: served(WATCHNEXT_CACHE__ENABLED="false", warm=False, wishes="&reasons=false"),
            "redis_down": lambda: served(WATCHNEXT_REDIS_URL=silent),
            "swap": lambda: served(_publishing),
            "refresh": lambda: served(_refreshing),
        }
        phases = {name: _told(name, way()) for name, way in ways.items() if only is None or name in only}
    for name, of in (("warm", "constant"), ("warm_redis", "one_get"), ("candidates", "one_get")):
        if name not in phases:
            continue
        phases[name] |= {"ratio": phases[name]["req_s"] / floors[of]["req_s"], "of": of}
    return {"body_bytes": size, "floor": floors["constant"], "floor_redis": floors["one_get"], **phases}


def prepare(folder: Path, home: Home) -> None:
    """MovieLens-1M with two releases, if it is not there."""
    if Releases(home.releases).current_id() is not None:
        return
    store = Store.open(home.database_url)
    import_ratings(folder, read_ratings(folder), home, store)
    for _ in range(2):
        refresh(store, home, settings_with(SOURCES))
    store.close()


# ---- What goes on meanwhile ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _silent_server() -> Iterator[str]:
    """The URL of a Redis whose process hangs: the system takes connections for it, and nobody reads them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"


def _told(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    typer.echo(f"{name}: {figures['req_s']:,.0f} req/s, p99 {figures['p99_ms']:.2f} ms", err=True)
    return figures


def _publishing(home: Home, load: Load) -> None:
    releases = Releases(home.releases)
    ids = [manifest["id"] for manifest in releases.list()][:2]
    turn = 0
    while not load.is_over:
        turn += 1
        releases.publish(ids[turn % 2])
        time.sleep(PUBLISH_EVERY_S)


def _refreshing(home: Home, load: Load) -> None:
    command = [sys.executable, "-m", "api.cli", "--home", str(home.root), "refresh"]
    while not load.is_over:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as refreshing:
            while refreshing.poll() is None and not load.is_over:
                time.sleep(0.1)
            refreshing.kill()


# ---- The servers -----------------------------------------------------------------------------------------------


def _configuration(home: Home) -> Path:
    path = home.root / "watchnext.toml"
    sources = (
        f"[recommender.sources.{name}]\nenabled = {str(name in SOURCES).lower()}\ncandidates = {CANDIDATES}\n"
        for name in SourcesSettings.model_fields
    )
    path.write_text("\n".join(sources))
    return path


def _body_bytes(home: Home) -> int:
    with running_server(home, free_port("127.0.0.1", 0)) as (address, _):
        sizes = [
            len(httpx.get(f"{address}/v1/users/{viewer}/recommendations", params={"limit": SHOWN}).content)
            for viewer in range(1, 51)
        ]
    return sum(sizes) // len(sizes)


def _wait_for_all(home: Home) -> None:
    """One process that is ready earlier than the other would get all connections."""
    while len(processes_that_answer(home)) < ServerSettings().workers:
        time.sleep(0.05)


def _warm_up(address: str, usual: dict[str, Any]) -> None:
    """Asks for all viewers, one after the other, again and again: each process has to be asked for each of them, and
    which one is asked is a matter of chance."""
    asked = 0
    while asked < TURNS * VIEWERS:
        asked += loaded(address, **{**usual, "seconds": WARM_UP_S, "in_turn": True})["asked"]


def _floor(name: str, home: Home, size: int, usual: dict[str, Any]) -> dict[str, Any]:
    port, settings = free_port("127.0.0.1", 0), ServerSettings()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--factory", f"benchmarks.serving.floors:{name}"]
    command += ["--port", str(port), "--workers", str(settings.workers), "--blocking-threads", str(settings.threads)]
    with embedded_redis(home, 64) as url, variables(**{SIZE: str(size), REDIS: url}):
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(f"{address}/v1/users/1/recommendations")
            loaded(address, **{**usual, "seconds": 2})
            return loaded(address, **usual)
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(url, timeout=5).raise_for_status()
            return
        time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer")


if __name__ == "__main__":
    main(app)
