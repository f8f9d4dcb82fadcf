"""Videos that follow from videos: EASE, a linear item-item model in closed form.

Steck: Embarrassingly Shallow Autoencoders for Sparse Data (2019). Strong up to some ten thousand videos; its
memory grows with their square, so larger catalogues live from `recommender.collaborative` alone.
"""

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field
from scipy.linalg import lapack


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

    def scores(self, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Scores of all videos for a history: (h,) columns and weights -> (V,) float32."""
        rows = self.weights[columns]
        share = np.repeat(weights, np.diff(rows.indptr)).astype(np.float32) * rows.data
        return np.bincount(rows.indices, share, rows.shape[1]).astype(np.float32)

    def contributions(self, columns: np.ndarray, weights: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """How much each watched video (h) adds to the score of each wanted one (n): (h, n) float32."""
        return self.weights[columns][:, wanted].toarray() * weights[:, None]


def fit_item_weights(positives: sp.csr_matrix, settings: ItemItemSettings | None = None) -> ItemWeights:
    """Fits EASE to the pattern of (U, V) positive signals: B = I - P diag(1/diag P), P = (X^T X + lambda)^-1."""
    settings = settings or ItemItemSettings()
    X = positives.astype(bool).astype(np.float32)
    G = (X.T @ X).toarray()
    watched = np.diagonal(G) > 0
    regularization = settings.regularization or max(10.0, float(np.diagonal(G)[watched].mean()) if watched.any() else 0)
    G[np.diag_indices_from(G)] += regularization
    P = _inverse(G)
    B = -P / np.diagonal(P)
    np.fill_diagonal(B, 0.0)
    return ItemWeights(_strongest(B, settings.neighbours))


def _inverse(G: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric positive definite matrix, by Cholesky and in place: half the work of a general one."""
    factor, failed = lapack.spotrf(G, lower=True, overwrite_a=True)
    inverse, failed_too = lapack.spotri(factor, lower=True, overwrite_c=True)
    if failed or failed_too:
        raise np.linalg.LinAlgError("the item-item matrix is not positive definite; raise item_item.regularization")
    return np.tril(inverse) + np.tril(inverse, -1).T


def _strongest(B: np.ndarray, keep: int) -> sp.csr_matrix:
    """The `keep` weights of largest magnitude of every row."""
    count = B.shape[0]
    keep = min(keep, count)
    columns = np.sort(np.argpartition(-np.abs(B), keep - 1, axis=1)[:, :keep], axis=1)
    data = np.take_along_axis(B, columns, axis=1).astype(np.float32)
    indptr = np.arange(0, count * keep + 1, keep)
    return sp.csr_matrix((data.ravel(), columns.ravel().astype(np.int32), indptr), B.shape)
