"""Which models there are and how each is fitted: one list for refreshing and for the windows the ranker learns from.

Knows nothing of releases and pipelines.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.interactions import Interactions
from data.progress import progress
from recommender.collaborative import LatentFactors, fit_factors
from recommender.graph import GraphFactors, fit_graph
from recommender.item_item import ItemWeights, fit_item_weights
from recommender.models import HistoryModel
from recommender.neighbours import NeighbourViewers, fit_neighbours
from recommender.sequential import fit_transitions
from recommender.transformer import SequenceTransformer, fit_transformer
from recommender.walks import fit_walks

if TYPE_CHECKING:
    from recommender.settings import RecommenderSettings

Fit = Callable[[Interactions, "RecommenderSettings", Path | None], HistoryModel | None]


def _collaborative(
    interactions: Interactions,
    settings: "RecommenderSettings",
    scratch: Path | None,
    start: np.ndarray | None = None,
) -> HistoryModel:
    return fit_factors(interactions.positives(), settings.collaborative, start=start)


def _item_item(
    interactions: Interactions, settings: "RecommenderSettings", scratch: Path | None
) -> HistoryModel | None:
    if len(interactions.videos) >= settings.item_item.below_videos:
        return None
    return fit_item_weights(interactions.positives(), settings.item_item)


def _walks(interactions: Interactions, settings: "RecommenderSettings", scratch: Path | None) -> HistoryModel:
    return fit_walks(interactions.positives(), settings.walks)


def _sequential(interactions: Interactions, settings: "RecommenderSettings", scratch: Path | None) -> HistoryModel:
    return fit_transitions(interactions, settings.sequential)


def _neighbours(interactions: Interactions, settings: "RecommenderSettings", scratch: Path | None) -> HistoryModel:
    return fit_neighbours(interactions.positives(), settings.neighbours)


def _transformer(interactions: Interactions, settings: "RecommenderSettings", scratch: Path | None) -> HistoryModel:
    liked = interactions.take(interactions.signal > 0)
    size = len(interactions.videos)
    with progress("transformer", settings.transformer.epochs, "epochs") as advance:
        return fit_transformer(liked.viewer, liked.video, size, settings.transformer, scratch, lambda facts: advance())


def _graph(interactions: Interactions, settings: "RecommenderSettings", scratch: Path | None) -> HistoryModel:
    with progress("graph", settings.graph.epochs, "epochs") as advance:
        return fit_graph(interactions.positives(), settings.graph, lambda facts: advance())


#: How each model is fitted; None from one means that it is not for a catalogue of this size.
FITS: Mapping[str, Fit] = {
    "collaborative": _collaborative,
    "item_item": _item_item,
    "walks": _walks,
    "sequential": _sequential,
    "neighbours": _neighbours,
    "transformer": _transformer,
    "graph": _graph,
}
#: How each is read back.
KINDS: Mapping[str, type[HistoryModel]] = {
    "collaborative": LatentFactors,
    "item_item": ItemWeights,
    "walks": ItemWeights,
    "sequential": ItemWeights,
    "neighbours": NeighbourViewers,
    "transformer": SequenceTransformer,
    "graph": GraphFactors,
}
#: Those that can be fitted many times in a refresh.
QUICK = tuple(name for name in FITS if name not in ("transformer", "graph"))
#: Which model each source asks; most have the name of theirs.
MODEL_OF: Mapping[str, str] = {name: name for name in FITS} | {"recent": "item_item", "session": "item_item"}


def fit_model(
    name: str,
    interactions: Interactions,
    settings: "RecommenderSettings",
    scratch: Path | None = None,
    start: np.ndarray | None = None,
) -> HistoryModel | None:
    """A model, fitted to what viewers liked; None where no source asks it or where it has nothing to learn from.

    scratch: a folder in which a long fit keeps what it has done, to go on from there after an interruption. start: what
    the factors begin with, see `fit_factors`.
    Raises ArithmeticError when its numbers do not stay finite.
    """
    asked = any(getattr(settings.sources, source).enabled for source, model in MODEL_OF.items() if model == name)
    if not asked or not (interactions.signal > 0).any():
        return None
    if start is not None and name == "collaborative":
        model: HistoryModel | None = _collaborative(interactions, settings, scratch, start)
    else:
        model = FITS[name](interactions, settings, scratch)
    if model is not None:
        for array, values in model.arrays().items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ArithmeticError(f"{name}: {array} hold numbers that are not finite")
    return model
