"""A server of several processes, whichever of them dies and whenever."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from api.server import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked from another on Linux alone")

SERVER = """
import multiprocessing
import os
import sys
import time

from flask import Flask

from api import rolling
from api.leash import end_with_parent


def create():
    end_with_parent(lambda: os._exit(1))
    time.sleep(0.5)
    app = Flask("who")
    app.get("/")(lambda: str(os.getpid()))
    rolling.install(app)
    return app


def create_none():
    raise RuntimeError("it cannot begin")


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    ours = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, ours)
    server = rolling.RollingServer(
        f"server:{sys.argv[1]}", factory=True, interface="wsgi", port=int(sys.argv[2]), workers=len(ours),
        blocking_threads=4, respawn_failed_workers=True, respawn_interval=0.5, workers_kill_timeout=5, pinned=True,
        imported=["flask", "granian", "api.template"],
    )
    server.serve()
"""


class Running:
    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.folder = folder
        self.process = process
        self.address = f"http://127.0.0.1:{port}"
        self.number = min(2, len(os.sched_getaffinity(0)))

    def ready(self) -> set[int]:
        said = {int(path.stem) for path in self.folder.glob("*.ready")}
        return {pid for pid in said if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"}

    def template(self) -> psutil.Process:
        children = psutil.Process(self.process.pid).children()
        (found,) = (child for child in children if any("forkserver" in word for word in child.cmdline()))
        return found

    def until(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not what():
            assert self.process.poll() is None, (self.folder.parent / "log").read_text()
            assert time.monotonic() < deadline, (self.folder.parent / "log").read_text()
            time.sleep(0.02)

    def until_all_are_ready(self, but: set[int] | None = None) -> None:
        self.until(lambda: len(self.ready() - (but or set())) == self.number == len(self.ready()))


@contextmanager
def running(folder: Path, application: str = "create") -> Iterator[Running]:
    (folder / "server.py").write_text(SERVER)
    (folder / "said").mkdir()
    port = free_port("127.0.0.1", 0)
    search = os.pathsep.join([str(Path(__file__).parents[2]), str(folder)])
    variables = os.environ | {"SERVER_PROCESSES_FOLDER": str(folder / "said"), "PYTHONPATH": search}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, str(folder / "server.py"), application, str(port)]
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log)
    try:
        yield Running(folder / "said", process, port)
    finally:
        process.terminate()
        process.wait(30)


def test_processes_that_are_killed_again_and_again_are_replaced(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.until_all_are_ready()
        killed: list[int] = []
        for _ in range(4):
            killed.append(max(server.ready(), key=lambda pid: psutil.Process(pid).create_time()))
            os.kill(killed[-1], signal.SIGKILL)
            server.until(lambda: killed[-1] not in server.ready() and len(server.ready()) == server.number)
        assert int(httpx.get(server.address).text) in server.ready()
        assert not (server.folder / f"{killed[0]}.ready").exists(), "another may have its number some day"


def test_a_server_whose_processes_cannot_begin_ends_with_an_error(tmp_path: Path) -> None:
    with running(tmp_path, "create_none") as server:
        assert server.process.wait(60) == 1
    assert "the server ends: its processes do not come to answer" in (tmp_path / "log").read_text()


def test_processes_that_lose_their_template_while_they_begin_do_not_stay(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.until(lambda: bool(psutil.Process(server.process.pid).children(recursive=True)))
        server.until(lambda: len(server.template().children()) == server.number)
        template = server.template()
        lost = {child.pid for child in template.children()}
        template.kill()
        server.until_all_are_ready(but=lost)
        server.until(lambda: not any(map(psutil.pid_exists, lost)))
        assert int(httpx.get(server.address).text) in server.ready()


def test_each_process_keeps_to_a_processor_of_its_own(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.until_all_are_ready()
        kept = [os.sched_getaffinity(pid) for pid in server.ready()]
        assert sorted(kept, key=min) == [{processor} for processor in sorted(os.sched_getaffinity(server.process.pid))]
        before = server.ready()
        server.process.send_signal(signal.SIGHUP)
        server.until_all_are_ready(but=before)
        assert sorted(map(min, map(os.sched_getaffinity, server.ready()))) == sorted(map(min, kept))
