"""From what a video is to what its viewers would make of it: kernel ridge regression from content to latent factors.

Gantner et al.: Learning Attribute-to-Feature Mappings for Cold-Start Recommendations (2010); the kernel is kept small
by landmarks (Williams, Seeger: Using the Nystroem Method to Speed Up Kernel Machines, 2001). A video that nobody has
watched yet gets the factors that videos of like content have, and is found through them. Knows nothing of what the
content blocks are (embeddings, labels, words) nor of how the factors were fitted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

#: Ridge penalties that are tried; the warm videos weigh 1 together.
PENALTIES = np.logspace(-5, 1, 25)
#: Reaches of a landmark that are tried: short ones for what is seen and heard, long ones for words.
BANDWIDTHS = (0.5, 0.7, 1.0, 1.5)
#: Videos that are compared with the landmarks at a time.
BLOCK = 8_192
#: The best bandwidth is looked for with so many of the warm videos at most, drawn by chance.
TRIED_WITH = 2_000


class ContentMapSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    weights: dict[str, float] = Field(default_factory=dict, description="of content blocks by name; unnamed ones: 1")
    regularization: float | None = Field(
        default=None, gt=0, description="ridge penalty; without one the best by leave-one-out"
    )
    half_support: float = Field(default=20.0, ge=0, description="viewers with which a warm video counts half")
    landmarks: int = Field(
        default=1_000, ge=0, le=10_000, description="warm videos that all are compared with; 0: linear"
    )
    bandwidth: float | None = Field(
        default=None, gt=0, description="reach of a landmark in mean distances; without one the best by leave-one-out"
    )
    smallest_deviation: float = Field(
        default=0.1, gt=0, le=1, description="share of a block's mean deviation below which a column is not stretched"
    )
    keep_hours: float = Field(
        default=24.0, ge=0, description="how long releases keep the penalty, bandwidth and words that did best in one"
    )


@dataclass(frozen=True)
class ContentBlock:
    """One kind of content: values (V, D) float32, finite, and which videos have any (V,) bool."""

    values: np.ndarray
    present: np.ndarray


@dataclass(frozen=True)
class _Scaling:
    """(x - mean) * scale of one block; a video without the block is an average one."""

    mean: np.ndarray
    scale: np.ndarray

    def apply(self, block: ContentBlock) -> np.ndarray:
        return np.where(block.present[:, None], (block.values - self.mean) * self.scale, 0).astype(np.float32)


@dataclass(frozen=True)
class _Landmarks:
    """Radial basis functions around some warm videos, made orthonormal: a kernel of bounded size.

    places: (L, D) float32; whitening: (L, R) float32; per_square: what squared distances are multiplied with, for
    the bandwidth, in mean distances.
    """

    places: np.ndarray
    whitening: np.ndarray
    per_square: float
    bandwidth: float

    @classmethod
    def of(cls, places: np.ndarray, bandwidth: float) -> Self:
        squares = _squares(places, places).astype(np.float64)
        # Between equal videos, or of one alone, there is no distance to scale by.
        per_square = float(1 / (bandwidth**2 * squares.mean())) if squares.any() else 0.0
        values, directions = np.linalg.eigh(np.exp(-per_square * squares))
        apart = values > 1e-6 * values[-1]
        whitening = (directions[:, apart] / np.sqrt(values[apart])).astype(np.float32)
        return cls(places, whitening, per_square, bandwidth)

    def apply(self, design: np.ndarray) -> np.ndarray:
        """(n, D) -> (n, R): features whose inner products are the kernel between videos (Nystrom)."""
        return np.exp(-self.per_square * _squares(design, self.places)) @ self.whitening


def _squares(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared distances of every row of `left` to every row of `right`."""
    squares = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1) - 2 * left @ right.T
    return np.maximum(squares, 0)


