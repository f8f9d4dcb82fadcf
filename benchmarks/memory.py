"""What does one more server process cost? `watchnext bench memory --videos 1000000 --dim 256`.

A made service (`benchmarks.made`) whose videos are described as real ones are: a title, tags, labels, a creator,
windows and regions of some. `watchnext serve` runs with one process, then with more, each asked for a few hundred
lists. What processes share is divided between them in the proportional memory (PSS) of the system, so the sums of all
processes can be compared, those that answer nothing among them, but without the cache: the difference is what each
further process costs.
"""

import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import orjson
import psutil
import sqlalchemy as sa
import typer

from api.demonstration import running_server
from api.server import free_port
from benchmarks import main
from benchmarks.made import library, watching
from benchmarks.refresh import ENCODER, frame_of, import_frame, refreshed
from data.embeddings import EmbeddingTable
from data.home import Home
from data.schema import Video, VideoState
from data.store import Store
from data.store.tables import videos as videos_table
from recommender.release import Releases, read_manifest

app = typer.Typer()
PATIENCE_S = 600.0
WORKERS_VARIABLE = "WATCHNEXT_SERVER__WORKERS"
WORDS, LABELS, CREATORS, COUNTRIES = 5_000, 200, 20_000, ("DE", "FR", "US", "JP")
DESCRIBED_AT_ONCE = 50_000
MADE_AT = 1_700_000_000.0


@app.command()
def memory(
    videos: Annotated[int, typer.Option(min=1_000)] = 1_000_000,
    dim: Annotated[int, typer.Option(min=8, help="dimensions of a vector")] = 256,
    events: Annotated[int, typer.Option(min=1_000)] = 1_000_000,
    viewers: Annotated[int, typer.Option(min=100)] = 20_000,
    processes: Annotated[int, typer.Option(min=2, help="how many are compared with one")] = 3,
    requests: Annotated[int, typer.Option(min=1, help="lists that each process is asked for, about")] = 200,
    into: Annotated[Path | None, typer.Option(help="a folder for the made service, used again if it is there")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Memory of the first server process, and what each further one costs."""
    with tempfile.TemporaryDirectory(prefix="watchnext-bench-") as scratch:
        home = Home.at(into or Path(scratch) / "home")
        if Releases(home.releases).current_id() is None:
            make(home, videos, dim, events, viewers)
        result = measure(home, viewers, processes, requests)
    if json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(
        f"release of {result['videos']:,} videos, {result['release_mb']:,.0f} MB: a server of one process takes"
        f" {result['first_mb']:,.0f} MB, {result['first_anonymous_mb']:,.0f} of them no pages of files; each further"
        f" process {result['further_mb']:,.0f} MB, {result['further_anonymous_mb']:,.0f} of them no pages of files;"
        f" ready after {result['one']['ready_s']:.1f} s, {processes} processes after"
        f" {result['several']['ready_s']:.1f} s"
    )


def make(home: Home, videos: int, dim: int, events: int, viewers: int) -> None:
    store = Store.open(home.database_url)
    if store.catalogue.version() == 0:
        names = [f"video-{number:07}" for number in range(videos)]
        vectors, topic = library(videos, dim)
        describe(store, names, topic)
        EmbeddingTable.create(home.embeddings, ENCODER, dim).append(names, vectors)
        import_frame(store, home, frame_of(names, *watching(topic, viewers, events)))
    store.close()
    refreshed(home)


def describe(store: Store, names: list[str], topic: np.ndarray) -> None:
    """Writes catalogue entries of encoded videos: one in twenty is for some countries only, or for some time."""
    rng = np.random.default_rng(0)
    words = [f"word{number}" for number in range(WORDS)]
    for start in range(0, len(names), DESCRIBED_AT_ONCE):
        some = names[start : start + DESCRIBED_AT_ONCE]
        said = rng.zipf(1.3, (len(some), 8)) % WORDS
        labelled = rng.integers(1, 4, len(some))
        ages = rng.exponential(365 * 86_400.0, len(some))
        store.catalogue.upsert(
            Video(
                id=name,
                title=" ".join(words[word] for word in said[row, :5]),
                tags=[words[word] for word in said[row, 5:]],
                labels=[f"label-{(topic[start + row] + 7 * more) % LABELS}" for more in range(labelled[row])],
                creator=f"creator-{rng.integers(CREATORS)}",
                content_hash=hashlib.sha256(name.encode()).hexdigest(),
                duration_s=float(rng.integers(10, 7_200)),
                published_at=MADE_AT - float(ages[row]),
                regions=list(COUNTRIES[: 1 + row % 3]) if row % 20 == 0 else [],
                available_until=MADE_AT + 3e8 if row % 20 == 1 else None,
                rating=16 if row % 20 == 2 else None,
            )
            for row, name in enumerate(some)
        )
    with store.engine.begin() as connection:
        connection.execute(sa.update(videos_table).values(state=VideoState.READY, encoder_id=ENCODER))


def measure(home: Home, viewers: int, processes: int, requests: int) -> dict[str, Any]:
    # The same lists: they are what pages of the release are read for.
    one = _served(home, 1, viewers, requests * processes)
    several = _served(home, processes, viewers, requests * processes)
    releases = Releases(home.releases)
    folder = releases.folder(str(releases.current_id()))
    return {
        "videos": read_manifest(folder)["counts"]["videos"],
        "release_mb": sum(path.stat().st_size for path in folder.iterdir()) / 1e6,
        "processes": processes,
        "first_mb": one["pss_mb"],
        "first_anonymous_mb": one["anonymous_mb"],
        "further_mb": (several["pss_mb"] - one["pss_mb"]) / (processes - 1),
        "further_anonymous_mb": (several["anonymous_mb"] - one["anonymous_mb"]) / (processes - 1),
        "one": one,
        "several": several,
    }


def _served(home: Home, processes: int, viewers: int, requests: int) -> dict[str, Any]:
    os.environ[WORKERS_VARIABLE] = str(processes)
    started = time.perf_counter()
    with running_server(home, free_port("127.0.0.1", 0), PATIENCE_S) as (address, server):
        folder = home.root / "run" / "processes"
        while len(ready := [int(path.stem) for path in folder.glob("*.ready")]) < processes:
            time.sleep(0.1)
        ready_s = time.perf_counter() - started
        _ask(address, viewers, requests)
        tree = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        memory = {each.pid: _memory(each.pid) for each in tree if "valkey" not in each.name()}
    return {
        "ready_s": ready_s,
        **{kind: sum(each[kind] for each in memory.values()) for kind in ("pss_mb", "anonymous_mb")},
        "workers": [memory[pid] for pid in ready],
    }


def _ask(address: str, viewers: int, requests: int) -> None:
    rng = np.random.default_rng(0)
    # A connection stays with one server process: each request has its own, so that all are asked.
    alone = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=f"{address}/v1/users", timeout=120, limits=alone) as client:
        for viewer in rng.integers(viewers, size=requests):
            client.get(f"/viewer-{viewer}/recommendations").raise_for_status()


def _memory(pid: int) -> dict[str, float]:
    """Of a process: all that it sees (rss), what no other sees (uss), its part of all (pss), and of that what is no
    page of a file (anonymous)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kb = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    of = {"rss_mb": kb["Rss"], "uss_mb": kb["Private_Clean"] + kb["Private_Dirty"], "pss_mb": kb["Pss"]}
    return {name: value * 1.024e-3 for name, value in {**of, "anonymous_mb": kb["Pss_Anon"]}.items()}


if __name__ == "__main__":
    main(app)
