"""What is known of a viewer."""

from pydantic import BaseModel, Field

from api.schemas.common import Asked
from data.schema import EventType, Identifier


class HistoryQuery(Asked):
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=200)
    type: EventType | None = Field(default=None, description="only these; none: all but impressions")


class HistoryItem(BaseModel):
    event_id: str
    video_id: str
    title: str | None = Field(description="none: the video was removed from the catalogue")
    type: EventType
    value: float | None
    occurred_at: str
    session_id: str | None
    request_id: str | None
    surface: str | None
    position: int | None


class HistoryAnswer(BaseModel):
    request_id: str
    user_id: str
    items: list[HistoryItem]
    cursor: str | None
    has_more: bool


class ExportedEvent(BaseModel):
    event_id: str
    video_id: str
    type: EventType
    value: float | None
    duration_s: float | None
    occurred_at: str
    received_at: str
    session_id: str | None
    request_id: str | None
    surface: str | None
    position: int | None
    country: str | None


class ExportedItem(BaseModel):
    video_id: str | None
    rank: int
    score: float
    propensity: float
    sources: list[str]
    rule: str | None
    features: dict[str, float] | None


class ExportedExposure(BaseModel):
    """A list that was shown, where it was kept."""

    request_id: str
    shown_at: str
    surface: str | None
    country: str | None
    release: str
    settings: str
    cache: str
    first_rank: int
    items: list[ExportedItem]


class ExportAnswer(BaseModel):
    request_id: str
    user_id: str
    exported_at: str
    events: list[ExportedEvent]
    exposures: list[ExportedExposure]


class ErasedCounts(BaseModel):
    events: int
    exposures: int
    cache: bool = Field(description="false: the cache did not answer")


class ErasedReleases(BaseModel):
    served: str | None
    next: str


class ErasureReceipt(BaseModel):
    request_id: str
    receipt_id: str
    user_id: str
    erased_at: str
    erased: ErasedCounts
    releases: ErasedReleases
    remains: list[str] = Field(description="what goes later, and when")


class MergeRequest(Asked):
    guest_id: Identifier = Field(alias="from", description="whose events become the user's")


class MergedCounts(BaseModel):
    events: int
    exposures: int


class MergeAnswer(BaseModel):
    request_id: str
    user_id: str
    guest_id: str = Field(alias="from")
    merged: MergedCounts
