"""Operations: releases, refreshes, jobs."""

from typing import Any

from flask import Blueprint

from api.operations import operation
from api.routes import service
from api.schemas.maintenance import (
    ActivatedAnswer,
    JobAnswer,
    JobsAnswer,
    JobsQuery,
    RefreshRequest,
    ReleasesAnswer,
)

blueprint = Blueprint("maintenance", __name__, url_prefix="/v1")


@operation(blueprint, "GET", "/releases", role="read", answer=ReleasesAnswer)
def list_releases() -> dict[str, Any]:
    """The releases, newest first; the served one is marked."""
    return {"items": service().maintenance.releases()}


@operation(blueprint, "POST", "/releases/<path:release_id>/activate", role="admin", answer=ActivatedAnswer)
def activate_release(release_id: str) -> dict[str, Any]:
    """Serves a release from now on, after checking its files."""
    return service().maintenance.activate(release_id)


@operation(
    blueprint, "POST", "/refresh", role="admin", body=RefreshRequest, answer=JobAnswer, status=202, idempotent=True
)
def post_refresh(body: RefreshRequest) -> tuple[dict[str, Any], dict[str, str]]:
    """Starts a refresh as a job of its own."""
    job = service().maintenance.start_refresh(body.accept, body.dry_run)
    return job, {"Location": f"/v1/jobs/{job['job_id']}"}


@operation(blueprint, "GET", "/jobs", role="read", query=JobsQuery, answer=JobsAnswer)
def list_jobs(query: JobsQuery) -> dict[str, Any]:
    """The newest jobs."""
    return {"items": service().maintenance.jobs(query.limit)}


@operation(blueprint, "GET", "/jobs/<path:job_id>", role="read", answer=JobAnswer)
def get_job(job_id: str) -> dict[str, Any]:
    """Where a job stands."""
    return service().maintenance.job(job_id)
