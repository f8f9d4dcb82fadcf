"""Measures lists as they are served: every stage of the pipeline, the whole catalogue, one viewer at a time.

All but deadlines: how busy the machine is that measures must not decide what it finds.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from data.progress import progress
from data.store import Store
from recommender.engine import Engine, query_now
from recommender.evaluate.metrics import bootstrap_interval, ndcg_at_k, recall_at_k
from recommender.pipeline.stages import Query, Shown, Trace


@dataclass(frozen=True)
class Served:
    """What was served to n viewers at cut-off `k`, and how much of it they watched.

    hits: (n, k) bool; relevant: (n,) how many videos were held out for each; viewers: (n,) ids, str objects;
    shown: how many different videos stood in the lists of a catalogue of `videos`.
    """

    k: int
    viewers: np.ndarray
    hits: np.ndarray
    relevant: np.ndarray
    shown: int
    videos: int

    @cached_property
    def ndcg(self) -> np.ndarray:
        """(n,) in 0..1."""
        return ndcg_at_k(self.hits, self.relevant)

    def as_dict(self) -> dict[str, float | list[float] | int]:
        """Means over the viewers, with a 95 % bootstrap interval of the NDCG."""
        return {
            f"ndcg@{self.k}": float(self.ndcg.mean()),
            f"ndcg@{self.k}_95": list(bootstrap_interval(self.ndcg)),
            f"recall@{self.k}": float(recall_at_k(self.hits, self.relevant).mean()),
            f"hit_rate@{self.k}": float(self.hits.any(axis=1).mean()),
            "coverage": self.shown / self.videos,
            "viewers": len(self.viewers),
        }


def evaluate_served(
    engine: Engine,
    store: Store,
    held_out: Mapping[str, set[str]],
    k: int = 10,
    name: str = "the served list",
    moments: Mapping[str, float] | None = None,
    sources: Collection[str] | None = None,
) -> Served:
    """Serves every viewer of `held_out` (viewer -> videos that followed) from the history in `store` and compares.

    moments: when each viewer asks, in seconds since 1970; without them all ask now. sources: the names of those that
    are asked alone and weigh alike, without ranker and policy; None: all, as they are served. Raises ValueError when
    no viewer is left with anything held out.
    """
    viewers = [viewer for viewer, videos in held_out.items() if videos]
    if not viewers:
        raise ValueError("nothing was held out: there is no viewer to measure")
    engine = engine.unhurried()
    hits = np.zeros((len(viewers), k), bool)
    relevant = np.array([len(held_out[viewer]) for viewer in viewers])
    shown: set[int] = set()
    with progress(f"evaluate {name}", len(viewers), "viewers") as advance:
        for row, viewer in enumerate(viewers):
            profile = engine.profile(store.events.history(viewer))
            query = Query(profile, k, moments[viewer]) if moments else query_now(profile, k)
            slate = _slate(engine, query, sources)
            wanted = held_out[viewer]
            hits[row, : len(slate)] = [engine.videos[column] in wanted for column in slate.columns]
            shown.update(slate.columns.tolist())
            advance()
    return Served(k, np.array(viewers, dtype=object), hits, relevant, len(shown), len(engine.videos))


def _slate(engine: Engine, query: Query, sources: Collection[str] | None) -> Shown:
    if sources is None:
        return engine.recommend(query)[0]
    alike = replace(query, weights=dict.fromkeys(sources, 1.0))
    ranked = engine.pipeline.rank(alike, Trace(), sources)
    return ranked.take(np.arange(min(query.limit, len(ranked))))
