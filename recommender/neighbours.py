"""Viewers with a like history, and what they watched: k-nearest-neighbours among viewers.

Resnick et al.: GroupLens (1994), with cosine and inverse document frequency (Salton, McGill 1983). The viewer who
asks need not be stored: a history goes in, scores come out. Stored rows carry no ids; nothing here says whose they are.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field


class NeighbourSettings(BaseModel):
    """Defaults that do well for short histories (TikTok micro-videos) and for long ones (MovieLens-1M)."""

    model_config = ConfigDict(extra="forbid")

    neighbours: int = Field(default=300, ge=1, description="most similar viewers whose videos count")
    amplification: float = Field(default=2.0, gt=0, le=8, description="exponent of a neighbour's similarity")
    idf: float = Field(default=1.0, ge=0, le=4, description="exponent of a video's inverse document frequency")
    viewers: int = Field(default=200_000, ge=1, description="viewers stored at most; of more a random part is taken")


class NeighbourViewers:
    """The stored viewers: what each watched, as rows of a (U, V) pattern, and how rare each video is.

    rarity: (V,) float32, the weight of a video in the cosine between two histories.
    """

    def __init__(
        self, indices: np.ndarray, indptr: np.ndarray, rarity: np.ndarray, neighbours: int, amplification: float
    ) -> None:
        self.rarity = rarity
        self.neighbours = neighbours
        self.amplification = amplification
        shape = (len(indptr) - 1, len(rarity))
        self._videos = sp.csr_matrix((rarity[indices], indices, indptr), shape)
        lengths = np.sqrt(np.bincount(_rows(indptr), self._videos.data.astype(np.float64) ** 2, shape[0]))
        self._inverse_lengths = np.divide(1.0, lengths, out=np.zeros(shape[0]), where=lengths > 0).astype(np.float32)
        #: Row by row of videos: who watched it.
        self._viewers = self._videos.T.tocsr()

    def scores(self, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The neighbours' videos by summed similarity: (h,) columns and weights -> (V,) float32, else 0."""
        nearest, similarity = self._nearest(columns, weights)
        return _sums(self._videos, nearest, similarity).astype(np.float32)

    def contributions(self, columns: np.ndarray, weights: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """How much each watched video (h) adds to the score of each wanted one (n): (h, n) float32.

        A neighbour's vote belongs to the watched videos that made it a neighbour, in the shares of the cosine.
        """
        nearest, similarity = self._nearest(columns, weights)
        rows = self._videos[nearest]
        share = rows[:, columns].toarray() * (weights * self.rarity[columns])
        share /= np.maximum(share.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        votes = rows[:, wanted].astype(bool).toarray() * similarity[:, None]
        return (share.T @ votes).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "indices": self._videos.indices,
            "indptr": self._videos.indptr,
            "rarity": self.rarity,
            "neighbours": np.array([self.neighbours]),
            "amplification": np.array([self.amplification]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        return cls(
            arrays["indices"],
            arrays["indptr"],
            arrays["rarity"],
            int(arrays["neighbours"][0]),
            float(arrays["amplification"][0]),
        )

    def _nearest(self, columns: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Up to `neighbours` viewers (n,) with a cosine above 0, and their amplified cosines (n,) float32."""
        history = weights * self.rarity[columns]
        length = np.linalg.norm(history)
        cosines = _sums(self._viewers, columns, history * self.rarity[columns]) * self._inverse_lengths
        if len(cosines) > self.neighbours:
            nearest = np.argpartition(-cosines, self.neighbours - 1)[: self.neighbours]
        else:
            nearest = np.arange(len(cosines))
        nearest = nearest[cosines[nearest] > 0]
        return nearest, ((cosines[nearest] / length) ** self.amplification).astype(np.float32)


def fit_neighbours(
    positives: sp.csr_matrix, settings: NeighbourSettings | None = None, seed: int = 0
) -> NeighbourViewers:
    """Keeps the pattern of (U, V) positive signals; a video's rarity is log(1 + U / its viewers) to the power of `idf`.

    A video that nobody watched has a rarity of 0: it can make nobody a neighbour.
    """
    settings = settings or NeighbourSettings()
    seen = positives.astype(bool).tocsr()
    seen.eliminate_zeros()
    seen = seen[np.flatnonzero(np.diff(seen.indptr))]
    if seen.shape[0] > settings.viewers:
        seen = seen[np.sort(np.random.default_rng(seed).choice(seen.shape[0], settings.viewers, replace=False))]
    audience = np.bincount(seen.indices, minlength=seen.shape[1])
    frequency = np.log1p(seen.shape[0] / np.maximum(audience, 1)) ** settings.idf
    rarity = np.where(audience > 0, frequency, 0).astype(np.float32)
    return NeighbourViewers(
        seen.indices.astype(np.int32),
        seen.indptr.astype(np.int64),
        rarity,
        settings.neighbours,
        settings.amplification,
    )


def _rows(indptr: np.ndarray) -> np.ndarray:
    """The row of every stored entry."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def _sums(matrix: sp.csr_matrix, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sum of the patterns of some rows: (n,) rows and weights -> (columns,) float64.

    Slices copied one after the other beat a product with a sparse selection, and indices made for every entry.
    """
    starts, ends = matrix.indptr[rows], matrix.indptr[rows + 1]
    if not len(rows):
        return np.zeros(matrix.shape[1])
    slices = [matrix.indices[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return np.bincount(np.concatenate(slices), np.repeat(weights, ends - starts), matrix.shape[1])
