"""How a media sample crosses the pipe between a decode worker and its parent: a JSON header, then the arrays' bytes.

Knows neither PyAV nor processes: both sides import it.
"""

from dataclasses import asdict
from typing import Any

import numpy as np

from embedder.media import MediaInfo, MediaSample, Quality

ARRAYS = ("frames", "following", "sound", "times")


def as_message(sample: MediaSample) -> tuple[dict[str, Any], list[np.ndarray]]:
    """(header, arrays in the order in which their bytes follow it)."""
    arrays = {name: getattr(sample, name) for name in ARRAYS if getattr(sample, name) is not None}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    header = {
        "info": asdict(sample.info),
        "decoded": sample.decoded,
        "distinct": sample.distinct,
        "quality": sample.quality,
        "mode": sample.mode,
        "decoder": sample.decoder,
        "arrays": [[name, array.dtype.str, array.shape] for name, array in arrays.items()],
        "bytes": sum(array.nbytes for array in arrays.values()),
    }
    return header, list(arrays.values())


def from_message(header: dict[str, Any], payload: bytearray) -> MediaSample:
    """The sample of a header and the bytes behind it."""
    arrays, start = {}, 0
    for name, dtype, shape in header["arrays"]:
        array = np.frombuffer(payload, dtype, int(np.prod(shape)), start).reshape(shape)
        arrays[name] = array
        start += array.nbytes
    return MediaSample(
        MediaInfo(**header["info"]),
        decoded=header["decoded"],
        distinct=header["distinct"],
        quality=Quality(header["quality"]),
        mode=header["mode"],
        decoder=header["decoder"],
        **arrays,
    )
