"""What the ranker learns from: the lists that would have been served at past moments, and what was watched next.

For each of several windows of time the models are fitted to what happened before it, by the same code that fits a
release; the viewers of the window are asked for, by the same pipeline that serves, at the moment of their first event in
it. So training sees what serving sees, and never the future.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data.interactions import Interactions
from data.progress import progress
from recommender.catalogue_view import CatalogueView
from recommender.engine import Engine
from recommender.fitting import FITS, fit_model
from recommender.index import VectorIndex
from recommender.pipeline.stages import Query, Trace
from recommender.popularity import measure_popularity
from recommender.profile import profile_of_likes
from recommender.ranking.ranker import Lists
from recommender.release import NO_ENCODER, Release
from recommender.settings import RecommenderSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Window:
    """From `start` to `end`, seconds since 1970; the models know what happened before `start`."""

    start: float
    end: float


def rolling_windows(interactions: Interactions, settings: RecommenderSettings) -> list[Window]:
    """The newest windows that hold `window_share` of the interactions each, the oldest first."""
    choices = settings.ranker
    count = len(interactions)
    edges = [round(count * (1 - place * choices.window_share)) for place in range(choices.windows, -1, -1)]
    # Nothing can be learned from a window that nearly nothing came before.
    times = [float(interactions.time[edge]) if edge < count else np.inf for edge in edges if edge >= count // 4]
    return [Window(start, end) for start, end in zip(times, times[1:], strict=False) if start < end]


def past_lists(
    window: Window,
    interactions: Interactions,
    view: CatalogueView,
    index: VectorIndex,
    settings: RecommenderSettings,
    seed: int = 0,
) -> Lists:
    """The lists of the viewers who were known before a window and liked something new in it."""
    before = interactions.take(interactions.time < window.start)
    within = interactions.take((interactions.time >= window.start) & (interactions.time < window.end))
    engine = Engine(_release_of(before, view, index, window.start, settings), view, settings)
    known, wanted = _by_viewer(before), _by_viewer(within.take(within.signal > 0))
    viewers = np.array(sorted(known.keys() & wanted.keys()), np.int64)
    if len(viewers) > settings.ranker.viewers_per_window:
        chosen = np.random.default_rng(seed).choice(len(viewers), settings.ranker.viewers_per_window, replace=False)
        viewers = viewers[np.sort(chosen)]
    lists = Lists.empty(engine.features.names)
    with progress("lists of the past", len(viewers), "viewers") as advance:
        for viewer in viewers.tolist():
            history, following = known[viewer][::-1], wanted[viewer]
            profile = profile_of_likes(
                before.video[history].astype(np.int64), before.signal[history], before.time[history], settings.profile
            )
            query = Query(profile, settings.pipeline.ranked, float(within.time[following[0]]))
            candidates, fused = engine.pipeline.fuse(
                query, engine.pipeline.gather(query, engine.pipeline.eligible(query), Trace())
            )
            best = np.arange(min(settings.pipeline.ranked, len(fused)))
            candidates = candidates.take(best)
            lists.add(
                engine.features.build(query, candidates),
                candidates.columns,
                fused.scores[best],
                within.video[following],
                within.signal[following],
            )
            advance()
    return lists


def _release_of(
    before: Interactions, view: CatalogueView, index: VectorIndex, now: float, settings: RecommenderSettings
) -> Release:
    models = {name: fit_model(name, before, settings) for name in FITS}
    return Release(
        id="past",
        manifest={"encoder": NO_ENCODER},
        videos=view.videos,
        index=index,
        popularity=measure_popularity(before, now, settings.popularity),
        viewers=before.audience(),
        models={name: model for name, model in models.items() if model is not None},
    )


def _by_viewer(interactions: Interactions) -> dict[int, np.ndarray]:
    """The rows of each viewer, in the order of time."""
    order = np.argsort(interactions.viewer, kind="stable")
    viewers, starts = np.unique(interactions.viewer[order], return_index=True)
    return dict(zip(viewers.tolist(), np.split(order, starts[1:]), strict=True))
