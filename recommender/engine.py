"""The engine: one release behind a few questions - what next, what is similar. Knows no HTTP and no cache.

An engine belongs to one release and never changes it; a service that wants a newer release opens a new engine and
lets requests that have begun end on the old one.
"""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from data.embeddings import EmbeddingTable
from data.files import CorruptFileError
from data.home import Home
from data.store import Catalogue, Store
from data.store.events import History, NumberedHistory
from recommender.catalogue_view import CatalogueView
from recommender.collaborative import LatentFactors
from recommender.fitting import MODEL_OF, QUICK
from recommender.item_item import ItemWeights
from recommender.live_index import LiveIndex
from recommender.novelty import NewVideos
from recommender.pipeline import Pipeline, timed
from recommender.pipeline.filters import standard_filters
from recommender.pipeline.hydrators import CatalogueFacts, Reasons
from recommender.pipeline.scorers import ReciprocalRankFusion, StandardisedScoreSum
from recommender.pipeline.sources.content import ColdScores, ContentSource, FreshSource
from recommender.pipeline.sources.continuing import ContinueWatchingSource, NextEpisodeSource, following_episode
from recommender.pipeline.sources.history import HistorySource
from recommender.pipeline.sources.popular import PopularSource, TrendingSource
from recommender.pipeline.sources.settings import SourcesSettings
from recommender.pipeline.stages import Query, Ranked, Ranker, Scorer, Search, Source, Trace
from recommender.policy import Scored, Slate
from recommender.popularity import Popularity
from recommender.profile import Profile, build_profile, profile_of, profile_of_likes
from recommender.pulse import Pulse, Pulses
from recommender.ranking.features import FeatureBuilder, VideoFacts, feature_names
from recommender.ranking.learned import LearnedRanker
from recommender.release import NO_ENCODER, Release, ReleaseError, Releases
from recommender.settings import RecommenderSettings
from recommender.slates import Slates
from recommender.unpublished import unpublished_release

log = logging.getLogger(__name__)

#: Cosine from which two vectors are the same one, as an index may keep it.
SAME_VECTOR = 0.999
#: A content map that explains less than this share of what factors say is not asked.
LEAST_TRUST = 0.1
#: The sources that a ranker hears of: all but those whose models cannot be fitted once more for every past window, and
#: that of new videos, of which the past has none.
RANKED_BY = tuple(
    name
    for name in SourcesSettings.model_fields
    if name != FreshSource.name and (name not in MODEL_OF or MODEL_OF[name] in QUICK)
)

#: The model that pulses keep current.
TRANSITIONS = "sequential"
#: The source that goes by looks.
LOOKS = ContentSource.name
#: Watching next after a video: how much it counts that it is watched after it, where looks count 1; and how much a like
#: of the viewer's counts beside one of this video.
FOLLOWS, BESIDE = 1.0, 0.2
#: What a ranker sees of a candidate, in order.
FEATURES = feature_names(RANKED_BY)

Similarity = Literal["visual", "cowatch", "both"]


