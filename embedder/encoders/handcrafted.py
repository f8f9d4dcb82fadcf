"""The classic features of computer vision as an encoder: colour, texture, shape and motion, without any weights.

What each number says can be named, it needs no network and no GPU, and it sees what networks that were trained on
still objects do not: how much moves, and where to. OpenCV does the pictures, NumPy the co-occurrences. Knows nothing
of networks.
"""

from collections.abc import Sequence

import numpy as np

from embedder.decode_settings import USUAL_SAMPLING, Sampling
from embedder.encoders import EncoderError
from embedder.encoders.blocks import joined
from embedder.encoders.pooling import normalised
from embedder.encoders.projection import projected, projection_id
from embedder.media import SHORT_SIDE, Clip, Wanted

#: Part of the encoder's id: count it up when a feature changes.
VERSION = 1
#: Bins of hue, saturation and value.
HISTOGRAM_BINS = (12, 4, 4)
GLCM_LEVELS = 32
#: (down, right) steps of the co-occurrences: 0, 45, 90 and 135 degrees, one pixel away.
GLCM_STEPS = ((0, 1), (-1, 1), (-1, 0), (-1, -1))
#: Pixels of the short side on which motion is looked for: what is smaller does not matter, and it is quick.
FLOW_SHORT_SIDE = 128
FLOW_DIRECTIONS = 8
FLOW_GRID = 3
#: Pixels of motion (of `FLOW_SHORT_SIDE`) from which something moves.
MOVING = 0.5

#: Where each single number usually lies and how far it spreads: (centre, spread), so that all of them count alike.
#: Rounded from 183 short real clips; fixed, so that a vector never depends on the catalogue.
USUAL = {
    "colour_moments": (
        *((0.45, 0.2), (0.2, 0.12), (0.5, 0.12)),
        *((0.17, 0.1), (0.08, 0.04), (0.11, 0.04)),
        *((0.0, 3.0), (1.5, 1.5), (-1.0, 1.5)),
    ),
    "texture": ((0.3, 0.1), (0.45, 0.1), (0.06, 0.02)),
    "contours": ((2.5, 1.5), (0.75, 0.2), (0.7, 0.15), (0.75, 0.2)),
    "hu": ((0.28, 0.01), (0.67, 0.05), (1.15, 0.1), (1.1, 0.1), (2.3, 0.2), (1.5, 0.1), (2.3, 0.2)),
    "motion": ((0.4, 0.4), (0.45, 0.4), (0.25, 0.35), (0.9, 0.7), (0.25, 0.3)),
}


class HandcraftedEncoder:
    """Implements `encoders.Encoder` on the CPU; raises EncoderError where OpenCV is not installed."""

    device = "cpu"
    licence = "none needed: there are no weights"

    def __init__(self, sampling: Sampling = USUAL_SAMPLING, dim: int = 1280) -> None:
        try:
            import cv2
        except ImportError as error:
            raise EncoderError("handcrafted needs OpenCV: pip install 'watchnext[encoders]'") from error
        self.wants = Wanted(frames=sampling.frames, motion=True, decoder=sampling.decoder)
        still = np.zeros((1, SHORT_SIDE, SHORT_SIDE, 3), np.uint8)
        long = len(_video_features(still, still))
        self.dim = min(long, dim)
        self.id = f"handcrafted-v{VERSION}/opencv-{cv2.__version__}/{sampling.id}"
        self.id += projection_id(long, dim)

    def encode(self, clips: Sequence[Clip]) -> np.ndarray:
        """(N, dim) float32, each row of length 1, from frames and following frames of N clips.

        Raises ValueError for a clip that lacks one of them.
        """
        if not clips:
            return np.zeros((0, self.dim), np.float32)
        rows = []
        for clip in clips:
            if clip.frames is None or clip.following is None or len(clip.frames) == 0:
                raise ValueError("a clip needs frames (T, H, W, 3) and following frames of the same shape")
            rows.append(_video_features(clip.frames, clip.following))
        return normalised(projected(np.stack(rows), self.dim))


