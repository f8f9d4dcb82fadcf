"""The words that a video is described by, as short codes: small enough to keep for every video.

Words are hashed into buckets (Weinberger et al.: Feature Hashing for Large Scale Multitask Learning, 2009). Knows no
language: what is common or rare is for others to tell.
"""

import re
import zlib
from collections.abc import Iterable
from itertools import islice

import numpy as np

#: Different words of a video that are kept: of its tags first, then of its title, then of its description.
WORDS_KEPT = 24
BUCKETS = 65_535
#: The code where a video has no more words.
NO_WORD = BUCKETS
_WORD = re.compile(r"\w{3,}")


def word_codes(texts: Iterable[str]) -> np.ndarray:
    """(24,) uint16: the buckets of the first different words of three letters or more, whatever their case."""
    found = (word for text in texts for word in _WORD.findall(text.casefold()))
    buckets = dict.fromkeys(zlib.crc32(word.encode()) % BUCKETS for word in islice(found, 10 * WORDS_KEPT))
    codes = np.full(WORDS_KEPT, NO_WORD, np.uint16)
    kept = list(islice(buckets, WORDS_KEPT))
    codes[: len(kept)] = kept
    return codes
