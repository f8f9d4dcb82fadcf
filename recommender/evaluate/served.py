"""Measures lists exactly as they are served: every stage of the pipeline, the whole catalogue, one viewer at a time."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data.progress import progress
from data.store import Store
from recommender.engine import Engine, query_now
from recommender.evaluate.metrics import bootstrap_interval, ndcg_at_k, recall_at_k


@dataclass(frozen=True)
class Served:
    """Means over `viewers` viewers at cut-off `k`, with a 95 % bootstrap interval of the NDCG."""

    k: int
    viewers: int
    ndcg: float
    ndcg_interval: tuple[float, float]
    recall: float
    hit_rate: float
    coverage: float

    def as_dict(self) -> dict[str, float | list[float] | int]:
        return {
            f"ndcg@{self.k}": self.ndcg,
            f"ndcg@{self.k}_95": list(self.ndcg_interval),
            f"recall@{self.k}": self.recall,
            f"hit_rate@{self.k}": self.hit_rate,
            "coverage": self.coverage,
            "viewers": self.viewers,
        }


def evaluate_served(
    engine: Engine, store: Store, held_out: Mapping[str, set[str]], k: int = 10, name: str = "the served list"
) -> Served:
    """Serves every viewer of `held_out` (viewer -> videos that followed) from the history in `store` and compares.

    Raises ValueError when no viewer is left with anything held out.
    """
    viewers = [viewer for viewer, videos in held_out.items() if videos]
    if not viewers:
        raise ValueError("nothing was held out: there is no viewer to measure")
    hits = np.zeros((len(viewers), k), bool)
    relevant = np.array([len(held_out[viewer]) for viewer in viewers])
    shown: set[int] = set()
    with progress(f"evaluate {name}", len(viewers), "viewers") as advance:
        for row, viewer in enumerate(viewers):
            profile = engine.profile(store.events.history(viewer))
            slate, _ = engine.recommend(query_now(profile, k))
            wanted = held_out[viewer]
            hits[row, : len(slate)] = [engine.videos[column] in wanted for column in slate.columns]
            shown.update(slate.columns.tolist())
            advance()
    ndcg = ndcg_at_k(hits, relevant)
    return Served(
        k=k,
        viewers=len(viewers),
        ndcg=float(ndcg.mean()),
        ndcg_interval=bootstrap_interval(ndcg),
        recall=float(recall_at_k(hits, relevant).mean()),
        hit_rate=float(hits.any(axis=1).mean()),
        coverage=len(shown) / len(engine.videos),
    )
