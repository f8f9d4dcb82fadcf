"""The process in which questions are encoded: `python -m embedder.question_worker OPTIONS`, started by `questions`.

Loads the encoder, says so, and answers one question a line until standard input ends. Clips are decoded in a process of
their own again (`isolation`), pictures here, within a limit of their size.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from PIL import Image, ImageOps

from data.home import Home
from embedder.batch import EmbedSettings
from embedder.encoders import Encoder, EncoderError, TextTower, load_encoder
from embedder.encoding import encode_each
from embedder.isolation import DecodePool, WorkerStartError
from embedder.media import LONG_SIDE_LIMIT, SHORT_SIDE, Clip, MediaError, Reason

PICTURES = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 50_000_000
#: Seconds that a clip may take to be decoded.
DECODE_LIMIT_S = 20.0


def main() -> None:
    options = orjson.loads(sys.argv[1])
    settings, home = EmbedSettings.model_validate(options["settings"]), Home.at(Path(options["home"]))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    missing = ""
    encoder: Encoder | None = None
    try:
        one_thread = settings.encoder.model_copy(update={"threads": settings.encoder.threads or 1})
        encoder = load_encoder(one_thread, home, settings.decode)
    except EncoderError as error:
        missing = str(error)
    _say(answers, {"number": 0})
    for line in sys.stdin.buffer:
        question = orjson.loads(line)
        if encoder is None:
            answer: dict[str, Any] = {"trouble": "missing", "detail": missing}
        else:
            answer = _answer(encoder, settings, question)
        _say(answers, answer | {"number": question["number"]})


def _say(answers: BinaryIO, answer: dict[str, Any]) -> None:
    answers.write(orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY))
    answers.flush()


def _answer(encoder: Encoder, settings: EmbedSettings, question: dict[str, Any]) -> dict[str, Any]:
    try:
        if question["kind"] == "text":
            if not isinstance(encoder, TextTower):
                return _unsuitable(encoder, "understands no words")
            return {"encoder": encoder.id, "vector": encoder.encode_texts([question["text"]])[0]}
        if question["kind"] == "picture" and not encoder.wants.frames:
            return _unsuitable(encoder, "sees no pictures")
        if not encoder.wants.media:
            return _unsuitable(encoder, "neither sees nor hears")
        is_picture = question["kind"] == "picture"
        clip = _of_picture(question["path"], encoder) if is_picture else _of_clip(question["path"], encoder, settings)
        (vector,) = encode_each(encoder, [clip])
    except MediaError as error:
        return {"trouble": "unreadable", "detail": str(error)}
    except (EncoderError, WorkerStartError) as error:
        return {"trouble": "missing", "detail": str(error)}
    if isinstance(vector, MediaError):
        return {"trouble": "unreadable", "detail": str(vector)}
    return {"encoder": encoder.id, "vector": vector}


def _unsuitable(encoder: Encoder, why: str) -> dict[str, Any]:
    return {"trouble": "unsuitable", "detail": f"the encoder {encoder.id} {why}"}


def _of_clip(path: str, encoder: Encoder, settings: EmbedSettings) -> Clip:
    limits = (DECODE_LIMIT_S, settings.memory_limit_mb, settings.decode, encoder.wants.decoder)
    with DecodePool(1, *limits) as pool:
        sample = pool.read(path, encoder.wants)
    return Clip(sample.frames, sample.following, sample.sound)


def _of_picture(path: str, encoder: Encoder) -> Clip:
    """A clip in which nothing moves."""
    picture = _picture(path)
    frames = np.broadcast_to(picture, (encoder.wants.frames, *picture.shape))
    return Clip(frames, frames if encoder.wants.motion else None)


def _picture(path: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright, as large as frames of videos are. Raises MediaError."""
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=PICTURES) as opened:
                picture = ImageOps.exif_transpose(opened).convert("RGB")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise MediaError(Reason.TOO_LARGE, f"a picture of more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # of whichever codec, about bytes of a stranger
        raise MediaError(Reason.UNDECODABLE, "the picture cannot be read: it is damaged or cut off") from error
    factor = SHORT_SIDE / min(picture.size)
    width, height = (min(round(side * factor), LONG_SIDE_LIMIT) for side in picture.size)
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX))


if __name__ == "__main__":
    main()
