"""Decoding behind a wall: a file that hangs, crashes or swallows memory costs that file and nothing else.

Each worker is a fresh process (`decode_worker`, never a fork: no torch, no database, no locks of the parent in
it) that takes one file at a time and answers with frames over a pipe. Its limits are the kernel's:

* time: an interval timer whose signal ends the process, also when libav never comes back to Python;
* memory: RLIMIT_AS, so that a huge allocation fails at once. A watch on the resident size would look too late
  at a header that asks for gigabytes. (macOS does not enforce this limit.)
* orphans: a worker whose pipe is closed, because the parent was killed, ends itself.

Knows nothing of catalogues or encoders, nor of PyAV.
"""

import contextlib
import logging
import os
import queue
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from embedder.decode_settings import DecodeSettings
from embedder.media import PYAV, Decoder, MediaError, MediaInfo, MediaSample, NotTakenError, Reason, Wanted
from embedder.sample_message import from_message

log = logging.getLogger(__name__)

#: The parent's patience on top of a worker's own limit: for one that is stopped or stuck in the kernel.
PATIENCE_S = 5.0
#: (Where torchcodec is asked for, a worker imports torch and decodes a film first.)
START_LIMIT_S = 120.0
#: Bytes of an answer's first line, and behind it: 256 frames and as many following ones, the largest that there are.
LARGEST_HEADER = 2**16
LARGEST_ANSWER = 2**29
NONSENSE = "the decoder answered with nonsense"


class WorkerStartError(RuntimeError):
    """A decode worker cannot start: the installation is broken, no file is to blame."""


