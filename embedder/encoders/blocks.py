"""Putting unlike features side by side in one vector, each with its say. Knows nothing of what they describe."""

from collections.abc import Sequence

import numpy as np

from embedder.encoders.pooling import SMALLEST


def joined(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """(sum of lengths,) float32: the blocks (n,) one behind the other, each of length 1, so that a long one does not
    drown a short one; a block longer than 1e-12 counts in full, one of zeros stays zero."""
    parts = [block / max(float(np.linalg.norm(block)), SMALLEST) for block in blocks]
    return np.concatenate(parts).astype(np.float32)
