"""How many events a second does a running server take? `watchnext bench ingest`; it needs `wrk`.

`watchnext serve` with two processes and SQLite, sent batches of 100 new events over ten connections by wrk, which works
on the same cores. Each batch is acknowledged after its commit, and a commit is on the disk (synchronous=FULL). Beside
it stands the floor of the same run: SQLite alone, one connection of Python's driver that inserts the same rows, 100 to
a transaction, into the same tables. At the end the events in the database are counted.
"""

import contextlib
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from api.demonstration import running_server
from api.server import free_port
from benchmarks import main
from benchmarks.serving.load import require_wrk
from data.home import Home
from data.schema import Video
from data.store import CHECKPOINT_PAGES, Store

app = typer.Typer()
BATCH, VIDEOS, VIEWERS = 100, 1_000, 5_000
_SCRIPT = """
local threads, sent, accepted = {{}}, 0, 0
local number = 0
local prefix = "p"
setup = function(thread)
  thread:set("prefix", "thread-" .. #threads)
  table.insert(threads, thread)
end
request = function()
  local rows = {{}}
  for row = 1, {batch} do
    number = number + 1
    rows[row] = string.format(
      '{{"event_id":"%s-%d","user_id":"viewer-%d","video_id":"video-%d","type":"watch","value":0.9,"occurred_at":%d}}',
      prefix, number, (number * 7919) % {viewers}, (number * 104729) % {videos}, 1700000000 + number)
  end
  local body = '{{"events":[' .. table.concat(rows, ",") .. "]}}"
  return wrk.format("POST", "/v1/events", {{["Content-Type"] = "application/json"}}, body)
end
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\\n{{"batches": %d, "seconds": %.3f, "p50_ms": %.4f, "p95_ms": %.4f, "p99_ms": %.4f, "max_ms": %.3f, ' ..
    '"failed": %d}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(95) / 1000,
    latency:percentile(99) / 1000, latency.max / 1000,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@app.command()
def ingest(
    seconds: Annotated[float, typer.Option(min=1)] = 10.0,
    connections: Annotated[int, typer.Option(min=1)] = 10,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Events a second that a server commits, beside SQLite alone."""
    require_wrk()
    with tempfile.TemporaryDirectory(prefix="watchnext-bench-") as scratch:
        result = measure(Path(scratch), seconds, connections)
    if json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(
        f"{result['events_s']:,.0f} events/s in batches of {BATCH} over {connections} connections: p50"
        f" {result['p50_ms']:.1f} ms, p95 {result['p95_ms']:.1f}, p99 {result['p99_ms']:.1f}, slowest"
        f" {result['max_ms']:.0f}; {result['failed']} batches failed; {result['stored']:,} events are stored of"
        f" {result['acknowledged']:,} acknowledged"
    )
    typer.echo(f"SQLite alone {result['floor']['events_s']:,.0f} events/s; the ratio is {result['ratio']:.2f}")


def measure(folder: Path, seconds: float, connections: int) -> dict[str, Any]:
    floor = _floor(_home(folder / "floor"), seconds / 2)
    home = _home(folder / "home")
    script = folder / "events.lua"
    script.write_text(_SCRIPT.format(batch=BATCH, viewers=VIEWERS, videos=VIDEOS))
    with running_server(home, free_port("127.0.0.1", 0)) as (address, _):
        command = [require_wrk(), "-t1", f"-c{connections}", f"-d{seconds:g}", "--timeout", "30s", "-s", str(script)]
        output = subprocess.run([*command, address], check=True, stdout=subprocess.PIPE).stdout
    figures: dict[str, Any] = orjson.loads(output.strip().splitlines()[-1])
    with contextlib.closing(sqlite3.connect(home.root / "watchnext.db")) as connection:
        (stored,) = connection.execute("SELECT COUNT(*) FROM events").fetchone()
    acknowledged = (figures["batches"] - figures["failed"]) * BATCH
    events_s = acknowledged / figures["seconds"]
    times = {name: figures[name] for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms", "failed")}
    return {
        "events_s": events_s,
        **times,
        "acknowledged": acknowledged,
        "stored": stored,
        "floor": {"events_s": floor},
        "ratio": events_s / floor,
    }


def _home(root: Path) -> Home:
    home = Home.at(root)
    store = Store.open(home.database_url)
    store.catalogue.upsert(Video(id=f"video-{number}") for number in range(VIDEOS))
    store.close()
    return home


def _floor(home: Home, seconds: float) -> float:
    """Events a second of one connection that does nothing else."""
    with contextlib.closing(sqlite3.connect(home.root / "watchnext.db", isolation_level=None)) as connection:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        started, number = time.perf_counter(), 0
        while time.perf_counter() < started + seconds:
            rows = [
                (f"floor-{each}", f"viewer-{each * 7919 % VIEWERS}", f"video-{each * 104729 % VIDEOS}", "watch", 0.9)
                for each in range(number, number + BATCH)
            ]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO events (event_id, user_id, video_id, type, value, occurred_at, received_at)"
                " VALUES (?, ?, ?, ?, ?, 1700000000, 1700000000)",
                rows,
            )
            connection.execute("COMMIT")
            number += BATCH
        return number / (time.perf_counter() - started)


if __name__ == "__main__":
    main(app)
