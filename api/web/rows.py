"""The rows of a storefront page: questions to the service, and its answers put into rows of cards.

No video stands twice on a page. A question that fails costs its row and leaves a warning, never the page. Knows
nothing of HTML and HTTP.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from api.schemas.recommendations import RecommendationRequest, SimilarQuery
from api.service import Service
from data.schema import SIGNALS, EventType, VideoRecord, VideoState
from data.store.events import History
from recommender.profile import Profile

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

FOR_YOU, ROW, RECENT, UP_NEXT = 17, 14, 14, 6
#: A row beside the first one with fewer cards than this looks broken and is left out.
FEWEST = 3
LABEL_ROWS = 3
#: The half-life, in likes, of what a viewer's labels are made from.
NEWEST_LIKES = 3.0
#: One of the newest likes gets a row of its own: the first that the first row leaves at least so many alike videos.
BECAUSE_AMONG, ALIKE = 8, 6
#: So many of the newest events are searched for the country a viewer was last seen in.
COUNTRY_AMONG = 25

#: As the events of the page say it.
SURFACE = "storefront"
WATCHING = {EventType.PLAY, EventType.WATCH, EventType.COMPLETE, EventType.RATE}
REJECTING = {kind for kind, signal in SIGNALS.items() if signal.weight < 0}


@dataclass
class Viewing:
    """What a viewer has done with one video; `fraction` 0..1 is the most of it that was ever watched."""

    watched: bool = False
    fraction: float = 0.0
    liked: bool = False
    rejected: bool = False


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
    """`key` names the kind of row, `list_id` this very list: events about its cards carry it as their request."""

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
    return _Builder(service, viewer, request_id).build()


def up_next(service: Service, viewer: str, video_id: str, request_id: str) -> Row | None:
    """What to watch after one video; None when the service has nothing to say about it."""
    return _Builder(service, viewer, request_id).up_next(video_id)


def viewings(history: History) -> dict[str, Viewing]:
    """What a viewer has done, by video, the video of the newest event first."""
    found: dict[str, Viewing] = {}
    for video_id, kind, value in zip(history.video_ids, history.types, history.values, strict=True):
        viewing = found.setdefault(video_id, Viewing())
        viewing.watched |= kind in WATCHING
        viewing.liked |= kind == EventType.LIKE
        viewing.rejected |= kind in REJECTING
        if kind == EventType.COMPLETE:
            viewing.fraction = 1.0
        elif kind == EventType.WATCH and value == value:
            viewing.fraction = max(viewing.fraction, float(value))
    return found


def is_open(record: VideoRecord) -> bool:
    """Whether a video may be shown to viewers now: neither taken down nor outside its window."""
    now = time.time()
    return (
        not record.hidden
        and record.state != VideoState.FAILED
        and (record.available_from is None or record.available_from <= now)
        and (record.available_until is None or now < record.available_until)
    )


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


def label_title(label: str) -> str:
    return label[:1].upper() + label[1:]


@dataclass
class _Draft:
    """A row before the catalogue was asked for what stands on its cards."""

    key: str
    title: str
    note: str
    items: list[dict[str, Any]]


class _Builder:
    """Asks one question a row. What an earlier row shows, a later one does not."""

    def __init__(self, service: Service, viewer: str, request_id: str) -> None:
        self._service = service
        # One for the whole page: columns of one release mean nothing in another.
        self._engine = service.current_engine()
        self._viewer = viewer
        self._request_id = request_id[:150]
        self._facts = Facts()
        self._seen: dict[str, Viewing] = {}
        self._profile: Profile | None = None
        self._shown: set[str] = set()

    def build(self) -> Page:
        self._try("history", self._read_history)
        recent = self._try("recent", self._recent)
        drafts = [self._try("for_you", self._for_you), self._try("because", self._because)]
        for number, label in enumerate(self._try("labels", self._top_labels) or []):
            drafts.append(self._try(f"label {label}", partial(self._label, label, number)))
        if self._personal:
            drafts.append(self._try("popular", self._popular))
        drafts.append(recent)
        rows = self._filled([draft for draft in drafts if draft is not None])
        hero = None
        if rows and rows[0].key == "for_you":
            first = rows[0]
            hero, rest = first.cards[0], first.cards[1:]
            rows[0] = Row(first.key, first.title, first.note, first.list_id, rest)
        return Page(self._viewer, hero, rows, self._facts)

    def up_next(self, video_id: str) -> Row | None:
        self._try("history", self._read_history)
        self._shown.add(video_id)
        draft = self._try("up_next", lambda: self._draft("up_next", "Up next", "", self._alike(video_id), UP_NEXT))
        return next(iter(self._filled([draft])), None) if draft else None

    def _try(self, name: str, question: Callable[[], Answer]) -> Answer | None:
        started = time.perf_counter()
        try:
            return question()
        except Exception:
            log.exception("the storefront goes on without %s", name)
            self._facts.warnings.append(f"{name} could not be asked for")
            return None
        finally:
            self._facts.row_ms[name] = round((time.perf_counter() - started) * 1000, 2)

    # ---- What is known of the viewer -----------------------------------------------------------------------

    def _read_history(self) -> None:
        events = self._service.store.events
        history = events.history(self._viewer)
        self._facts.events = len(history)
        self._seen = viewings(history)
        if len(history):
            newest = events.tail(COUNTRY_AMONG, self._viewer)
            self._facts.country = next((event["country"] for event in newest if event["country"]), None)
            self._profile = self._engine.profile(history)

    @property
    def _personal(self) -> bool:
        return self._profile is not None and self._profile.known

    def _top_labels(self) -> list[str]:
        """The labels this viewer likes most, newest likes counting most; of a stranger, the catalogue's largest."""
        view = self._engine.view
        weights: Counter[str] = Counter()
        if self._profile is not None and self._profile.known:
            liked, counts = self._profile.recent(NEWEST_LIKES)
            for column, weight in zip(liked.tolist(), counts.tolist(), strict=True):
                weights.update(dict.fromkeys(view.labels[column], weight))
        else:
            weights.update(view.label_counts())
        return [label for label, _ in weights.most_common(LABEL_ROWS)]

    # ---- The rows ------------------------------------------------------------------------------------------

    def _recent(self) -> _Draft | None:
        """What was watched last. Asked first, so that what was just watched leaves all other rows."""
        watched = [name for name, viewing in self._seen.items() if viewing.watched and not viewing.rejected]
        records = self._service.store.catalogue.get_many(watched[: 2 * RECENT])
        items = [{"video_id": name} for name in watched if name in records and is_open(records[name])]
        return self._draft("recent", "Recently watched", "Play it again", items, RECENT, fewest=1)

    def _for_you(self) -> _Draft | None:
        # The plain question, so that its answer comes from the cache where it can; what stands elsewhere on the
        # page is left out afterwards.
        answer = self._recommend("for_you", limit=FOR_YOU + RECENT)
        self._facts.answer = answer
        self._facts.warnings += answer["warnings"]
        if answer["fallback"] == "cold_start":
            title, note = "Popular right now", "We do not know you yet: watch something and this row becomes yours"
        elif answer["fallback"] == "popular":
            title, note = "Popular right now", "Not personal at the moment"
        else:
            title, note = f"For {viewer_name(self._viewer)}", "Changes with everything you watch"
        return self._draft("for_you", title, note, answer["items"], FOR_YOU, fewest=1)

    def _because(self) -> _Draft | None:
        """Videos like one that was liked lately. Only the nearest count: what they leave is not alike."""
        engine = self._engine
        chosen: tuple[int, list[dict[str, Any]]] = (-1, [])
        for column in self._profile.liked[:BECAUSE_AMONG].tolist() if self._profile is not None else []:
            if not engine.view.shown[column]:
                continue
            fresh = [item for item in self._alike(engine.videos[column]) if item["video_id"] not in self._shown]
            if len(fresh) > len(chosen[1]):
                chosen = (column, fresh)
            if len(fresh) >= ALIKE:
                break
        column, fresh = chosen
        if column < 0:
            return None
        title = f"Because you watched {engine.view.titles[column] or engine.videos[column]}"
        return self._draft("because", title, "Alike in looks, or in who watches them", fresh, ROW)

    def _label(self, label: str, number: int) -> _Draft | None:
        key = f"label_{number}"
        answer = self._recommend(key, labels=[label], limit=ROW, exclude=sorted(self._shown)[:1_000])
        if self._personal:
            title, note = label_title(label), "A favourite of yours"
        else:
            title, note = f"Popular in {label}", ""
        return self._draft(key, title, note, answer["items"], ROW)

    def _popular(self) -> _Draft | None:
        impersonal = {source.name: 0.0 for source in self._engine.pipeline.sources if source.personal}
        answer = self._recommend("popular", limit=ROW + FOR_YOU, weights=impersonal, reasons=False)
        where = f" in {self._facts.country}" if self._facts.country else ""
        return self._draft("popular", f"Popular now{where}", "What everybody watches", answer["items"], ROW)

    def _alike(self, video_id: str) -> list[dict[str, Any]]:
        """The nearest videos that this viewer has not done with."""
        done = [name for name, viewing in self._seen.items() if viewing.watched or viewing.rejected]
        asked = SimilarQuery(limit=ROW, exclude=done[:1_000], country=self._facts.country)
        items: list[dict[str, Any]] = self._service.similar(video_id, asked)["items"]
        return items

    def _recommend(self, key: str, **asked: Any) -> dict[str, Any]:
        question = RecommendationRequest(country=self._facts.country, surface=SURFACE, **asked)
        return self._service.recommend(self._viewer, question, self._list_id(key))

    def _list_id(self, key: str) -> str:
        return f"{self._request_id}.{key}"

    def _draft(
        self, key: str, title: str, note: str, items: Sequence[dict[str, Any]], size: int, fewest: int = FEWEST
    ) -> _Draft | None:
        fresh = [item for item in items if item["video_id"] not in self._shown][:size]
        if len(fresh) < fewest:
            return None
        self._shown.update(item["video_id"] for item in fresh)
        return _Draft(key, title, note, fresh)

    # ---- The cards -----------------------------------------------------------------------------------------

    def _filled(self, drafts: Sequence[_Draft]) -> list[Row]:
        wanted = [item["video_id"] for draft in drafts for item in draft.items]
        records = self._try("catalogue", lambda: self._service.store.catalogue.get_many(wanted)) or {}
        return [
            Row(draft.key, draft.title, draft.note, self._list_id(draft.key), self._cards(draft, records))
            for draft in drafts
        ]

    def _cards(self, draft: _Draft, records: Mapping[str, VideoRecord]) -> list[Card]:
        return [
            self._card(item, records.get(item["video_id"]), position, with_progress=draft.key == "recent")
            for position, item in enumerate(draft.items)
        ]

    def _card(self, item: dict[str, Any], record: VideoRecord | None, position: int, with_progress: bool) -> Card:
        video_id = item["video_id"]
        reason = item.get("reason")
        viewing = self._seen.get(video_id)
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
            reason=reason["text"] if reason and (self._personal or reason["video_id"]) else None,
            fraction=viewing.fraction if with_progress and viewing and viewing.fraction else None,
        )
