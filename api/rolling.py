"""Granian that replaces and stops its processes so that no request fails.

A new process takes the place of an old one when it is ready to answer, however long that takes; Granian itself gives it
a fixed time. An old one first closes its connections one after the other, each with the answer to its next request, so
that nobody sends a request into a connection that is just being closed. Where the system allows it processes are forked
from a template, which has imported what they need and does nothing else: they share these pages of memory, too. Knows
nothing of what the processes do.
"""

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from flask import Flask
from granian.server.mp import MPServer, WorkerProcess

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

#: Where processes say that they are ready, and are told to close their connections: a file each, named by the process.
FOLDER_VARIABLE = "SERVER_PROCESSES_FOLDER"
#: Elsewhere processes share a socket, which does not get through to one that is forked from another.
FORKED = sys.platform == "linux"
LOOK_EVERY_S = 0.05
#: How long a template that was killed takes to be gone at most.
DYING_S = 10.0
#: One that takes longer than this will never be ready, and the old ones go all the same, as they were told to.
PATIENCE_S = 600.0
#: Time in which front ends that ask all the time have moved to other processes; and where there are none.
CLOSING_S, ENDING_S = 1.0, 0.3
#: So often one connection is closed with an answer. Front ends keep theirs for ever, and whoever began first would have
#: them all: with a new one they may come to a process that has little to do.
ANSWERS_OF_A_CONNECTION = 1_000


class RollingServer(MPServer):
    """Granian's own server of several processes, but for how they are started, replaced (SIGHUP) and stopped."""

    def __init__(self, *arguments: Any, imported: Sequence[str] = (), **options: Any) -> None:
        """imported: modules that processes share; none may start threads or open files."""
        super().__init__(*arguments, **options)
        self._imported = imported
        self._template = _fresh_template(imported)

    def _spawn_worker(self, *arguments: Any, **options: Any) -> WorkerProcess:
        worker = super()._spawn_worker(*arguments, **options)
        if FORKED:
            planned = worker.inner
            worker.inner = _Forked(name=planned.name, target=planned._target, args=planned._args)
        return worker

    def _respawn_workers(self, workers: Sequence[int], spawn_target: Any, target_loader: Any, delay: float = 0) -> None:
        if not delay:
            self._replace_dead(workers, spawn_target, target_loader)
            return
        before = None
        if len(workers) == len(self.wrks):
            # The code may be another by now.
            before, self._template = self._template, _fresh_template(self._imported)
        for place in workers:
            old = self.wrks[place]
            new = self._spawn_worker(idx=place, target=spawn_target, callback_loader=target_loader)
            new.start()
            self.wrks[place] = new
            _wait_until_ready(new.inner.pid)
            _close_connections(old.inner.pid)
            time.sleep(CLOSING_S)
            old.terminate()
            old.join(self.workers_kill_timeout)
            if old.is_alive():
                old.kill()
                old.join()
            _forget(old.inner.pid)
        if before is not None:
            before._stop()  # type: ignore[attr-defined]

    def _replace_dead(self, workers: Sequence[int], spawn_target: Any, target_loader: Any) -> None:
        """Processes that have died: nothing to be careful with.

        Granian ends where one dies again within seconds. That is meant for those that cannot begin, and not for those
        that have answered and were killed.
        """
        dead = {place: self.wrks[place].inner.pid for place in workers}
        has_answered = [place for place, pid in dead.items() if _is_ready(pid)]
        super()._respawn_workers(workers, spawn_target, target_loader)
        for place in has_answered:
            self.respawned_wrks.pop(place, None)
            _forget(dead[place])
        if self.interrupt_children:
            # Granian may have overheard one that died while it was told of another.
            self.main_loop_interrupt.set()

    def _stop_workers(self) -> None:
        for worker in self.wrks:
            _close_connections(worker.inner.pid)
        time.sleep(ENDING_S)
        super()._stop_workers()


class _Forked(multiprocessing.context.ForkServerProcess):
    def start(self) -> None:
        until = time.monotonic() + DYING_S
        while True:
            try:
                super().start()
                return
            except (ConnectionError, EOFError):
                # The template has been killed and is not gone yet: the next one begins when it is.
                if time.monotonic() >= until:
                    raise
                time.sleep(LOOK_EVERY_S)


def _fresh_template(imported: Sequence[str]) -> forkserver.ForkServer:
    """What the processes that begin from now on are forked from; it begins with the first of them."""
    template = forkserver.ForkServer()
    template.set_forkserver_preload(list(imported))
    # `multiprocessing` has one for all times, and with it the code of when that one began.
    forkserver.connect_to_new_process = template.connect_to_new_process
    return template


def install(app: Flask) -> None:
    """In a process of a rolling server: says that it is ready, and closes connections once it is told to."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        return
    closing = threading.Event()
    answers = itertools.count(1)

    application = app.wsgi_app

    def closing_some(environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        if not closing.is_set() and next(answers) % ANSWERS_OF_A_CONNECTION:
            return application(environ, start_response)

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            return start_response(status, [*headers, ("Connection", "close")], *error)

        return application(environ, start)

    app.wsgi_app = closing_some  # type: ignore[method-assign]

    template = os.getppid()

    def watch() -> None:
        while not _told_to_close(folder, os.getpid()).exists() and os.getppid() == template:
            time.sleep(LOOK_EVERY_S)
        is_given_up = os.getppid() != template
        if is_given_up:
            # The server has heard no more of this process when the template died, and begins others in its place.
            _wait_for_another(folder)
        closing.set()
        if is_given_up:
            time.sleep(CLOSING_S)
            os.kill(os.getpid(), signal.SIGTERM)

    # Of an earlier process of this number.
    _told_to_close(folder, os.getpid()).unlink(missing_ok=True)
    threading.Thread(target=watch, name="closing", daemon=True).start()
    _ready(folder, os.getpid()).touch()


def _ready(folder: str, pid: int) -> Path:
    return Path(folder) / f"{pid}.ready"


def _is_ready(pid: int) -> bool:
    return _ready(os.environ[FOLDER_VARIABLE], pid).exists()


def _forget(pid: int) -> None:
    if not psutil.pid_exists(pid):
        folder = os.environ[FOLDER_VARIABLE]
        _ready(folder, pid).unlink(missing_ok=True)
        _told_to_close(folder, pid).unlink(missing_ok=True)


def _told_to_close(folder: str, pid: int) -> Path:
    return Path(folder) / f"{pid}.close"


def _wait_until_ready(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not _is_ready(pid) and psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)


def _wait_for_another(folder: str) -> None:
    """Until a process that is not there yet is ready."""
    before = set(Path(folder).glob("*.ready"))
    deadline = time.monotonic() + PATIENCE_S
    while not set(Path(folder).glob("*.ready")) - before and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)


def _close_connections(pid: int) -> None:
    _told_to_close(os.environ[FOLDER_VARIABLE], pid).touch()
