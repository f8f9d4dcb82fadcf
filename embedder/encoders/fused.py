"""Several encoders as one: each part's vector, shortened and weighted, one behind the other.

The inner product of two videos is then the weighted mean of how alike their parts are. A part that a video lacks (no
sound track, no text) is zero and takes no part; the others count for more. Knows nothing of what the parts look at.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from embedder.encoders import Encoder, EncoderError, TextTower
from embedder.encoders.pooling import normalised
from embedder.encoders.projection import projected
from embedder.media import PYAV, Clip, Wanted


class FusedEncoder:
    """Implements `encoders.Encoder`; its text tower is that of its parts (see `with_text_tower`)."""

    def __init__(self, parts: Mapping[str, tuple[Encoder, float]], dim: int = 1280) -> None:
        """`parts`: name -> (encoder, weight > 0), at least one. `dim`: length of a vector at most.

        Raises EncoderError when the parts look at different numbers of frames.
        """
        self._encoders = [encoder for encoder, _ in parts.values()]
        weights = np.array([weight for _, weight in parts.values()], np.float32)
        self._scales = np.sqrt(weights / weights.sum())
        self._dims = shares_of(dim, [encoder.dim for encoder in self._encoders])
        self.dim = sum(self._dims)
        wants = [encoder.wants for encoder in self._encoders]
        self.wants = Wanted(
            frames=max(want.frames for want in wants),
            motion=any(want.motion for want in wants),
            sound=any(want.sound for want in wants),
            text=any(want.text for want in wants),
            decoder=next((want.decoder for want in wants if want.frames), PYAV),
        )
        frames = {want.frames for want in wants if want.frames}
        if len(frames) > 1:
            raise EncoderError(
                f"the parts of a fused encoder look at the same number of frames, these at {sorted(frames)}:"
                " set embed.encoder.frames to that of the video model"
            )
        self.device = "+".join(sorted({encoder.device for encoder in self._encoders}))
        self.licence = ", ".join(dict.fromkeys(encoder.licence for encoder in self._encoders))
        whole = "|".join(
            f"{encoder.id}*{scale:.6f}:{dim}"
            for encoder, scale, dim in zip(self._encoders, self._scales, self._dims, strict=True)
        )
        named = "+".join(f"{name.removeprefix('efficientnet-')[:24]}*{weight:g}" for name, (_, weight) in parts.items())
        self.id = f"fused/{named[:160]}/{hashlib.sha256(whole.encode()).hexdigest()[:12]}"

    def encode(self, clips: Sequence[Clip]) -> np.ndarray:
        """(N, dim) float32, each row of length 1, of N clips. Raises ValueError for a clip that no part can encode."""
        fused = np.zeros((len(clips), self.dim), np.float32)
        start = 0
        for encoder, scale, dim in zip(self._encoders, self._scales, self._dims, strict=True):
            rows = [row for row, clip in enumerate(clips) if _has_what(encoder.wants, clip)]
            if rows:
                vectors = encoder.encode([clips[row] for row in rows])
                fused[rows, start : start + dim] = scale * normalised(projected(vectors, dim))
            start += dim
        if len(fused) and not np.all(np.abs(fused).max(axis=1) > 0):
            raise ValueError("a clip has nothing that a part of this encoder asks for")
        return normalised(fused)

    def _encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        fused = np.zeros((len(texts), self.dim), np.float32)
        start = 0
        for encoder, scale, dim in zip(self._encoders, self._scales, self._dims, strict=True):
            if isinstance(encoder, TextTower):
                fused[:, start : start + dim] = scale * normalised(projected(encoder.encode_texts(texts), dim))
            start += dim
        return normalised(fused)


class FusedEncoderWithText(FusedEncoder):
    """With a text tower: what is asked in words is compared with the parts that understand words."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(N, dim) float32, each row of length 1; zero in the parts that understand no words."""
        return self._encode_texts(texts)


def fused(parts: Mapping[str, tuple[Encoder, float]], dim: int = 1280) -> FusedEncoder:
    """The parts as one encoder, with a text tower if one of them has one. Raises EncoderError."""
    towers = any(isinstance(encoder, TextTower) for encoder, _ in parts.values())
    return (FusedEncoderWithText if towers else FusedEncoder)(parts, dim)


def shares_of(dim: int, lengths: Sequence[int]) -> list[int]:
    """How many of `dim` numbers each part gets: none more than its own length, the rest evenly."""
    shares = [0] * len(lengths)
    left = dim
    for place, number in enumerate(sorted(range(len(lengths)), key=lambda part: lengths[part])):
        shares[number] = min(lengths[number], left // (len(lengths) - place))
        left -= shares[number]
    return shares


def _has_what(wants: Wanted, clip: Clip) -> bool:
    return (
        (wants.frames > 0 and clip.frames is not None)
        or (wants.sound and clip.sound is not None)
        or (wants.text and bool(clip.text.strip()))
    )
