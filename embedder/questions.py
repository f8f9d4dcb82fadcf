"""Encoding what is looked for - words, a picture, a clip - in a process of its own.

The process (`question_worker`) begins with the first question and loads the encoder once; it works at low priority and
with one thread, so that whoever asks it goes on answering others. A file that brings it down costs that question: the
next one begins another process. Knows nothing of catalogues, indexes and HTTP, nor of pictures.
"""

import atexit
import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import orjson

from data.home import Home
from embedder.batch import EmbedSettings
from embedder.encoders import FUSED, HUB, EncoderSettings

Kind = Literal["text", "picture", "clip"]
#: missing: the encoder cannot be had here; unsuitable: it makes nothing of questions of this kind; unreadable: nothing
#: can be made of this file; busy: others wait already, or it takes too long.
Trouble = Literal["missing", "unsuitable", "unreadable", "busy"]

#: Questions that wait for the process at a time: each holds a thread of the one who asks.
WAITING = 2
NICE = 10
PATIENCE_S = 5.0
CHUNK = 2**16


class QuestionError(Exception):
    """A question that cannot be encoded; `str()` says why in a line."""

    def __init__(self, trouble: Trouble, detail: str) -> None:
        super().__init__(detail)
        self.trouble = trouble


@dataclass(frozen=True)
class Encoded:
    """A question's vector (dim,) float32 of length 1, and the id of the encoder that made it."""

    encoder_id: str
    vector: np.ndarray


def may_read(settings: EncoderSettings) -> bool:
    """Whether an encoder of these settings may understand words, as far as can be told without loading it."""
    names = settings.parts if settings.name == FUSED else [settings.name]
    return any(name == "text" or name.startswith(HUB) for name in names)


class QuestionEncoder:
    """Safe to use from many threads."""

    def __init__(self, settings: EmbedSettings, home: Home) -> None:
        self._settings = settings
        self._home = home
        self._places = threading.BoundedSemaphore(WAITING)
        self._turn = threading.Lock()
        self._process: _Process | None = None
        atexit.register(self.close)

    @property
    def is_loaded(self) -> bool:
        """Whether a question would be answered at once. Where not, loading begins, and nobody waits for it."""
        if self._turn.acquire(blocking=False):
            try:
                return self._running().is_loaded
            finally:
                self._turn.release()
        # Somebody's question is being answered, or waits for the loading as others would.
        process = self._process
        return process is not None and process.has_greeted

    def encode_text(self, text: str, within_s: float) -> Encoded:
        """Raises QuestionError."""
        return self._asked({"kind": "text", "text": text}, within_s)

    def encode_file(self, path: Path, kind: Kind, within_s: float) -> Encoded:
        """Raises QuestionError."""
        return self._asked({"kind": kind, "path": str(path)}, within_s)

    def close(self) -> None:
        """Ends the process, in the middle of a question, too."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _asked(self, question: dict[str, str], within_s: float) -> Encoded:
        until = time.monotonic() + within_s
        if not self._places.acquire(blocking=False):
            raise QuestionError("busy", "the encoder works on other questions; try again")
        try:
            if not self._turn.acquire(timeout=within_s):
                raise QuestionError("busy", "the encoder works on another question; try again")
            try:
                answer = self._running().ask(question, until)
            except TimeoutError:
                raise QuestionError("busy", f"the encoder did not answer within {within_s:g} s; try again") from None
            except _EndedError:
                self.close()
                trouble: Trouble = "missing" if question["kind"] == "text" else "unreadable"
                raise QuestionError(trouble, "the encoder's process ended over this question") from None
            finally:
                self._turn.release()
        finally:
            self._places.release()
        if "trouble" in answer:
            raise QuestionError(answer["trouble"], answer["detail"])
        return Encoded(answer["encoder"], np.array(answer["vector"], np.float32))

    def _running(self) -> "_Process":
        if self._process is None or self._process.died():
            self.close()
            self._process = _Process({"settings": self._settings.model_dump(), "home": str(self._home.root)})
        return self._process


class _EndedError(Exception):
    """The process is gone."""


class _Process:
    """The process and its two pipes: a line of JSON for every question and every answer, which has its number."""

    def __init__(self, options: dict[str, Any]) -> None:
        # The package is found where the parent found it, installed or not.
        search = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "embedder.question_worker", orjson.dumps(options).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": search, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            # Ctrl-C is for the parent, which ends its processes in order.
            process_group=0,
        )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICE)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._questions: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._answers: BinaryIO = self._process.stdout  # type: ignore[assignment]
        self._waiting = select.poll()
        self._waiting.register(self._answers, select.POLLIN | select.POLLHUP)
        self._received = bytearray()
        self._asked = 0
        #: Whether the encoder is loaded, or was found to be missing, as far as has been heard.
        self.has_greeted = False

    @property
    def is_loaded(self) -> bool:
        if not self.has_greeted:
            with contextlib.suppress(TimeoutError, _EndedError):
                self._answer(0, time.monotonic())
        return self.has_greeted

    def ask(self, question: dict[str, str], until: float) -> dict[str, Any]:
        """Raises TimeoutError and _EndedError."""
        self._asked += 1
        try:
            self._questions.write(orjson.dumps(question | {"number": self._asked}, option=orjson.OPT_APPEND_NEWLINE))
            self._questions.flush()
        except (OSError, ValueError):
            raise _EndedError from None
        return self._answer(self._asked, until)

    def _answer(self, number: int, until: float) -> dict[str, Any]:
        """The answer to a question; those to earlier ones, for which nobody waits any more, are passed over."""
        while True:
            while b"\n" not in self._received:
                if not self._waiting.poll(max(0.0, until - time.monotonic()) * 1000):
                    raise TimeoutError
                chunk = os.read(self._answers.fileno(), CHUNK)
                if not chunk:
                    raise _EndedError
                self._received += chunk
            line, _, self._received = self._received.partition(b"\n")
            answer: dict[str, Any] = orjson.loads(line)
            self.has_greeted = True
            if answer["number"] == number:
                return answer

    def died(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_S)
        for pipe in (self._questions, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()
