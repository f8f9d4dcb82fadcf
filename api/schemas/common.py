"""What several nouns share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Code = Annotated[str, Field(examples=["because_you_watched"])]


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


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


class ProblemOut(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str | None
    field: str | None = None