def _video_features(frames: np.ndarray, following: np.ndarray) -> np.ndarray:
    """One vector (D,) float32 of a video: what its frames are like on average, and how much that varies."""
    hsv, grey = hsv_pictures(frames), grey_pictures(frames)
    histograms = colour_histograms(hsv)
    motion, directions, places = motion_features(grey, grey_pictures(following))
    singles = {
        "colour_moments": colour_moments(hsv),
        "texture": texture_features(grey),
        "contours": contour_features(grey),
        "hu": hu_moments(grey),
        "motion": motion,
    }
    # Square roots: the inner product of two histograms is then their Bhattacharyya coefficient.
    blocks = [
        np.sqrt(histograms.mean(axis=0)),
        np.abs(np.diff(histograms, axis=0, append=histograms[-1:])).mean(axis=0),
    ]
    for name, values in singles.items():
        centre, spread = np.array(USUAL[name], np.float32).T
        scaled = np.clip((values - centre) / spread, -3, 3)
        blocks += [scaled.mean(axis=0), scaled.std(axis=0)]
    blocks += [np.sqrt(directions.mean(axis=0)), np.sqrt(places.mean(axis=0)), places.std(axis=0)]
    return joined(blocks)


def grey_pictures(frames: np.ndarray) -> np.ndarray:
    """(T, H, W) uint8 luminance of frames (T, H, W, 3) uint8 RGB."""
    import cv2

    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])


