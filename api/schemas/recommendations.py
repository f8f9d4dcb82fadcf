"""What next, what is similar, and why."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.schemas.common import Asked, Item, ReleaseFacts
from data.schema import Country, Identifier, Label, Timestamp, no_truth_value
from recommender.pipeline.sources.settings import SourcesSettings

SourceName = StrEnum("SourceName", list(SourcesSettings.model_fields))  # type: ignore[misc]


class RecommendationQuery(Asked):
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


class Context(Asked):
    device: str | None = Field(default=None, max_length=100)
    country: Country | None = None
    max_rating: int | None = Field(default=None, ge=0, le=21, description="highest minimum age to show")
    now: Timestamp | None = Field(default=None, description="the time to answer for; default is this moment")


class SessionEvent(Asked):
    """An event of this session that is used for this answer and not stored."""

    video_id: Identifier
    type: Literal[
        "play", "watch", "complete", "rate", "like", "save", "share", "dislike", "not_interested", "report"
    ] = "watch"
    value: float | None = Field(default=1.0, ge=0, le=1)


class RecommendationRequest(RecommendationQuery):
    """What a POST may say in its body."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "limit": 10,
                    "surface": "home",
                    "not_labels": ["horror"],
                    "context": {"device": "tv", "country": "DE", "max_rating": 12},
                    "history": [{"video_id": "coffee-03", "type": "watch", "value": 0.9}],
                    "include": ["reasons", "scores"],
                }
            ]
        }
    )

    context: Context = Field(default_factory=Context)
    history: list[SessionEvent] = Field(default_factory=list, max_length=500, description="oldest first, not stored")
    weights: dict[SourceName, Annotated[float, Field(ge=0, le=100), BeforeValidator(no_truth_value)]] = Field(
        default_factory=dict, description="weight of each source's ranks"
    )
    seed: int | None = Field(
        default=None, ge=0, lt=2**63, description="of what is left to chance; the same seed explores the same way"
    )
    include: list[Literal["reasons", "scores", "trace"]] = Field(default=["reasons", "scores"])


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
    cache: Literal["hit", "stale", "miss", "off"] = Field(
        description="whether the candidates came from the cache; stale: old ones, while new ones are made"
    )
    timings_ms: dict[str, float]


class SimilarQuery(Asked):
    limit: int = Field(default=20, ge=1, le=100)
    by: Literal["visual", "cowatch", "both"] = Field(default="both", description="by looks, by who watches, or both")
    labels: list[Label] = Field(default_factory=list, max_length=50)
    not_labels: list[Label] = Field(default_factory=list, max_length=50)
    exclude: list[Identifier] = Field(default_factory=list, max_length=1_000)
    country: Country | None = None
    max_rating: int | None = Field(default=None, ge=0, le=21, description="highest minimum age to show")


class SimilarAnswer(BaseModel):
    request_id: str
    video_id: str
    items: list[Item]
    warnings: list[str]
    release: ReleaseFacts


class WhyQuery(Asked):
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