class Engine:
    """Answers from one release, in its columns: `videos[column]` is the id, `column_of[id]` the column.

    Videos that came after the release stand behind its columns; `index` has their vectors beside the release's.
    """

    def __init__(
        self,
        release: Release,
        view: CatalogueView,
        settings: RecommenderSettings,
        index: LiveIndex | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        """index: the release's, where nothing came after it; pulse: what has changed since the release was
        made."""
        self.release = release
        self.pulse = pulse
        self.view = view
        self.settings = settings
        self.index = index or LiveIndex(release.index)
        self.new_videos = NewVideos(view, release.viewers, settings.novelty)
        self.popularity = release.popularity
        # Each with the number of columns that it knows of.
        self._models = {name: (model, len(release.videos)) for name, model in release.models.items()}
        if pulse is not None:
            self.popularity = pulse.with_popularity(release, view.column_of)
            fitted = release.models.get(TRANSITIONS)
            if isinstance(fitted, ItemWeights):
                grown = pulse.with_transitions(release, fitted, view.column_of)
                self._models[TRANSITIONS] = (grown, len(view.videos))
        sources = self._sources()
        self.pipeline = Pipeline(
            size=len(view.videos),
            filters=standard_filters(view),
            sources=sources,
            scorer=ReciprocalRankFusion() if settings.horizon == "window" else StandardisedScoreSum(),
            hydrators=[CatalogueFacts(view), Reasons(view, sources, list(self.popularity.countries))],
            settings=settings.pipeline,
            quotas=dict(settings.sources),
            ranker=self._ranker(),
            describe=lambda query, candidates: self.features.build(query.profile, candidates, query.now),
        )
        new_from = self.pipeline.bits_of([FreshSource.name])
        self.slates: Slates = Slates(view, self.index, self.new_videos, settings.policy, new_from, release.looks)
        self.personal_sources = self.pipeline.bits_of([source.name for source in sources if source.personal])

    def _sources(self) -> list[Source]:
        release, view, choices = self.release, self.view, self.settings.sources.weighed(self.settings.horizon)
        sources: list[Source] = [
            HistorySource(name, *self._models[model], getattr(choices, name), release.factor_index)
            for name, model in MODEL_OF.items()
            if model in self._models
        ]
        sources += [
            ContentSource(self.index, choices.content),
            FreshSource(self.index, self.new_videos.columns, choices.fresh, self._cold_scores()),
            NextEpisodeSource(view, choices.next_episode),
            ContinueWatchingSource(choices.continue_watching),
            PopularSource(self.popularity, self.settings.pipeline.popular_prior_items, choices.popular),
            TrendingSource(self.popularity, choices.trending),
        ]
        return [source for source in sources if getattr(choices, source.name).enabled]

    @cached_property
    def features(self) -> FeatureBuilder:
        """What the ranker sees of candidates."""
        view, world = self.view, self.popularity.world
        came_later = len(view.videos) - world.shape[1]
        facts = VideoFacts(
            popularity=np.pad(world, ((0, 0), (0, came_later))) if came_later else world,
            published_at=view.published_at,
            duration_s=view.duration_s,
            labels=view.label_matrix,
            vectors=self.index.vectors if len(self.index) else None,
        )
        return FeatureBuilder(facts, RANKED_BY)

    def _cold_scores(self) -> ColdScores | None:
        """How viewers would like videos that nobody has watched; None where that cannot be told from what they are."""
        cold, factors = self.release.cold_start, self.release.models.get("collaborative")
        if cold is None or not isinstance(factors, LatentFactors) or cold.trust < LEAST_TRUST:
            return None
        size = len(self.release.videos)

        def scores(query: Query, columns: np.ndarray) -> np.ndarray:
            liked, weights = query.profile.recent(None)
            known = liked < size
            if not known.any():
                return np.zeros(len(columns), np.float32)
            viewer = factors.fold_in(liked[known], weights[known])
            usual = np.sort(cold.reference @ viewer)
            own = cold.factors(self.view, self.index, columns) @ viewer
            return (np.searchsorted(usual, own) / len(usual)).astype(np.float32)

        return scores

    def _ranker(self) -> Ranker | None:
        trained = self.release.ranker
        # Models that train for hours were not fitted for the past: no ranker has seen what they do to the fusion.
        slow = any(model not in QUICK for model in self.release.models)
        horizon = self.settings.horizon
        meant_for = self.release.manifest.get("settings", {}).get("horizon", horizon)
        if trained is None or slow or meant_for != horizon or not self.settings.ranker.enabled:
            return None
        try:
            return LearnedRanker(trained, FEATURES)
        except ValueError as error:
            log.warning("release %s is served without its ranker: %s", self.release.id, error)
            return None

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
        engine = cls(release, release.view(store), settings)
        try:
            engine = engine.with_pulse(Pulses(home.live).read(release.id))
        except CorruptFileError as error:
            log.error("%s; going on with what the release knows", error)
        return engine.with_newest_videos(store.catalogue, home.embeddings)

    def with_newest_videos(self, catalogue: Catalogue, embeddings: Path) -> "Engine":
        """This engine, or one of the same release that knows what has been added and encoded since, as far as the
        view of the catalogue has heard of it (`CatalogueView.update`)."""
        view = self.view
        heard_of = view.take_news()
        if not heard_of:
            return self
        try:
            return self._with_videos(heard_of, catalogue, embeddings)
        except Exception:
            view.put_back_news(heard_of)
            raise

    def _with_videos(self, heard_of: list[str], catalogue: Catalogue, embeddings: Path) -> "Engine":
        view = self.view
        read_at = view.version
        records = [record for record in catalogue.get_many(heard_of).values() if record.id not in view.column_of]
        grown = view.with_videos(records, read_at) if records else view
        found = EmbeddingTable.newest_vectors(embeddings, str(self.release.manifest["encoder"]), heard_of)
        if not records and not found:
            return self
        index = self.index.with_vectors({grown.column_of[name]: vector for name, vector in found.items()})
        return Engine(self.release, grown, self.settings, index, pulse=self.pulse)

    def with_missing_vectors(self, embeddings: Path) -> "Engine":
        """This engine, or one of the same release that has the vectors that came too late for it: of videos that were
        encoded while it was being built."""
        encoder = str(self.release.manifest["encoder"])
        if encoder == NO_ENCODER:
            return self
        here = np.zeros(len(self.view.videos), bool)
        here[self.index.base.ids] = True
        here[self.index.delta_columns] = True
        missing = np.flatnonzero(self.view.shown & ~here)
        names = [self.view.videos[column] for column in missing.tolist()]
        found = EmbeddingTable.newest_vectors(embeddings, encoder, names) if names else {}
        return self._with_vectors({self.column_of[name]: vector for name, vector in found.items()})

    def with_vectors_of(self, before: "Engine") -> "Engine":
        """This engine, or one of the same release that has what the engine before it knew better: vectors of files that
        changed while the release was being built."""
        if before.release.manifest["encoder"] != self.release.manifest["encoder"] or not len(
            before.index.delta_columns
        ):
            return self
        names = (before.videos[column] for column in before.index.delta_columns.tolist())
        there = np.array([self.column_of.get(name, -1) for name in names], np.int64)
        known, vectors = np.flatnonzero(there >= 0), before.index.delta_vectors
        here, ours = self.index.vectors(there[known])
        same = np.zeros(len(known), bool)
        same[here] = np.einsum("nd,nd->n", ours, vectors[known[here]]) > SAME_VECTOR
        return self._with_vectors({int(there[row]): vectors[row] for row in known[~same]})

    def _with_vectors(self, vectors: Mapping[int, np.ndarray]) -> "Engine":
        if not vectors:
            return self
        index = self.index.with_vectors(vectors)
        return Engine(self.release, self.view, self.settings, index, pulse=self.pulse)

    def with_pulse(self, pulse: Pulse | None) -> "Engine":
        """This engine, or one of the same release that knows another pulse of it."""
        if pulse is self.pulse:
            return self
        return Engine(self.release, self.view, self.settings, self.index, pulse=pulse)

    def unhurried(self) -> "Engine":
        """The same without deadlines, for learning and measuring."""
        return Engine(self.release, self.view, self.settings.unhurried(), self.index, pulse=self.pulse)

    def prepare(self) -> None:
        """Asks for a few lists that nobody sees: the first ones take many times as long, and would miss deadlines."""
        self.slates.prepare()
        most = np.argsort(-self.popularity.world[Popularity.DECAYED])[:5]
        likes = profile_of_likes(most, np.ones(len(most), np.float32), np.zeros(len(most)))
        for _ in range(3):
            self.recommend(replace(query_now(likes), described=True))

    @cached_property
    def settings_id(self) -> str:
        """The settings and what this version makes rankers see, in a few characters."""
        content = self.settings.model_dump_json() + " ".join(FEATURES)
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    @property
    def fingerprint(self) -> str:
        """What scored candidates depend on besides the question."""
        return f"{self.release.id}:{self.settings_id}"

    def same_until(self, now: float) -> float:
        """The next moment at which windows or rules let something else be shown, whatever is written until then."""
        return min(self.view.available_until_then(now), self.slates.same_until(now))

    @property
    def videos(self) -> Sequence[str]:
        return self.view.videos

    @property
    def column_of(self) -> Mapping[str, int]:
        return self.view.column_of

    def columns(self, video_ids: Sequence[str]) -> np.ndarray:
        """The columns of the known ones of these videos: int64."""
        found = (self.column_of.get(name) for name in video_ids)
        return np.array([column for column in found if column is not None], np.int64)

    def profile(self, history: History) -> Profile:
        return build_profile(history, self.column_of, self.settings.profile)

    def profile_by_numbers(self, history: NumberedHistory) -> Profile:
        columns = self.view.columns_of_numbers(history.numbers)
        return profile_of(columns, history.codes, history.values, history.times, self.settings.profile)

    # ---- What next -----------------------------------------------------------------------------------------

    def rank(self, query: Query, eligible: np.ndarray | None = None) -> tuple[Ranked, Trace]:
        """Scored candidates of a request, best first, and how it went. eligible: (V,) bool of it, where it is known."""
        trace = Trace()
        return self.pipeline.rank(query, trace, eligible=eligible), trace

    def allowed(self, query: Query, ranked: Ranked, eligible: np.ndarray | None = None) -> Ranked:
        """Scored candidates, which may come from a cache, that filters and blocks let through in this request;
        eligible: (V,) bool of it, where it is known."""
        if eligible is None:
            eligible = self.pipeline.eligible(query)
        passed = eligible[ranked.columns]
        blocked = self.slates.blocked(query)
        if blocked is not None:
            passed &= ~blocked[ranked.columns]
        return ranked if passed.all() else ranked.take(np.flatnonzero(passed))

    def showable(self, query: Query) -> np.ndarray:
        """(V,) bool: what filters and blocks let through in this request, whoever finds it; the caller's own."""
        mask = self.pipeline.eligible(query)
        blocked = self.slates.blocked(query)
        if blocked is not None:
            mask &= ~blocked
        return mask

    def select(
        self,
        query: Query,
        ranked: Ranked,
        trace: Trace,
        closed: bool = False,
        eligible: np.ndarray | None = None,
    ) -> Slate:
        """The slate out of scored candidates; with `closed` nothing else may be in it, whatever rules and gaps ask for:
        for queries that do not say all that is known of the viewer. eligible: (V,) bool of this request, where it is
        known.

        Where the policy fails, the best of what may be shown, and the trace says so.
        """
        if eligible is None:
            eligible = self.pipeline.eligible(query)
        if closed:
            among = np.zeros(len(eligible), bool)
            among[ranked.columns] = eligible[ranked.columns]
            eligible = among
        try:
            return self.slates.make(query, ranked, eligible)
        except Exception:
            log.exception("the policy failed")
            trace.warnings.append("the policy was left out: it failed")
        allowed = self.allowed(query, ranked)
        plain = Scored(allowed.columns, allowed.scores, allowed.found_by)
        return Slate.best_first(plain, np.arange(min(query.limit, len(allowed))))

    def recommend(self, query: Query) -> tuple[Slate, Trace]:
        """`rank` and `select` in one."""
        trace = Trace()
        with timed(trace, "filters"):
            eligible = self.pipeline.eligible(query)
        ranked = self.pipeline.rank(query, trace, eligible=eligible)
        with timed(trace, "select"):
            slate = self.select(query, ranked, trace, eligible=eligible)
        return slate, trace

    # ---- What is similar, and what to watch after a video --------------------------------------------------

    def similar(self, video_id: str, query: Query, by: Similarity = "both", trace: Trace | None = None) -> Ranked:
        """Videos like this one, by looks (`visual`), by who watches them (`cowatch`), or both; copies of its file are
        none of them.

        Raises KeyError when this release does not know the video.
        """
        column = self.column_of[video_id]
        likes = profile_of_likes(np.array([column]), np.ones(1, np.float32), np.array([query.now]))
        names = {"visual": {LOOKS}, "cowatch": set(MODEL_OF), "both": {LOOKS, *MODEL_OF}}[by]
        asked = replace(query, profile=likes, weights=self._evenly_weighed())
        return self._around(column, asked, names, Trace() if trace is None else trace)

    def next_after(self, video_id: str, query: Query, trace: Trace | None = None) -> Ranked:
        """What to watch after this video: the next episode of its series first, then what is watched after it, and
        what is alike; where that is not enough, what is recommended anyway. What the viewer of the query likes counts
        beside the video, and what was watched is left out.

        Raises KeyError when this release does not know the video.
        """
        trace = Trace() if trace is None else trace
        column, viewer = self.column_of[video_id], query.profile
        others = np.flatnonzero(viewer.liked != column)
        # As if it had just been watched: models that forget see little else.
        just_watched = Profile(
            np.append(column, viewer.liked[others]),
            np.append(np.float32(1), BESIDE * viewer.signal[others]).astype(np.float32),
            np.append(query.now, viewer.times[others]),
            viewer.disliked[viewer.disliked != column],
            np.union1d(viewer.watched, [column]),
        )
        asked = replace(query, profile=just_watched)
        weighed = replace(asked, weights=self._evenly_weighed() | {TRANSITIONS: FOLLOWS})
        # Its scores say how much more often one video follows than another; ranks would forget it.
        found = self._around(column, weighed, {LOOKS, *MODEL_OF}, trace, StandardisedScoreSum())
        episode = following_episode(self.view, column, set(just_watched.watched.tolist()))
        if episode is not None and self.showable(asked)[episode]:
            bits = np.uint32(self.pipeline.bits_of([NextEpisodeSource.name]))
            best = found.scores.max(initial=0.0)
            found = Ranked(np.array([episode]), np.array([best], np.float32), np.array([bits])).then(found)
        if len(found) < query.limit:
            found = found.then(self._around(column, asked, None, trace))
        return found.take(np.arange(min(query.limit, len(found))))

    def continuing(self, query: Query) -> Ranked:
        """What the viewer left half-way, the latest first, then the next episodes of what was watched."""
        showable, choices = self.showable(query), self.settings.sources
        found = Ranked(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.uint32))
        half_way = ContinueWatchingSource(choices.continue_watching)
        episodes = NextEpisodeSource(self.view, choices.next_episode)
        for source in (half_way, episodes):
            if source.enabled(query):
                more = source.candidates(query, showable, query.limit)
                bits = self.pipeline.bits_of([source.name])
                found = found.then(Ranked(more.columns, more.scores, np.full(len(more.columns), bits, np.uint32)))
        return found.take(np.arange(min(query.limit, len(found))))

    def _evenly_weighed(self) -> dict[str, float]:
        """Looks count as much as all models of who watches what together."""
        of_viewers = [source.name for source in self.pipeline.sources if source.name in MODEL_OF]
        return dict.fromkeys(of_viewers, 1.0 / max(len(of_viewers), 1)) | {LOOKS: 1.0}

    def _around(
        self, column: int, query: Query, sources: set[str] | None, trace: Trace, scorer: Scorer | None = None
    ) -> Ranked:
        """What these sources find (None: all of them), best first, without other copies of a video."""
        showable = self.showable(query)
        group = self.view.duplicate_group
        if group[column] >= 0:
            showable &= group != group[column]
        if sources is None or scorer is None:
            ranked = self.pipeline.rank(query, trace, sources, showable)
        else:
            candidates = self.pipeline.gather(query, showable, trace, sources)
            _, ranked = self.pipeline.fuse(query, candidates, scorer)
        return ranked.take(np.arange(min(query.limit, len(ranked))))

    def content_search(self, query: Query) -> Search | None:
        """One of the searches by which a request finds what looks like the viewer's likes, drawn by its seed; None
        where there is nothing to search for."""
        for source in self.pipeline.sources:
            if isinstance(source, ContentSource) and source.enabled(query):
                vectors, _, k = source.searches(query, self.settings.sources.content.candidates)
                if len(vectors):
                    drawn = int(np.random.default_rng(query.seed).integers(len(vectors)))
                    return Search(vectors[drawn], k, self.pipeline.eligible(query))
        return None

    def nearest(self, vector: np.ndarray, query: Query) -> Ranked:
        """The videos whose looks lie nearest to a vector (D,) float32 of length 1 of the release's encoder, among
        those that may be shown in this request; scores are cosines. Raises ValueError for another D."""
        index = self.index
        if vector.shape != (index.dim,):
            raise ValueError(f"the vectors of this release have {index.dim} numbers, this one has {vector.shape}")
        columns, cosines = index.search(vector[None], query.limit, self.showable(query))
        found = columns[0] >= 0
        return Ranked(columns[0][found], cosines[0][found], np.zeros(int(found.sum()), np.uint32))


def query_now(profile: Profile, limit: int = 20) -> Query:
    """A plain request of this moment."""
    return Query(profile, limit, time.time())
