"""Long vectors made shorter without learning anything: a subsampled randomised cosine transform.

Random signs, an orthonormal DCT, `size` of its coordinates (Ailon & Chazelle 2006; Tropp 2011): inner products are
kept up to about 1 / sqrt(size) (Johnson-Lindenstrauss). Nothing is fitted, so a vector never depends on the catalogue
that happened to be there, and vectors of two machines can be compared. Knows nothing of encoders.
"""

import numpy as np
from scipy.fft import dct

#: Part of what an encoder's id stands for: with another seed vectors could not be compared.
SEED = 1


def projection_id(length: int, size: int) -> str:
    """What an encoder's id ends with when its vectors of `length` are made to have `size` numbers; "" if they fit."""
    return "" if length <= size else f"-dct{size}.{SEED}"


def projected(vectors: np.ndarray, size: int) -> np.ndarray:
    """(N, min(D, size)) float32 of vectors (N, D); those that are short enough stay as they are."""
    length = vectors.shape[1]
    if length <= size:
        return vectors
    generator = np.random.Generator(np.random.PCG64(SEED))
    signs = generator.choice(np.array([-1.0, 1.0], np.float32), length)
    chosen = generator.permutation(length)[:size]
    scale = np.sqrt(length / size)  # what is left keeps the length that it had, on average
    return np.ascontiguousarray(dct(vectors * signs, axis=1, norm="ortho")[:, chosen] * scale, dtype=np.float32)
