"""What is heard in a file: mono, of a long sound windows from all over it. Knows PyAV."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from embedder.decode.container import INDEXED, middles_of_parts, opened_container
from embedder.media import SOUND_LIMIT_S, SOUND_RATE, SOUND_WINDOW_S, MediaError, MediaInfo, Reason

#: Sound formats in which seeking is cheap. In the others only the beginning of a long sound is read.
SEEKABLE_SOUND = INDEXED | {"wav", "flac", "mp3"}


def read_sound(path: Path) -> tuple[MediaInfo, np.ndarray | None]:
    """The sound of a file as `MediaSample.sound` has it: None without a sound track, or when all of it is silent."""
    with opened_container(path) as container:
        track = next(iter(container.streams.audio), None)
        duration = container.duration / av.time_base if container.duration else None
        name = track.codec_context.name if track is not None and track.codec_context is not None else ""
        info = MediaInfo(container.format.name, name, 0, 0, duration, None, has_audio=bool(name))
        if track is None or not name:
            return info, None
        start = (container.start_time or 0) / av.time_base
        windows = [(start, SOUND_LIMIT_S)]
        if duration is not None and duration > SOUND_LIMIT_S and container.format.name in SEEKABLE_SOUND:
            count = int(SOUND_LIMIT_S / SOUND_WINDOW_S)
            windows = [
                (middle - SOUND_WINDOW_S / 2, SOUND_WINDOW_S) for middle in middles_of_parts(start, duration, count)
            ]
        parts = [part for window in windows for part in _heard(container, track, *window, seek=len(windows) > 1)]
    sound = np.nan_to_num(np.concatenate(parts)) if parts else np.zeros(0, np.float32)
    return info, np.clip(sound, -1, 1) if sound.any() else None


def _heard(
    container: InputContainer, track: AudioStream, start: float, seconds: float, seek: bool
) -> Iterator[np.ndarray]:
    """Pieces (S,) float32 of the sound from `start` on, `seconds` in all at most; damaged packets are left out."""
    resampler = AudioResampler(format="flt", layout="mono", rate=SOUND_RATE)
    missing = int(seconds * SOUND_RATE)
    try:
        if seek:
            container.seek(int(start * av.time_base))
        for packet in container.demux(track):
            for frame in _decoded_sound(packet, resampler):
                if seek and frame.time is not None and frame.time < start - 1 / SOUND_RATE:
                    continue
                piece = frame.to_ndarray().reshape(-1)[:missing].astype(np.float32)
                missing -= len(piece)
                yield piece
                if missing <= 0:
                    return
    except MemoryError as error:
        raise MediaError(Reason.OUT_OF_MEMORY, "decoding its sound needs more memory than the limit") from error
    except av.FFmpegError:
        return  # the end of what can be read


def _decoded_sound(packet: "Packet[AudioStream]", resampler: AudioResampler) -> list[AudioFrame]:
    try:
        return [small for frame in packet.decode() for small in resampler.resample(frame)]
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError):  # damaged, or its format changes midway
        return []
