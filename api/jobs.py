"""Work that takes long, as a process of its own: where it stands is on disk, so that any server process can tell.

A job holds the lock of its file as long as it lives, from before it was started until the system takes it back. A job
that ended without saying how was killed. Knows nothing of what jobs do.
"""

import contextlib
import fcntl
import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, Field

from api.processors import let_go
from api.telemetry import MULTIPROCESS_VARIABLE
from data.files import write_json

KEPT = 100
KILLED = "killed"
#: With its time to the microsecond: in the order of their ids jobs are in the order of their beginnings.
_GOOD_ID = re.compile(r"[a-z]+-[0-9]{8}-[0-9]{6}-[0-9]{6}[0-9a-f]{4}")
#: What server processes are told, and a job is not: it takes all cores, and counts nothing among their metrics.
_OF_SERVERS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", MULTIPROCESS_VARIABLE)


class Job(BaseModel):
    """Where a job stands. Times are seconds since 1970.

    phases: (name, seconds that it took last time, or None), in their order; done: how many of them; phase_began_at: the
    one that it is in.
    """

    id: str
    kind: str
    state: Literal["queued", "running", "succeeded", "failed"] = "queued"
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    phases: list[tuple[str, float | None]] = Field(default_factory=list)
    done: int = 0
    phase: str | None = None
    phase_began_at: float | None = None
    result: str | None = None
    plan: dict[str, Any] | None = None
    reason: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in ("succeeded", "failed")

    def eta_s(self, now: float) -> float | None:
        """Seconds that it is likely to take yet; None where a phase that is left has not been timed."""
        left = [took for _, took in self.phases[self.done :]]
        if self.state != "running" or self.phase_began_at is None or None in left:
            return None
        seconds = [took for took in left if took is not None]
        if not seconds:
            return 0.0
        return max(0.0, seconds[0] - (now - self.phase_began_at)) + sum(seconds[1:])


class Jobs:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self, kind: str, module: str, asked: dict[str, Any]) -> Job:
        """Starts `python -m module`, which reads `asked` and the `job` that it is from its standard input."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._prune()
        now = datetime.now(UTC)
        job = Job(id=f"{kind}-{now:%Y%m%d-%H%M%S-%f}{secrets.token_hex(2)}", kind=kind, created_at=now.timestamp())
        with self._held_lock(job.id) as lock, self._path(job.id, ".log").open("wb") as log:
            self.write(job)
            package_root = str(Path(__file__).resolve().parents[1])
            search = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
            environment = {name: value for name, value in os.environ.items() if name not in _OF_SERVERS}
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment | {"PYTHONPATH": search},
                pass_fds=[lock],
                # What ends its starter does not end the job.
                start_new_session=True,
            )
            let_go(process.pid)
        # So that the system need not remember how it ended.
        threading.Thread(target=process.wait, name=job.id, daemon=True).start()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(orjson.dumps({**asked, "job": job.id}))
        return job

    def write(self, job: Job) -> None:
        write_json(self._path(job.id, ".json"), job.model_dump())

    def get(self, job_id: str) -> Job | None:
        """Where a job stands; None when there is none of this id."""
        if not _GOOD_ID.fullmatch(job_id):
            return None
        job = self._read(job_id)
        if job is None or job.has_ended or self._lives(job_id):
            return job
        # It may have ended well since it was read.
        job = self._read(job_id)
        if job is not None and not job.has_ended:
            job = job.model_copy(update={"state": "failed", "reason": KILLED})
        return job

    def newest(self, limit: int) -> list[Job]:
        ids = sorted((path.stem for path in self._folder.glob("*.json")), key=_time_of, reverse=True)
        return [job for job in map(self.get, ids[:limit]) if job is not None]

    def living(self) -> Job | None:
        """The newest job that has not ended."""
        return next((job for job in self.newest(KEPT) if not job.has_ended), None)

    def _path(self, job_id: str, suffix: str) -> Path:
        return self._folder / f"{job_id}{suffix}"

    def _read(self, job_id: str) -> Job | None:
        try:
            return Job.model_validate_json(self._path(job_id, ".json").read_bytes())
        except (OSError, ValueError):
            return None

    @contextlib.contextmanager
    def _held_lock(self, job_id: str) -> Iterator[int]:
        handle = os.open(self._path(job_id, ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)

    def _lives(self, job_id: str) -> bool:
        try:
            handle = os.open(self._path(job_id, ".lock"), os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def _prune(self) -> None:
        for job in self.newest(10 * KEPT)[KEPT:]:
            if job.has_ended:
                for suffix in (".json", ".log", ".lock"):
                    self._path(job.id, suffix).unlink(missing_ok=True)


def _time_of(job_id: str) -> str:
    return job_id.partition("-")[2]
