"""Searching."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from api.schemas.common import Asked, Item, ReleaseFacts
from data.schema import Country, Identifier, Label

Question = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"^[^\x00]+$")]


class SearchRequest(Asked):
    """What is looked for: a text, or a file that is sent along."""

    text: Question | None = Field(default=None, description="what is looked for in words")
    mode: Literal["auto", "text", "pixels"] = Field(
        default="auto",
        description="where a text is looked for: in what is written of videos, in what is seen of them, or in both",
    )
    limit: int = Field(default=20, ge=1, le=100)
    labels: list[Label] = Field(default_factory=list, max_length=50, description="only videos with one of these labels")
    not_labels: list[Label] = Field(default_factory=list, max_length=50)
    exclude: list[Identifier] = Field(default_factory=list, max_length=1_000)
    country: Country | None = None
    max_rating: int | None = Field(default=None, ge=0, le=21, description="highest minimum age to show")


class SearchAnswer(BaseModel):
    request_id: str
    items: list[Item]
    searched: list[Literal["text", "pixels"]] = Field(description="what was looked into")
    warnings: list[str]
    release: ReleaseFacts
