"""Calibration: the labels' shares of the slate come near their shares of what the viewer watched.

Steck: Calibrated Recommendations (2018): greedily (1 - s) relevance - s KL(p || q), p the viewer's shares and q those
of the slate.
"""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from recommender.policy.facts import Members
from recommender.policy.stages import Preference

#: Steck's alpha: q is mixed with this much of p, so that a label that the slate lacks does not cost infinitely much.
SMOOTHING = 0.01


class CalibrationSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    strength: float = Field(default=0.0, ge=0, lt=1, description="weight against relevance; 0: off")


class Calibration(Preference):
    """The divergence that the slate would have with each candidate added; labels of one video share it evenly."""

    def __init__(self, taste: np.ndarray, labels: Members, strength: float) -> None:
        """taste: (L,) float32 shares, not all 0; labels: of the p candidates."""
        self._weight = strength / (1.0 - strength)
        liked = np.flatnonzero(taste > 0)
        self._p = (taste[liked] / taste[liked].sum()).astype(np.float32)
        place = np.full(len(taste), -1)
        place[liked] = np.arange(len(liked))
        counts = labels.counts
        counted = place[labels.codes] >= 0
        rows = labels.rows[counted]
        self._shares = np.zeros((len(counts), len(liked)), np.float32)
        self._shares[rows, place[labels.codes[counted]]] = 1.0 / counts[rows]
        self._sum = np.zeros(len(liked), np.float32)
        self._placed = 0
        self.penalty = np.zeros(len(counts), np.float32)
        self._update()

    def placed(self, row: int) -> None:
        if row < len(self._shares):
            self._sum += self._shares[row]
            self._placed += 1
            self._update()

    def _update(self) -> None:
        q = (1.0 - SMOOTHING) * (self._shares + self._sum) / (self._placed + 1) + SMOOTHING * self._p
        np.dot(np.log(self._p / q), self._p * self._weight, out=self.penalty)


def calibration(taste: np.ndarray | None, labels: Members, settings: CalibrationSettings) -> Calibration | None:
    """The preference among p candidates with these labels; None when it is off or the taste is unknown."""
    if settings.strength == 0 or taste is None or not (taste > 0).any():
        return None
    return Calibration(taste, labels, settings.strength)
