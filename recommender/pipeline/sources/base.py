"""What sources have in common: a weight from the settings, and no watched video behind what they find."""

import numpy as np

from recommender.pipeline.sources.settings import SourceSettings
from recommender.pipeline.stages import Query


class BaseSource:
    """A source is personal when it answers from what the viewer did; a last resort is asked after the deadline, too."""

    name: str
    last_resort = False
    personal = True

    def __init__(self, settings: SourceSettings) -> None:
        self._weight = 1.0 if settings.weight is None else settings.weight

    def weight(self, query: Query) -> float:
        return self._weight

    def explain(self, query: Query, columns: np.ndarray) -> np.ndarray:
        return np.full(len(columns), -1, np.int64)
