"""The finds of several sources side by side, and who is behind what: loops over candidates, which know of no source."""

import numpy as np

from recommender.compiled import NUMBER, compiled, reads


def side_by_side(named: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merges lists of columns, each of which names a column once at most.

    named: (m,) int64, 0..2^31 - 1, list after list; begins: (S + 1,) int64, of list s from begins[s] to begins[s + 1].
    All that are named in order, (n,) int64; the row among these of each that is named, (m,) int64; and ranks (S, n)
    int32, 1 is the first of its list and 0 is not in it.
    """
    keys = (named.astype(np.int64, copy=False) << 32) + np.arange(len(named))
    keys.sort()
    return _merged(keys, begins)


@compiled(reads("int64"), reads("int64"))
def _merged(keys: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns, rows = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
    count = 0
    for key in keys:
        column = key >> 32
        if count == 0 or columns[count - 1] != column:
            columns[count] = column
            count += 1
        rows[key & 0xFFFF_FFFF] = count - 1
    ranks = np.zeros((len(begins) - 1, count), np.int32)
    for source in range(len(ranks)):
        for place in range(begins[source], begins[source + 1]):
            ranks[source, rows[place]] = place - begins[source] + 1
    return columns[:count], rows, ranks


@compiled(reads("float32", 2), reads("int64"), reads("float32"), NUMBER, reads("uint32"))
def who_is_behind(
    parts: np.ndarray, order: np.ndarray, scores: np.ndarray, share: float, bits: np.ndarray
) -> np.ndarray:
    """Of scores (n,) float32 the sources whose parts of it are above 0 and this share of it or more: (n,) uint32, with
    the bit (S,) of each.

    parts: (S, N); order: (n,), where in them each of the scores is."""
    found_by = np.zeros(len(order), np.uint32)
    for source in range(len(bits)):
        for row in range(len(order)):
            own = parts[source, order[row]]
            if own > 0 and own >= share * scores[row]:
                found_by[row] |= bits[source]
    return found_by
