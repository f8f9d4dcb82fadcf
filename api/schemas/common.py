"""What several nouns share."""

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from data.schema import no_truth_value

Code = Annotated[str, Field(examples=["because_you_watched"])]


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _truth_values_are_no_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name is not None:
            annotation = cls.model_fields[info.field_name].annotation
            if not {int, float}.isdisjoint((annotation, *get_args(annotation))):
                no_truth_value(value)
        return value


def unjudged(row: Any, _: Any) -> Any:
    """With WrapValidator: a row of a batch, described as its model and let in as it is, to be judged by itself."""
    return row


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

    type: str = Field(description="`urn:watchnext:problem:` and the code")
    title: str
    status: int
    code: str = Field(description="stable, for programs")
    detail: str = Field(description="what was wrong and what would be right")
    request_id: str | None
    field: str | None = Field(default=None, description="the parameter, or the path into the body, that is to blame")
