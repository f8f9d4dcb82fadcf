"""The words of the house as types: videos, events, what an event says about taste, and editors' rules.

Everything that enters (HTTP, files, the demo) is validated by these models, and everything that learns from
events reads the one signal table below. This room knows nothing of SQL, files or HTTP.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

# ---- Identifiers and times ---------------------------------------------------------------------------------

Identifier = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")
]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
#: PostgreSQL has no place for the character NUL.
_NO_NUL = r"^[^\x00]*$"
Country = Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True, pattern=r"^[A-Za-z]{2}$")]

EARLIEST_TIME = 0.0
LATEST_TIME = datetime(2200, 1, 1, tzinfo=UTC).timestamp()


def to_timestamp(value: Any) -> float:
    """Seconds since 1970 UTC from a number, a datetime or an RFC 3339 text (no zone means UTC).

    Raises ValueError when the value is none of these or lies outside 1970..2200; milliseconds are refused
    there with a hint, because they are the most common mistake.
    """
    if isinstance(value, bool):
        raise ValueError("a time is a number of seconds since 1970 or an RFC 3339 text")
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                value = datetime.fromisoformat(value.strip())
            except ValueError:
                raise ValueError(f"{value!r} is not a time; write 2026-01-31T20:15:00Z or seconds since 1970") from None
    try:
        if isinstance(value, datetime):
            value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        seconds = float(value)
    except (TypeError, OverflowError):
        raise ValueError("a time is a number of seconds since 1970 or an RFC 3339 text") from None
    if not math.isfinite(seconds) or not EARLIEST_TIME <= seconds <= LATEST_TIME:
        hint = " (milliseconds? divide by 1000)" if seconds > LATEST_TIME else ""
        raise ValueError(f"{seconds:g} lies outside the years 1970 to 2200{hint}")
    return seconds


def to_rfc3339(seconds: float) -> str:
    """The UTC text of a time in seconds since 1970, for answers and exports."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


Timestamp = Annotated[
    float,
    BeforeValidator(to_timestamp),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "number", "minimum": EARLIEST_TIME, "maximum": LATEST_TIME},
            ],
            "description": "RFC 3339, or seconds since 1970",
        },
        mode="validation",
    ),
]


def no_truth_value(value: Any) -> Any:
    """Raises ValueError for a truth value: Pydantic would take true as the number 1."""
    if isinstance(value, bool):
        raise ValueError("is a number, neither true nor false")
    return value


#: Confidence from which a predicted label is shown and filtered by.
SURE_FROM = 0.5

# ---- Videos ------------------------------------------------------------------------------------------------


class VideoState(StrEnum):
    """Where a video is on its way from a file to something recommendable."""

    PENDING = "pending"  # has media, waits for the encoder
    READY = "ready"  # encoded
    FAILED = "failed"  # given up; `reason` says why
    NO_MEDIA = "no_media"  # known by its metadata alone; recommendable from histories


class VideoDescription(BaseModel):
    """What its owner says of a video, but for its file."""

    model_config = ConfigDict(extra="forbid")

    id: Identifier
    title: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=_NO_NUL)] = ""
    description: Annotated[str, StringConstraints(max_length=20_000, pattern=_NO_NUL)] = ""
    tags: list[Label] = Field(default_factory=list, max_length=200)
    labels: list[Label] = Field(default_factory=list, max_length=50, description="category labels given by the owner")
    duration_s: float | None = Field(default=None, ge=0, le=1e6, allow_inf_nan=False)
    published_at: Timestamp | None = None
    available_from: Timestamp | None = None
    available_until: Timestamp | None = None
    regions: list[Country] = Field(
        default_factory=list, max_length=300, description="ISO 3166 codes; empty: everywhere"
    )
    rating: int | None = Field(default=None, ge=0, le=21, description="minimum age in years")
    creator: Identifier | None = None
    series: Identifier | None = None
    episode: int | None = Field(default=None, ge=0, lt=2**31)

    _numbers = field_validator("duration_s", "rating", "episode", mode="before")(no_truth_value)

    @model_validator(mode="after")
    def _window_is_in_order(self) -> Self:
        if (
            self.available_from is not None
            and self.available_until is not None
            and self.available_from >= self.available_until
        ):
            raise ValueError("available_until must be later than available_from")
        return self


class Video(VideoDescription):
    """One catalogue entry as its owner gives it; what the machine finds out is in `VideoRecord`."""

    media_path: str | None = Field(default=None, pattern=_NO_NUL)
    content_hash: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="sha256 of the media file")
    hidden: bool = False


