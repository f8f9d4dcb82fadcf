"""The shapes of requests and answers.

Made by clients/generate.py from the OpenAPI document; `make clients` makes it anew.
"""

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict


class ActivatedAnswer(TypedDict):
    request_id: str
    id: str
    previous: str | None
    """the release that was served before"""


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


class BatchError(TypedDict):
    code: str
    detail: str
    field: str | None


class BatchResult(TypedDict):
    user_id: str | None
    request_id: str
    """of this list: what events about its videos name"""
    items: list[Item]
    fallback: Literal["cold_start", "popular"] | None
    degraded: bool
    warnings: list[str]
    propensity: list[float]
    error: BatchError | None
    """why there is no list for this row"""


class ReleaseFacts(TypedDict):
    id: str
    encoder: str
    index: str
    collaborative: str
    age_s: int


class BatchAnswer(TypedDict):
    request_id: str
    results: list[BatchResult]
    release: ReleaseFacts


class BatchRequest(TypedDict):
    """Up to 1,000 viewers, each checked by itself, and what is asked of all of them."""

    users: list[Any]
    limit: NotRequired[int]
    surface: NotRequired[str | None]
    """where the lists are shown"""
    labels: NotRequired[list[str]]
    """only videos with one of these labels"""
    not_labels: NotRequired[list[str]]
    exclude: NotRequired[list[str]]
    country: NotRequired[str | None]
    max_rating: NotRequired[int | None]
    """highest minimum age to show"""
    include: NotRequired[list[Literal["reasons", "scores"]]]


class Context(TypedDict):
    device: NotRequired[str | None]
    country: NotRequired[str | None]
    max_rating: NotRequired[int | None]
    """highest minimum age to show"""
    now: NotRequired[str | float | None]
    """the time to answer for; default is this moment"""


class ErasedCounts(TypedDict):
    events: int
    exposures: int
    cache: bool
    """false: the cache did not answer"""


class ErasedReleases(TypedDict):
    served: str | None
    next: str


class ErasureReceipt(TypedDict):
    request_id: str
    receipt_id: str
    user_id: str
    erased_at: str
    erased: ErasedCounts
    releases: ErasedReleases
    remains: list[str]
    """what goes later, and when"""


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


class ExportedEvent(TypedDict):
    event_id: str
    video_id: str
    type: EventType
    value: float | None
    duration_s: float | None
    occurred_at: str
    received_at: str
    session_id: str | None
    request_id: str | None
    surface: str | None
    position: int | None
    country: str | None


class ExportedItem(TypedDict):
    video_id: str | None
    rank: int
    score: float
    propensity: float
    sources: list[str]
    rule: str | None
    features: dict[str, float] | None


class ExportedExposure(TypedDict):
    """A list that was shown, where it was kept."""

    request_id: str
    shown_at: str
    surface: str | None
    country: str | None
    release: str
    settings: str
    cache: str
    first_rank: int
    items: list[ExportedItem]


class ExportAnswer(TypedDict):
    request_id: str
    user_id: str
    exported_at: str
    events: list[ExportedEvent]
    exposures: list[ExportedExposure]


class HiddenAnswer(TypedDict):
    request_id: str
    video_id: str
    hidden: bool


class HistoryItem(TypedDict):
    event_id: str
    video_id: str
    title: str | None
    """none: the video was removed from the catalogue"""
    type: EventType
    value: float | None
    occurred_at: str
    session_id: str | None
    request_id: str | None
    surface: str | None
    position: int | None


class HistoryAnswer(TypedDict):
    request_id: str
    user_id: str
    items: list[HistoryItem]
    cursor: str | None
    has_more: bool


class HomeRowOut(TypedDict):
    id: str
    """unique on this page"""
    title: str
    code: str
    video_id: str | None
    """the watched video behind the row"""
    label: str | None
    """that all its videos have"""
    request_id: str
    """of this row: what events about its videos name"""
    items: list[Item]


class HomeAnswer(TypedDict):
    request_id: str
    user_id: str
    rows: list[HomeRowOut]
    degraded: bool
    """a part of the service was missing; `warnings` says which"""
    warnings: list[str]
    release: ReleaseFacts


class JobAnswer(TypedDict):
    job_id: str
    kind: Literal["refresh"]
    state: Literal["queued", "running", "succeeded", "failed"]
    phase: str | None
    """what it is doing"""
    done: int
    """phases that are done"""
    total: int
    """phases in all; 0 until they are known"""
    created_at: str
    started_at: str | None
    ended_at: str | None
    """null while it runs, and where it was killed"""
    eta_s: float | None
    """seconds that are left, by what each phase took last time"""
    result: str | None
    """the release that it has published"""
    plan: dict[str, Any] | None
    """of a dry run: what would be done"""
    reason: str | None
    """why it failed: the gate and its numbers, or `killed`"""
    request_id: str


