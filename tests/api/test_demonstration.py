"""`watchnext demo --check`: the whole main job, as a newcomer runs it, on a smaller world."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from data.home import Home
from data.store import Store

SMALL = ["demo", "--check", "--json", "--clips", "48", "--viewers", "80", "--port", "0"]


def command(home: Home) -> list[str]:
    return [sys.executable, "-m", "api.cli", "--home", str(home.root), *SMALL]


def test_the_demo_does_the_whole_job_and_goes_on_where_it_was_killed(home: Home, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(home), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=tmp_path
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("events from"):
            break
    # In the middle of encoding.
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()

    done = subprocess.run(command(home), capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    measured, answer = result["measured"], result["answer"]
    assert measured["failed"] == 0
    assert measured["labels"]["accuracy"] > 3 * measured["labels"]["commonest"]
    # In a world of 48 clips popularity is as good as the served list, or better: only larger worlds tell them apart.
    low, high = measured["served"]["ndcg@10_95"]
    assert 0 < low <= measured["served"]["ndcg@10"] <= high <= 1
    assert len(answer["items"]) == 10 and all(item["reason"]["text"] for item in answer["items"])
    assert answer["release"]["encoder"].startswith("efficientnet-lite0") and not answer["degraded"]

    store = Store.open(home.database_url)
    assert store.catalogue.counts() == {"ready": 48}
    assert all(Path(home.root / (record.thumbnail_path or "")).is_file() for record in store.catalogue.all())
    store.close()

    again = subprocess.run(command(home), capture_output=True, text=True, cwd=tmp_path, check=False)
    assert again.returncode == 0
    assert json.loads(again.stdout)["measured"] == measured
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(home.root) in " ".join(process.info["cmdline"] or [])
    ]