@dataclass(frozen=True)
class MediaFacts:
    """What was found out about a video's file. None: unknown, or it has no such thing.

    `duration_s`: seconds. `thumbnail_path`: below the home folder. `frames_decoded`, `distinct_share` and `quality`
    as in `VideoRecord`.
    """

    duration_s: float | None = None
    thumbnail_path: str | None = None
    frames_decoded: int | None = None
    distinct_share: float | None = None
    quality: str | None = None


class VideoRecord(Video):
    """A catalogue entry with what the system knows about it."""

    state: VideoState = VideoState.NO_MEDIA
    reason: str | None = None
    attempts: int = 0
    encoder_id: str | None = None
    predicted_labels: dict[str, float] = Field(default_factory=dict, description="label -> confidence 0..1")
    thumbnail_path: str | None = None
    frames_decoded: int | None = Field(default=None, description="different moments of the file that were seen")
    distinct_share: float | None = Field(default=None, description="share 0..1 of them that are different pictures")
    quality: str | None = Field(default=None, description="good, damaged, few_frames, still or blank")
    refused_by: str | None = Field(default=None, description="the last encoder that made nothing of it")
    number: int = Field(default=0, description="given once to each video and never again")
    created_at: float = 0.0
    updated_at: float = 0.0
    version: int = Field(default=0, description="another one after every write to it")

    @property
    def shown_labels(self) -> list[str]:
        """The owner's labels; where there are none, what the label head is sure of, surest first."""
        return self.labels or _surest(self.predicted_labels)


class Listing(NamedTuple):
    """What lists are made from of a catalogue entry: some fields of its `VideoRecord`, much sooner read."""

    id: str
    number: int
    title: str
    description: str
    tags: list[str]
    labels: list[str]
    predicted_labels: dict[str, float]
    duration_s: float | None
    published_at: float | None
    available_from: float | None
    available_until: float | None
    regions: list[str]
    rating: int | None
    creator: str | None
    series: str | None
    episode: int | None
    content_hash: str | None
    hidden: bool
    state: VideoState
    encoder_id: str | None
    created_at: float

    @property
    def shown_labels(self) -> list[str]:
        """As of the record."""
        return self.labels or _surest(self.predicted_labels)


def _surest(predicted: dict[str, float]) -> list[str]:
    sure = [name for name, confidence in predicted.items() if confidence >= SURE_FROM]
    return sorted(sure, key=lambda name: -predicted[name])


# ---- Events ------------------------------------------------------------------------------------------------


class EventType(StrEnum):
    IMPRESSION = "impression"
    PLAY = "play"
    WATCH = "watch"
    COMPLETE = "complete"
    RATE = "rate"
    LIKE = "like"
    SAVE = "save"
    SHARE = "share"
    DISLIKE = "dislike"
    NOT_INTERESTED = "not_interested"
    REPORT = "report"


SKIP_BELOW = 0.1
WATCHED_FROM = 0.7


@dataclass(frozen=True)
class Signal:
    """What one type of event says.

    `weight` is the signal of an event without a value. Where `takes_value`, the signal is graded:
    `weight + slope * value`, and below `SKIP_BELOW` of the value it is `skip` instead (a watch that was broken
    off at once speaks against the video). `excludes_from` is the value from which the event takes the video
    out of the viewer's recommendations: 0 always, infinity never.
    """

    weight: float
    excludes_from: float
    takes_value: bool = False
    slope: float = 0.0
    skip: float | None = None


NEVER = math.inf

#: The one table that training, popularity, filtering and evaluation read.
SIGNALS: dict[EventType, Signal] = {
    EventType.IMPRESSION: Signal(0.0, NEVER),
    EventType.PLAY: Signal(0.2, NEVER),
    EventType.WATCH: Signal(0.0, WATCHED_FROM, takes_value=True, slope=1.0, skip=-0.3),
    EventType.COMPLETE: Signal(1.0, 0.0),
    # Who rates has watched: even the lowest rating is a weak interest, the highest counts as a completed watch.
    EventType.RATE: Signal(0.2, 0.0, takes_value=True, slope=0.8),
    EventType.LIKE: Signal(1.0, NEVER),
    EventType.SAVE: Signal(0.8, NEVER),
    EventType.SHARE: Signal(1.2, NEVER),
    EventType.DISLIKE: Signal(-1.0, 0.0),
    EventType.NOT_INTERESTED: Signal(-1.0, 0.0),
    EventType.REPORT: Signal(-2.0, 0.0),
}