class JobOut(TypedDict):
    job_id: str
    kind: Literal["refresh"]
    state: Literal["queued", "running", "succeeded", "failed"]
    phase: str | None
    """what it is doing"""
    done: int
    """phases that are done"""
    total: int
    """phases in all; 0 until they are known"""
    created_at: str
    started_at: str | None
    ended_at: str | None
    """null while it runs, and where it was killed"""
    eta_s: float | None
    """seconds that are left, by what each phase took last time"""
    result: str | None
    """the release that it has published"""
    plan: dict[str, Any] | None
    """of a dry run: what would be done"""
    reason: str | None
    """why it failed: the gate and its numbers, or `killed`"""


class JobsAnswer(TypedDict):
    request_id: str
    items: list[JobOut]


class MediaAnswer(TypedDict):
    request_id: str
    video_id: str
    state: str
    content_hash: str
    """sha256 of the file"""
    changed: bool
    """false: these bytes were there already"""


class MergedCounts(TypedDict):
    events: int
    exposures: int


MergeAnswer = TypedDict("MergeAnswer", {"request_id": str, "user_id": str, "from": str, "merged": MergedCounts})

MergeRequest = TypedDict("MergeRequest", {"from": str})


class NextAnswer(TypedDict):
    request_id: str
    video_id: str
    user_id: str | None
    items: list[Item]
    warnings: list[str]
    release: ReleaseFacts


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


class RefreshRequest(TypedDict):
    accept: NotRequired[list[Literal["embeddings", "recall", "size", "ndcg", "coverage"]]]
    """publish although these fail"""
    dry_run: NotRequired[bool]
    """only tell what would be done, and whether it fits"""


class ReleaseOut(TypedDict):
    """The manifest of a release: what it was built from, its parts, sizes and checksums."""

    id: str
    created_at: float
    """seconds since 1970"""
    current: bool
    """it is the one that is served"""
    damaged: NotRequired[str | None]
    """why it cannot be read"""


class ReleasesAnswer(TypedDict):
    request_id: str
    items: list[ReleaseOut]


class RemovedAnswer(TypedDict):
    request_id: str
    video_id: str
    removed: bool
    """false: there was no such video"""


class RetractionAnswer(TypedDict):
    request_id: str
    event_id: str
    status: Literal["retracted"]


class SearchAnswer(TypedDict):
    request_id: str
    items: list[Item]
    searched: list[Literal["text", "pixels"]]
    """what was looked into"""
    warnings: list[str]
    release: ReleaseFacts


class SearchRequest(TypedDict):
    """What is looked for: a text, or a file that is sent along."""

    text: NotRequired[str | None]
    """what is looked for in words"""
    mode: NotRequired[Literal["auto", "text", "pixels"]]
    """where a text is looked for: in what is written of videos, in what is seen of them, or in both"""
    limit: NotRequired[int]
    labels: NotRequired[list[str]]
    """only videos with one of these labels"""
    not_labels: NotRequired[list[str]]
    exclude: NotRequired[list[str]]
    country: NotRequired[str | None]
    max_rating: NotRequired[int | None]
    """highest minimum age to show"""


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


class VideoBatch(TypedDict):
    """Up to 1,000 videos, each as its owner describes it; each is checked by itself."""

    videos: list[dict[str, Any]]


class VideoResult(TypedDict):
    id: str | None
    status: Literal["created", "updated", "unchanged", "rejected"]
    code: NotRequired[str | None]
    detail: NotRequired[str | None]


class VideoBatchAnswer(TypedDict):
    request_id: str
    created: int
    updated: int
    unchanged: int
    rejected: int
    results: list[VideoResult]


class VideoChange(TypedDict):
    """Any fields of a video's description; what is left out stays, null clears."""

    title: NotRequired[str | None]
    description: NotRequired[str | None]
    tags: NotRequired[list[str] | None]
    labels: NotRequired[list[str] | None]
    duration_s: NotRequired[float | None | None]
    published_at: NotRequired[str | float | None | None]
    available_from: NotRequired[str | float | None | None]
    available_until: NotRequired[str | float | None | None]
    regions: NotRequired[list[str] | None]
    rating: NotRequired[int | None | None]
    creator: NotRequired[str | None | None]
    series: NotRequired[str | None | None]
    episode: NotRequired[int | None | None]


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
