"""Orders in which equals stay as they are, as every stage of a list needs them.

A sort that keeps equals in order mispredicts a branch at every other step; what is sorted by and its row as one whole
number are sorted without any branch (Bramas: A Novel Hybrid Quicksort Algorithm Vectorized using AVX-512, 2017).
"""

import numpy as np

from recommender.compiled import compiled, reads, writes

_ROW = np.int64(0xFFFF_FFFF)


def best_first(scores: np.ndarray) -> np.ndarray:
    """(n,) int64 rows of scores (n,) float32, none of them NaN, n < 2^31."""
    keys = _keys(scores)
    keys.sort()
    return _rows(keys)


def best_rows(scores: np.ndarray, k: int) -> np.ndarray:
    """The first k of `best_first`, or all where there are fewer."""
    if k >= len(scores):
        return best_first(scores)
    return _rows_of_greatest(_keys(scores), k)


def best_open_rows(scores: np.ndarray, is_open: np.ndarray, k: int) -> np.ndarray:
    """The first k of `best_first` of those that are open and score above 0; is_open: (m,) bool, m >= n.

    Raises ValueError where m < n.
    """
    if len(is_open) < len(scores):
        raise ValueError(f"it is known of {len(is_open)} of {len(scores)} rows whether they are open")
    keys = np.empty(len(scores), np.int64)
    count = _put_open_keys(np.ascontiguousarray(scores, np.float32), is_open, keys)
    return _rows_of_greatest(keys[:count], k)


def least_first(numbers: np.ndarray) -> np.ndarray:
    """(n,) int64 rows of whole numbers (n,) in 0..2^31 - 1, of equal ones the first row first, n < 2^31."""
    keys = (numbers << 32) + np.arange(len(numbers))
    keys.sort()
    return keys & _ROW


def _keys(scores: np.ndarray) -> np.ndarray:
    """(n,) int64 that are in the order of the scores, of equal ones the first row the greatest."""
    keys = np.empty(len(scores), np.int64)
    _put_keys(np.ascontiguousarray(scores, np.float32), keys)
    return keys


@compiled(reads("float32"), writes("int64"))
def _put_keys(scores: np.ndarray, keys: np.ndarray) -> None:
    bits = scores.view(np.int32)
    for row in range(len(scores)):
        # The bits of floats are in their order, but the wrong way round below 0; and -0.0 is equal to 0.0.
        key = np.int64(bits[row]) if scores[row] != 0 else np.int64(0)
        keys[row] = ((key ^ 0x7FFF_FFFF if key < 0 else key) << 32) - row


@compiled(reads("float32"), reads("bool_"), writes("int64"))
def _put_open_keys(scores: np.ndarray, is_open: np.ndarray, keys: np.ndarray) -> np.int64:
    # Above 0 the bits of floats are in their order.
    bits = scores.view(np.int32)
    count = np.int64(0)
    for row in range(len(scores)):
        # What is not open is written over by the next one: a branch would be mispredicted at every other row.
        keys[count] = (np.int64(bits[row]) << 32) - row
        count += np.int64(is_open[row]) & np.int64(scores[row] > 0)
    return count


def _rows_of_greatest(keys: np.ndarray, k: int) -> np.ndarray:
    if k < len(keys):
        keys.partition(len(keys) - k)
        keys = keys[len(keys) - k :]
    keys.sort()
    return _rows(keys)


def _rows(keys: np.ndarray) -> np.ndarray:
    return -keys[::-1] & _ROW
