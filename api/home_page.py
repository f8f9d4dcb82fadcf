"""A home page: which rows of videos a viewer sees, each of them a question to the service.

No video stands twice on a page. A question that fails costs its row and leaves a warning, never the page. Which kinds
of rows a page has is for those who show it. Knows nothing of HTML and HTTP.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from api.answer import NO_REASONS, items_of, release_facts
from api.schemas.lists import HomeQuery
from api.schemas.recommendations import Context, RecommendationRequest, SimilarQuery
from data.schema import SIGNALS, EventType, VideoRecord, VideoState
from data.store.events import History
from recommender.pipeline.sources.content import FreshSource
from recommender.pipeline.sources.continuing import ContinueWatchingSource
from recommender.pipeline.sources.popular import PopularSource, TrendingSource
from recommender.pipeline.stages import Query, Trace
from recommender.profile import Profile

if TYPE_CHECKING:
    from api.service import Service

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

#: Of a kind of row that is not there for one video's sake, fewer items than this look broken and are left out.
FEWEST = 3
#: The half-life, in likes, of what a viewer's labels are made from.
NEWEST_LIKES = 3.0
#: Of the newest likes one gets a row of its own: the first that the rows before leave at least so many alike videos.
BECAUSE_AMONG, ALIKE = 8, 6
#: So many of the newest events are searched for the country a viewer was last seen in.
COUNTRY_AMONG = 25
#: A request may name as many videos that it does not want.
MOST_EXCLUDED, MOST_ASKED = 1_000, 100
#: What is popular stands behind what is on its way up.
RISING_FIRST = {TrendingSource.name: 1.0, PopularSource.name: 0.5}

WATCHING = {EventType.PLAY, EventType.WATCH, EventType.COMPLETE, EventType.RATE}
REJECTING = {kind for kind, signal in SIGNALS.items() if signal.weight < 0}


class RowCode(StrEnum):
    """The kinds of rows."""

    CONTINUE_WATCHING = "continue_watching"
    RECENT = "recent"
    FOR_YOU = "for_you"
    BECAUSE_YOU_WATCHED = "because_you_watched"
    NEW_FOR_YOU = "new_for_you"
    FAVOURITE_LABEL = "favourite_label"
    TRENDING_IN_LABEL = "trending_in_label"
    TRENDING_IN_COUNTRY = "trending_in_country"
    POPULAR = "popular"


#: The rows of `GET /v1/users/{user_id}/home`, in their order.
HOME = (
    RowCode.CONTINUE_WATCHING,
    RowCode.FOR_YOU,
    RowCode.BECAUSE_YOU_WATCHED,
    RowCode.TRENDING_IN_LABEL,
    RowCode.NEW_FOR_YOU,
    RowCode.BECAUSE_YOU_WATCHED,
    RowCode.TRENDING_IN_COUNTRY,
    RowCode.POPULAR,
    RowCode.BECAUSE_YOU_WATCHED,
    *[RowCode.TRENDING_IN_LABEL] * 11,
)


@dataclass
class Viewing:
    """What a viewer has done with one video; `fraction` 0..1 is the most of it that was ever watched."""

    watched: bool = False
    fraction: float = 0.0
    liked: bool = False
    rejected: bool = False


@dataclass(frozen=True)
class Wanted:
    """A row of a page, of up to `size` items."""

    code: RowCode
    size: int


@dataclass(frozen=True)
class Wishes:
    """What holds for every row. `in_last_country`: without a country it is that in which the viewer was last seen."""

    country: str | None = None
    in_last_country: bool = False
    max_rating: int | None = None
    not_labels: Sequence[str] = ()
    exclude: Sequence[str] = ()
    surface: str | None = None


@dataclass(frozen=True)
class HomeRow:
    """`id` is unique on its page; events about the items carry `list_id` as their request. `items` as in answers; of
    `recent` their ids alone. `fallback` as of a list of recommendations."""

    id: str
    code: RowCode
    title: str
    list_id: str
    items: list[dict[str, Any]]
    video_id: str | None = None
    label: str | None = None
    fallback: str | None = None


@dataclass
class ViewerFacts:
    """What is known of the viewer of a page: what was done with each video, the number of events, where last seen."""

    seen: dict[str, Viewing] = field(default_factory=dict)
    events: int = 0
    country: str | None = None
    profile: Profile | None = None

    @property
    def is_known(self) -> bool:
        return self.profile is not None and self.profile.known


@dataclass
class HomePage:
    """The rows, and how they came about: the answer to the plain question, milliseconds by row, what went wrong."""

    rows: list[HomeRow] = field(default_factory=list)
    viewer: ViewerFacts = field(default_factory=ViewerFacts)
    answer: Mapping[str, Any] | None = None
    row_ms: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def attempt(self, name: str, question: Callable[[], Answer]) -> Answer | None:
        """The answer to a question; where it fails, None and a warning that names it."""
        started = time.perf_counter()
        try:
            return question()
        except Exception:
            log.exception("a home page goes on without %s", name)
            self.warnings.append(f"{name} could not be asked for")
            return None
        finally:
            self.row_ms[name] = round((time.perf_counter() - started) * 1000, 2)


class HomePages:
    """One for each process."""

    def __init__(self, service: "Service") -> None:
        self._service = service

    def home(self, user_id: str, asked: HomeQuery, request_id: str) -> dict[str, Any]:
        """The page as `schemas.lists.HomeAnswer` without its request id. Never raises."""
        wishes = Wishes(
            country=asked.country,
            max_rating=asked.max_rating,
            not_labels=asked.not_labels,
            exclude=asked.exclude,
            surface=asked.surface,
        )
        page = self.page(user_id, [Wanted(code, asked.limit) for code in HOME], wishes, request_id, asked.rows)
        return {
            "user_id": user_id,
            "rows": [
                {
                    "id": row.id,
                    "title": row.title,
                    "code": row.code,
                    "video_id": row.video_id,
                    "label": row.label,
                    "request_id": row.list_id,
                    "items": [item | {"rank": place} for place, item in enumerate(row.items, start=1)],
                }
                for row in page.rows
            ],
            "degraded": bool(page.warnings),
            "warnings": page.warnings,
            "release": release_facts(self._service.engines.current()),
        }

    def page(
        self, user_id: str, wanted: Sequence[Wanted], wishes: Wishes, request_id: str, most_rows: int | None = None
    ) -> HomePage:
        """The rows that are wanted, in their order; those with too little to show are left out. Never raises."""
        return _Builder(self._service, user_id, wishes, request_id).build(wanted, most_rows or len(wanted))


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


class _Builder:
    """Asks one question a row. What an earlier row shows, a later one does not."""

    def __init__(self, service: "Service", user_id: str, wishes: Wishes, request_id: str) -> None:
        self._service = service
        # One for the whole page: columns of one release mean nothing in another.
        self._engine = service.current_engine()
        self._user_id = user_id
        self._wishes = wishes
        self._request_id = request_id[:150]
        self._page = HomePage()
        self._shown: set[str] = set()
        self._explained: set[int] = set()
        self._labels: list[str] | None = None
        self._makers: dict[RowCode, Callable[[str, int], HomeRow | None]] = {
            RowCode.CONTINUE_WATCHING: self._continue_watching,
            RowCode.RECENT: self._recent,
            RowCode.FOR_YOU: self._for_you,
            RowCode.BECAUSE_YOU_WATCHED: self._because_you_watched,
            RowCode.NEW_FOR_YOU: self._new_for_you,
            RowCode.FAVOURITE_LABEL: self._favourite_label,
            RowCode.TRENDING_IN_LABEL: self._trending_in_label,
            RowCode.TRENDING_IN_COUNTRY: self._trending_in_country,
            RowCode.POPULAR: self._popular,
        }

    def build(self, wanted: Sequence[Wanted], most_rows: int) -> HomePage:
        page = self._page
        page.attempt("history", self._read_history)
        times: Counter[RowCode] = Counter()
        for each in wanted:
            if len(page.rows) == most_rows:
                break
            times[each.code] += 1
            row_id = each.code.value if times[each.code] == 1 else f"{each.code.value}_{times[each.code]}"
            row = page.attempt(row_id, partial(self._makers[each.code], row_id, each.size))
            if row is not None:
                page.rows.append(row)
        return page

    # ---- What is known of the viewer -----------------------------------------------------------------------

    def _read_history(self) -> None:
        events, viewer = self._service.store.events, self._page.viewer
        history = events.history(self._user_id)
        viewer.events = len(history)
        viewer.seen = viewings(history)
        if len(history):
            viewer.profile = self._engine.profile(history)
            if self._wishes.in_last_country:
                newest = events.tail(COUNTRY_AMONG, self._user_id)
                viewer.country = next((event["country"] for event in newest if event["country"]), None)

    @property
    def _country(self) -> str | None:
        return self._wishes.country or self._page.viewer.country

    def _next_label(self) -> str | None:
        """One after another the labels this viewer likes most, newest likes counting most, then the catalogue's
        largest; of a stranger these alone."""
        if self._labels is None:
            view, profile = self._engine.view, self._page.viewer.profile
            weights: Counter[str] = Counter()
            if profile is not None:
                liked, counts = profile.recent(NEWEST_LIKES)
                for column, weight in zip(liked.tolist(), counts.tolist(), strict=True):
                    weights.update(dict.fromkeys(view.labels[column], weight))
            largest = Counter(view.label_counts())
            ordered = [label for label, _ in [*weights.most_common(), *largest.most_common(len(HOME))]]
            unwanted = set(self._wishes.not_labels)
            self._labels = [label for label in dict.fromkeys(ordered) if label not in unwanted]
        return self._labels.pop(0) if self._labels else None

    # ---- The rows ------------------------------------------------------------------------------------------

    def _continue_watching(self, row_id: str, size: int) -> HomeRow | None:
        """What was left half-way, and the next episodes."""
        engine, wishes, profile = self._engine, self._wishes, self._page.viewer.profile
        if profile is None:
            return None
        query = Query(
            profile,
            size,
            time.time(),
            country=self._country,
            max_rating=wishes.max_rating,
            not_labels=tuple(wishes.not_labels),
            exclude=engine.columns(wishes.exclude),
            surface=wishes.surface,
        )
        items = items_of(engine, query, engine.continuing(query), Trace(), skip=NO_REASONS)
        for item in items:
            # The main list need not ask for what is half-way, and then has no name for it.
            item["sources"] = item["sources"] or [ContinueWatchingSource.name]
        return self._row(row_id, RowCode.CONTINUE_WATCHING, "Continue watching", items, size, fewest=1)

    def _recent(self, row_id: str, size: int) -> HomeRow | None:
        """What was watched last."""
        seen = self._page.viewer.seen
        watched = [name for name, viewing in seen.items() if viewing.watched and not viewing.rejected]
        records = self._service.store.catalogue.get_many(watched[: 2 * size])
        items = [{"video_id": name} for name in watched if name in records and is_open(records[name])]
        return self._row(row_id, RowCode.RECENT, "Recently watched", items, size, fewest=1)

    def _for_you(self, row_id: str, size: int) -> HomeRow | None:
        # The plain question, so that its answer comes from the cache where it can, and stays there; what stands
        # elsewhere on the page is left out afterwards.
        answer = self._recommend(row_id, limit=min(size + len(self._shown), MOST_ASKED), exclude=self._wishes.exclude)
        self._page.answer = answer
        title = "For you" if answer["fallback"] is None else "Popular right now"
        fallback = answer["fallback"]
        return self._row(row_id, RowCode.FOR_YOU, title, answer["items"], size, fewest=1, fallback=fallback)

    def _because_you_watched(self, row_id: str, size: int) -> HomeRow | None:
        """Videos like one that was liked lately. Only the nearest count: what they leave is not alike."""
        engine, profile = self._engine, self._page.viewer.profile
        chosen: tuple[int, list[dict[str, Any]]] = (-1, [])
        for column in profile.liked[:BECAUSE_AMONG].tolist() if profile is not None else []:
            if not engine.view.shown[column] or column in self._explained:
                continue
            alike = self._alike(engine.videos[column], size)
            fresh = [item for item in alike if item["video_id"] not in self._shown]
            if len(fresh) > len(chosen[1]):
                chosen = (column, fresh)
            if len(fresh) >= ALIKE:
                break
        column, fresh = chosen
        if column < 0:
            return None
        self._explained.add(column)
        video_id = engine.videos[column]
        title = f"Because you watched {engine.view.titles[column] or video_id}"
        return self._row(row_id, RowCode.BECAUSE_YOU_WATCHED, title, fresh, size, video_id=video_id)

    def _new_for_you(self, row_id: str, size: int) -> HomeRow | None:
        items = self._found_by(row_id, size, {FreshSource.name: 1.0})
        return self._row(row_id, RowCode.NEW_FOR_YOU, "New for you", items, size)

    def _favourite_label(self, row_id: str, size: int) -> HomeRow | None:
        label = self._next_label()
        if label is None:
            return None
        answer = self._recommend(row_id, labels=[label], limit=size)
        title = label[:1].upper() + label[1:] if self._page.viewer.is_known else f"Popular in {label}"
        return self._row(row_id, RowCode.FAVOURITE_LABEL, title, answer["items"], size, label=label)

    def _trending_in_label(self, row_id: str, size: int) -> HomeRow | None:
        label = self._next_label()
        if label is None:
            return None
        items = self._found_by(row_id, size, RISING_FIRST, labels=[label])
        return self._row(row_id, RowCode.TRENDING_IN_LABEL, f"Trending in {label}", items, size, label=label)

    def _trending_in_country(self, row_id: str, size: int) -> HomeRow | None:
        if self._country is None:
            return None
        items = self._found_by(row_id, size, RISING_FIRST)
        return self._row(row_id, RowCode.TRENDING_IN_COUNTRY, f"Trending in {self._country}", items, size)

    def _popular(self, row_id: str, size: int) -> HomeRow | None:
        if not self._page.viewer.is_known:
            return None
        impersonal = {source.name: 0.0 for source in self._engine.pipeline.sources if source.personal}
        answer = self._recommend(row_id, limit=size, weights=impersonal)
        where = f" in {self._country}" if self._country else ""
        return self._row(row_id, RowCode.POPULAR, f"Popular now{where}", answer["items"], size)

    # ---- The questions -------------------------------------------------------------------------------------

    def _found_by(self, row_id: str, size: int, weights: Mapping[str, float], **asked: Any) -> list[dict[str, Any]]:
        """What these sources find, and nothing that fills up a list."""
        there = {source.name: weights.get(source.name, 0.0) for source in self._engine.pipeline.sources}
        if not any(there.values()):
            return []
        answer = self._recommend(row_id, weights=there, limit=size, **asked)
        items: list[dict[str, Any]] = answer["items"]
        return [item for item in items if not weights.keys().isdisjoint(item["sources"])]

    def _alike(self, video_id: str, size: int) -> list[dict[str, Any]]:
        """The nearest videos that this viewer has not done with."""
        seen, wishes = self._page.viewer.seen, self._wishes
        done = [name for name, viewing in seen.items() if viewing.watched or viewing.rejected]
        asked = SimilarQuery(
            limit=size,
            exclude=[*wishes.exclude, *done][:MOST_EXCLUDED],
            country=self._country,
            max_rating=wishes.max_rating,
            not_labels=list(wishes.not_labels),
        )
        items: list[dict[str, Any]] = self._service.similar(video_id, asked)["items"]
        return items

    def _recommend(self, row_id: str, *, exclude: Sequence[str] | None = None, **asked: Any) -> dict[str, Any]:
        wishes = self._wishes
        if exclude is None:
            exclude = [*wishes.exclude, *sorted(self._shown)][:MOST_EXCLUDED]
        question = RecommendationRequest(
            context=Context(max_rating=wishes.max_rating),
            country=self._country,
            not_labels=list(wishes.not_labels),
            exclude=list(exclude),
            surface=wishes.surface,
            **asked,
        )
        answer = self._service.recommend(self._user_id, question, self._list_id(row_id))
        self._page.warnings += [warning for warning in answer["warnings"] if warning not in self._page.warnings]
        return answer

    def _list_id(self, row_id: str) -> str:
        return f"{self._request_id}.{row_id}"

    def _row(
        self,
        row_id: str,
        code: RowCode,
        title: str,
        items: Sequence[dict[str, Any]],
        size: int,
        *,
        fewest: int = FEWEST,
        **about: Any,
    ) -> HomeRow | None:
        fresh = [item for item in items if item["video_id"] not in self._shown][:size]
        if len(fresh) < fewest:
            return None
        self._shown.update(item["video_id"] for item in fresh)
        return HomeRow(row_id, code, title, self._list_id(row_id), fresh, **about)
