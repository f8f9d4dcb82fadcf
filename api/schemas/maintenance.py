"""Releases, refreshes and jobs."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import Asked
from recommender.gates import ACCEPTABLE

#: The gates that a person may publish in spite of.
AcceptableGate = Literal[ACCEPTABLE]  # type: ignore[valid-type]


class ReleaseOut(BaseModel):
    """The manifest of a release: what it was built from, its parts, sizes and checksums."""

    model_config = ConfigDict(extra="allow")

    id: str
    created_at: float = Field(description="seconds since 1970")
    current: bool = Field(description="it is the one that is served")
    damaged: str | None = Field(default=None, description="why it cannot be read")


class ReleasesAnswer(BaseModel):
    request_id: str
    items: list[ReleaseOut]


class ActivatedAnswer(BaseModel):
    request_id: str
    id: str
    previous: str | None = Field(description="the release that was served before")


class RefreshRequest(Asked):
    accept: list[AcceptableGate] = Field(default_factory=list, max_length=10, description="publish although these fail")
    dry_run: bool = Field(default=False, description="only tell what would be done, and whether it fits")


class JobsQuery(Asked):
    limit: int = Field(default=20, ge=1, le=100)


class JobOut(BaseModel):
    job_id: str
    kind: Literal["refresh"]
    state: Literal["queued", "running", "succeeded", "failed"]
    phase: str | None = Field(description="what it is doing")
    done: int = Field(description="phases that are done")
    total: int = Field(description="phases in all; 0 until they are known")
    created_at: str
    started_at: str | None
    ended_at: str | None = Field(description="null while it runs, and where it was killed")
    eta_s: float | None = Field(description="seconds that are left, by what each phase took last time")
    result: str | None = Field(description="the release that it has published")
    plan: dict[str, Any] | None = Field(description="of a dry run: what would be done")
    reason: str | None = Field(description="why it failed: the gate and its numbers, or `killed`")


class JobAnswer(JobOut):
    request_id: str


class JobsAnswer(BaseModel):
    request_id: str
    items: list[JobOut]
