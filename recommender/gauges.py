"""What can be read off a serving engine: how much of the exact neighbours its index finds, how old its parts are, how
much has come since its release and how far that is from it.

Measures only. Knows neither what is too much nor who is told, nor where the searches come from that it is tried with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.embeddings import EmbeddingTable
from recommender.drift import Drift
from recommender.live_index import LiveIndex
from recommender.pipeline.stages import Search

# Every command reads the settings that stand beside the thresholds, and few need an engine.
if TYPE_CHECKING:
    from recommender.engine import Engine

#: Vectors that are compared at a time take no more than this.
CHUNK_BYTES = 16 << 20
#: Cosines that differ by less are equal: a video that was uploaded often has many nearest ones.
EQUAL = 1e-5


@dataclass(frozen=True)
class Measured:
    """recall: None where nothing was searched for. ages_s: seconds, by part, of the parts that there are. Shares are of
    the videos in the index: `delta` of those that came after the release or were encoded anew, `hidden` of those that
    nobody is shown. drift: by what it is of, where there was enough to compare."""

    recall: float | None
    ages_s: Mapping[str, float]
    videos: int
    delta_videos: int
    delta_share: float
    hidden_share: float
    drift: Mapping[str, Drift]


def read(engine: "Engine", embeddings: Path, now: float, recall: float | None, drift: Mapping[str, Drift]) -> Measured:
    """What an engine tells at a moment, beside a recall and drifts that were measured of it."""
    index = engine.index
    videos, delta = len(index), len(index.delta_columns)
    return Measured(
        recall=recall,
        ages_s=_ages(engine, embeddings, now),
        videos=videos,
        delta_videos=delta,
        delta_share=delta / max(videos, 1),
        hidden_share=1 - float(np.mean(engine.view.shown[index.columns])) if videos else 0.0,
        drift=drift,
    )


def _ages(engine: "Engine", embeddings: Path, now: float) -> dict[str, float]:
    manifest = engine.release.manifest
    since = {
        "release": manifest["created_at"],
        "events": manifest.get("newest_event_at"),
        "embeddings": EmbeddingTable.written_at(embeddings, str(manifest["encoder"])),
        "ranker": manifest["ranker"].get("trained_at") if engine.release.ranker is not None else None,
    }
    return {part: max(0.0, now - at) for part, at in since.items() if at is not None}


# ---- Recall -------------------------------------------------------------------------------------------------


def recall_of(index: LiveIndex, searches: Sequence[Search], rest: Callable[[], object] = lambda: None) -> float | None:
    """The share of the exact neighbours that an index finds, each search with its own number of them and among its own
    eligible videos; None without any.

    All vectors are compared, a few at a time; `rest` is called in between, so that whoever else wants the processor
    gets it, and may raise to end it.
    """
    if len(searches) == 0 or len(index) == 0:
        return None
    exact = _exact(index, searches, rest)
    found = wanted = 0
    for search, cosines in zip(searches, exact, strict=True):
        best = np.sort(cosines)[-search.k :]
        best = best[np.isfinite(best)]
        if len(best):
            _, scores = index.search(search.vector[None], search.k, search.eligible)
            wanted += len(best)
            found += min(len(best), int(np.count_nonzero(scores >= best[0] - EQUAL)))
            rest()
    return found / wanted if wanted else None


def own_searches(index: LiveIndex, size: int, most: int = 100, k: int = 10) -> list[Search]:
    """Searches for what is like some of the videos of an index, among all `size` columns: for when nobody asks."""
    columns = index.columns
    some = np.sort(np.random.default_rng(0).choice(columns, min(most, len(columns)), replace=False))
    everything = np.ones(size, bool)
    return [Search(vector, k, everything) for vector in index.vectors(some)[1]]


def _exact(index: LiveIndex, searches: Sequence[Search], rest: Callable[[], object]) -> np.ndarray:
    """(q, K) float32, unordered: the best cosines of each search among what is eligible, K being the most that any of
    them wants; -inf where there are fewer."""
    queries = np.stack([search.vector for search in searches])
    k = max(search.k for search in searches)
    best = np.full((len(searches), k), -np.inf, np.float32)
    columns = index.columns
    rows = max(1, CHUNK_BYTES // (queries.itemsize * index.dim))
    for start in range(0, len(columns), rows):
        here = columns[start : start + rows]
        cosines = queries @ index.vectors(here)[1].T
        for scores, search in zip(cosines, searches, strict=True):
            scores[~search.eligible[here]] = -np.inf
        best = np.partition(np.concatenate([best, cosines], axis=1), -k, axis=1)[:, -k:]
        rest()
    return best