def hsv_pictures(frames: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 hue (0..179), saturation and value (0..255) of frames (T, H, W, 3) uint8 RGB."""
    import cv2

    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2HSV) for frame in frames])


def colour_histograms(hsv: np.ndarray) -> np.ndarray:
    """(T, 192) float32: the share of each picture's pixels in each bin of hue x saturation x value; rows sum to 1."""
    import cv2

    ranges = [0, 180, 0, 256, 0, 256]
    counts = [cv2.calcHist([picture], [0, 1, 2], None, list(HISTOGRAM_BINS), ranges).reshape(-1) for picture in hsv]
    histograms = np.stack(counts)
    return np.asarray(histograms / histograms.sum(axis=1, keepdims=True), np.float32)


def colour_moments(hsv: np.ndarray) -> np.ndarray:
    """(T, 9) float32: mean, deviation and skewness of hue, saturation and value, each 0..1 (Stricker & Orengo 1995)."""
    # From the counts of the 256 possible values: a hundredth of the work that the pixels would be.
    count = len(hsv)
    channel = np.arange(3 * count).reshape(count, 1, 1, 3) * 256
    counts = np.bincount((hsv + channel).reshape(-1), minlength=3 * count * 256).reshape(count, 3, 256)
    shares = counts / counts.sum(axis=2, keepdims=True)
    values = np.arange(256) / np.array([180, 255, 255])[:, None]
    mean = (shares * values).sum(axis=2)
    off = values - mean[..., None]
    deviation = np.sqrt((shares * off**2).sum(axis=2))
    skewness = (shares * off**3).sum(axis=2) / np.maximum(deviation, 1e-2) ** 3
    return np.concatenate([mean, deviation, skewness], axis=1).astype(np.float32)


def co_occurrences(grey: np.ndarray) -> np.ndarray:
    """(T, 4, 32, 32) float64: how often two grey levels are neighbours at 0, 45, 90 and 135 degrees, symmetric, each
    matrix sums to 1 (Haralick 1973). `grey`: (T, H, W) uint8."""
    levels = (grey.astype(np.int64) * GLCM_LEVELS) >> 8
    count, height, width = levels.shape
    frame = (np.arange(count) * GLCM_LEVELS**2)[:, None, None]
    matrices = np.empty((count, len(GLCM_STEPS), GLCM_LEVELS, GLCM_LEVELS))
    for number, (down, right) in enumerate(GLCM_STEPS):
        here = levels[:, max(-down, 0) :, max(-right, 0) : width - max(right, 0)]
        there = levels[:, : height + down, max(right, 0) : width - max(-right, 0)]
        codes = frame + here * GLCM_LEVELS + there
        counts = np.bincount(codes.reshape(-1), minlength=count * GLCM_LEVELS**2)
        counts = counts.reshape(count, GLCM_LEVELS, GLCM_LEVELS)
        symmetric = (counts + counts.swapaxes(1, 2)).astype(np.float64)
        matrices[:, number] = symmetric / np.maximum(symmetric.sum(axis=(1, 2), keepdims=True), 1)
    return matrices


def glcm_properties(matrices: np.ndarray) -> np.ndarray:
    """(..., 3) energy 0..1, entropy in nats, contrast in squared grey levels, of matrices (..., L, L)."""
    steps = np.arange(matrices.shape[-1])
    squares = (steps[:, None] - steps) ** 2
    energy = np.sqrt((matrices**2).sum(axis=(-2, -1)))
    entropy = -(matrices * np.log(np.where(matrices > 0, matrices, 1))).sum(axis=(-2, -1))
    return np.stack([energy, entropy, (matrices * squares).sum(axis=(-2, -1))], axis=-1)


def texture_features(grey: np.ndarray) -> np.ndarray:
    """(T, 3) float32, each about 0..1: energy, entropy and contrast of the co-occurrences, the mean over four
    directions, so that a picture and its mirror image are alike."""
    energy, entropy, contrast = np.moveaxis(glcm_properties(co_occurrences(grey)).mean(axis=1), 1, 0)
    scaled = [energy, entropy / (2 * np.log(GLCM_LEVELS)), np.log1p(contrast) / (2 * np.log(GLCM_LEVELS))]
    return np.stack(scaled, axis=1).astype(np.float32)


def contour_features(grey: np.ndarray) -> np.ndarray:
    """(T, 4) float32 of the shapes that Otsu's threshold parts from their background: log(1 + number), share of the
    picture that they cover, log(1 + their outline in picture sides), share of the picture of the largest."""
    import cv2

    rows = []
    for picture in grey:
        _, mask = cv2.threshold(picture, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        areas = np.array([cv2.contourArea(outline) for outline in outlines] or [0.0])
        outline = sum(cv2.arcLength(outline, True) for outline in outlines)
        side = np.sqrt(picture.size)
        shares = areas / picture.size
        rows.append([np.log1p(len(outlines)), shares.sum(), np.log1p(outline / side) / 3, shares.max()])
    return np.array(rows, np.float32)


def hu_moments(grey: np.ndarray) -> np.ndarray:
    """(T, 7) float32: Hu's moments, which turning, scaling and moving a shape do not change (Hu 1962), as
    -log10 |h| / 10; 0 for a black picture."""
    import cv2

    moments = np.array([cv2.HuMoments(cv2.moments(picture)).reshape(-1) for picture in grey])
    sizes = np.abs(moments)
    return np.where(sizes > 0, -np.log10(np.maximum(sizes, 1e-30)) / 10, 0).astype(np.float32)


def motion_features(now: np.ndarray, following: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What moves between each grey picture (T, H, W) uint8 and its following one, from dense optical flow
    (DIS, Kroeger et al. 2016).

    (T, 5) float32 of the flow's magnitude: log(1 + mean), log(1 + deviation), log(1 + median), log(1 + 95th
    percentile), in pixels of a picture with the short side 128, and the share of it that moves;
    (T, 8) float32: how much of the motion goes into each direction, 0 where nothing moves;
    (T, 9) float32: how much of it happens in each part of a 3 x 3 grid, 0 where nothing moves.
    """
    import cv2

    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    height, width = now.shape[1:]
    factor = FLOW_SHORT_SIDE / min(height, width)
    size = (round(width * factor), round(height * factor))
    rows, directions, places = [], [], []
    for pair in zip(now, following, strict=True):
        small = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pair]
        vectors = flow.calc(small[0], small[1], None)  # type: ignore[call-overload]
        magnitude, angle = cv2.cartToPolar(vectors[..., 0], vectors[..., 1])
        median, high = np.percentile(magnitude, [50, 95])
        rows.append([*np.log1p([magnitude.mean(), magnitude.std(), median, high]), (magnitude > MOVING).mean()])
        moving = np.where(magnitude > MOVING, magnitude, 0)
        # Sectors lie around right, down, left, up: motion that goes straight right falls into one of them.
        sector = np.round(angle * FLOW_DIRECTIONS / (2 * np.pi)).astype(np.int64) % FLOW_DIRECTIONS
        directions.append(np.bincount(sector.reshape(-1), moving.reshape(-1), FLOW_DIRECTIONS))
        places.append(cv2.resize(moving, (FLOW_GRID, FLOW_GRID), interpolation=cv2.INTER_AREA).reshape(-1))
    return np.array(rows, np.float32), _shares(np.array(directions)), _shares(np.array(places))


def _shares(amounts: np.ndarray) -> np.ndarray:
    total = amounts.sum(axis=1, keepdims=True)
    return np.where(total > 0, amounts / np.where(total > 0, total, 1), 0).astype(np.float32)
