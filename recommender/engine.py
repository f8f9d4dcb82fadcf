"""The engine: one release behind a few questions - what next, what is similar, why. Knows no HTTP and no cache.

An engine belongs to one release and never changes it; a service that wants a newer release opens a new engine and
lets requests that have begun end on the old one.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from data.home import Home
from data.store import Store
from data.store.events import History
from recommender.catalogue_view import CatalogueView
from recommender.pipeline import Pipeline, timed
from recommender.pipeline.filters import standard_filters
from recommender.pipeline.hydrators import CatalogueFacts, Reasons
from recommender.pipeline.scorers import ReciprocalRankFusion
from recommender.pipeline.selectors import BestFirst
from recommender.pipeline.sources import CollaborativeSource, ContentSource, PopularSource
from recommender.pipeline.stages import Query, Ranked, Source, Trace
from recommender.profile import Profile, build_profile
from recommender.refresh import unpublished_release
from recommender.release import Release, ReleaseError, Releases
from recommender.settings import RecommenderSettings

Similarity = Literal["visual", "cowatch", "both"]


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
        sources = [source for source in sources if source.name not in choices.disabled_sources]
        self.pipeline = Pipeline(
            size=len(release.videos),
            filters=standard_filters(view),
            sources=sources,
            scorer=ReciprocalRankFusion(),
            selector=BestFirst(),
            hydrators=[CatalogueFacts(view), Reasons(view, sources, list(release.popularity.countries))],
            settings=choices,
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

    def allowed(self, query: Query, ranked: Ranked) -> Ranked:
        """Scored candidates, which may come from a cache, that the filters let through in this request."""
        return ranked.take(np.flatnonzero(self.pipeline.eligible(query)[ranked.columns]))

    def select(self, query: Query, ranked: Ranked) -> Ranked:
        """The slate out of scored candidates."""
        allowed = self.allowed(query, ranked)
        return allowed.take(self.pipeline.selector.select(query, allowed))

    def recommend(self, query: Query) -> tuple[Ranked, Trace]:
        """`rank` and `select` in one."""
        ranked, trace = self.rank(query)
        with timed(trace, "select"):
            slate = self.select(query, ranked)
        return slate, trace

    # ---- What is similar -----------------------------------------------------------------------------------

    def similar(self, video_id: str, query: Query, by: Similarity = "both", trace: Trace | None = None) -> Ranked:
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
        ranked = self.pipeline.rank(asked, Trace() if trace is None else trace, only)
        return ranked.take(np.arange(min(query.limit, len(ranked))))

    def nearest(self, vector: np.ndarray, query: Query) -> Ranked:
        """The videos whose looks lie nearest to a vector (D,) float32 of length 1 of the release's encoder, among
        those that may be shown in this request; scores are cosines. Raises ValueError for another D."""
        index = self.release.index
        if vector.shape != (index.dim,):
            raise ValueError(f"the vectors of this release have {index.dim} numbers, this one has {vector.shape}")
        eligible = self.pipeline.eligible(query)[index.ids]
        columns, cosines = index.search(vector[None], query.limit, eligible)
        found = columns[0] >= 0
        return Ranked(columns[0][found], cosines[0][found], np.zeros(int(found.sum()), np.uint8))

    # ---- Why -----------------------------------------------------------------------------------------------

    def why(self, query: Query, video_id: str) -> dict[str, Any]:
        """What happens to one video in this request: which source finds it at which rank, which filter removes it,
        its place in the list. Raises KeyError when this release does not know the video."""
        column = self.column_of[video_id]
        eligible = self.pipeline.eligible(query)
        eligible[column] = True
        found: dict[str, Any] = {}
        for source in self.pipeline.sources:
            if not source.enabled(query):
                found[source.name] = {"found": False, "because": "the source has nothing to say to this viewer"}
                continue
            try:
                candidates = source.candidates(query, eligible, self.settings.pipeline.candidates)
            except Exception as error:
                found[source.name] = {"found": False, "because": f"the source failed: {error}"}
                continue
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
