"""The catalogue."""

from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from api.schemas.common import Asked
from data.schema import Label, VideoDescription


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


class VideoAnswer(VideoOut):
    request_id: str


class VideosAnswer(BaseModel):
    request_id: str
    items: list[VideoOut]
    cursor: str | None
    has_more: bool


class HiddenAnswer(BaseModel):
    request_id: str
    video_id: str
    hidden: bool


class VideoBatch(Asked):
    """Up to 1,000 videos, each as its owner describes it; each is checked by itself."""

    videos: list[Any] = Field(
        min_length=1, max_length=1_000, json_schema_extra={"items": VideoDescription.model_json_schema()}
    )


class VideoResult(BaseModel):
    id: str | None
    status: Literal["created", "updated", "unchanged", "rejected"]
    code: str | None = None
    detail: str | None = None


class VideoBatchAnswer(BaseModel):
    request_id: str
    created: int
    updated: int
    unchanged: int
    rejected: int
    results: list[VideoResult]


#: Fields that may be left out, or be null; `VideoDescription` says what else, once it is known what stays.
_CHANGEABLE: dict[str, Any] = {
    name: (Any, Field(default=None, json_schema_extra={"anyOf": [described, {"type": "null"}]}))
    for name, described in VideoDescription.model_json_schema()["properties"].items()
    if name != "id"
}
VideoChange: type[Asked] = create_model(
    "VideoChange",
    __base__=Asked,
    __doc__="Any fields of a video's description; what is left out stays, null clears.",
    **_CHANGEABLE,
)


class RemovedAnswer(BaseModel):
    request_id: str
    video_id: str
    removed: bool = Field(description="false: there was no such video")


class MediaAnswer(BaseModel):
    request_id: str
    video_id: str
    state: str
    content_hash: str = Field(description="sha256 of the file")
    changed: bool = Field(description="false: these bytes were there already")
