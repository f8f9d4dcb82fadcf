"""Whatever happens to a refresh, who asks meanwhile is answered, whole, from one release.

One service for all: two processes behind a port, front ends that ask without pause. Every release has its videos
in other columns than the one before, so that an answer out of parts of two would show videos of another genre.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson
import pytest

from data.home import Home
from data.schema import Video
from data.store import Store
from recommender.fitting import FITS
from recommender.pipeline.sources.settings import SourcesSettings
from recommender.release import Releases
from tests.api.test_server import Load, serving
from tests.conftest import REPOSITORY
from tests.recommender.small_world import GENRES, VIEWERS_PER_GENRE, fill

MODELS = [name.replace("_", " ") for name in FITS]
PHASES = ["catalogue", "events", *MODELS, "popularity", "index", "cold start", "ranker", "view", "gates"]


class Viewers(Load):
    """Asks for the viewers of the small world, whose lists are of their own genre."""

    FRONT_ENDS = 3

    def ask(self, client: httpx.Client, turn: int) -> None:
        genre = list(GENRES)[turn % len(GENRES)]
        answer = client.get(f"/v1/users/{genre}-viewer-{turn % VIEWERS_PER_GENRE}/recommendations", params={"limit": 4})
        body = answer.json()
        assert answer.status_code == 200, body
        assert [item["video_id"].split("-")[0] for item in body["items"]] == [genre] * 4, body
        self.count(answer.status_code, body["release"]["id"], body["cache"])

    def until_all_see(self, release: str) -> None:
        """Waits until a hundred answers in a row are of this release: until every process has it."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            before = dict(self.answers)
            self.until(100)
            grown = {key for key, count in self.answers.items() if count > before.get(key, 0)}
            if {key[1] for key in grown} == {release}:
                return
        raise AssertionError(f"{release} is not served by all: {self.answers}")


class Service:
    """The served home, and commands on it as ops would give them."""

    def __init__(self, home: Home, address: str) -> None:
        self.home, self.address = home, address
        self.releases = Releases(home.releases)
        self._batches = 0

    @property
    def current(self) -> str:
        return str(self.releases.current_id())

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, env=os.environ | environment, timeout=120
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "api.cli", "--home", str(self.home.root), *arguments]

    def move_columns(self) -> None:
        """Videos that stand before all others in the next release, as many as a genre has."""
        store = Store.open(self.home.database_url)
        self._batches += 1
        store.catalogue.upsert(Video(id=f"a{self._batches}-{number}", hidden=True) for number in range(10))
        store.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = Home.at(tmp_path_factory.mktemp("service") / "home")
    store = Store.open(home.database_url)
    fill(store, home)
    store.close()
    # No hurry: how busy the machine is that tests run on decides nothing.
    parts = ["PIPELINE", *(f"SOURCES__{name.upper()}" for name in SourcesSettings.model_fields)]
    steady = {f"WATCHNEXT_RECOMMENDER__{part}__DEADLINE_MS": "60000" for part in parts}
    made = Service(home, "")
    assert made.run("refresh").returncode == 0
    with serving(home, **steady) as (address, _):
        made.address = address
        yield made


@contextmanager
def served_without_a_gap(service: Service) -> Iterator[Viewers]:
    """Asks all the while; at the end every process serves the current release and no request has failed."""
    with Viewers(service.address) as viewers:
        viewers.until_all_see(service.current)
        viewers.answers.clear()
        yield viewers
        viewers.until_all_see(service.current)
    assert {status for status, _, _ in viewers.answers} == {200}


def seen(viewers: Viewers) -> set[str]:
    return {release for _, release, _ in viewers.answers}


def test_a_swap_and_the_way_back(service: Service) -> None:
    first = service.current
    service.move_columns()
    with served_without_a_gap(service) as viewers:
        assert service.run("refresh").returncode == 0
        second = service.current
        viewers.until_all_see(second)
        assert service.run("releases", "rollback").returncode == 0
        assert service.current == first
    assert seen(viewers) == {first, second}


def test_a_release_may_be_deleted_while_it_is_asked(service: Service) -> None:
    before = service.current
    service.move_columns()
    with served_without_a_gap(service) as viewers:
        assert service.run("refresh").returncode == 0
        # Some processes still answer from what is deleted here.
        assert service.run("releases", "prune", "--keep", "1").returncode == 0
        assert not (service.home.releases / before).exists()
    assert seen(viewers) == {before, service.current}


def test_a_failed_gate_publishes_nothing_and_names_its_number(service: Service) -> None:
    before = service.current
    with served_without_a_gap(service) as viewers:
        refused = service.run("refresh", WATCHNEXT_RECOMMENDER__GATES__LEAST_SIZE="1.5")
        assert refused.returncode == 2 and refused.stderr.count("\n") <= 2 and "Traceback" not in refused.stderr
        assert "gate size: " in refused.stderr and "150% are needed" in refused.stderr
    assert seen(viewers) == {before}
    accepted = service.run("refresh", "--accept", "size", "--json", WATCHNEXT_RECOMMENDER__GATES__LEAST_SIZE="1.5")
    assert accepted.returncode == 0 and "gate size" in orjson.loads(accepted.stdout)["release"]["accepted"][0]


