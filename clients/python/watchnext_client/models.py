"""The shapes of requests and answers.

Made by clients/generate.py from the OpenAPI document; `make clients` makes it anew.
"""

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict


class Context(TypedDict):
    device: NotRequired[str | None]
    country: NotRequired[str | None]
    max_rating: NotRequired[int | None]
    """highest minimum age to show"""
    now: NotRequired[str | float | None]
    """the time to answer for; default is this moment"""


EventType: TypeAlias = Literal[
    "impression", "play", "watch", "complete", "rate", "like", "save", "share", "dislike", "not_interested", "report"
]


class Event(TypedDict):
    """One thing that a viewer did. `value` is the fraction watched (watch) or the rating scaled to 0..1
    (rate).
    """

    event_id: str
    user_id: str
    video_id: str
    type: EventType
    value: NotRequired[float | None]
    duration_s: NotRequired[float | None]
    occurred_at: str | float
    """RFC 3339, or seconds since 1970"""
    session_id: NotRequired[str | None]
    request_id: NotRequired[str | None]
    surface: NotRequired[str | None]
    position: NotRequired[int | None]
    country: NotRequired[str | None]


class EventResult(TypedDict):
    event_id: str | None
    status: Literal["accepted", "duplicate", "rejected"]
    code: NotRequired[str | None]
    detail: NotRequired[str | None]


class EventAnswer(TypedDict):
    request_id: str
    accepted: int
    duplicates: int
    rejected: int
    results: list[EventResult]


class EventBatch(TypedDict):
    """Up to 1,000 events; each is checked by itself."""

    events: list[Event]


class HiddenAnswer(TypedDict):
    request_id: str
    video_id: str
    hidden: bool


class ReasonOut(TypedDict):
    code: str
    text: str
    video_id: NotRequired[str | None]
    """the watched video behind it"""


class Item(TypedDict):
    video_id: str
    rank: int
    """place in the whole slate, over all pages"""
    score: NotRequired[float | None]
    sources: list[str]
    reason: NotRequired[ReasonOut | None]
    title: str
    labels: list[str]


class ProblemOut(TypedDict):
    """RFC 9457."""

    type: str
    """`urn:watchnext:problem:` and the code"""
    title: str
    status: int
    code: str
    """stable, for programs"""
    detail: str
    """what was wrong and what would be right"""
    request_id: str | None
    field: NotRequired[str | None]
    """the parameter, or the path into the body, that is to blame"""


class ReleaseFacts(TypedDict):
    id: str
    encoder: str
    index: str
    collaborative: str
    age_s: int


class RecommendationAnswer(TypedDict):
    request_id: str
    user_id: str
    items: list[Item]
    cursor: str | None
    """for the next page"""
    has_more: bool
    degraded: bool
    """a part of the service was missing; `warnings` says which"""
    fallback: Literal["cold_start", "popular"] | None
    warnings: list[str]
    release: ReleaseFacts
    propensity: list[float]
    """of each item: the probability, over what is left to chance, that it stands at its place"""
    cache: Literal["hit", "stale", "miss", "off"]
    """whether the candidates came from the cache; stale: old ones, while new ones are made"""
    timings_ms: dict[str, float]


class SessionEvent(TypedDict):
    """An event of this session that is used for this answer and not stored."""

    video_id: str
    type: NotRequired[
        Literal["play", "watch", "complete", "rate", "like", "save", "share", "dislike", "not_interested", "report"]
    ]
    value: NotRequired[float | None]


SourceName: TypeAlias = Literal[
    "collaborative",
    "item_item",
    "recent",
    "session",
    "walks",
    "neighbours",
    "sequential",
    "transformer",
    "graph",
    "content",
    "fresh",
    "next_episode",
    "continue_watching",
    "popular",
    "trending",
]


class RecommendationRequest(TypedDict):
    """What a POST may say in its body."""

    limit: NotRequired[int]
    cursor: NotRequired[str | None]
    """of the page before; all else must be the same"""
    surface: NotRequired[str | None]
    """where the list is shown"""
    labels: NotRequired[list[str]]
    """only videos with one of these labels"""
    not_labels: NotRequired[list[str]]
    """no videos with one of these labels"""
    exclude: NotRequired[list[str]]
    """video ids that must not be there"""
    country: NotRequired[str | None]
    """of the viewer, ISO 3166"""
    reasons: NotRequired[bool]
    """say why each video is there"""
    context: NotRequired[Context]
    history: NotRequired[list[SessionEvent]]
    """oldest first, not stored"""
    weights: NotRequired[dict[str, float]]
    """weight of each source's ranks"""
    seed: NotRequired[int | None]
    """of what is left to chance; the same seed explores the same way"""
    include: NotRequired[list[Literal["reasons", "scores", "trace"]]]


class SimilarAnswer(TypedDict):
    request_id: str
    video_id: str
    items: list[Item]
    warnings: list[str]
    release: ReleaseFacts


class VideoAnswer(TypedDict):
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
    request_id: str


class VideoOut(TypedDict):
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


class VideosAnswer(TypedDict):
    request_id: str
    items: list[VideoOut]
    cursor: str | None
    has_more: bool


class WhyAnswer(TypedDict):
    request_id: str
    user_id: str
    video_id: str
    sources: dict[str, dict[str, Any]]
    """by source: found or not, rank, score, weight, because of what"""
    removed_by: list[str]
    """filters that keep it out"""
    candidate_rank: int | None
    """place among the scored candidates; none: nobody found it"""
    score: float | None
    rank: int | None
    """place in the list; none: not in it"""
    rule: str | None
    """pinned, boosted, new or explored: what put it there beside its score"""
    kept_out_by: str | None
    """the stage of the policy that kept it out"""
    warnings: list[str]
    release: ReleaseFacts
