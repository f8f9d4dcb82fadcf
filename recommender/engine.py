"""The engine: one release behind a few questions - what next, what is similar, why. Knows no HTTP and no cache.

An engine belongs to one release and never changes it; a service that wants a newer release opens a new engine and
lets requests that have begun end on the old one.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from data.home import Home
from data.store import Store
from data.store.events import History
from recommender.catalogue_view import CatalogueView
from recommender.pipeline import Pipeline, timed
from recommender.pipeline.filters import standard_filters
from recommender.pipeline.scorers import ReciprocalRankFusion
from recommender.pipeline.selectors import BestFirst
from recommender.pipeline.sources import CollaborativeSource, ContentSource, PopularSource
from recommender.pipeline.stages import Query, Ranked, Source, Trace
from recommender.profile import Profile, build_profile
from recommender.refresh import unpublished_release
from recommender.release import Release, ReleaseError, Releases
from recommender.settings import RecommenderSettings

Similarity = Literal["visual", "cowatch", "both"]


@dataclass(frozen=True)
class Reason:
    """Why an item is in a list: a stable code, the watched video or label behind it, and a sentence for people."""

    code: str
    text: str
    video_id: str | None = None


class Engine:
    """Answers from one release, in its columns: `videos[column]` is the id, `column_of[id]` the column."""

    def __init__(self, release: Release, view: CatalogueView, settings: RecommenderSettings) -> None:
        self.release = release
        self.view = view
        self.settings = settings
        choices = settings.pipeline
        sources: list[Source] = [
            CollaborativeSource(release.factors, release.item_weights),
            ContentSource(release.index, choices.content_weight),
            PopularSource(release.popularity, choices.popular_prior_items),
        ]
        self.pipeline = Pipeline(
            len(release.videos), standard_filters(view), sources, ReciprocalRankFusion(), BestFirst(), choices
        )

    @classmethod
    def open(cls, home: Home, store: Store, settings: RecommenderSettings | None = None) -> "Engine":
        """The engine of the current release, or of the bare catalogue while there is none.

        Raises CorruptFileError when the current release is damaged.
        """
        settings = settings or RecommenderSettings()
        try:
            release = Releases(home.releases).load_current()
        except ReleaseError:
            release = unpublished_release(store, settings)
        return cls(release, CatalogueView.load(store.catalogue, release.videos), settings)

    @cached_property
    def fingerprint(self) -> str:
        """What scored candidates depend on besides the question: the release and the settings."""
        settings = hashlib.sha256(self.settings.model_dump_json().encode()).hexdigest()[:8]
        return f"{self.release.id}:{settings}"

    @property
    def videos(self) -> list[str]:
        return self.release.videos

    @property
    def column_of(self) -> Mapping[str, int]:
        return self.view.column_of

    def columns(self, video_ids: Sequence[str]) -> np.ndarray:
        """The columns of the known ones of these videos: int64."""
        found = (self.column_of.get(name) for name in video_ids)
        return np.array([column for column in found if column is not None], np.int64)

    def profile(self, history: History) -> Profile:
        return build_profile(history, self.column_of, self.settings.profile)

    # ---- What next -----------------------------------------------------------------------------------------

    def rank(self, query: Query) -> tuple[Ranked, Trace]:
        """Scored candidates of a request, best first, and how it went."""
        trace = Trace()
        return self.pipeline.rank(query, trace), trace

    def select(self, query: Query, ranked: Ranked) -> Ranked:
        """The slate out of scored candidates, which may come from a cache: the filters of this request hold."""
        allowed = ranked.take(np.flatnonzero(self.pipeline.eligible(query)[ranked.columns]))
        return allowed.take(self.pipeline.selector.select(query, allowed))

    def recommend(self, query: Query) -> tuple[Ranked, Trace]:
        """`rank` and `select` in one."""
        ranked, trace = self.rank(query)
        with timed(trace, "select"):
            slate = self.select(query, ranked)
        return slate, trace

    def reasons(self, query: Query, slate: Ranked) -> list[Reason]:
        """Why each item of a slate is there: the first of its sources that can name a watched video."""
        behind = np.full(len(slate), -1, np.int64)
        for bit, source in enumerate(self.pipeline.sources):
            asked = np.flatnonzero((behind < 0) & (slate.found_by >> bit & 1).astype(bool))
            if len(asked) and source.enabled(query):
                behind[asked] = source.explain(query, slate.columns[asked])
        return [self._reason(query, int(column), int(row)) for column, row in zip(slate.columns, behind, strict=True)]

    def _reason(self, query: Query, column: int, liked_row: int) -> Reason:
        if liked_row >= 0:
            watched = int(query.profile.liked[liked_row])
            return Reason("because_you_watched", f"Because you watched {self._title(watched)}", self.videos[watched])
        labels = self.view.labels[column]
        where = f" in {query.country}" if query.country in self.release.popularity.countries else ""
        if labels and not query.profile.known and labels[0] in query.labels:
            return Reason("popular_in_label", f"Popular in {labels[0]}{where}")
        return Reason("popular", f"Popular now{where}")

    def _title(self, column: int) -> str:
        return self.view.titles[column] or self.videos[column]

    # ---- What is similar -----------------------------------------------------------------------------------

    def similar(self, video_id: str, query: Query, by: Similarity = "both") -> Ranked:
        """Videos like this one, by looks (`visual`), by who watches them (`cowatch`), or both.

        Raises KeyError when this release does not know the video.
        """
        column = self.column_of[video_id]
        likes = Profile(
            liked=np.array([column]),
            signal=np.ones(1, np.float32),
            recency=np.ones(1, np.float32),
            disliked=np.zeros(0, np.int64),
            watched=np.array([column]),
        )
        only = {"visual": {"content"}, "cowatch": {"collaborative"}, "both": {"content", "collaborative"}}[by]
        asked = replace(query, profile=likes, weights=dict.fromkeys(only, 1.0))
        ranked = self.pipeline.rank(asked, Trace(), only)
        return ranked.take(np.arange(min(query.limit, len(ranked))))

    # ---- Why -----------------------------------------------------------------------------------------------

    def why(self, query: Query, video_id: str) -> dict[str, Any]:
        """What happens to one video in this request: which source finds it at which rank, which filter removes it,
        its place in the list. Raises KeyError when this release does not know the video."""
        column = self.column_of[video_id]
        everything = np.ones(len(self.videos), bool)
        everything[query.profile.watched] = False
        everything[column] = True
        found: dict[str, Any] = {}
        for source in self.pipeline.sources:
            if not source.enabled(query):
                found[source.name] = {"found": False, "because": "the source has nothing to say to this viewer"}
                continue
            candidates = source.candidates(query, everything, self.settings.pipeline.candidates)
            place = np.flatnonzero(candidates.columns == column)
            if len(place) == 0:
                found[source.name] = {
                    "found": False,
                    "because": f"not among its best {self.settings.pipeline.candidates}",
                }
                continue
            behind = int(source.explain(query, np.array([column]))[0])
            found[source.name] = {
                "found": True,
                "rank": int(place[0]) + 1,
                "score": float(candidates.scores[place[0]]),
                "weight": query.weights.get(source.name, source.weight(query)),
                "because_of": self.videos[int(query.profile.liked[behind])] if behind >= 0 else None,
            }
        ranked, trace = self.rank(query)
        place = np.flatnonzero(ranked.columns == column)
        return {
            "video_id": video_id,
            "sources": found,
            "removed_by": self.pipeline.removed_by(query, column),
            "rank": int(place[0]) + 1 if len(place) else None,
            "score": float(ranked.scores[place[0]]) if len(place) else None,
            "warnings": trace.warnings,
        }


def query_now(profile: Profile, limit: int = 20) -> Query:
    """A plain request of this moment."""
    return Query(profile, limit, time.time())
