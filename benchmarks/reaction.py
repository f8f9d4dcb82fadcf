"""How soon does a list know? `watchnext bench reaction --data FOLDER` (with ml-1m).

A real server over MovieLens-1M. A viewer is asked for a list, watches the first video of it (one event over HTTP,
answered after the commit) and asks again: how long from sending the event to having the next list, and is the video
gone and the rest another list? Then the first video of the list is taken down, and the list is asked for once more.
Beside them stands the time of an answer without any news.
"""

import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import orjson
import typer

from api.demonstration import running_server
from api.server import free_port
from benchmarks import main
from benchmarks.quality_tasks.movielens import RATINGS, import_ratings, read_ratings
from data.home import Home
from data.store import Store
from recommender.refresh import refresh

app = typer.Typer()
LIMIT = 20


@app.command()
def reaction(
    data: Annotated[Path, typer.Option(help="the folder with ml-1m")],
    viewers: Annotated[int, typer.Option(min=10)] = 200,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Time from an event, and from a takedown, to a list that knows of it."""
    if not (data / "ml-1m" / RATINGS).is_file():
        raise typer.BadParameter(f"{data} has no ml-1m/{RATINGS}")
    result = measure(data / "ml-1m", viewers)
    if json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        return
    for name, times in result["ms"].items():
        typer.echo(f"{name:<28} p50 {times['p50']:7.2f} ms  p95 {times['p95']:7.2f}  p99 {times['p99']:7.2f}")
    typer.echo(f"lists that did not know: {result['unaware']} of {2 * result['viewers']}; changed: {result['changed']}")


def measure(folder: Path, viewers: int) -> dict[str, Any]:
    """Percentiles in milliseconds; `unaware` counts lists that still had what was watched or taken down."""
    with tempfile.TemporaryDirectory(prefix="watchnext-bench-") as scratch:
        home = Home.at(Path(scratch))
        chosen = _prepare(folder, home, viewers)
        with (
            running_server(home, free_port("127.0.0.1", 0)) as (address, _),
            httpx.Client(base_url=f"{address}/v1", timeout=10) as client,
        ):
            return _ask(client, chosen)


def _ask(client: httpx.Client, viewers: list[str]) -> dict[str, Any]:
    times: dict[str, list[float]] = {"list, nothing new": [], "event to next list": [], "takedown to next list": []}
    unaware = changed = 0
    for number, viewer in enumerate(viewers):
        _list_of(client, viewer)
        started = time.perf_counter()
        before = _list_of(client, viewer)
        times["list, nothing new"].append(time.perf_counter() - started)
        event = {"event_id": f"bench-{number}", "user_id": viewer, "video_id": before[0], "type": "complete"}
        started = time.perf_counter()
        client.post("/events", json={"events": [event | {"occurred_at": time.time()}]}).raise_for_status()
        after = _list_of(client, viewer)
        times["event to next list"].append(time.perf_counter() - started)
        unaware += before[0] in after
        changed += after[: LIMIT - 1] != before[1:]
        started = time.perf_counter()
        client.post(f"/videos/{after[0]}/hide").raise_for_status()
        last = _list_of(client, viewer)
        times["takedown to next list"].append(time.perf_counter() - started)
        unaware += after[0] in last
        client.post(f"/videos/{after[0]}/unhide").raise_for_status()
    percentiles = {
        name: {f"p{q}": round(float(np.percentile(np.array(each) * 1000, q)), 3) for q in (50, 95, 99)}
        for name, each in times.items()
    }
    return {"viewers": len(viewers), "ms": percentiles, "unaware": unaware, "changed": changed}


def _list_of(client: httpx.Client, viewer: str) -> list[str]:
    answer = client.get(f"/users/{viewer}/recommendations", params={"limit": LIMIT})
    answer.raise_for_status()
    return [item["video_id"] for item in answer.json()["items"]]


def _prepare(folder: Path, home: Home, viewers: int) -> list[str]:
    ratings = read_ratings(folder)
    store = Store.open(home.database_url)
    import_ratings(folder, ratings, home, store)
    refresh(store, home)
    store.close()
    chosen: list[str] = np.random.default_rng(0).permutation(ratings["userId"].unique())[:viewers].tolist()
    return chosen


if __name__ == "__main__":
    main(app)
