"""Granian that replaces and stops its processes so that no request fails.

A new process takes the place of an old one when it is ready to answer, however long that takes; Granian itself gives it
a fixed time. An old one first closes its connections one after the other, each with the answer to its next request, so
that nobody sends a request into a connection that is just being closed. Where the system allows it processes are forked
from a template, which has imported what they need and does nothing else: they share these pages of memory, too. Knows
nothing of what the processes do.
"""

import contextlib
import itertools
import logging
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

from api.processors import keep_to, one_for_each

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

log = logging.getLogger(__name__)

#: Where processes say that they are ready, and are told to close their connections: a file each, named by the process.
FOLDER_VARIABLE = "SERVER_PROCESSES_FOLDER"
#: Elsewhere processes share a socket, which does not get through to one that is forked from another.
FORKED = sys.platform == "linux"
#: In processes that are forked, the one that they are forked from.
TEMPLATE_VARIABLE = "SERVER_TEMPLATE"
#: How one ends for who began it whose template is gone, though it may live.
LOST_WITH_TEMPLATE = 255
#: So many in a row for each place, none of which has become ready, and no other will.
MOST_FAILURES = 3
#: So many for each place are replaced at once; where more die lately, after pauses that grow.
FREE_DEATHS, LATELY_S, LONGEST_PAUSE_S = 3, 60.0, 5.0
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

    def __init__(self, *arguments: Any, imported: Sequence[str] = (), pinned: bool = False, **options: Any) -> None:
        """imported: modules that processes share; none may start threads or open files; pinned: each process keeps to a
        processor of its own, where there are as many."""
        super().__init__(*arguments, **options)
        self._processors = one_for_each(self.workers) if pinned else []
        self._imported = imported
        self._template = _fresh_template(imported)
        self._failures, self._deaths = 0, list[float]()

    def _spawn_worker(self, idx: int, *arguments: Any, **options: Any) -> WorkerProcess:
        _forget_the_dead()
        worker = super()._spawn_worker(idx, *arguments, **options)
        if FORKED:
            planned = worker.inner
            worker.inner = _Forked(name=planned.name, target=planned._target, args=planned._args)
            worker.inner.processor = self._processors[idx] if self._processors else None
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
        if before is not None:
            before._stop()  # type: ignore[attr-defined]

    def _replace_dead(self, workers: Sequence[int], spawn_target: Any, target_loader: Any) -> None:
        """Processes that have died: nothing to be careful with."""
        dead = sorted({place for place in workers if not self.wrks[place].is_alive()})
        if dead:
            self._take_note_of(dead)
            if self._failures > MOST_FAILURES * self.workers:
                log.error("the server ends: its processes do not come to answer")
                self.interrupt_children[:], self.interrupt_signal = dead, True
                self.main_loop_interrupt.set()
                return
            time.sleep(self._pause_s())
            super()._respawn_workers(dead, spawn_target, target_loader)
        # Granian would end where one dies again within seconds, whatever it has answered meanwhile.
        self.respawned_wrks.clear()
        # It may have overheard one that died while it was told of another, or a signal that came with it.
        died = (worker for worker in self.wrks if not worker.is_alive() and not worker.interrupt_by_parent)
        self.interrupt_children += [worker.idx for worker in died if worker.idx not in self.interrupt_children]
        if self.interrupt_children or self.interrupt_signal or self.reload_signal:
            self.main_loop_interrupt.set()

    def _take_note_of(self, dead: Sequence[int]) -> None:
        self._deaths += [time.monotonic()] * len(dead)
        for place in dead:
            process = self.wrks[place].inner
            if _ready(os.environ[FOLDER_VARIABLE], process.pid).exists():
                self._failures = 0
            elif process.exitcode != LOST_WITH_TEMPLATE:
                self._failures += 1

    def _pause_s(self) -> float:
        """The more processes have died lately the longer; none for the first ones."""
        now = time.monotonic()
        self._deaths = [died_at for died_at in self._deaths if now - died_at < LATELY_S]
        beyond = len(self._deaths) - FREE_DEATHS * self.workers
        return min(LONGEST_PAUSE_S, 0.1 * 2.0 ** min(beyond, 10)) if beyond > 0 else 0.0

    def _stop_workers(self) -> None:
        for worker in self.wrks:
            _close_connections(worker.inner.pid)
        time.sleep(ENDING_S)
        super()._stop_workers()


class _Forked(multiprocessing.context.ForkServerProcess):
    processor: int | None = None

    def start(self) -> None:
        self._begin()
        if self.processor is not None and self.pid is not None:
            keep_to(self.pid, self.processor)

    def _begin(self) -> None:
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

    # As it was at first: it may have died since.
    template = int(os.environ.get(TEMPLATE_VARIABLE, os.getppid()))

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


def _forget_the_dead() -> None:
    """What processes said that are not there any more; another may have their number some day."""
    for said in Path(os.environ[FOLDER_VARIABLE]).iterdir():
        if not psutil.pid_exists(int(said.stem)):
            said.unlink(missing_ok=True)


def _told_to_close(folder: str, pid: int) -> Path:
    return Path(folder) / f"{pid}.close"


def _wait_until_ready(pid: int) -> None:
    said = _ready(os.environ[FOLDER_VARIABLE], pid)
    deadline = time.monotonic() + PATIENCE_S
    while not said.exists() and psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)


def _wait_for_another(folder: str) -> None:
    """Until a process is ready that has not lost its template as well."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for said in Path(folder).glob("*.ready"):
            with contextlib.suppress(psutil.Error):
                if psutil.Process(int(said.stem)).ppid() != os.getppid():
                    return
        time.sleep(LOOK_EVERY_S)


def _close_connections(pid: int) -> None:
    _told_to_close(os.environ[FOLDER_VARIABLE], pid).touch()
