"""Diversity: what resembles the slate so far is less welcome, by looks and by labels.

Carbonell & Goldstein: The Use of MMR, Diversity-Based Reranking (1998), and as the alternative the greedy MAP inference
of a determinantal point process, Chen, Zhang & Zhou: Fast Greedy MAP Inference for DPP (2018). Both are written as a
penalty beside the relevance r: their (1 - s) r - s max sim is r - s / (1 - s) max sim up to a factor, and
the logarithm of their determinant is a sum over the items of r and log d^2, d^2 what an item adds to the volume.
"""

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from recommender.compiled import NUMBER, compiled, reads, writes
from recommender.policy.facts import Facts, Members
from recommender.policy.stages import Preference

#: Below this an item adds nothing that is not there; its logarithm is the largest penalty.
SMALLEST_VOLUME = np.float32(1e-6)


class DiversitySettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    method: Literal["mmr", "dpp", "none"] = Field(
        default="mmr", description="unlike its nearest (mmr) or unlike all of the slate (dpp)"
    )
    strength: float = Field(default=0.1, ge=0, lt=1, description="weight against relevance; 0: best first")
    label_share: float = Field(default=0.5, ge=0, le=1, description="part of the labels in likeness; the rest: looks")
    pool: int = Field(default=100, ge=1, le=1_000, description="best candidates that are weighed up")


class MaximalMarginalRelevance(Preference):
    """Likeness to the one in the slate that is most alike; likeness below 0 counts as none."""

    def __init__(self, features: np.ndarray) -> None:
        """features: (p, d) float32, whose products are the weighted likeness."""
        self._features = features
        self._likeness = np.empty(len(features), np.float32)
        self.penalty = np.zeros(len(features), np.float32)

    def placed(self, row: int) -> None:
        if row < len(self._features):
            np.dot(self._features, self._features[row], out=self._likeness)
            np.maximum(self.penalty, self._likeness, out=self.penalty)

    def arranged(self, worth: np.ndarray, limit: int) -> np.ndarray:
        rows = np.full(limit, -1, np.int64)
        _arrange(worth, self._features, rows)
        return rows


class DeterminantalPointProcess(Preference):
    """Algorithm 1 of Chen et al.: the Cholesky factor of the slate's kernel grows by a row with each item."""

    def __init__(self, features: np.ndarray, weight: float, limit: int) -> None:
        """features: (p, d) float32, whose products are the likeness; weight: of its penalty."""
        self._features = features
        self._weight = np.float32(weight)
        self._factor = np.zeros((min(limit, len(features)), len(features)), np.float32)
        self._volume = np.ones(len(features), np.float32)
        self._placed = 0
        self.penalty = np.zeros(len(features), np.float32)

    def placed(self, row: int) -> None:
        if row >= len(self._features):
            return
        known = self._factor[: self._placed]
        added = self._features @ self._features[row] - known[:, row] @ known
        added /= np.sqrt(max(self._volume[row], SMALLEST_VOLUME))
        self._factor[self._placed] = added
        self._placed += 1
        self._volume -= added * added
        np.log(np.maximum(self._volume, SMALLEST_VOLUME), out=self.penalty)
        self.penalty *= -self._weight


def diversity(
    facts: Facts, columns: np.ndarray, labels: Members, limit: int, settings: DiversitySettings
) -> MaximalMarginalRelevance | DeterminantalPointProcess | None:
    """The preference among (p,) columns with these labels; None when it is switched off."""
    if settings.method == "none" or settings.strength == 0:
        return None
    weight = settings.strength / (1.0 - settings.strength)
    if settings.method == "mmr":
        return MaximalMarginalRelevance(_features(facts, columns, labels, settings.label_share, weight))
    return DeterminantalPointProcess(_features(facts, columns, labels, settings.label_share, 1.0), weight, limit)


def _features(facts: Facts, columns: np.ndarray, labels: Members, label_share: float, weight: float) -> np.ndarray:
    """(p, D + l) float32 whose products are `weight` times the likeness: the cosine of looks and that of label sets, in
    their shares. Of a video that has neither they are 0."""
    has_vector, vectors = facts.vectors(columns)
    place_of_code = np.full(facts.labels.shape[1], -1, np.int64)
    carried = _number(labels.codes, place_of_code)
    features = np.zeros((len(columns), vectors.shape[1] + carried), np.float32)
    _fill(has_vector, vectors, labels.offsets, labels.codes, place_of_code, label_share, weight, features)
    return features


@compiled(writes("float32"), reads("float32", 2), writes("int64"), sums_in_any_order=True)
def _arrange(worth: np.ndarray, features: np.ndarray, rows: np.ndarray) -> None:
    penalty = np.zeros(len(worth), np.float32)
    for place in range(len(rows)):
        best, most = -1, np.float32(-np.inf)
        for row in range(len(worth)):
            if worth[row] - penalty[row] > most:
                best, most = row, worth[row] - penalty[row]
        if best < 0:
            return
        rows[place] = best
        worth[best] = -np.inf
        if best < len(features):
            for row in range(len(features)):
                likeness = np.float32(0)
                for dimension in range(features.shape[1]):
                    likeness += features[row, dimension] * features[best, dimension]
                penalty[row] = max(penalty[row], likeness)


@compiled(reads("int32"), writes("int64"))
def _number(codes: np.ndarray, place_of_code: np.ndarray) -> int:
    """Gives each code a place, and says how many there are."""
    count = 0
    for code in codes:
        if place_of_code[code] < 0:
            place_of_code[code] = count
            count += 1
    return count


@compiled(
    reads("bool_"), reads("float32", 2), reads("int64"), reads("int32"), reads("int64"), NUMBER, NUMBER,
    writes("float32", 2),
)  # fmt: skip
def _fill(
    has_vector: np.ndarray,
    vectors: np.ndarray,
    offsets: np.ndarray,
    codes: np.ndarray,
    place_of_code: np.ndarray,
    label_share: float,
    weight: float,
    features: np.ndarray,
) -> None:
    of_looks, of_labels = np.float32(np.sqrt(weight * (1.0 - label_share))), weight * label_share
    length, vector = vectors.shape[1], 0
    for row in range(len(has_vector)):
        if has_vector[row]:
            for place in range(length):
                features[row, place] = of_looks * vectors[vector, place]
            vector += 1
        begin, end = offsets[row], offsets[row + 1]
        for entry in range(begin, end):
            features[row, length + place_of_code[codes[entry]]] = np.sqrt(of_labels / (end - begin))