class ContentMap:
    """A map from content to factors, and how far it can be trusted.

    trust: share of the variance of warm videos' factors that the map explains for a video it was not fitted to
    (leave-one-out R^2, 0..1). correlation: the same as a correlation of predicted with real factors, -1..1.
    """

    def __init__(
        self,
        scalings: Mapping[str, _Scaling],
        landmarks: _Landmarks | None,
        coefficients: np.ndarray,
        intercept: np.ndarray,
        regularization: float,
        trust: float,
        correlation: float,
    ) -> None:
        self._scalings = dict(scalings)
        self._landmarks = landmarks
        self._coefficients = coefficients
        self._intercept = intercept
        self.regularization = regularization
        self.trust = trust
        self.correlation = correlation

    @property
    def bandwidth(self) -> float | None:
        """Reach of a landmark, in mean distances; None for a linear map."""
        return self._landmarks.bandwidth if self._landmarks is not None else None

    def factors(self, blocks: Mapping[str, ContentBlock]) -> np.ndarray:
        """Predicted factors of n videos: (n, F) float32, 0 for a video that has none of the blocks.

        Blocks that the map was not fitted with are passed over. Raises KeyError when one is missing.
        """
        design = _design(self._scalings, blocks)
        known = np.any([blocks[name].present for name in self._scalings], axis=0)
        predicted = np.zeros((len(design), len(self._intercept)), np.float32)
        for start in range(0, len(design), BLOCK):
            rows = slice(start, start + BLOCK)
            features = design[rows] if self._landmarks is None else self._landmarks.apply(design[rows])
            predicted[rows] = features @ self._coefficients + self._intercept
        predicted[~known] = 0.0
        return predicted

    def arrays(self) -> dict[str, np.ndarray]:
        stored = {
            "coefficients": self._coefficients,
            "intercept": self._intercept,
            "facts": np.array([self.regularization, self.trust, self.correlation]),
        }
        if self._landmarks is not None:
            stored["places"] = self._landmarks.places
            stored["whitening"] = self._landmarks.whitening
            stored["reach"] = np.array([self._landmarks.per_square, self._landmarks.bandwidth])
        for name, scaling in self._scalings.items():
            stored[f"mean.{name}"] = scaling.mean
            stored[f"scale.{name}"] = scaling.scale
        return stored

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        names = [key.removeprefix("mean.") for key in arrays if key.startswith("mean.")]
        scalings = {name: _Scaling(arrays[f"mean.{name}"], arrays[f"scale.{name}"]) for name in names}
        landmarks = None
        if "places" in arrays:
            landmarks = _Landmarks(arrays["places"], arrays["whitening"], *arrays["reach"].tolist())
        return cls(scalings, landmarks, arrays["coefficients"], arrays["intercept"], *arrays["facts"].tolist())


def fit_content_map(
    blocks: Mapping[str, ContentBlock],
    factors: np.ndarray,
    support: np.ndarray,
    settings: ContentMapSettings | None = None,
    seed: int = 0,
) -> ContentMap:
    """Fits factors (V, F) of the warm videos to their content; support: (V,) viewers of each, 0 for cold ones.

    min over A, b of sum_v s_v |f_v - A^T x_v - b|^2 + penalty * |A|^2, where s_v is n_v / (n_v + half_support) as a
    share of the sum: the factors of a video with few viewers are mostly noise. A column of a block is standardised
    over the warm videos, then the whole block gets the variance weight^2, so that wide blocks do not drown narrow
    ones; x_v are the Nystrom features of exp(-|difference|^2 / (bandwidth^2 * mean squared distance)) between
    videos, or without landmarks the standardised columns themselves.
    Without a penalty or a bandwidth those of PENALTIES and BANDWIDTHS with the least leave-one-out error are taken,
    which for ridge regression needs no refit: e_v / (1 - h_v) with the leverage h_v (Allen 1974).

    Raises ValueError when no warm video has any content.
    """
    settings = settings or ContentMapSettings()
    known = np.any([block.present for block in blocks.values()], axis=0) if blocks else np.zeros(len(support), bool)
    warm = np.flatnonzero(known & (support > 0))
    if not len(warm):
        raise ValueError("no video with viewers has any content: there is nothing to learn a map from")
    strength = (support[warm] / (support[warm] + settings.half_support)).astype(np.float64)
    strength /= strength.sum()
    here = {name: ContentBlock(block.values[warm], block.present[warm]) for name, block in blocks.items()}
    scalings = {
        name: _scaling(block, strength, settings.weights.get(name, 1.0), settings.smallest_deviation)
        for name, block in here.items()
    }
    design = _design(scalings, here)
    landmarks: list[_Landmarks | None] = [None]
    if settings.landmarks > 0:
        chosen = np.random.default_rng(seed).choice(len(warm), min(settings.landmarks, len(warm)), replace=False)
        bandwidths = BANDWIDTHS if settings.bandwidth is None else (settings.bandwidth,)
        landmarks = [_Landmarks.of(design[np.sort(chosen)], bandwidth) for bandwidth in bandwidths]
    wanted = factors[warm].astype(np.float64)

    def fitted(tried: _Landmarks | None, rows: np.ndarray) -> ContentMap:
        share = strength[rows] / strength[rows].sum()
        return _ridge(scalings, tried, design[rows], wanted[rows], share, settings.regularization)

    if len(landmarks) == 1:
        return fitted(landmarks[0], np.arange(len(warm)))
    some = np.random.default_rng(seed).permutation(len(warm))[:TRIED_WITH]
    maps = [fitted(tried, np.sort(some)) for tried in landmarks]
    best = int(np.argmax([each.trust for each in maps]))
    return maps[best] if len(some) == len(warm) else fitted(landmarks[best], np.arange(len(warm)))


