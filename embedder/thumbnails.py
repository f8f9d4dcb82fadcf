"""One still picture of a video: the sharpest of its typical frames, as a JPEG.

Knows nothing of files with videos in them: it chooses among the frames that the encoder sees anyway.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from data.embeddings import folder_name
from data.files import replacing
from data.home import Home

#: Thumbnails fit into this square: 16 : 9 gives about 480 x 270. Smaller frames are not enlarged.
BOX = (480, 480)
QUALITY = 85
#: Mean brightness of a picture that shows something; darker is black, brighter is a white card.
BRIGHTNESS = (16.0, 240.0)
#: Deviation of brightness below which a frame is one flat colour.
FLAT = 6.0
#: Four shades of each of red, green and blue.
COLOURS = 64
#: A frame is typical when at most this share of its pixels (or what the median frame has) would have to change
#: their colour for it to look like the video's usual frame.
TYPICAL_WITHIN = 0.25


def thumbnail_path(home: Home, video_id: str) -> Path:
    """Where the thumbnail of a video is (or would be)."""
    return home.thumbnails / f"{folder_name(video_id)}.jpg"


def write_thumbnail(home: Home, video_id: str, frames: np.ndarray) -> Path:
    """Writes the thumbnail of a video from its frames (T, H, W, 3) uint8 RGB; replaces an older one at once."""
    path = thumbnail_path(home, video_id)
    picture = Image.fromarray(frames[representative_frame(frames)])
    picture.thumbnail(BOX, Image.Resampling.LANCZOS)
    with replacing(path) as file:
        picture.save(file, "JPEG", quality=QUALITY, optimize=True)
    return path


def representative_frame(frames: np.ndarray) -> int:
    """The number of the frame that stands for the video, of frames (T, H, W, 3) uint8.

    Black, white and flat frames are left out where others exist. Of the rest those count as typical whose
    colours are spread much as they usually are in this video, and the sharpest of those is taken.
    """
    grey = frames[:, ::2, ::2].mean(axis=3, dtype=np.float32)
    brightness, contrast = grey.mean(axis=(1, 2)), grey.std(axis=(1, 2))
    shows = (brightness > BRIGHTNESS[0]) & (brightness < BRIGHTNESS[1]) & (contrast > FLAT)
    candidates = np.flatnonzero(shows) if shows.any() else np.arange(len(frames))
    colours = _coarse_colours(frames[candidates])
    histograms = np.stack([np.bincount(pixels, minlength=COLOURS) for pixels in colours])
    differing = np.abs(histograms - np.median(histograms, axis=0)).sum(axis=1) / (2 * colours.shape[1])
    typical = candidates[differing <= max(TYPICAL_WITHIN, float(np.median(differing)))]
    return int(typical[np.argmax([_sharpness(grey[number]) for number in typical])])


def _coarse_colours(frames: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 -> for every fourth pixel each way one of `COLOURS` colours: (T, pixels) int64."""
    quarters = (frames[:, ::4, ::4] >> 6).astype(np.int64)
    return (quarters @ np.array([16, 4, 1])).reshape(len(frames), -1)


def _sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian."""
    centre = 4 * grey[1:-1, 1:-1]
    return float((centre - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]).var())