def test_a_damaged_release_is_neither_gone_back_to_nor_served(service: Service) -> None:
    damaged = service.current
    service.move_columns()
    assert service.run("refresh").returncode == 0
    content = bytearray((service.home.releases / damaged / "collaborative.items.npy").read_bytes())
    content[-1] ^= 1
    # A copy in its place, as a broken disk would have it: the pages that are being served from stay as they were.
    aside = service.home.releases / damaged / ".altered"
    aside.write_bytes(content)
    aside.replace(service.home.releases / damaged / "collaborative.items.npy")
    whole = service.current
    with served_without_a_gap(service) as viewers:
        refused = service.run("releases", "rollback", damaged)
        assert refused.returncode == 2 and "collaborative.items.npy is damaged" in refused.stderr
        assert service.run("releases", "verify", damaged).returncode == 2
        # Somebody forces it: what is served stays, and readiness says why.
        (service.home.releases / "CURRENT").write_text(f"{damaged}\n")
        deadline = time.monotonic() + 20
        warnings: list[str] = []
        while not any(damaged in warning for warning in warnings) and time.monotonic() < deadline:
            warnings = httpx.get(f"{service.address}/readyz").json()["warnings"]
        assert any(damaged in warning for warning in warnings)
        viewers.until(100)
        (service.home.releases / "CURRENT").write_text(f"{whole}\n")
    assert seen(viewers) == {whole}


def test_a_full_disk_publishes_nothing_and_the_next_refresh_goes_on(service: Service) -> None:
    """No file may grow beyond some kilobytes: the system refuses the write as it does on a full disk."""
    before = service.current
    service.move_columns()

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, resource.RLIM_INFINITY))

    with served_without_a_gap(service) as viewers:
        refused = subprocess.run(
            service.command("refresh"), capture_output=True, text=True, preexec_fn=little_room, timeout=120
        )
        assert refused.returncode == 2 and "Traceback" not in refused.stderr, refused.stderr
        assert "File too large" in refused.stderr
        assert service.current == before
        assert service.run("refresh").returncode == 0
    assert seen(viewers) == {before, service.current}


def test_of_two_refreshes_at_once_one_is_refused_and_told_of_the_other(service: Service) -> None:
    before = service.current
    service.move_columns()
    with served_without_a_gap(service) as viewers:
        first = subprocess.Popen(service.command("refresh"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        owner = service.home.releases / ".refresh.owner.json"
        while not owner.exists():
            assert first.poll() is None
        first.send_signal(signal.SIGSTOP)
        second = service.run("refresh")
        first.send_signal(signal.SIGCONT)
        assert second.returncode == 2 and f"another refresh is running (process {first.pid} on " in second.stderr
        assert first.wait(60) == 0 and not owner.exists()
    assert seen(viewers) == {before, service.current}


#: Refreshes again and again: each first in a process that is killed at its first durable write in some phase, as soon
#: as the phases before it are done; then in one that lives.
KILLED_IN_EVERY_PHASE = """
import os, signal, sys
from pathlib import Path
import orjson
from data.home import Home
from data.store import Store
from recommender.index import use_threads
from recommender.refresh import STATE, refresh
home = Home.at(sys.argv[1])
durable = os.fsync

def phases_done():
    for path in home.releases.glob(f"*/{STATE}"):
        return len(orjson.loads(path.read_bytes())["done"])
    return -1

def in_another_process(work):
    child = os.fork()
    if child == 0:
        work()
        sys.stdout.flush()
        os._exit(0)
    return os.waitpid(child, 0)[1]

def report():
    done = refresh(Store.open(home.database_url), home)
    print(orjson.dumps({"release": done.release_id, "resumed": done.resumed}).decode())

def killed_after(phases, moved):
    def fsync(handle):
        on_the_shelf = any(not path.parent.name.startswith(".") for path in home.releases.glob(f"*/{STATE}"))
        if phases_done() >= phases and on_the_shelf == moved:
            os.kill(os.getpid(), signal.SIGKILL)
        durable(handle)
    os.fsync = fsync
    report()

for phases in range(int(sys.argv[2])):
    assert os.WTERMSIG(in_another_process(lambda: killed_after(phases, False))) == signal.SIGKILL
    assert in_another_process(report) == 0
assert os.WTERMSIG(in_another_process(lambda: killed_after(phases, True))) == signal.SIGKILL
assert in_another_process(report) == 0
"""


def test_kill_9_in_every_phase(service: Service) -> None:
    before = service.current
    service.move_columns()
    with served_without_a_gap(service) as viewers:
        ran = subprocess.run(
            [sys.executable, "-c", KILLED_IN_EVERY_PHASE, str(service.home.root), str(len(PHASES) + 1)],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            timeout=240,
        )
        assert ran.returncode == 0, ran.stderr
    reports = [orjson.loads(line) for line in ran.stdout.splitlines()]
    expected = [PHASES[:count] for count in range(len(PHASES) + 1)] + [PHASES]
    assert [report["resumed"] for report in reports] == expected
    published = [report["release"] for report in reports]
    assert len(set(published)) == len(published) and service.current == published[-1]
    assert {before, published[-1]} <= seen(viewers) <= {before, *published}
    assert not list(Path(service.home.releases).glob(".building"))
