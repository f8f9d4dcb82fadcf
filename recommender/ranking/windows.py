"""What the ranker learns from: the lists that would have been served at past moments, and what was watched next.

For each of several windows of time the models are fitted to what happened before it, by the code that fits a release;
the viewers of the window are asked for, by the pipeline that serves, at the moment of their first like in it. So
training sees what serving sees, and never the future.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from threadpoolctl import threadpool_limits

from data.interactions import Interactions
from data.progress import progress
from recommender.catalogue_view import CatalogueView
from recommender.collaborative import LatentFactors
from recommender.engine import Engine
from recommender.fitting import QUICK, fit_model
from recommender.index import IndexSettings, VectorIndex
from recommender.pipeline.sources.history import SPARSE_FROM
from recommender.pipeline.stages import Candidates, Query, Trace
from recommender.popularity import measure_popularity
from recommender.profile import profile_of_likes
from recommender.ranking.ranker import PastRequests, RankerSettings, grades_of
from recommender.release import NO_ENCODER, Release
from recommender.settings import RecommenderSettings

#: Before this share of all that happened too little is known to learn from.
BEGINS_AT = 0.25
#: How many of the videos that follow count where lists are for what is watched next.
NEXT_FEW = 5


@dataclass(frozen=True)
class Window:
    """From `start` to `end`, seconds since 1970; the models know what happened before `start`."""

    start: float
    end: float


def rolling_windows(interactions: Interactions, settings: RankerSettings) -> list[Window]:
    """The newest windows, the oldest first; fewer where there is not enough before them."""
    count = len(interactions)
    edges = [round(count * (1 - place * settings.window_share)) for place in range(settings.windows, -1, -1)]
    times = [float(interactions.time[edge]) if edge < count else np.inf for edge in edges if edge >= BEGINS_AT * count]
    return [Window(start, end) for start, end in pairwise(times) if start < end]


def newest_window(interactions: Interactions, share: float) -> Window | None:
    """From where the newest share of all interactions begins; None where nothing was before."""
    if len(interactions) == 0:
        return None
    start = float(interactions.time[int(len(interactions) * (1 - share))])
    return Window(start, np.inf) if start > interactions.time[0] else None


def most_requests(windows: Sequence[Window], interactions: Interactions) -> int:
    """How many past requests there are at most: one for each viewer who was there in a window."""
    within = [(interactions.time >= window.start) & (interactions.time < window.end) for window in windows]
    return sum(len(np.unique(interactions.viewer[rows])) for rows in within)


def past_requests(
    window: Window,
    number: int,
    interactions: Interactions,
    view: CatalogueView,
    index: VectorIndex,
    settings: RecommenderSettings,
    everybody: Interactions | None = None,
) -> PastRequests | None:
    """The requests of the viewers who were known before a window and liked something new in it; None without any.

    number: which window this is, higher is newer. everybody: what was popular is counted from, where `interactions` are
    only of some viewers.
    """
    before = interactions.begun_before(window.start)
    within = interactions.begun_between(window.start, window.end)
    counted = before if everybody is None else everybody.begun_before(window.start)
    release = _release_of(before, counted, view, index, window.start, settings)
    engine = Engine(release, view, settings.unhurried())
    # Requests are small: threads would only wait for each other.
    with threadpool_limits(1):
        return _asked(engine, number, before, within, settings)


def _asked(
    engine: Engine, number: int, before: Interactions, within: Interactions, settings: RecommenderSettings
) -> PastRequests | None:
    features, relevant, viewers = [], [], []
    grades: list[np.ndarray] = []
    for viewer, query, following in requests_within(before, within, settings, settings.ranker.viewers_per_window):
        candidates = _candidates(engine, query)
        if len(candidates.columns) == 0:
            continue
        features.append(engine.features.build(query.profile, candidates, query.now))
        grades.append(_grades(candidates, within.video[following], within.signal[following]))
        relevant.append(len(following))
        viewers.append(viewer)
    if not features:
        return None
    sizes = np.array([len(each) for each in grades])
    return PastRequests(
        np.concatenate(features),
        np.concatenate(grades),
        sizes,
        np.array(relevant),
        np.full(len(sizes), number),
        np.array(viewers),
    )


def requests_within(
    before: Interactions, within: Interactions, settings: RecommenderSettings, most: int
) -> Iterator[tuple[int, Query, np.ndarray]]:
    """(viewer, what is asked for, the rows of `within` that count as watched after it), of at most so many viewers.

    With the horizon of a window, viewers ask at their first like in it and all their likes in it count; with that of
    what is next they ask at one of their likes in it, drawn by chance, and the next few count.
    """
    liked = np.flatnonzero(within.signal > 0)
    known, wanted = _by_viewer(before), _by_viewer(within.take(liked))
    everybody = set(wanted) if settings.horizon == "next" else wanted.keys() & known.keys()
    viewers = np.array(sorted(everybody), np.int64)
    rng = np.random.default_rng(0)
    if len(viewers) > most:
        viewers = np.sort(rng.choice(viewers, most, replace=False))
    none = np.zeros(0, np.int64)
    with progress("past requests", len(viewers), "viewers") as advance:
        for viewer in viewers.tolist():
            following = liked[wanted[viewer]]
            just_watched = none
            if settings.horizon == "next":
                moment = int(rng.integers(0 if viewer in known else min(1, len(following) - 1), len(following)))
                just_watched, following = following[:moment], following[moment : moment + NEXT_FEW]
            advance()
            history = known.get(viewer, none)
            if len(history) + len(just_watched) == 0:
                continue
            videos, signals, times = (
                np.concatenate([getattr(before, name)[history], getattr(within, name)[just_watched]])[::-1]
                for name in ("video", "signal", "time")
            )
            profile = profile_of_likes(videos, signals, times, settings.profile)
            yield viewer, Query(profile, settings.pipeline.ranked, float(within.time[following[0]])), following


def _candidates(engine: Engine, query: Query) -> Candidates:
    """What the ranker would have been shown: nothing that was published only later."""
    pipeline = engine.pipeline
    eligible = pipeline.eligible(query) & ~(engine.view.published_at > query.now)
    candidates, _ = pipeline.fuse(query, pipeline.gather(query, eligible, Trace()))
    return candidates.first(pipeline.settings.ranked)


def _grades(candidates: Candidates, videos: np.ndarray, signals: np.ndarray) -> np.ndarray:
    """(n,) int8: 0 for what was not watched."""
    grade_of = np.zeros(max(int(candidates.columns.max()), int(videos.max())) + 1, np.int8)
    grade_of[videos] = grades_of(signals)
    return grade_of[candidates.columns]


def _release_of(
    before: Interactions,
    counted: Interactions,
    view: CatalogueView,
    index: VectorIndex,
    now: float,
    settings: RecommenderSettings,
) -> Release:
    models = {name: fit_model(name, before, settings) for name in QUICK}
    factors, factor_index = models["collaborative"], None
    if isinstance(factors, LatentFactors) and len(view.videos) >= SPARSE_FROM:
        # For so few questions an index of cells would take longer to build than it saves.
        met = factors.met
        factor_index = VectorIndex.build(factors.items[met], met, IndexSettings(exact_below=len(met) + 1))
    return Release(
        id="past",
        manifest={"encoder": NO_ENCODER},
        videos=view.videos,
        index=index,
        factor_index=factor_index,
        popularity=measure_popularity(counted, now, settings.popularity),
        viewers=counted.audience(),
        models={name: model for name, model in models.items() if model is not None},
    )


def _by_viewer(interactions: Interactions) -> dict[int, np.ndarray]:
    """The rows of each viewer, in the order of time."""
    if len(interactions) == 0:
        return {}
    order = np.argsort(interactions.viewer, kind="stable")
    viewers, starts = np.unique(interactions.viewer[order], return_index=True)
    return dict(zip(viewers.tolist(), np.split(order, starts[1:]), strict=True))
