"""The service as a process: under load while Redis dies and releases change, and after being stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from data.home import Home
from data.store import Store
from recommender.refresh import refresh
from recommender.release import Releases
from tests.conftest import free_port
from tests.recommender import small_world


@contextmanager
def serving(home: Home, *options: str, **environment: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """`watchnext serve` on a free port, ready to answer."""
    port = options[options.index("--port") + 1] if "--port" in options else str(free_port())
    command = [sys.executable, "-m", "api.cli", "--home", str(home.root), "serve", "--port", port, *options]
    log = home.root / "serve.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, text=True, env=os.environ | environment
        )
    try:
        transport = httpx.HTTPTransport(retries=10)
        with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            client.get("/readyz").raise_for_status()
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(30)


class Load:
    """Front ends that ask without pause; `answers` counts (status, release, cache)."""

    FRONT_ENDS = 8

    def __init__(self, address: str) -> None:
        self.answers: Counter[tuple[int, str, str]] = Counter()
        self._address = address
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(self.FRONT_ENDS)
        self._lock = threading.Lock()

    def __enter__(self) -> "Load":
        self._asking = [self._pool.submit(self._ask, number) for number in range(self.FRONT_ENDS)]
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for asking in self._asking:
            asking.result(30)
        self._pool.shutdown()

    def until(self, more: int) -> None:
        """Waits for `more` further answers."""
        wanted = self.answers.total() + more
        while self.answers.total() < wanted:
            for asking in self._asking:
                if asking.done():
                    asking.result()
            self._stop.wait(0.01)

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._address, timeout=30) as client:
            turn = number
            while not self._stop.is_set():
                turn += 1
                self.ask(client, turn)

    def ask(self, client: httpx.Client, turn: int) -> None:
        answer = client.get(f"/v1/users/u{turn % 30}/recommendations", params={"limit": 5})
        body = answer.json()
        assert len(body["items"]) == 5
        self.count(answer.status_code, body["release"]["id"], body["cache"])

    def count(self, status: int, release: str, cache: str) -> None:
        with self._lock:
            self.answers[status, release, cache] += 1


def test_redis_dies_under_load_and_no_request_fails(world: Home) -> None:
    with serving(world) as (address, process), Load(address) as load:
        load.until(100)
        valkey = next(child for child in psutil.Process(process.pid).children() if "valkey" in child.name())
        valkey.kill()
        load.until(300)
        # The embedded server is started again, and the cache comes back by itself.
        hits = sum(count for (_, _, cache), count in load.answers.items() if cache == "hit")
        while sum(count for (_, _, cache), count in load.answers.items() if cache == "hit") <= hits + 20:
            load.until(20)
    statuses = {status for status, _, _ in load.answers}
    assert statuses == {200}
    assert any(cache == "off" for _, _, cache in load.answers)


def test_releases_are_swapped_under_load_in_every_process(world: Home, store: Store) -> None:
    first = Releases(world.releases).current_id()
    with serving(world) as (address, _), Load(address) as load:
        load.until(50)
        second = refresh(store, world).release_id
        while sum(count for (_, release, _), count in load.answers.items() if release == second) < 100:
            load.until(20)
        Releases(world.releases).rollback()
        before = sum(count for (_, release, _), count in load.answers.items() if release == first)
        while sum(count for (_, release, _), count in load.answers.items() if release == first) < before + 100:
            load.until(20)
    assert {status for status, _, _ in load.answers} == {200}
    assert {release for _, release, _ in load.answers} == {first, second}


def test_what_cannot_be_answered_in_time_is_told_to_come_again(world: Home) -> None:
    """Eight front ends at once, and room for one in each process: nobody waits in a queue."""
    narrow = {"WATCHNEXT_SERVER__THREADS": "1", "WATCHNEXT_SERVER__WAITING": "0", "WATCHNEXT_CACHE__ENABLED": "false"}
    # Who waited all the same would wait to the end of this test, and nobody would be told.
    narrow["WATCHNEXT_SERVER__WAIT_MS"] = "60000"

    class Patient(Load):
        def ask(self, client: httpx.Client, turn: int) -> None:
            answer = client.get(f"/v1/users/u{turn % 30}/recommendations", params={"limit": 5})
            self.count(answer.status_code, str(answer.json().get("code")), answer.headers.get("Retry-After", ""))

    with serving(world, **narrow) as (address, _), Patient(address) as load:
        deadline = time.monotonic() + 20
        while not {200, 429} <= {status for status, _, _ in load.answers} and time.monotonic() < deadline:
            load.until(20)
        assert httpx.get(f"{address}/healthz", timeout=30).status_code == 200
    assert set(load.answers) == {(200, "None", ""), (429, "too_busy", "1")}


def test_all_processes_are_replaced_and_then_stopped_under_load_and_no_request_fails(world: Home) -> None:
    with serving(world) as (address, process):
        before = _workers(process.pid)
        with Load(address) as load:
            load.until(50)
            process.send_signal(signal.SIGHUP)
            while before & _workers(process.pid):
                load.until(20)
            load.until(100)
        assert len(_workers(process.pid)) == len(before)
    assert {status for status, _, _ in load.answers} == {200}


def _workers(pid: int) -> set[int]:
    """The processes that answer: they are forked from another."""
    found: set[int] = set()
    for child in psutil.Process(pid).children():
        # One that is not needed any more may end meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {worker.pid for worker in child.children() if "forkserver" in _command(child)}
    return found


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "resource_tracker"


def test_a_video_added_just_now_is_in_the_lists_of_who_likes_its_kind_within_seconds(home: Home, store: Store) -> None:
    """In every process, and out of lists that were cached before; `recommender.novelty` knows only it as new."""
    small_world.fill(store, home)
    refresh(store, home)
    likers = [f"space-viewer-{number}" for number in range(4)]
    only_it = {"WATCHNEXT_RECOMMENDER__NOVELTY__BELOW_VIEWERS": "1"}
    with serving(home, **only_it) as (address, _), httpx.Client(base_url=f"{address}/v1/users", timeout=30) as client:

        def listed(viewer: str) -> list[str]:
            items = client.get(f"/{viewer}/recommendations", params={"limit": 10}).json()["items"]
            return [item["video_id"] for item in items]

        assert not any("late" in listed(viewer) for viewer in likers * 3)
        small_world.add_encoded(store, home, "late", like="space-3", published_at=time.time() - 60)
        added = time.monotonic()
        in_a_row = 0
        while in_a_row < 20 and time.monotonic() < added + 5:
            in_a_row = in_a_row + 1 if all("late" in listed(viewer) for viewer in likers) else 0
        assert in_a_row == 20
        assert not any("late" in listed(f"cooking-viewer-{number}") for number in range(4))


def test_an_acknowledged_event_survives_kill_9_of_the_whole_service(world: Home, store: Store) -> None:
    events = [
        {"event_id": f"k{number}", "user_id": "u0", "video_id": "space-1", "type": "play", "occurred_at": 1_750_000_000}
        for number in range(100)
    ]
    with serving(world) as (address, process):
        with httpx.Client(base_url=address) as client:
            assert client.post("/v1/events", json={"events": events}).status_code == 202
            assert client.get("/metrics").text.count("watchnext_events_total") > 0
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            member.kill()
        psutil.wait_procs(family, 10)
    assert len([row for row in store.events.tail(1_000, "u0") if row["event_id"].startswith("k")]) == 100


def test_after_kill_9_of_the_server_its_workers_end_and_the_next_one_starts_on_the_same_port(world: Home) -> None:
    with serving(world) as (address, process):
        family = psutil.Process(process.pid).children(recursive=True)
        workers = [member for member in family if "valkey" not in member.name()]
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, 10)
        assert alive == []
        port = address.rsplit(":", 1)[1]
        with serving(world, "--port", port) as (again, _):
            assert httpx.get(f"{address}/v1/users/u0/recommendations").status_code == 200, again
        _, alive = psutil.wait_procs(family, 10)
        assert alive == [], "the orphaned Redis is replaced and ended, too"


def test_stopping_leaves_no_process_behind(world: Home) -> None:
    with serving(world) as (address, process):
        httpx.get(f"{address}/healthz").raise_for_status()
        family = psutil.Process(process.pid).children(recursive=True)
        assert any("valkey" in member.name() for member in family)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        _, alive = psutil.wait_procs(family, 10)
    assert alive == []


def test_an_outside_redis_is_used_when_it_is_named(world: Home, redis_server: str) -> None:
    with serving(world, "--workers", "1", REDIS_URL=redis_server) as (address, process):
        caches = [httpx.get(f"{address}/v1/users/u0/recommendations").json()["cache"] for _ in range(2)]
        assert caches == ["miss", "hit"]
        assert not any("valkey" in child.name() for child in psutil.Process(process.pid).children(recursive=True))


def test_a_taken_port_is_a_clear_error(world: Home, tmp_path: Path) -> None:
    with serving(world) as (address, _):
        port = address.rsplit(":", 1)[1]
        command = [sys.executable, "-m", "api.cli", "--home", str(tmp_path / "other"), "serve", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "choose another with --port" in done.stderr


@pytest.mark.parametrize("role", ["read"])
def test_beyond_loopback_needs_a_key_and_gives_only_to_who_has_it(world: Home, store: Store, role: str) -> None:
    _, secret = store.keys.create("front end", role)
    with serving(world, "--host", "0.0.0.0") as (address, _):
        assert httpx.get(f"{address}/v1/videos").status_code == 401
        assert httpx.get(f"{address}/v1/videos", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
