"""From a file to frames and sound. The only room of the embedder that knows PyAV and torchcodec.

Knows nothing of time or memory limits, processes or encoders. It runs inside the processes of `isolation`:
libav parses what strangers uploaded, so nothing else should call it on files that are not trusted.
"""

from dataclasses import replace
from pathlib import Path

from embedder.decode.container import message, opened
from embedder.decode.pictures import read_pictures
from embedder.decode.sound import read_sound
from embedder.decode_settings import DecodeSettings
from embedder.media import PYAV, Decoder, MediaError, MediaInfo, MediaSample, Reason, Wanted

__all__ = ["fault_of", "probe", "read_media"]


def fault_of(decoder: Decoder) -> str | None:
    """Why a decoder cannot be used here, in a line: it has to read a made film, and right. None: it can."""
    if decoder == PYAV:
        return None
    try:
        from embedder.decode import hardware

        hardware.check(decoder)
    except Exception as error:  # of torch, torchcodec, CUDA, FFmpeg, or of loading their libraries
        return message(error)
    return None


def probe(path: Path | str, settings: DecodeSettings | None = None) -> MediaInfo:
    """What the container of a file says. Raises MediaError."""
    with opened(Path(path), settings or DecodeSettings()) as media:
        return media.info


def read_media(path: Path | str, wanted: Wanted, settings: DecodeSettings | None = None) -> MediaSample:
    """What is wanted of a file, as far as it has it: frames from the middles of equal parts of the video, and sound.

    A file that is damaged or cut off in part gives what can be read. Raises MediaError when it gives nothing that
    is wanted, and when it has pictures that cannot be decoded, whatever its sound is like; NotTakenError when another
    decoder than PyAV is wanted and this file is not for it.
    """
    settings = settings or DecodeSettings()
    path = Path(path)
    if not wanted.media:
        raise ValueError("neither frames nor sound are wanted")
    try:
        pictures = read_pictures(path, wanted, settings) if wanted.frames else None
    except MediaError as error:
        if error.reason is not Reason.NO_VIDEO_TRACK or not wanted.sound:
            raise
        pictures = None
    if not wanted.sound:
        assert pictures is not None
        return pictures
    info, sound = read_sound(path)
    if pictures is not None:
        return replace(pictures, sound=sound)
    if sound is None:
        if wanted.frames:
            raise MediaError(Reason.NO_VIDEO_TRACK, f"{info.container} with nothing to see or hear")
        raise MediaError(Reason.NO_SOUND, f"{info.container} with nothing to hear")
    return MediaSample(info, sound=sound)
