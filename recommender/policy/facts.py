"""Facts about videos as arrays, and groups of videos: what the policy knows of a release."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from recommender.compiled import compiled, reads, writes


@dataclass(frozen=True)
class Members:
    """Which of n videos belong to which groups: of video i those in `codes[offsets[i] : offsets[i + 1]]`.

    offsets: (n + 1,) int64; codes: (m,) int32 >= 0.
    """

    offsets: np.ndarray
    codes: np.ndarray

    @classmethod
    def of_single(cls, codes: np.ndarray) -> "Members":
        """At most one group per video: (n,) int32, -1 for none."""
        belongs = codes >= 0
        offsets = np.zeros(len(codes) + 1, np.int64)
        belongs.cumsum(out=offsets[1:])
        return cls(offsets, codes[belongs])

    @cached_property
    def rows(self) -> np.ndarray:
        """(m,) int64: the video of each entry of `codes`."""
        return np.arange(len(self.offsets) - 1).repeat(self.counts)

    @cached_property
    def counts(self) -> np.ndarray:
        """(n,) int64: how many groups each video belongs to."""
        return self.offsets[1:] - self.offsets[:-1]

    @cached_property
    def _rows_of(self) -> dict[int, np.ndarray]:
        return {}

    @cached_property
    def _lists(self) -> tuple[list[int], list[int]]:
        return self.offsets.tolist(), self.codes.tolist()

    def codes_of(self, row: int) -> list[int]:
        offsets, codes = self._lists
        return codes[offsets[row] : offsets[row + 1]]

    def rows_of(self, code: int) -> np.ndarray:
        found = self._rows_of.get(code)
        if found is None:
            found = self._rows_of[code] = self.rows[self.codes == code]
        return found


@dataclass(frozen=True)
class Facts:
    """What is known of the V videos of a release.

    creator, series: (V,) int32 codes, -1 for none; labels: (V, L) sparse, only True stored, where a video carries one;
    published_at: (V,) float64 seconds since 1970, NaN where unknown;
    duplicate_group: (V,) int32 code of a group of near-duplicates, -1 for none. `vectors` gives for (n,) int64 columns
    ((n,) bool which have one, (m, D) float32 of length 1 for those), as `looks.compact_looks` makes it.
    """

    creator: np.ndarray
    series: np.ndarray
    labels: sp.csr_matrix
    published_at: np.ndarray
    duplicate_group: np.ndarray
    vectors: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

    def labels_of(self, columns: np.ndarray) -> Members:
        """The labels of these videos. scipy's own row selection takes several times as long for so few."""
        offsets = np.zeros(len(columns) + 1, np.int64)
        return Members(offsets, _put_rows(*self._rows_of_labels, columns, offsets))

    @cached_property
    def _rows_of_labels(self) -> tuple[np.ndarray, np.ndarray]:
        return self.labels.indptr.astype(np.int32, copy=False), self.labels.indices.astype(np.int32, copy=False)

    @cached_property
    def newest_first(self) -> np.ndarray:
        """(V,) int64 columns: the newest first, those of unknown age last."""
        return np.argsort(-self.published_at, kind="stable")

    @cached_property
    def duplicate_groups(self) -> int:
        """How many groups of near-duplicates there are at most."""
        return int(self.duplicate_group.max(initial=-1)) + 1


@compiled(reads("int32"), reads("int32"), reads("int64"), writes("int64"))
def _put_rows(indptr: np.ndarray, indices: np.ndarray, rows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The indices of some rows (n,) of a sparse matrix one after the other; `offsets` (n + 1,): where each begins."""
    for place in range(len(rows)):
        if rows[place] < 0 or rows[place] >= len(indptr) - 1:
            raise IndexError("no such row")
        offsets[place + 1] = offsets[place] + indptr[rows[place] + 1] - indptr[rows[place]]
    found = np.empty(offsets[-1], np.int32)
    for place in range(len(rows)):
        begin = indptr[rows[place]]
        for entry in range(offsets[place], offsets[place + 1]):
            found[entry] = indices[begin + entry - offsets[place]]
    return found
