"""What the models that score from a history have in common. Knows no model in particular.

A model speaks of the V videos of the release that it was fitted for, and is stored as plain arrays.
"""

from collections.abc import Mapping
from typing import Protocol, Self

import numpy as np


class HistoryModel(Protocol):
    """Scores every video for a history: columns (h,) int64, newest first, with weights (h,) float32 > 0."""

    def scores(self, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(V,) float32, higher is better, 0 where the model has nothing to say."""

    def contributions(self, columns: np.ndarray, weights: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """How much each watched video (h) adds to the score of each wanted one (n): (h, n) float32."""

    def arrays(self) -> dict[str, np.ndarray]:
        """All that `from_arrays` needs; no objects."""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The model that was stored."""
