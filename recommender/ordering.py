"""Orders in which equals stay as they are, as every stage of a list needs them.

A sort that keeps equals in order mispredicts a branch at every other step; what is sorted by and its row as one whole
number are sorted without any branch (Bramas: A Novel Hybrid Quicksort Algorithm Vectorized using AVX-512, 2017).
"""

import numpy as np

from recommender.compiled import WHOLE, compiled, reads, writes

_ROW = np.int64(0xFFFF_FFFF)
#: Exponent and three more bits of a float32 from this bit on: so many sizes of numbers above 0.
_FIRST_BITS_FROM, _SIZES = np.uint32(20), 2_048


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
    count = _put_greatest_open_keys(np.ascontiguousarray(scores, np.float32), is_open, k, keys)
    return _rows_of_greatest(keys[:count], k)


def least_first(numbers: np.ndarray) -> np.ndarray:
    """(n,) int64 rows of whole numbers (n,) in -2^31..2^31 - 1, of equal ones the first row first, n < 2^31."""
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


@compiled(reads("float32"), reads("bool_"), WHOLE, writes("int64"))
def _put_greatest_open_keys(scores: np.ndarray, is_open: np.ndarray, k: int, keys: np.ndarray) -> int:
    """Puts the keys of the open scores above 0 first, at least of the k greatest where there are so many and not of
    many more; returns how many."""
    # Above 0 the bits of floats are in their order, and the first ones say about how great one is.
    bits = scores.view(np.uint32)
    found = np.zeros(_SIZES, np.int32)
    for row in range(len(scores)):
        found[(bits[row] >> _FIRST_BITS_FROM) & np.uint32(_SIZES - 1)] += is_open[row] & (scores[row] > 0)
    size = _SIZES - 1
    wanted = k - found[size]
    while wanted > 0 and size > 0:
        size -= 1
        wanted -= found[size]
    least = np.uint32(size) << _FIRST_BITS_FROM
    count = np.uint64(0)
    for row in range(len(scores)):
        # What is left out is written over by the next one: a branch would be mispredicted at every other row.
        keys[count] = (np.int64(bits[row]) << 32) - row
        count += np.uint64(is_open[row] & (scores[row] > 0) & (bits[row] >= least))
    return int(count)


def _rows_of_greatest(keys: np.ndarray, k: int) -> np.ndarray:
    if 0 < 2 * k < len(keys):
        keys.partition(len(keys) - k)
        keys = keys[len(keys) - k :]
    keys.sort()
    return _rows(keys[max(0, len(keys) - k) :])


def _rows(keys: np.ndarray) -> np.ndarray:
    return -keys[::-1] & _ROW