class DecodePool:
    """Worker processes that decode files. Safe to call from several threads, each call has a worker of its own.

    `workers`: processes at most of each decoder; they start when they are needed. `time_limit_s`: seconds a file may
    take. `memory_limit_mb`: MiB a worker may use on top of what it needs empty. `decoder`: the one that is asked first
    where it is wanted. What it does not take or fails at is read by PyAV, in a process that holds neither torch nor
    CUDA; where it cannot be used at all, everything is, and a warning tells why.
    """

    def __init__(
        self,
        workers: int,
        time_limit_s: float = 60.0,
        memory_limit_mb: int = 1536,
        settings: DecodeSettings | None = None,
        decoder: Decoder = PYAV,
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        options = {
            "time_limit_s": time_limit_s,
            "memory_limit_mb": memory_limit_mb,
            "settings": (settings or DecodeSettings()).model_dump(),
        }
        self._crews = {name: _Crew(workers, options | {"decoder": name}) for name in (PYAV, decoder)}
        self._unusable: set[Decoder] = set()

    def read(self, path: Path | str, wanted: Wanted) -> MediaSample:
        """What is wanted of a file, as `decode.read_media` gives it; waits for a free worker.

        Raises MediaError (also with the reasons timed_out, out_of_memory and crashed), WorkerStartError when no
        worker can be started, RuntimeError after `close`.
        """
        if wanted.decoder != PYAV and wanted.decoder in self._crews and wanted.decoder not in self._unusable:
            try:
                return self._crews[wanted.decoder].read(path, wanted)
            except (_UnusableError, WorkerStartError) as error:
                if wanted.decoder not in self._unusable:
                    self._unusable.add(wanted.decoder)
                    log.warning("%s cannot be used here, PyAV decodes instead: %s", wanted.decoder, error)
            except (NotTakenError, MediaError):
                pass
        return self._crews[PYAV].read(path, replace(wanted, decoder=PYAV))

    def probe(self, path: Path | str) -> MediaInfo:
        """What the container of a file says; raises as `read` does."""
        return self._crews[PYAV].read(path, Wanted()).info

    def close(self) -> None:
        """Ends all workers, busy ones too: calls that wait for them raise RuntimeError."""
        for crew in self._crews.values():
            crew.close()

    def __enter__(self) -> "DecodePool":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class _UnusableError(Exception):
    """A decoder cannot be used on this machine."""


class _Crew:
    """The workers of one decoder."""

    def __init__(self, workers: int, options: dict[str, Any]) -> None:
        self._options = options
        self._workers = workers
        self._time_limit_s: float = options["time_limit_s"]
        # A place is a running worker, or None where one may be started.
        self._places: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
        for _ in range(workers):
            self._places.put(None)
        self._running: set[_Worker] = set()
        self._closed = False

    def read(self, path: Path | str, wanted: Wanted) -> MediaSample:
        """As `DecodePool.read`; raises NotTakenError and _UnusableError, too."""
        worker = self._places.get()
        try:
            if worker is not None and worker.died():
                self._bury(worker)
                worker = None
            if worker is None:
                worker = self._start()
            request = {"path": str(path), "wanted": asdict(wanted)}
            answer, payload = worker.ask(request, self._time_limit_s + PATIENCE_S)
            read = _what_is_in(answer, payload)
        except _WorkerEndedError as end:
            self._bury(worker)
            worker = None
            if self._closed:
                raise RuntimeError("the decode pool is closed") from None
            raise _blame(end, self._time_limit_s) from None
        except BaseException:
            self._bury(worker)
            worker = None
            raise
        else:
            if isinstance(read, MediaError) and read.reason is Reason.OUT_OF_MEMORY:
                self._bury(worker)  # what is left of this process is not worth keeping
                worker = None
        finally:
            self._places.put(worker)
        if isinstance(read, Exception):
            raise read
        return read

    def close(self) -> None:
        self._closed = True
        for running in list(self._running):
            running.kill()
        places = [self._places.get() for _ in range(self._workers)]  # a killed worker's call gives its place back
        for worker in places:
            self._bury(worker)
            self._places.put(None)

    def _start(self) -> "_Worker":
        worker = _Worker(self._options)
        self._running.add(worker)
        if self._closed:
            self._bury(worker)
            raise RuntimeError("the decode pool is closed")
        try:
            fault = worker.await_greeting()["fault"]
            if fault is not None:
                raise _UnusableError(fault)
        except BaseException:
            self._bury(worker)
            raise
        return worker

    def _bury(self, worker: "_Worker | None") -> None:
        if worker is not None:
            worker.end()
            self._running.discard(worker)


class _WorkerEndedError(Exception):
    """The worker's process is gone; `code`: its exit status, negative for a signal, None when we ended it."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


def _what_is_in(answer: dict[str, Any], payload: bytearray) -> MediaSample | MediaError | NotTakenError:
    try:
        if "not_taken" in answer:
            return NotTakenError(answer["not_taken"])
        if "reason" in answer:
            return MediaError(Reason(answer["reason"]), answer["detail"])
        return from_message(answer, payload)
    except (ValueError, TypeError, KeyError) as error:
        raise MediaError(Reason.CRASHED, NONSENSE) from error


def _blame(end: _WorkerEndedError, time_limit_s: float) -> MediaError:
    if end.code is None or end.code == -signal.SIGALRM:
        return MediaError(Reason.TIMED_OUT, f"decoding took longer than {time_limit_s:g} s")
    if end.code == -signal.SIGKILL:
        return MediaError(Reason.OUT_OF_MEMORY, "the system killed the decoder, most likely for its memory")
    how = f"exit status {end.code}"
    if end.code < 0:
        known = {number.value: number.name for number in signal.Signals}
        how = known.get(-end.code, f"signal {-end.code}")
    return MediaError(Reason.CRASHED, f"the decoder ended with {how}")


class _Worker:
    """One process and its two pipes. Messages are a line of JSON; an answer with frames has their bytes behind it."""

    def __init__(self, options: dict[str, Any]) -> None:
        # The package is found where the parent found it, installed or not.
        package_root = str(Path(__file__).resolve().parents[1])
        search = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "embedder.decode_worker", orjson.dumps(options).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # NumPy's thread pools would count as memory, and nothing here multiplies matrices.
            env=os.environ | {"PYTHONPATH": search, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            # Its own process group: Ctrl-C is for the parent, which ends its workers in order.
            process_group=0,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._answers: BinaryIO = self._process.stdout  # type: ignore[assignment]
        self._waiting = select.poll()
        self._waiting.register(self._answers, select.POLLIN | select.POLLHUP)

    def await_greeting(self) -> dict[str, Any]:
        try:
            return self._read(START_LIMIT_S)[0]
        except _WorkerEndedError as end:
            raise WorkerStartError(
                f"a decode worker does not start (exit status {end.code}); is PyAV installed? "
                f"Try: {sys.executable} -c 'import av'"
            ) from None

    def ask(self, request: dict[str, Any], limit_s: float) -> tuple[dict[str, Any], bytearray]:
        try:
            self._requests.write(orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE))
            self._requests.flush()
        except (OSError, ValueError):
            raise _WorkerEndedError(self._exit_status()) from None
        return self._read(limit_s)

    def _read(self, limit_s: float) -> tuple[dict[str, Any], bytearray]:
        """An answer. What a worker says is not believed either: a file may have made it its own."""
        deadline = time.monotonic() + limit_s
        received, chunk = bytearray(), bytearray(LARGEST_HEADER)
        while b"\n" not in received:
            received += chunk[: self._receive(chunk, deadline)]
            if len(received) > LARGEST_HEADER and b"\n" not in received:
                raise MediaError(Reason.CRASHED, NONSENSE)
        header, _, first = received.partition(b"\n")
        try:
            answer = orjson.loads(header)
            size = int(answer.get("bytes", 0))
        except (ValueError, TypeError, AttributeError) as error:
            raise MediaError(Reason.CRASHED, NONSENSE) from error
        if not len(first) <= size <= LARGEST_ANSWER:
            raise MediaError(Reason.CRASHED, NONSENSE)
        payload = bytearray(size)
        payload[: len(first)] = first
        missing = memoryview(payload)[len(first) :]
        while missing:
            missing = missing[self._receive(missing, deadline) :]
        return answer, payload

    def _receive(self, buffer: bytearray | memoryview, deadline: float) -> int:
        """Fills the beginning of a buffer with what comes next; returns how much that is, at least 1."""
        if not self._waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise _WorkerEndedError(None)
        count = os.readv(self._answers.fileno(), [buffer])
        if count == 0:
            raise _WorkerEndedError(self._exit_status())
        return count

    def _exit_status(self) -> int | None:
        try:
            return self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return None

    def died(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """Kills the process and closes its pipes. One that is stuck in the kernel is left behind, killed."""
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_S)
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()
