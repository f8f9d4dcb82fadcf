"""Encoding many clips so that one that goes wrong costs itself: not its batch, and not the run.

An encoder that makes nothing of a clip is asked for a made one. If it fails at that too, it is broken, and no video is
to blame. Knows nothing of files or catalogues.
"""

import logging
from collections.abc import Sequence

import numpy as np

from embedder.encoders import Encoder, EncoderError
from embedder.media import SHORT_SIDE, SOUND_RATE, Clip, MediaError, Reason, Wanted

log = logging.getLogger(__name__)

#: How far from 1 the length of a vector may be.
TOLERANCE = 1e-3


def encode_each(encoder: Encoder, clips: Sequence[Clip]) -> list[np.ndarray | MediaError]:
    """For each clip its vector (dim,) float32 of length 1, or why there is none. Raises EncoderError when the encoder
    cannot encode at all."""
    try:
        vectors = list(encoder.encode(clips))
    except EncoderError:
        raise
    except Exception as error:
        if len(clips) > 1:
            return [each for clip in clips for each in encode_each(encoder, [clip])]
        log.exception("a clip cannot be encoded")
        return [_refusal(encoder, f"encoding it raised {error!r}")]
    return [
        vector
        if is_sound(vector)
        else _refusal(encoder, f"its vector has the length {np.linalg.norm(vector):g}, not 1")
        for vector in vectors
    ]


def is_sound(vector: np.ndarray) -> bool:
    """Whether it has length 1, which no vector has that is zero, infinite or not a number."""
    return bool(abs(np.linalg.norm(vector) - 1) < TOLERANCE)


def _refusal(encoder: Encoder, detail: str) -> MediaError:
    try:
        works = is_sound(encoder.encode([_made_clip(encoder.wants)])[0])
    except Exception as error:
        raise EncoderError(f"{encoder.id} fails at a made clip, too: {error!r}"[:300]) from error
    if not works:
        raise EncoderError(f"{encoder.id} gives no vector of length 1 of a made clip, either")
    return MediaError(Reason.NOT_ENCODABLE, detail[:300])


def _made_clip(wants: Wanted) -> Clip:
    """Noise to look at and to listen to, and some words."""
    noise = np.random.default_rng(1)
    shape = (max(wants.frames, 1), SHORT_SIDE, SHORT_SIDE, 3)
    frames, following = (noise.integers(0, 256, shape, dtype=np.uint8) for _ in range(2))
    sound = noise.uniform(-0.5, 0.5, SOUND_RATE).astype(np.float32)
    return Clip(
        frames if wants.frames else None,
        following if wants.motion else None,
        sound if wants.sound else None,
        "a made clip" if wants.text else "",
    )
