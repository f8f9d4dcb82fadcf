"""From the features of a clip's frames to one vector. Knows nothing of networks.

A mean over time forgets what moves: walking and skipping have the same mean picture. What changes is kept by the
deviation over the frames (std) and by the mean absolute difference between neighbouring frames (diff), which knows
their order. Each block gets length 1 before they are put together, so that a small thing that moves counts beside a
large scene that does not; what changes less than `STILL_BELOW` is noise and stays small.
"""

from collections.abc import Sequence

import numpy as np

#: Part of encoders' ids: count it up when vectors are pooled in another way.
VERSION = 1
SMALLEST = 1e-12
#: Length of a block of changes, relative to the mean's, below which it is not raised to length 1.
STILL_BELOW = 0.05


def pooled_dim(dim: int, pooling: str) -> int:
    """Length of the pooled vector of features of length `dim`. `pooling`: block names joined by "+"."""
    return dim * len(pooling.split("+"))


def pooled(features: np.ndarray, lengths: Sequence[int], pooling: str) -> np.ndarray:
    """(N, pooled_dim) float32, each row of length 1, of N clips whose frames' features stand one behind the other.

    `features`: (sum of lengths, D) float32. `lengths`: frames of each clip, all at least 1. `pooling`: "mean", "std"
    and "diff" joined by "+". In a clip where nothing changes (one frame, a still), std and diff are zero.
    """
    counts = np.asarray(lengths)
    starts = np.cumsum([0, *counts[:-1]])
    means = np.add.reduceat(features, starts, axis=0) / counts[:, None]
    mean_sizes = np.linalg.norm(means, axis=1, keepdims=True)
    blocks = []
    for name in pooling.split("+"):
        if name == "mean":
            block = means
        elif name == "std":
            squares = np.add.reduceat((features - np.repeat(means, counts, axis=0)) ** 2, starts, axis=0)
            block = np.sqrt(squares / counts[:, None])
        elif name == "diff":
            steps = np.abs(np.diff(features, axis=0, append=features[-1:]))
            steps[starts + counts - 1] = 0  # from the last frame of a clip there is no step to the next clip
            block = np.add.reduceat(steps, starts, axis=0) / np.maximum(counts - 1, 1)[:, None]
        else:
            raise ValueError(f"no pooling {name!r}; there are mean, std and diff")
        sizes = np.linalg.norm(block, axis=1, keepdims=True)
        blocks.append(block / np.maximum(sizes, np.maximum(STILL_BELOW * mean_sizes, SMALLEST)))
    return normalised(np.concatenate(blocks, axis=1))


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Rows (N, D) float32 of length 1; a row of (almost) zeros stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(lengths, SMALLEST), dtype=np.float32)
