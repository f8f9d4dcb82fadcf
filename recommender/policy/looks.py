"""Looks in few numbers: what diversity needs of the embeddings, and no more.

Diversity compares a hundred videos in a fraction of a millisecond, and embeddings are much longer than that takes. They
also have much in common, so that all cosines are alike and high (Mu & Viswanath: All-but-the-Top, 2018). So they are
once, when a release is made, reduced to how they differ from their mean, in the directions in which they do most.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np
from scipy.linalg import eigh

#: Vectors that mean and directions are found from; more change nothing.
SAMPLE = 5_000


class Looks:
    """The `vectors` of `Facts`."""

    def __init__(
        self,
        row_of_column: np.ndarray,
        vectors: np.ndarray,
        mean: np.ndarray,
        directions: np.ndarray | None,
        later: np.ndarray | None = None,
    ) -> None:
        """row_of_column: (V,) int32, -1 for a video without a vector; vectors: (m, d) float32 of length 1, and behind
        their rows those of `later`; mean (D,) and directions (D, d), None where they are kept as they are: how they
        came from embeddings."""
        self._row_of_column = row_of_column
        self._vectors = vectors
        self._mean = mean
        self._directions = directions
        self._later = np.zeros((0, vectors.shape[1]), np.float32) if later is None else later

    def __call__(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = self._row_of_column[columns]
        has_vector = rows >= 0
        if not has_vector.all():
            rows = rows[has_vector]
        if len(self._later) == 0:
            return has_vector, self._vectors[rows]
        beyond = rows - len(self._vectors)
        found = np.empty((len(rows), self._later.shape[1]), np.float32)
        found[beyond < 0] = self._vectors[rows[beyond < 0]]
        found[beyond >= 0] = self._later[beyond[beyond >= 0]]
        return has_vector, found

    def with_embeddings(self, columns: np.ndarray, vectors: np.ndarray, videos: int) -> "Looks":
        """The same of `videos` videos, with more embeddings (n, D) of columns (n,), seen from the same mean in the same
        directions."""
        if len(columns) == 0 and videos == len(self._row_of_column):
            return self
        rows = np.full(videos, -1, np.int32)
        rows[: len(self._row_of_column)] = self._row_of_column
        rows[columns] = len(self._vectors) + len(self._later) + np.arange(len(columns))
        later = np.concatenate([self._later, _reduced(vectors, self._mean, self._directions)])
        return Looks(rows, self._vectors, self._mean, self._directions, later)

    def arrays(self) -> dict[str, np.ndarray]:
        """Of looks to which nothing was added."""
        kept = {"rows": self._row_of_column, "vectors": self._vectors, "mean": self._mean}
        return kept if self._directions is None else kept | {"directions": self._directions}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        return cls(arrays["rows"], arrays["vectors"], arrays["mean"], arrays.get("directions"))


def compact_looks(columns: np.ndarray, vectors: np.ndarray, videos: int, dims: int = 64) -> Looks:
    """Looks of `videos` videos from embeddings (m, D) float32 of these columns (m,) int64.

    Their products are the cosines of embeddings less their mean, as near as `dims` directions can have them (Eckart &
    Young 1936); where D is not larger than `dims`, exactly these.
    """
    row_of_column = np.full(videos, -1, np.int32)
    row_of_column[columns] = np.arange(len(columns))
    length = vectors.shape[1]
    sample = vectors[:: -(-max(len(vectors), 1) // SAMPLE)]
    mean = sample.mean(axis=0) if len(sample) else np.zeros(length, np.float32)
    directions = None
    if length > dims:
        centred = sample - mean
        _, found = eigh(centred.T @ centred, subset_by_index=[length - dims, length - 1])
        directions = found.astype(np.float32)
    return Looks(row_of_column, _reduced(vectors, mean, directions), mean, directions)


def _reduced(vectors: np.ndarray, mean: np.ndarray, directions: np.ndarray | None) -> np.ndarray:
    found = vectors - mean if directions is None else vectors @ directions - mean @ directions
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    # What is exactly the mean looks like nothing in particular.
    found /= np.where(norms > 0, norms, 1.0)
    return np.ascontiguousarray(found, np.float32)
