"""Videos that follow from videos: EASE, a linear item-item model in closed form.

Steck: Embarrassingly Shallow Autoencoders for Sparse Data (2019). Strong up to some ten thousand videos; its
memory grows with their square, so larger catalogues live from `recommender.collaborative` alone.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field
from scipy.linalg import lapack
from scipy.sparse import _sparsetools as kernels

from recommender.compiled import compiled, reads, writes

#: Rows that are worked on at a time, so that no second matrix of the full size is needed.
BLOCK = 512


class ItemItemSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    below_videos: int = Field(default=15_000, ge=0, description="no EASE from this catalogue size on")
    regularization: float | None = Field(
        default=None, gt=0, description="lambda; without one the mean number of viewers per video, at least 10"
    )
    neighbours: int = Field(default=400, ge=1, description="strongest weights kept per video")


class ItemWeights:
    """Sparse (V, V) float32 weights: row i says what watching video i adds to the score of every other."""

    def __init__(self, weights: sp.csr_matrix) -> None:
        self.weights = weights

    @property
    def size(self) -> int:
        """V."""
        return int(self.weights.shape[1])

    def rows(self, columns: np.ndarray) -> sp.csr_matrix:
        """The weights (h, V) of some videos (h,)."""
        offsets, indices, data = self._compressed_rows(columns)
        return sp.csr_matrix((data, indices, offsets), (len(columns), self.size))

    def scores(self, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Scores of all videos for a history: (h,) columns and weights -> (V,) float32."""
        sums = np.zeros(self.size, np.float32)
        add_up(
            np.asarray(columns, np.int64),
            np.asarray(weights, np.float32),
            self.weights.indptr,
            self.weights.indices,
            self.weights.data,
            sums,
        )
        return sums

    def sparse_scores(self, columns: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same as `scores` without the zeros: (n,) int64 columns in order and (n,) float32 scores."""
        offsets, indices, data = self._compressed_rows(columns)
        share = np.repeat(weights, np.diff(offsets)).astype(np.float32) * data
        found, place = np.unique(indices, return_inverse=True)
        return found.astype(np.int64), np.bincount(place, share, len(found)).astype(np.float32)

    def contributions(self, columns: np.ndarray, weights: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """How much each watched video (h) adds to the score of each wanted one (n): (h, n) float32."""
        offsets, indices, data = self._compressed_rows(columns)
        place = np.full(self.size, -1, np.int32)
        place[wanted] = np.arange(len(wanted))
        # Each of the wanted once: where one is wanted twice, both have the weights of the last.
        place_of = place[indices]
        hits = np.flatnonzero(place_of >= 0)
        row = np.searchsorted(offsets, hits, side="right") - 1
        found = np.zeros((len(columns), len(wanted)), np.float32)
        found[row, place_of[hits]] = data[hits] * weights[row]
        return found[:, place[wanted]]

    def _compressed_rows(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`rows` as (offsets, indices, data).

        For so few rows SciPy's own selection spends most of its time on checks: its kernels are called as it calls
        them.
        """
        weights = self.weights
        kind = weights.indices.dtype
        offsets = np.zeros(len(columns) + 1, kind)
        np.cumsum(weights.indptr[columns + 1] - weights.indptr[columns], out=offsets[1:])
        indices, data = np.empty(offsets[-1], kind), np.empty(offsets[-1], weights.data.dtype)
        rows = columns.astype(kind, copy=False)
        kernels.csr_row_index(len(rows), rows, weights.indptr, weights.indices, weights.data, indices, data)
        return offsets, indices, data

    def arrays(self) -> dict[str, np.ndarray]:
        weights = self.weights
        shape = np.array(weights.shape)
        return {"data": weights.data, "indices": weights.indices, "indptr": weights.indptr, "shape": shape}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        return cls(sp.csr_matrix(parts, tuple(arrays["shape"])))


@compiled(reads("int64"), reads("float32"), reads("int32"), reads("int32"), reads("float32"), writes("float32"))
def add_up(
    rows: np.ndarray, shares: np.ndarray, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, sums: np.ndarray
) -> None:
    """Adds to sums (V,) some rows (h,) of a sparse matrix, each times its share (h,)."""
    for place in range(len(rows)):
        row, share = rows[place], shares[place]
        if row < 0 or row >= len(indptr) - 1:
            raise IndexError("no such row")
        # Of what has no sign nobody asks whether it counts from the end: that takes twice as long as the sum.
        for entry in range(np.uint64(indptr[row]), np.uint64(indptr[row + 1])):
            sums[np.uint32(indices[entry])] += share * data[entry]


def fit_item_weights(positives: sp.csr_matrix, settings: ItemItemSettings | None = None) -> ItemWeights:
    """Fits EASE to the pattern of (U, V) positive signals: B = I - P diag(1/diag P), P = (X^T X + lambda)^-1."""
    settings = settings or ItemItemSettings()
    X = positives.astype(bool).astype(np.float32)
    G = (X.T @ X).toarray()
    watched = np.diagonal(G) > 0
    regularization = settings.regularization or max(10.0, float(np.diagonal(G)[watched].mean()) if watched.any() else 0)
    G[np.diag_indices_from(G)] += regularization
    return ItemWeights(_strongest_weights(_inverse(G), settings.neighbours))


def _inverse(G: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric positive definite matrix, in its own memory: Cholesky, then the missing triangle."""
    # LAPACK works on columns; of a symmetric matrix the transpose is the same and needs no copy.
    factor, failed = lapack.spotrf(G.T, lower=True, overwrite_a=True)
    inverse, failed_too = lapack.spotri(factor, lower=True, overwrite_c=True)
    if failed or failed_too:
        raise np.linalg.LinAlgError("the item-item matrix is not positive definite; raise item_item.regularization")
    for start in range(0, len(inverse), BLOCK):
        end = start + BLOCK
        inverse[start:end, end:] = inverse[end:, start:end].T
        corner = inverse[start:end, start:end]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T
    return inverse


def _strongest_weights(P: np.ndarray, keep: int) -> sp.csr_matrix:
    """B = -P / diag P without its diagonal, and of every row the `keep` weights of largest magnitude."""
    count = len(P)
    keep = min(keep, count)
    diagonal = np.diagonal(P).copy()
    columns = np.empty((count, keep), np.int32)
    data = np.empty((count, keep), np.float32)
    for start in range(0, count, BLOCK):
        rows = np.arange(start, min(start + BLOCK, count))
        B = -P[rows] / diagonal
        B[np.arange(len(rows)), rows] = 0.0
        columns[rows] = np.sort(np.argpartition(-np.abs(B), keep - 1, axis=1)[:, :keep], axis=1)
        data[rows] = np.take_along_axis(B, columns[rows].astype(np.int64), axis=1)
    return sp.csr_matrix((data.ravel(), columns.ravel(), np.arange(0, count * keep + 1, keep)), P.shape)
