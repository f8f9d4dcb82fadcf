"""The vectors of a running service: a release's index and, searched exactly beside it, what was encoded since.

Speaks of columns; knows nothing of files and of how an index is built.
"""

from collections.abc import Mapping

import numpy as np

from recommender.index import VectorIndex


class LiveIndex:
    """Cosine search over the columns of a release (`base`) and a delta: columns (d,) int64, vectors (d, D) float32.

    A column in both has its vector from the delta.
    """

    def __init__(self, base: VectorIndex, columns: np.ndarray | None = None, vectors: np.ndarray | None = None) -> None:
        self.base = base
        self.delta_columns = np.zeros(0, np.int64) if columns is None else columns.astype(np.int64)
        self.delta_vectors = np.zeros((0, base.dim), np.float32) if vectors is None else vectors.astype(np.float32)
        self.dim = self.delta_vectors.shape[1]
        self._replaced = self.delta_columns[np.isin(self.delta_columns, base.ids)]
        self._not_replaced = ~np.isin(base.ids, self._replaced) if len(self._replaced) else None
        self._row_of = np.full(int(self.delta_columns.max(initial=-1)) + 2, -1, np.int64)
        self._row_of[self.delta_columns] = np.arange(len(self.delta_columns))

    def __len__(self) -> int:
        return len(self.base) + len(self.delta_columns) - len(self._replaced)

    @property
    def columns(self) -> np.ndarray:
        """All that it has a vector of, each once: int64."""
        ours = self.base.ids if self._not_replaced is None else self.base.ids[self._not_replaced]
        return np.concatenate([ours, self.delta_columns])

    def with_vectors(self, vectors: Mapping[int, np.ndarray]) -> "LiveIndex":
        """The same with these vectors (D,) by column, in place of what is known of their columns."""
        if not vectors:
            return self
        if len(self) == 0:
            return LiveIndex(self.base, np.fromiter(vectors, np.int64, len(vectors)), np.stack(list(vectors.values())))
        stay = ~np.isin(self.delta_columns, list(vectors))
        columns = np.concatenate([self.delta_columns[stay], np.fromiter(vectors, np.int64, len(vectors))])
        return LiveIndex(
            self.base, columns, np.concatenate([self.delta_vectors[stay], np.stack(list(vectors.values()))])
        )

    def vectors(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(which of the columns have a vector as (n,) bool, their vectors as (number here, D) float32)."""
        here, vectors = self.base.vectors(columns)
        if len(self.delta_columns) == 0:
            return here, vectors
        rows = self._row_of[np.minimum(columns, len(self._row_of) - 1)]
        ours = rows >= 0
        both = np.empty((len(columns), self.dim), np.float32)
        both[here] = vectors
        both[ours] = self.delta_vectors[rows[ours]]
        here = here | ours
        return here, both[here]

    def search(self, queries: np.ndarray, k: int, eligible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The `k` nearest eligible columns ((V,) bool) of each of (q, D) queries.

        Returns (columns (q, k') int64, cosines (q, k') float32), best first, -1 at -inf where there are fewer.
        """
        allowed = self.base.by_row(eligible)
        if self._not_replaced is not None:
            allowed = allowed & self._not_replaced
        columns, cosines = self.base.search(queries, k, allowed)
        rows = np.flatnonzero(eligible[self.delta_columns])
        if len(rows) == 0:
            return columns, cosines
        theirs = queries @ self.delta_vectors[rows].T
        columns = np.concatenate([columns, np.broadcast_to(self.delta_columns[rows], theirs.shape)], axis=1)
        cosines = np.concatenate([cosines, theirs], axis=1)
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(columns, order, axis=1), np.take_along_axis(cosines, order, axis=1)
