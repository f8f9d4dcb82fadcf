"""Lists beside the main one."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from api.schemas.common import Asked, Item, ReleaseFacts
from data.schema import Country, Identifier, Label

RowCodeOut = Annotated[str, Field(examples=["because_you_watched"])]


class HomeQuery(Asked):
    rows: int = Field(default=10, ge=1, le=20, description="how many rows at most")
    limit: int = Field(default=20, ge=1, le=50, description="how many videos in a row at most")
    surface: Identifier | None = Field(default=None, description="where the page is shown")
    not_labels: list[Label] = Field(default_factory=list, max_length=50)
    exclude: list[Identifier] = Field(default_factory=list, max_length=1_000)
    country: Country | None = Field(default=None, description="of the viewer, ISO 3166")
    max_rating: int | None = Field(default=None, ge=0, le=21, description="highest minimum age to show")


class HomeRowOut(BaseModel):
    id: str = Field(description="unique on this page")
    title: str
    code: RowCodeOut
    video_id: str | None = Field(description="the watched video behind the row")
    label: str | None = Field(description="that all its videos have")
    request_id: str = Field(description="of this row: what events about its videos name")
    items: list[Item]


class HomeAnswer(BaseModel):
    request_id: str
    user_id: str
    rows: list[HomeRowOut]
    degraded: bool = Field(description="a part of the service was missing; `warnings` says which")
    warnings: list[str]
    release: ReleaseFacts


class BatchViewer(Asked):
    """One row of a batch; what it says counts in the place of what is said of all, `exclude` beside it."""

    user_id: Identifier
    country: Country | None = None
    max_rating: int | None = Field(default=None, ge=0, le=21)
    exclude: list[Identifier] = Field(default_factory=list, max_length=500)


class BatchRequest(Asked):
    """Up to 1,000 viewers, each checked by itself, and what is asked of all of them."""

    users: list[Any] = Field(min_length=1, max_length=1_000)
    limit: int = Field(default=20, ge=1, le=100)
    surface: Identifier | None = Field(default=None, description="where the lists are shown")
    labels: list[Label] = Field(default_factory=list, max_length=50, description="only videos with one of these labels")
    not_labels: list[Label] = Field(default_factory=list, max_length=50)
    exclude: list[Identifier] = Field(default_factory=list, max_length=500)
    country: Country | None = None
    max_rating: int | None = Field(default=None, ge=0, le=21, description="highest minimum age to show")
    include: list[Literal["reasons", "scores"]] = Field(default=["reasons", "scores"])


class BatchError(BaseModel):
    code: str
    detail: str
    field: str | None


class BatchResult(BaseModel):
    user_id: str | None
    request_id: str = Field(description="of this list: what events about its videos name")
    items: list[Item]
    fallback: Literal["cold_start", "popular"] | None
    degraded: bool
    warnings: list[str]
    propensity: list[float]
    error: BatchError | None = Field(description="why there is no list for this row")


class BatchAnswer(BaseModel):
    request_id: str
    results: list[BatchResult]
    release: ReleaseFacts


class NextQuery(Asked):
    user_id: Identifier | None = Field(default=None, description="whose history counts, too")
    limit: int = Field(default=20, ge=1, le=100)
    labels: list[Label] = Field(default_factory=list, max_length=50)
    not_labels: list[Label] = Field(default_factory=list, max_length=50)
    exclude: list[Identifier] = Field(default_factory=list, max_length=1_000)
    country: Country | None = None
    max_rating: int | None = Field(default=None, ge=0, le=21, description="highest minimum age to show")


class NextAnswer(BaseModel):
    request_id: str
    video_id: str
    user_id: str | None
    items: list[Item]
    warnings: list[str]
    release: ReleaseFacts
