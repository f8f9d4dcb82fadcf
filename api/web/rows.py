"""The storefront's page: rows that the home page's room has chosen, put into rows of cards.

Knows nothing of HTML and HTTP, nor of how rows are chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.home_page import HomePage, HomeRow, RowCode, Viewing, Wanted, Wishes
from api.schemas.lists import NextQuery
from api.service import Service
from data.schema import VideoRecord

FOR_YOU, ROW, RECENT, UP_NEXT = 17, 14, 14, 6
#: Asked in this order: what was just watched leaves all other rows.
ROWS = (
    Wanted(RowCode.RECENT, RECENT),
    Wanted(RowCode.FOR_YOU, FOR_YOU),
    Wanted(RowCode.BECAUSE_YOU_WATCHED, ROW),
    *[Wanted(RowCode.FAVOURITE_LABEL, ROW)] * 3,
    Wanted(RowCode.POPULAR, ROW),
)
#: As the events of the page say it.
SURFACE = "storefront"
#: What stands beside the titles of the rows.
NOTES = {
    RowCode.RECENT: "Play it again",
    RowCode.BECAUSE_YOU_WATCHED: "Alike in looks, or in who watches them",
    RowCode.POPULAR: "What everybody watches",
}
FOR_YOU_NOTES = {
    None: "Changes with everything you watch",
    "cold_start": "We do not know you yet: watch something and this row becomes yours",
    "popular": "Not personal at the moment",
}


@dataclass(frozen=True)
class Card:
    """One video in a row. `position` counts from 0 in its row; `version` changes with the picture."""

    video_id: str
    title: str
    labels: Sequence[str]
    position: int
    version: int
    description: str = ""
    duration: str | None = None
    playable: bool = False
    reason: str | None = None
    fraction: float | None = None


@dataclass(frozen=True)
class Row:
    """`key` names the row on its page, `list_id` this very list: events about its cards carry it as their request."""

    key: str
    title: str
    note: str
    list_id: str
    cards: list[Card]


@dataclass
class Facts:
    """What an operator wants to know of a page: the answer to its first question, and how the page came about."""

    answer: Mapping[str, Any] | None = None
    events: int = 0
    country: str | None = None
    row_ms: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def total_ms(self) -> float:
        return sum(self.row_ms.values())


@dataclass(frozen=True)
class Page:
    """`hero` is the best of the first row and does not stand in it again."""

    viewer: str
    hero: Card | None
    rows: list[Row]
    facts: Facts

    @property
    def hero_list_id(self) -> str:
        return self.rows[0].list_id if self.rows else ""


def build_page(service: Service, viewer: str, request_id: str) -> Page:
    """The page of a viewer; of one that nobody knows, what is popular. Never raises."""
    chosen = service.home_pages.page(viewer, ROWS, Wishes(in_last_country=True, surface=SURFACE), request_id)
    # What is asked first stands last.
    in_order = sorted(chosen.rows, key=lambda row: row.code == RowCode.RECENT)
    records = _records(service, chosen, [item for row in in_order for item in row.items])
    rows = [
        Row(row.id, _title(row, viewer), _note(row, chosen), row.list_id, _cards(row, chosen, records))
        for row in in_order
    ]
    hero = None
    if rows and rows[0].key == RowCode.FOR_YOU:
        first = rows[0]
        hero, rest = first.cards[0], first.cards[1:]
        rows[0] = Row(first.key, first.title, first.note, first.list_id, rest)
    known = chosen.viewer
    facts = Facts(chosen.answer, known.events, known.country, chosen.row_ms, chosen.warnings)
    return Page(viewer, hero, rows, facts)


def up_next(service: Service, viewer: str, video_id: str, request_id: str) -> Row | None:
    """What to watch after one video; None when the service has nothing to say about it."""
    chosen = HomePage()
    asked = NextQuery(user_id=viewer, limit=UP_NEXT)
    answer = chosen.attempt("up_next", lambda: service.watch_next(video_id, asked))
    if answer is None or not answer["items"]:
        return None
    items: list[dict[str, Any]] = answer["items"]
    records = _records(service, chosen, items)
    cards = [_card(item, records.get(item["video_id"]), position) for position, item in enumerate(items)]
    return Row("up_next", "Up next", "", f"{request_id[:150]}.up_next", cards)


def clock(seconds: float | None) -> str | None:
    """A duration as people read it: 0:04, 12:30, 1:02:03."""
    if seconds is None:
        return None
    minutes, rest = divmod(max(1, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def viewer_name(viewer: str) -> str:
    """How a viewer is called in a sentence: a bare number needs a word beside it."""
    return f"viewer {viewer}" if viewer.isdigit() else viewer


def _title(row: HomeRow, viewer: str) -> str:
    return f"For {viewer_name(viewer)}" if row.code == RowCode.FOR_YOU and row.fallback is None else row.title


def _note(row: HomeRow, chosen: HomePage) -> str:
    if row.code == RowCode.FOR_YOU:
        return FOR_YOU_NOTES[row.fallback]
    if row.code == RowCode.FAVOURITE_LABEL:
        return "A favourite of yours" if chosen.viewer.is_known else ""
    return NOTES[row.code]


def _records(service: Service, chosen: HomePage, items: Sequence[Mapping[str, Any]]) -> dict[str, VideoRecord]:
    wanted = [item["video_id"] for item in items]
    return chosen.attempt("catalogue", lambda: service.store.catalogue.get_many(wanted)) or {}


def _cards(row: HomeRow, chosen: HomePage, records: Mapping[str, VideoRecord]) -> list[Card]:
    return [
        _card(
            item,
            records.get(item["video_id"]),
            position,
            reason=_reason(row, item, chosen),
            viewing=chosen.viewer.seen.get(item["video_id"]) if row.code == RowCode.RECENT else None,
        )
        for position, item in enumerate(row.items)
    ]


def _reason(row: HomeRow, item: Mapping[str, Any], chosen: HomePage) -> str | None:
    """Why a video is there, where neither the title of its row nor its being popular says it."""
    reason = item.get("reason")
    if reason is None or row.code == RowCode.POPULAR:
        return None
    return reason["text"] if chosen.viewer.is_known or reason["video_id"] else None


def _card(
    item: Mapping[str, Any],
    record: VideoRecord | None,
    position: int,
    reason: str | None = None,
    viewing: Viewing | None = None,
) -> Card:
    video_id = item["video_id"]
    if record is None:  # the database is away: what the engine remembers is enough for a card
        return Card(video_id, item.get("title") or video_id, item.get("labels", []), position, 0)
    return Card(
        video_id,
        record.title or video_id,
        record.shown_labels,
        position,
        int(record.updated_at),
        description=record.description,
        duration=clock(record.duration_s),
        playable=record.media_path is not None,
        reason=reason,
        fraction=viewing.fraction if viewing and viewing.fraction else None,
    )
