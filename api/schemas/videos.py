"""The catalogue."""

from typing import Literal

from pydantic import BaseModel, Field

from api.schemas.common import Asked
from data.schema import Label


class VideosQuery(Asked):
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=1_000)
    state: Literal["pending", "ready", "failed", "no_media"] | None = None
    label: Label | None = None


class VideoOut(BaseModel):
    id: str
    title: str
    description: str
    tags: list[str]
    labels: list[str]
    predicted_labels: dict[str, float]
    duration_s: float | None
    published_at: str | None
    available_from: str | None
    available_until: str | None
    regions: list[str]
    rating: int | None
    creator: str | None
    series: str | None
    episode: int | None
    hidden: bool
    state: str
    reason: str | None
    encoder_id: str | None
    frames_decoded: int | None
    distinct_share: float | None
    quality: Literal["good", "damaged", "few_frames", "still", "blank"] | None


class VideosAnswer(BaseModel):
    request_id: str
    items: list[VideoOut]
    cursor: str | None
    has_more: bool


class HiddenAnswer(BaseModel):
    request_id: str
    video_id: str
    hidden: bool
