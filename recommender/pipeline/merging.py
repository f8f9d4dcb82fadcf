"""The finds of several sources side by side, and who is behind what: loops over candidates, which know of no source."""

import numpy as np

from recommender.compiled import NUMBER, WHOLE, compiled, reads, writes


def side_by_side(named: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merges lists of columns, each of which names a column once at most.

    named: (m,) int64, 0..2^31 - 1, list after list; begins: (S + 1,) int64, of list s from begins[s] to begins[s + 1].
    All that are named in order, (n,) int64; the row among these of each that is named, (m,) int64; and ranks (S, n)
    int32, 1 is the first of its list and 0 is not in it.
    """
    keys = (named.astype(np.int64, copy=False) << 32) + np.arange(len(named))
    keys.sort()
    columns, rows = np.empty(len(named), np.int64), np.empty(len(named), np.int64)
    columns = columns[: _number(keys, columns, rows)]
    ranks = np.zeros((len(begins) - 1, len(columns)), np.int32)
    _put_ranks(rows, begins, ranks)
    return columns, rows, ranks


@compiled(reads("int64"), writes("int64"), writes("int64"))
def _number(keys: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> int:
    count = 0
    for key in keys:
        column = key >> 32
        if count == 0 or columns[count - 1] != column:
            columns[count] = column
            count += 1
        rows[key & 0xFFFF_FFFF] = count - 1
    return count


@compiled(reads("int64"), reads("int64"), writes("int32", 2))
def _put_ranks(rows: np.ndarray, begins: np.ndarray, ranks: np.ndarray) -> None:
    for source in range(len(ranks)):
        for place in range(begins[source], begins[source + 1]):
            ranks[source, rows[place]] = place - begins[source] + 1


@compiled(reads("float32"), reads("int64"), reads("float32"), NUMBER, WHOLE, writes("uint32"))
def mark_if_behind(
    part: np.ndarray, order: np.ndarray, scores: np.ndarray, share: float, bit: int, found_by: np.ndarray
) -> None:
    """Adds a bit to `found_by` (n,) where a source's part (N,) of a score (n,) is above 0 and this share of it or more.

    order: (n,), where in `part` each of them is."""
    for row in range(len(order)):
        own = part[order[row]]
        if own > 0 and own >= share * scores[row]:
            found_by[row] |= np.uint32(bit)
