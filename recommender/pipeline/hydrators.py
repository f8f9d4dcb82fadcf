"""Hydrators: what people are shown of each item of a slate. They run last, on the few items that were selected.

The properties that filters and sources need are arrays in memory already, so nothing is fetched for candidates that
nobody will see.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recommender.catalogue_view import CatalogueView
from recommender.pipeline.stages import Query, Shown, Source


class CatalogueFacts:
    """`title` and `labels`, as the catalogue has them now."""

    name = "catalogue_facts"

    def __init__(self, view: CatalogueView) -> None:
        self._view = view

    def hydrate(self, query: Query, slate: Shown) -> list[dict[str, Any]]:
        titles, labels = self._view.titles, self._view.labels_of(slate.columns)
        of_each = zip(slate.columns.tolist(), labels, strict=True)
        return [{"title": titles[column], "labels": names} for column, names in of_each]


@dataclass(frozen=True)
class Reason:
    """Why an item is in a list: a stable code, a sentence for people, and the watched video behind it."""

    code: str
    text: str
    video_id: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        return {"code": self.code, "text": self.text, "video_id": self.video_id}


#: What is said of an item that a rule and not its score has put where it is. What is new or boosted has its own reason.
_OF_RULES = {
    "pinned": Reason("pinned", "Chosen by our editors"),
    "explored": Reason("explored", "Something different"),
}


class Reasons:
    """`reason`: why the item is there: the rule that put it there, or the first of its sources that can name a watched
    video."""

    name = "reasons"

    def __init__(self, view: CatalogueView, sources: Sequence[Source], countries: Sequence[str]) -> None:
        self._view = view
        self._sources = sources
        self._countries = frozenset(countries)

    def hydrate(self, query: Query, slate: Shown) -> list[dict[str, Any]]:
        behind = np.full(len(slate), -1, np.int64)
        for bit, source in enumerate(self._sources):
            if behind.min(initial=0) >= 0:
                break
            asked = np.flatnonzero((behind < 0) & (slate.found_by & np.uint32(1 << bit) != 0))
            if len(asked) and source.enabled(query):
                behind[asked] = source.explain(query, slate.columns[asked])
        items = zip(slate.columns.tolist(), behind.tolist(), slate.rules, strict=True)
        return [
            {"reason": (_OF_RULES.get(rule or "") or self._reason(query, column, row)).as_dict()}
            for column, row, rule in items
        ]

    def _reason(self, query: Query, column: int, liked_row: int) -> Reason:
        view = self._view
        if liked_row >= 0:
            watched = int(query.profile.liked[liked_row])
            video = view.videos[watched]
            if not view.shown[watched]:
                # What was taken down is not named either.
                return Reason("from_your_history", "From what you watched")
            return Reason("because_you_watched", f"Because you watched {view.titles[watched] or video}", video)
        where = f" in {query.country}" if query.country in self._countries else ""
        wanted = [label for label in view.labels[column] if label in query.labels]
        if wanted:
            return Reason("popular_in_label", f"Popular in {wanted[0]}{where}")
        return Reason("popular", f"Popular now{where}")
