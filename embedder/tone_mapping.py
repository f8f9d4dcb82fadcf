"""From pictures in HDR to what an SDR screen would show of them: networks have learnt from such pictures.

Knows nothing of files or decoders.
"""

from typing import Literal

import numpy as np

Transfer = Literal["pq", "hlg"]

#: Luminance, in cd/m2, of a white sheet of paper in HDR pictures (ITU-R BT.2408): the white of an SDR screen.
DIFFUSE_WHITE = 203.0
#: Luminance, in cd/m2, of the screen that HLG is mastered on, and the exponent of its OOTF (ITU-R BT.2100).
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2
#: Light of an SDR screen up to which nothing is changed; what is brighter is rolled off towards 1.
KNEE = 0.8
#: Exponent of an SDR screen (ITU-R BT.1886).
SDR_GAMMA = 2.4
#: ITU-R BT.2087, linear light of BT.2020 primaries to BT.709's.
BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
LUMINANCE_OF_BT2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)


def tone_mapped(pixels: np.ndarray, transfer: Transfer, wide: bool = True) -> np.ndarray:
    """(H, W, 3) uint8 as on an SDR screen, of (H, W, 3) uint16 RGB as coded for HDR.

    `wide`: whether the primaries are those of BT.2020, otherwise they are BT.709's. Up to 0.8 of diffuse white a
    picture looks as if it had been mastered in SDR; highlights keep their hue.
    """
    signal = pixels.astype(np.float32) / 65535
    light = (_light_of_pq(signal) if transfer == "pq" else _light_of_hlg(signal)) / DIFFUSE_WHITE
    if wide:
        light = light @ BT2020_TO_BT709.T
    light = np.maximum(light, 0)
    brightest = light.max(axis=2, keepdims=True)
    above = np.maximum(brightest - KNEE, 0) / (1 - KNEE)
    rolled_off = np.minimum(brightest, KNEE) + (1 - KNEE) * (1 - np.exp(-above))
    light *= rolled_off / np.maximum(brightest, 1e-6)
    return (np.clip(light, 0, 1) ** (1 / SDR_GAMMA) * 255).round().astype(np.uint8)


def _light_of_pq(signal: np.ndarray) -> np.ndarray:
    """cd/m2 of a signal 0..1 (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = signal ** (1 / m2)
    return 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


def _light_of_hlg(signal: np.ndarray) -> np.ndarray:
    """cd/m2 of a signal 0..1 on the screen that it is mastered on (ITU-R BT.2100)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = (scene @ LUMINANCE_OF_BT2020)[..., None]
    return HLG_PEAK * np.maximum(luminance, 1e-9) ** (HLG_GAMMA - 1) * scene
