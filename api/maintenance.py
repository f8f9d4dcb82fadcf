"""Operations over HTTP: the releases and which of them is served, refreshes, and the jobs that these are.

A refresh runs in a process of its own, one at a time; here it is started and asked for. Knows nothing of Flask, and
nothing of how a release is built.
"""

import time
from collections.abc import Sequence
from typing import Any

from filelock import FileLock

from api.errors import Problem
from api.jobs import Job, Jobs
from api.settings import Settings
from data.files import CorruptFileError
from data.home import Home
from data.schema import to_rfc3339
from recommender.gates import Gate
from recommender.refresh import running_elsewhere
from recommender.release import ReleaseError, Releases

REFRESH = "refresh"


class Maintenance:
    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = settings
        self._home = home
        self._releases = Releases(home.releases)
        self._jobs = Jobs(home.jobs)

    def releases(self) -> list[dict[str, Any]]:
        """The manifests of all releases, newest first, each with `current`; of a damaged one what is wrong."""
        return [
            manifest | {"damaged": self._without_paths(manifest["damaged"])} if "damaged" in manifest else manifest
            for manifest in self._releases.list()
        ]

    def activate(self, release_id: str) -> dict[str, Any]:
        """Serves a release from now on, after comparing its files with their checksums. Raises Problem 404 and 409."""
        before = self._releases.current_id()
        try:
            self._releases.rollback(release_id)
        except ReleaseError as error:
            raise Problem(404, "unknown_release", f"no release {release_id!r}", field="release_id") from error
        except CorruptFileError as error:
            detail = f"{self._without_paths(str(error))}; release {before} is served on"
            raise Problem(409, "release_damaged", detail, field="release_id") from error
        return {"id": release_id, "previous": before}

    def start_refresh(self, accept: Sequence[Gate], dry_run: bool) -> dict[str, Any]:
        """The job that was started. Raises Problem 409 while a refresh runs."""
        self._home.jobs.mkdir(parents=True, exist_ok=True)
        with FileLock(self._home.jobs / ".start.lock"):
            job = self._jobs.living()
            if job is not None:
                detail = f"a refresh is running as job {job.id}; wait for it to end"
                raise Problem(409, "refresh_running", detail, {"Location": f"/v1/jobs/{job.id}"}, job_id=job.id)
            busy = running_elsewhere(self._home)
            if busy is not None:
                raise Problem(409, "refresh_running", busy, job_id=None)
            settings = self._settings.model_dump(mode="json") | {"home": str(self._home.root)}
            asked = {"settings": settings, "accept": list(accept), "dry_run": dry_run}
            return job_out(self._jobs.start(REFRESH, "api.refresh_job", asked))

    def jobs(self, limit: int) -> list[dict[str, Any]]:
        """The newest jobs, newest first."""
        return [job_out(job) for job in self._jobs.newest(limit)]

    def job(self, job_id: str) -> dict[str, Any]:
        """Where a job stands. Raises Problem 404."""
        job = self._jobs.get(job_id)
        if job is None:
            raise Problem(404, "unknown_job", f"no job {job_id!r}; GET /v1/jobs lists them", field="job_id")
        return job_out(job)

    def _without_paths(self, text: str) -> str:
        return text.replace(f"{self._home.root}/", "")


def job_out(job: Job) -> dict[str, Any]:
    """A job as the API shows it."""
    times = {
        name: None if value is None else to_rfc3339(value)
        for name in ("created_at", "started_at", "ended_at")
        for value in [getattr(job, name)]
    }
    eta_s = job.eta_s(time.time())
    return {
        "job_id": job.id,
        **job.model_dump(include={"kind", "state", "phase", "done", "result", "plan", "reason"}),
        **times,
        "total": len(job.phases),
        "eta_s": None if eta_s is None else round(eta_s, 1),
    }
