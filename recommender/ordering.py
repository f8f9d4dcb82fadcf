"""Orders in which equals stay as they are, as every stage of a list needs them.

A sort that keeps equals in order mispredicts a branch at every other step; what is sorted by and its row as one whole
number are sorted without any branch (Bramas: A Novel Hybrid Quicksort Algorithm Vectorized using AVX-512, 2017).
"""

import numpy as np

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
    keys = _keys(scores)
    keys.partition(len(keys) - k)
    keys = keys[len(keys) - k :]
    keys.sort()
    return _rows(keys)


def least_first(numbers: np.ndarray) -> np.ndarray:
    """(n,) int64 rows of whole numbers (n,) in 0..2^31 - 1, of equal ones the first row first, n < 2^31."""
    keys = (numbers << 32) + np.arange(len(numbers))
    keys.sort()
    return keys & _ROW


def _keys(scores: np.ndarray) -> np.ndarray:
    """(n,) int64 that are in the order of the scores, of equal ones the first row the greatest."""
    # Adding 0 makes of -0.0 the 0.0 that it is equal to.
    bits = (scores + np.float32(0)).astype(np.float32, copy=False).view(np.int32)
    # The bits of floats are in their order, but the wrong way round below 0.
    bits ^= (bits >> 31) & 0x7FFF_FFFF
    keys = bits.astype(np.int64)
    keys <<= 32
    keys -= np.arange(len(keys))
    return keys


def _rows(keys: np.ndarray) -> np.ndarray:
    return -keys[::-1] & _ROW