def _scaling(block: ContentBlock, strength: np.ndarray, weight: float, smallest: float) -> _Scaling:
    share = np.where(block.present, strength, 0)
    if not share.any():
        return _Scaling(np.zeros(block.values.shape[1], np.float32), np.zeros(block.values.shape[1], np.float32))
    share = share / share.sum()
    mean = share @ block.values
    deviation = np.sqrt(np.maximum(share @ np.square(block.values - mean), 0))
    stretched = np.maximum(deviation, smallest * deviation[deviation > 0].mean() if deviation.any() else 1.0)
    variance = np.sum((deviation / stretched) ** 2)
    scale = weight / stretched / np.sqrt(max(variance, 1.0))
    return _Scaling(mean.astype(np.float32), scale.astype(np.float32))


def _design(scalings: Mapping[str, _Scaling], blocks: Mapping[str, ContentBlock]) -> np.ndarray:
    return np.hstack([scaling.apply(blocks[name]) for name, scaling in scalings.items()])


def _ridge(
    scalings: Mapping[str, _Scaling],
    landmarks: _Landmarks | None,
    design: np.ndarray,
    factors: np.ndarray,
    strength: np.ndarray,
    penalty: float | None,
) -> ContentMap:
    if landmarks is not None:
        design = landmarks.apply(design)
    centre, intercept = strength @ design, strength @ factors
    root = np.sqrt(strength)[:, None]
    X, Y = root * (design - centre), root * (factors - intercept)
    values, directions = np.linalg.eigh(X.T @ X)
    rotated, towards = X @ directions, directions.T @ (X.T @ Y)
    values = np.maximum(values, 0)
    penalties = PENALTIES if penalty is None else np.array([penalty])
    errors: dict[int, float] = {}

    def least(places: Iterable[int]) -> int:
        for place in places:
            if place not in errors:
                predicted = _left_out(rotated, towards, values, Y, strength, penalties[place])
                errors[place] = float(np.sum((Y - predicted) ** 2))
        return min(errors, key=errors.__getitem__)

    # The error has one valley: a few are tried all along it, then those beside the best.
    coarse = least(range(0, len(penalties), 4))
    best = least(range(max(coarse - 3, 0), min(coarse + 4, len(penalties))))
    chosen = float(penalties[best])
    predicted = _left_out(rotated, towards, values, Y, strength, chosen)
    coefficients = directions @ (towards / (values + chosen)[:, None])
    error, spread = np.sum((Y - predicted) ** 2), np.sum(Y**2)
    size = np.sqrt(np.sum(predicted**2) * spread)
    return ContentMap(
        scalings,
        landmarks,
        coefficients.astype(np.float32),
        (intercept - centre @ coefficients).astype(np.float32),
        chosen,
        float(max(0.0, 1 - error / spread)) if spread > 0 else 0.0,
        float(np.sum(predicted * Y) / size) if size > 0 else 0.0,
    )


def _left_out(
    rotated: np.ndarray, towards: np.ndarray, values: np.ndarray, Y: np.ndarray, strength: np.ndarray, penalty: float
) -> np.ndarray:
    """What each warm video is predicted to be by a map fitted to all the others, in weighted, centred factors."""
    shrunk = rotated / (values + penalty)
    # The intercept is fitted too: its part of the leverage is the video's share of the weight.
    leverage = np.minimum(np.sum(shrunk * rotated, axis=1) + strength, 1 - 1e-6)
    return Y - (Y - shrunk @ towards) / (1 - leverage)[:, None]
