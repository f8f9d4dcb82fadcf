"""The shapes of requests and answers: they validate what comes in, and OpenAPI is made from them."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from data.schema import Country, Identifier, Label, Timestamp
from recommender.pipeline.sources.settings import SourcesSettings

SourceName = StrEnum("SourceName", list(SourcesSettings.model_fields))  # type: ignore[misc]
Code = Annotated[str, Field(examples=["because_you_watched"])]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


# ---- Recommendations ---------------------------------------------------------------------------------------


class RecommendationQuery(_Asked):
    """What a GET may say."""

    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(
        default=None, max_length=8_000, description="of the page before; all else must be the same"
    )
    surface: Identifier | None = Field(default=None, description="where the list is shown")
    labels: list[Label] = Field(default_factory=list, max_length=50, description="only videos with one of these labels")
    not_labels: list[Label] = Field(
        default_factory=list, max_length=50, description="no videos with one of these labels"
    )
    exclude: list[Identifier] = Field(
        default_factory=list, max_length=1_000, description="video ids that must not be there"
    )
    country: Country | None = Field(default=None, description="of the viewer, ISO 3166")
    reasons: bool = Field(default=True, description="say why each video is there")


class Context(_Asked):
    device: str | None = Field(default=None, max_length=100)
    country: Country | None = None
    max_rating: int | None = Field(default=None, ge=0, le=21, description="highest minimum age to show")
    now: Timestamp | None = Field(default=None, description="the time to answer for; default is this moment")


class SessionEvent(_Asked):
    """An event of this session that is used for this answer and not stored."""

    video_id: Identifier
    type: Literal[
        "play", "watch", "complete", "rate", "like", "save", "share", "dislike", "not_interested", "report"
    ] = "watch"
    value: float | None = Field(default=1.0, ge=0, le=1)


class RecommendationRequest(RecommendationQuery):
    """What a POST may say in its body."""

    context: Context = Field(default_factory=Context)
    history: list[SessionEvent] = Field(default_factory=list, max_length=500, description="oldest first, not stored")
    weights: dict[SourceName, Annotated[float, Field(ge=0, le=100)]] = Field(
        default_factory=dict, description="weight of each source's ranks"
    )
    seed: int | None = Field(
        default=None, ge=0, lt=2**63, description="of what is left to chance; the same seed explores the same way"
    )
    include: list[Literal["reasons", "scores", "trace"]] = ["reasons", "scores"]


class ReasonOut(BaseModel):
    code: Code
    text: str
    video_id: str | None = Field(default=None, description="the watched video behind it")


class Item(BaseModel):
    video_id: str
    rank: int = Field(ge=1, description="place in the whole slate, over all pages")
    score: float | None = None
    sources: list[str]
    reason: ReasonOut | None = None
    title: str
    labels: list[str]


class ReleaseFacts(BaseModel):
    id: str
    encoder: str
    index: str
    collaborative: str
    age_s: int


class RecommendationAnswer(BaseModel):
    request_id: str
    user_id: str
    items: list[Item]
    cursor: str | None = Field(description="for the next page")
    has_more: bool
    degraded: bool = Field(description="a part of the service was missing; `warnings` says which")
    fallback: Literal["cold_start", "popular"] | None
    warnings: list[str]
    release: ReleaseFacts
    propensity: list[float] = Field(
        description="of each item: the probability, over what is left to chance, that it stands at its place"
    )
    cache: Literal["hit", "miss", "off"]
    timings_ms: dict[str, float]


class SimilarQuery(_Asked):
    limit: int = Field(default=20, ge=1, le=100)
    by: Literal["visual", "cowatch", "both"] = Field(default="both", description="by looks, by who watches, or both")
    labels: list[Label] = Field(default_factory=list, max_length=50)
    exclude: list[Identifier] = Field(default_factory=list, max_length=1_000)
    country: Country | None = None
    max_rating: int | None = Field(default=None, ge=0, le=21, description="highest minimum age to show")


class SimilarAnswer(BaseModel):
    request_id: str
    video_id: str
    items: list[Item]
    warnings: list[str]
    release: ReleaseFacts


class WhyQuery(_Asked):
    user_id: Identifier
    video_id: Identifier
    country: Country | None = None


class WhyAnswer(BaseModel):
    request_id: str
    user_id: str
    video_id: str
    sources: dict[str, dict[str, Any]] = Field(
        description="by source: found or not, rank, score, weight, because of what"
    )
    removed_by: list[str] = Field(description="filters that keep it out")
    candidate_rank: int | None = Field(description="place among the scored candidates; none: nobody found it")
    score: float | None
    rank: int | None = Field(description="place in the list; none: not in it")
    rule: str | None = Field(description="pinned, boosted, new or explored: what put it there beside its score")
    kept_out_by: str | None = Field(description="the stage of the policy that kept it out")
    warnings: list[str]
    release: ReleaseFacts


# ---- Events ------------------------------------------------------------------------------------------------


class EventBatch(_Asked):
    """Up to 1,000 events; each is checked by itself."""

    events: list[Any] = Field(min_length=1, max_length=1_000)


class EventResult(BaseModel):
    event_id: str | None
    status: Literal["accepted", "duplicate", "rejected"]
    code: str | None = None
    detail: str | None = None


class EventAnswer(BaseModel):
    request_id: str
    accepted: int
    duplicates: int
    rejected: int
    results: list[EventResult]


# ---- Catalogue ---------------------------------------------------------------------------------------------


class VideosQuery(_Asked):
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


class ProblemOut(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str | None
    field: str | None = None
