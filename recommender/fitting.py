"""Which models there are and how each is fitted: one list for refreshing and for the windows the ranker learns from.

A model has the name of the source that asks it. Knows nothing of releases and pipelines.
"""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from data.interactions import Interactions
from recommender.collaborative import LatentFactors, fit_factors
from recommender.item_item import ItemWeights, fit_item_weights
from recommender.models import HistoryModel
from recommender.sequential import fit_transitions
from recommender.walks import fit_walks

if TYPE_CHECKING:
    from recommender.settings import RecommenderSettings

log = logging.getLogger(__name__)

Fit = Callable[[Interactions, "RecommenderSettings"], HistoryModel | None]


def _collaborative(interactions: Interactions, settings: "RecommenderSettings") -> HistoryModel:
    return fit_factors(interactions.positives(), settings.collaborative)


def _item_item(interactions: Interactions, settings: "RecommenderSettings") -> HistoryModel | None:
    if len(interactions.videos) >= settings.item_item.below_videos:
        return None
    return fit_item_weights(interactions.positives(), settings.item_item)


def _walks(interactions: Interactions, settings: "RecommenderSettings") -> HistoryModel:
    return fit_walks(interactions.positives(), settings.walks)


def _sequential(interactions: Interactions, settings: "RecommenderSettings") -> HistoryModel:
    return fit_transitions(interactions, settings.sequential)


#: How each model is fitted; None from one means that it is not for a catalogue of this size.
FITS: Mapping[str, Fit] = {
    "collaborative": _collaborative,
    "item_item": _item_item,
    "walks": _walks,
    "sequential": _sequential,
}
#: How each is read back.
KINDS: Mapping[str, type[HistoryModel]] = {
    "collaborative": LatentFactors,
    "item_item": ItemWeights,
    "walks": ItemWeights,
    "sequential": ItemWeights,
}


def fit_model(name: str, interactions: Interactions, settings: "RecommenderSettings") -> HistoryModel | None:
    """The model of a source, fitted to what viewers liked; None where it is switched off or has nothing to learn from.

    Raises ArithmeticError when its numbers do not stay finite.
    """
    if not getattr(settings.sources, name).enabled or not (interactions.signal > 0).any():
        return None
    model = FITS[name](interactions, settings)
    if model is not None:
        for array, values in model.arrays().items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ArithmeticError(f"{name}: {array} hold numbers that are not finite")
    return model
