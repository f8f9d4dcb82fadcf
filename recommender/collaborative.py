"""Taste from histories by matrix factorisation: implicit ALS. The only file that knows implicit.

Hu, Koren, Volinsky: Collaborative Filtering for Implicit Feedback Datasets (2008). Viewers are not stored: a
viewer is folded in from the history at request time, which needs the item factors and their Gram matrix only.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.recommender_base import ModelFitError
from pydantic import BaseModel, ConfigDict, Field
from scipy.linalg import blas, lapack
from threadpoolctl import threadpool_limits

#: 50 on MovieLens-1M, where that does best, and little where histories are short.
REGULARIZATION_PER_LIKE = 0.3
#: Share of the videos of which an earlier fit must know something to be begun with.
MOSTLY_KNOWN = 0.5


class CollaborativeSettings(BaseModel):
    """Defaults that did best on MovieLens-1M next to EASE; implicit's own regularisation (0.01) is far too weak."""

    model_config = ConfigDict(extra="forbid")

    factors: int = Field(default=64, ge=2, le=1024, description="length of a factor vector")
    regularization: float | None = Field(
        default=None, gt=0, description="lambda; without one 0.3 times the mean number of likes of a viewer"
    )
    alpha: float = Field(default=1.0, gt=0, description="confidence of a signal of 1")
    iterations: int = Field(default=15, ge=1, description="rounds of alternating least squares")
    warm_iterations: int = Field(
        default=3, ge=1, description="rounds where a fit begins with the factors of the running release"
    )


class LatentFactors:
    """Item factors (V, F) float32 and the one solve that turns a history into a viewer's factors."""

    def __init__(self, items: np.ndarray, regularization: float, alpha: float) -> None:
        self.items = items
        self.regularization = regularization
        self.alpha = alpha
        # The cached part of every fold-in: all items count a little, only the watched ones need adding.
        self._gram = items.T @ items + regularization * np.eye(items.shape[1], dtype=np.float32)

    @property
    def met(self) -> np.ndarray:
        """Columns (m,) int64 of the videos that anybody met: the others have factors of 0, which lead to nobody."""
        return np.flatnonzero(self.items.any(axis=1))

    def fold_in(self, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """A viewer's factors (F,) float32 from videos (h,) and their positive weights (h,).

        The ALS step for one user: (YtY + regularization + Yh^T (C - 1) Yh) x = Yh^T c with c = alpha * weight.
        """
        return self.folded_in(columns, weights).viewer

    def folded_in(self, columns: np.ndarray, weights: np.ndarray) -> "FoldedIn":
        watched, confidence = self.items[columns], self.alpha * weights
        more = confidence - 1.0
        # What counts 1 is in the Gram matrix.
        counted = more.nonzero()[0]
        others = watched if len(counted) == len(watched) else watched[counted]
        normal = self._gram + others.T @ (others * more[counted, None])
        return FoldedIn(watched, confidence, normal)

    def scores(self, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Predicted preference for every video: (V,) float32."""
        return self.items @ self.fold_in(columns, weights)

    def contributions(self, columns: np.ndarray, weights: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """How much each watched video (h) adds to the score of each wanted one (n): (h, n) float32."""
        return self.folded_in(columns, weights).contributions(self.items[wanted])

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "items": self.items,
            "regularization": np.array(self.regularization),
            "alpha": np.array(self.alpha),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        return cls(arrays["items"], float(arrays["regularization"]), float(arrays["alpha"]))


class FoldedIn:
    """A viewer who was folded in: `viewer` (F,) float32, and what each watched video has to do with it."""

    def __init__(self, watched: np.ndarray, confidence: np.ndarray, normal: np.ndarray) -> None:
        """watched: (h, F) factors of the videos with confidence (h,); normal: (F, F), the matrix to be solved."""
        self._watched = watched
        self._confidence = confidence
        self._normal = normal
        self._cholesky: np.ndarray | None = None
        if normal.dtype == np.float32:
            # Symmetric, and positive definite but for rounding. LAPACK works on columns: it takes the transpose, which
            # is the same, as it is.
            factor, failed = lapack.spotrf(normal.T, lower=True, clean=False)
            self._cholesky = None if failed else factor
        self.viewer = self._solved(watched.T @ confidence)

    def contributions(self, wanted: np.ndarray) -> np.ndarray:
        """How much each watched video (h) adds to the score of each of the wanted factors (n, F): (h, n) float32."""
        return self._confidence[:, None] * (self._watched @ self._solved(wanted.T))

    def _solved(self, right: np.ndarray) -> np.ndarray:
        if self._cholesky is None or right.dtype != np.float32:
            return np.linalg.solve(self._normal, right)
        if right.ndim > 1:
            return np.asarray(lapack.spotrs(self._cholesky, right, lower=True)[0])
        # LAPACK's own takes longer for a single one.
        half_way = blas.strsv(self._cholesky, right, lower=True)
        return np.asarray(blas.strsv(self._cholesky, half_way, lower=True, trans=1, overwrite_x=True))


def fit_factors(
    positives: sp.csr_matrix,
    settings: CollaborativeSettings | None = None,
    seed: int = 0,
    start: np.ndarray | None = None,
) -> LatentFactors:
    """Fits ALS to (U, V) positive signals. Videos that nobody met keep factors of 0.

    start: (V, F) float32, the factors of an earlier fit, 0 for videos that it did not know; with them fewer rounds are
    made. They are not used where most videos were unknown or F is another number.

    Raises ArithmeticError when the numbers do not stay finite.
    """
    settings = settings or CollaborativeSettings()
    met = np.unique(positives.indices)
    fitted_to = positives if len(met) == positives.shape[1] else positives[:, met]
    likes = np.diff(positives.indptr)
    regularization = settings.regularization or REGULARIZATION_PER_LIKE * float(likes[likes > 0].mean())
    # A threaded BLAS inside implicit's own threads makes the fit many times slower.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=min(settings.factors, max(2, min(fitted_to.shape))),
            regularization=regularization,
            alpha=settings.alpha,
            iterations=settings.iterations,
            random_state=seed,
            use_gpu=False,
        )
        if start is not None and start.shape == (positives.shape[1], model.factors):
            begin = start[met]
            known: np.ndarray = np.any(begin, axis=1)
            if known.mean() > MOSTLY_KNOWN:
                unknown = np.random.default_rng(seed).random(begin.shape, np.float32) * np.float32(0.01)
                model.item_factors = np.where(known[:, None], begin, unknown)
                model.iterations = settings.warm_iterations
        try:
            model.fit(fitted_to, show_progress=False)
        except ModelFitError as error:
            raise ArithmeticError(f"the factors do not stay finite: {error}") from error
    items = np.zeros((positives.shape[1], model.factors), np.float32)
    items[met] = model.item_factors
    return LatentFactors(items, regularization, settings.alpha)
