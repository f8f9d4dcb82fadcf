"""A refresh that was asked for over HTTP: `python -m api.refresh_job`, started by `maintenance`.

Reads from standard input which job it is, the settings of the server that started it, the gates that it may fail, and
whether it only tells what would be done. What it does is `recommender.refresh`; here it is written down as it goes.
"""

import logging
import sys
import time
from dataclasses import asdict
from typing import Any

import orjson

from api.jobs import Job, Jobs
from api.settings import Settings
from data.home import Home
from data.store import Store
from recommender.building import RefreshError
from recommender.refresh import RefreshProgress, plan_refresh, refresh

log = logging.getLogger(__name__)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asked = orjson.loads(sys.stdin.buffer.read())
    settings = Settings(**asked["settings"])
    home = settings.open_home()
    jobs = Jobs(home.jobs)
    job = jobs.get(asked["job"])
    assert job is not None
    job.state, job.started_at = "running", time.time()
    jobs.write(job)
    try:
        _do(job, jobs, settings, home, asked)
        job.state = "succeeded"
    except RefreshError as error:
        job.state, job.reason = "failed", str(error)
    except Exception as error:
        log.exception("the refresh failed")
        job.state, job.reason = "failed", " ".join(f"{type(error).__name__}: {error}".split())
    job.ended_at, job.phase, job.phase_began_at = time.time(), None, None
    jobs.write(job)


def _do(job: Job, jobs: Jobs, settings: Settings, home: Home, asked: dict[str, Any]) -> None:
    def tell(progress: RefreshProgress) -> None:
        job.phases, job.done = progress.phases, progress.done
        job.phase, job.phase_began_at = progress.phase, time.time()
        jobs.write(job)

    store = Store.open(settings.database(home))
    if asked["dry_run"]:
        plan = plan_refresh(store, home, settings.recommender)
        job.plan = asdict(plan) | {"lacks": plan.room.lacks}
    else:
        job.result = refresh(store, home, settings.recommender, asked["accept"], tell=tell).release_id
        job.done = len(job.phases)


if __name__ == "__main__":
    main()