class Event(BaseModel):
    """One thing that a viewer did. `value` is the fraction watched (watch) or the rating scaled to 0..1 (rate)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "event_id": "8f14e45f-ceea-467f-9575-1d2c0b7a3f60",
                    "user_id": "anna",
                    "video_id": "coffee-03",
                    "type": "watch",
                    "value": 0.85,
                    "occurred_at": "2026-01-31T20:15:00Z",
                    "surface": "home",
                }
            ]
        },
    )

    event_id: Identifier
    user_id: Identifier
    video_id: Identifier
    type: EventType
    value: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    duration_s: float | None = Field(default=None, ge=0, le=1e6, allow_inf_nan=False)
    occurred_at: Timestamp
    session_id: Identifier | None = None
    request_id: Identifier | None = None
    surface: Identifier | None = None
    position: int | None = Field(default=None, ge=0, le=10_000)
    country: Country | None = None

    @model_validator(mode="after")
    def _value_fits_the_type(self) -> "Event":
        if SIGNALS[self.type].takes_value and self.value is None:
            raise ValueError(f"value is required for {self.type.value} events: a fraction from 0 to 1")
        return self


# ---- Rules -------------------------------------------------------------------------------------------------


class RuleKind(StrEnum):
    PIN = "pin"  # stands at `position`
    BOOST = "boost"  # its score is multiplied by `factor`; below 1 that pushes it down
    BLOCK = "block"  # is not shown


class Rule(BaseModel):
    """What an editor wants of the lists: a pin, boost or block of exactly one video, label, creator or series.

    It holds from `from` (included) until `until` (excluded), on one surface or all, in one country or all.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    kind: RuleKind
    video: Identifier | None = None
    label: Label | None = None
    creator: Identifier | None = None
    series: Identifier | None = None
    factor: float | None = Field(default=None, gt=0, le=1e6, allow_inf_nan=False, description="of a boost")
    position: int | None = Field(default=None, ge=1, le=1_000, description="of a pin; 1 is the first place")
    surface: Identifier | None = None
    country: Country | None = None
    from_: Timestamp | None = Field(default=None, alias="from")
    until: Timestamp | None = None
    note: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=_NO_NUL)] = ""

    @property
    def target(self) -> tuple[str, str]:
        """What it is about: ("video" | "label" | "creator" | "series", its name)."""
        return next((name, value) for name in RULE_TARGETS if (value := getattr(self, name)) is not None)

    @model_validator(mode="after")
    def _is_complete(self) -> "Rule":
        if sum(getattr(self, name) is not None for name in RULE_TARGETS) != 1:
            raise ValueError(f"a rule is about exactly one of {', '.join(RULE_TARGETS)}")
        for name, kind in (("factor", RuleKind.BOOST), ("position", RuleKind.PIN)):
            given = getattr(self, name) is not None
            if given != (self.kind == kind):
                raise ValueError(f"a {self.kind.value} has no {name}" if given else f"a {kind.value} needs a {name}")
        if self.from_ is not None and self.until is not None and self.from_ >= self.until:
            raise ValueError("until must be later than from")
        return self


RULE_TARGETS = ("video", "label", "creator", "series")


class RuleRecord(Rule):
    """A rule as it is kept."""

    id: str
    created_at: float


def first_error(error: ValidationError, model: type[BaseModel] | None = None) -> tuple[str, str]:
    """(field, what is wrong and what would be right) of the first complaint of a validation error.

    model: what was asked for, to tell which fields are known where one is not.
    """
    complaint = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in complaint["loc"]) or "row"
    if model is not None and complaint["type"] == "extra_forbidden":
        known = known_fields(_model_at(complaint["loc"][:-1], model))
        return field, f"is not known here; known are {', '.join(known)}"
    return field, what_is_wrong(complaint)


def known_fields(model: type[BaseModel]) -> list[str]:
    """The names of fields as they are given from outside."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_at(path: tuple[int | str, ...], model: type[BaseModel]) -> type[BaseModel]:
    """The model that describes what stands at a path into what another one describes."""
    for part in path:
        declared = (field for name, field in model.model_fields.items() if part == (field.alias or name))
        model = next((inner for field in declared for inner in _models_in(field.annotation)), model)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def what_is_wrong(complaint: ErrorDetails) -> str:
    """One complaint of a validation error in words, with the value that caused it."""
    message = complaint["msg"].removeprefix("Value error, ")
    got = complaint.get("input")
    shown = f" (got {got!r:.60})" if complaint["type"] != "missing" and not isinstance(got, dict | BaseModel) else ""
    return message + shown
