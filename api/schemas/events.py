"""What viewers did."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, WrapValidator

from api.schemas.common import Asked, unjudged
from data.schema import Event


class EventBatch(Asked):
    """Up to 1,000 events; each is checked by itself."""

    events: list[Annotated[Event, WrapValidator(unjudged)]] = Field(min_length=1, max_length=1_000)


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


class RetractionAnswer(BaseModel):
    request_id: str
    event_id: str
    status: Literal["retracted"]
