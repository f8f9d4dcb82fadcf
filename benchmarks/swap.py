"""What does a large release take to build, publish and swap? `watchnext bench swap`.

A made service (`benchmarks.made`) with as many videos as are asked for and vectors of 256 dimensions, a few events
beside them. The first refresh is a process of its own, and so is each server process: their times and their peak memory
are what the system says of them. Then a second refresh publishes while front ends ask: how long until each process
answers from the new release, how long answers take meanwhile, and what the processes take at most. Of two processes the
second adds what is its own; what both share of the release's files is counted in the resident memory (RSS) of each, and
divided between them in the proportional one (PSS).
"""

import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import orjson
import psutil
import typer

from api.demonstration import running_server
from api.server import free_port
from benchmarks import main
from benchmarks.made import library, watching
from benchmarks.refresh import DIM, fill, frame_of, import_frame, refreshed
from benchmarks.serving import processes_that_answer
from data.home import Home
from data.schema import Video
from data.store import Store
from recommender.release import Releases, verify_release

app = typer.Typer()
FRONT_ENDS = 2
PATIENCE_S = 600.0


@app.command()
def swap(
    videos: Annotated[int, typer.Option(min=1_000)] = 1_000_000,
    events: Annotated[int, typer.Option(min=1_000)] = 1_000_000,
    viewers: Annotated[int, typer.Option(min=100)] = 20_000,
    into: Annotated[Path | None, typer.Option(help="a folder for the made service, used again if it is there")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Time and memory of building, publishing and swapping a release while it is asked."""
    with tempfile.TemporaryDirectory(prefix="watchnext-bench-") as scratch:
        result = measure(Home.at(into or Path(scratch) / "home"), videos, events, viewers)
    if json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        return
    for name in ("first", "second"):
        each = result[name]
        slowest = sorted(each["seconds"].items(), key=lambda pair: -pair[1])[:5]
        phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in slowest)
        typer.echo(f"{name} refresh: {each['total_s']:.0f} s ({phases}), at most {each['peak_mb']:,.0f} MB")
    typer.echo(
        f"release of {result['release_mb']:,.0f} MB: its checksums take {result['verify_s']:.1f} s, to publish it, with"
        f" them, {result['publish_s']:.1f} s"
    )
    for place, process in enumerate(result["processes"], 1):
        typer.echo(
            f"server process {place}: {process['rss_mb']:,.0f} MB resident, {process['own_mb']:,.0f} MB its own,"
            f" {process['pss_mb']:,.0f} MB with its part of what is shared; in the swap at most"
            f" {process['peak_mb']:,.0f} MB resident"
        )
    times = result["answers_ms"]
    typer.echo(
        f"ready after {result['start_s']:.1f} s; swapped {result['swap_s']:.1f} s after publishing;"
        f" {result['failed']} of {result['asked']:,} requests failed; answers p50 {times['p50']:.1f} ms,"
        f" p99 {times['p99']:.1f}, slowest {times['max']:.0f}; before it p50 {times['p50_before']:.1f}, p99"
        f" {times['p99_before']:.1f}"
    )


def measure(home: Home, videos: int, events: int, viewers: int) -> dict[str, Any]:
    store = Store.open(home.database_url)
    names = [f"video-{number:07}" for number in range(videos)]
    if store.catalogue.version() == 0:
        vectors, topic = library(videos, DIM)
        fill(store, home, names, vectors)
        import_frame(store, home, frame_of(names, *watching(topic, viewers, events)))
        del vectors
    first = refreshed(home)
    releases = Releases(home.releases)
    before = str(releases.current_id())
    started = time.perf_counter()
    verify_release(releases.folder(before))
    verify_s = time.perf_counter() - started
    started = time.perf_counter()
    releases.publish(before)
    publish_s = time.perf_counter() - started
    store.catalogue.upsert(Video(id=f"newer-{number}") for number in range(100))
    started = time.perf_counter()
    with running_server(home, free_port("127.0.0.1", 0), PATIENCE_S) as (address, _):
        start_s = time.perf_counter() - started
        workers = processes_that_answer(home)
        with _Asking(address, viewers) as asking:
            asking.until_all_answer(before)
            usual = asking.times()
            at_rest = [_memory(worker) for worker in workers]
            asking.forget()
            second = refreshed(home)
            after = str(releases.current_id())
            published = time.perf_counter()
            peaks = asking.until_all_answer(after, workers)
            swap_s = time.perf_counter() - published
            times = asking.times()
    store.close()
    size = sum(path.stat().st_size for path in releases.folder(after).iterdir())
    return {
        "videos": videos,
        "first": first,
        "second": second,
        "release_mb": size / 1e6,
        "verify_s": verify_s,
        "publish_s": publish_s,
        "start_s": start_s,
        "processes": [facts | {"peak_mb": peak} for facts, peak in zip(at_rest, peaks, strict=True)],
        "swap_s": swap_s,
        "asked": asking.asked,
        "failed": asking.failed,
        "answers_ms": times | {f"{name}_before": usual[name] for name in ("p50", "p99")},
    }


def _memory(process: psutil.Process) -> dict[str, float]:
    full = process.memory_full_info()
    return {"rss_mb": full.rss / 1e6, "own_mb": full.uss / 1e6, "pss_mb": full.pss / 1e6}


class _Asking:
    """Front ends that ask without pause."""

    def __init__(self, address: str, viewers: int) -> None:
        self._address, self._viewers = address, viewers
        self._stop = threading.Event()
        self._answers: list[tuple[float, str]] = []
        self.asked = self.failed = 0
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(FRONT_ENDS)]

    def __enter__(self) -> "_Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        # A connection stays with one server process: each request has its own, so that all are asked.
        alone = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=f"{self._address}/v1/users", timeout=120, limits=alone) as client:
            while not self._stop.is_set():
                viewer = int(rng.integers(self._viewers))
                started = time.perf_counter()
                self.asked += 1
                try:
                    answer = client.get(f"/viewer-{viewer}/recommendations").raise_for_status().json()
                    if not answer["items"]:
                        raise ValueError("an empty list")
                except (httpx.HTTPError, ValueError):
                    self.failed += 1
                    continue
                self._answers.append((1000 * (time.perf_counter() - started), answer["release"]["id"]))

    def forget(self) -> None:
        self._answers.clear()

    def times(self) -> dict[str, float]:
        taken = [milliseconds for milliseconds, _ in list(self._answers)]
        return {
            "p50": float(np.percentile(taken, 50)),
            "p99": float(np.percentile(taken, 99)),
            "max": float(max(taken)),
        }

    def until_all_answer(self, release: str, watched: list[psutil.Process] | None = None) -> list[float]:
        """Waits for a hundred answers in a row from a release; the most that processes took meanwhile, in MB."""
        peaks = [0.0 for _ in watched or []]
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            last = [answered for _, answered in self._answers[-100:]]
            if len(last) == 100 and set(last) == {release}:
                return peaks
            for place, process in enumerate(watched or []):
                peaks[place] = max(peaks[place], process.memory_info().rss / 1e6)
            time.sleep(0.05)
        raise RuntimeError(f"{release} was not served by all within {PATIENCE_S:.0f} s")


if __name__ == "__main__":
    main(app)
