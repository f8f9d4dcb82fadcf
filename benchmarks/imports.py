"""How fast do events come in? `watchnext bench imports --rows 1000000`.

A CSV of seeded events about 5,000 videos goes through `watchnext events import`, a process of its own, into SQLite.
The floor beside it, in the same run: the same rows, ready-made, through Python's sqlite3 into the same table in one
transaction.
"""

import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import pandas as pd
import typer

from benchmarks import main
from data.home import Home
from data.schema import Video
from data.store import Store

app = typer.Typer()
VIDEOS = 5_000
VIEWERS = 50_000
PART = 50_000
#: `watchnext`, and the peak of its memory in kB at the end (what rusage tells of a child may be its parent's).
IMPORT_AND_TELL_PEAK = """
import re, sys
from pathlib import Path
from api.cli import main
try:
    main(sys.argv[1:])
finally:
    print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""


@app.command()
def imports(
    rows: Annotated[int, typer.Option(min=1_000)] = 1_000_000,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Import speed and peak memory beside a bare sqlite3 insert."""
    with tempfile.TemporaryDirectory(prefix="watchnext-bench-") as scratch:
        result = measure(Path(scratch), rows)
    if json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(
        f"{rows:,} events in {result['import_s']:.1f} s ({result['events_per_s']:,.0f}/s), peak memory"
        f" {result['peak_mb']:.0f} MB; bare sqlite3 {result['floor_s']:.1f} s, ratio {result['ratio']:.1f}"
    )


def measure(scratch: Path, rows: int) -> dict[str, Any]:
    table = scratch / "events.csv"
    _write(table, rows)
    home = Home.at(scratch / "home")
    store = Store.open(home.database_url)
    store.catalogue.upsert(Video(id=f"v{number}") for number in range(VIDEOS))
    started = time.perf_counter()
    store.close()
    command = [
        sys.executable,
        "-c",
        IMPORT_AND_TELL_PEAK,
        "--home",
        str(home.root),
        "events",
        "import",
        str(table),
        "--json",
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    import_s = time.perf_counter() - started
    peak_mb = int(done.stderr.split()[-1]) / 1024
    floor_s = _floor(home.root / "watchnext.db")
    return {
        "rows": rows,
        "kept": orjson.loads(done.stdout)["kept"],
        "import_s": import_s,
        "events_per_s": rows / import_s,
        "peak_mb": peak_mb,
        "floor_s": floor_s,
        "ratio": import_s / floor_s,
    }


def _write(path: Path, rows: int) -> None:
    for start in range(0, rows, PART):
        _part(start, min(PART, rows - start)).to_csv(path, index=False, mode="a", header=start == 0)


def _part(start: int, rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(start)
    kinds = rng.choice(["play", "watch", "like"], rows, p=[0.4, 0.5, 0.1])
    return pd.DataFrame(
        {
            "event_id": [f"e{number}" for number in range(start, start + rows)],
            "user_id": np.char.add("u", rng.integers(0, VIEWERS, rows).astype(str)),
            "video_id": np.char.add("v", rng.integers(0, VIDEOS, rows).astype(str)),
            "type": kinds,
            "value": np.where(kinds == "watch", rng.random(rows).round(3).astype(str), ""),
            "occurred_at": rng.integers(1_700_000_000, 1_760_000_000, rows),
        }
    )


def _floor(path: Path) -> float:
    """Seconds that sqlite3 alone takes for the rows that the importer wrote, into a table of the same shape."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT * FROM events").fetchall()
        shape = [
            sql
            for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'events' AND sql NOT NULL")
        ]
        connection.execute("DROP TABLE events")
        for sql in shape:
            connection.execute(sql)
        marks = ",".join("?" * len(rows[0]))
        started = time.perf_counter()
        connection.executemany(f"INSERT INTO events VALUES ({marks})", rows)
        connection.commit()
        return time.perf_counter() - started


if __name__ == "__main__":
    main(app)
