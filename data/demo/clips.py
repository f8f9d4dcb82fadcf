"""Draws clips and encodes them to H.264 files, several at a time; a clip that is already there is reused.

Knows nothing of catalogues, viewers or events.
"""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from data.demo.drawing import FRAME_HEIGHT, FRAME_WIDTH
from data.demo.genres import GENRES
from data.progress import progress

FRAMES_PER_SECOND = 24

#: Part of every clip's fingerprint; raise it when the drawing changes, so that folders of older clips are redrawn.
DRAWING_VERSION = 1

#: Some clips end with a cutaway to another genre, as real videos do: labels must not be too easy to find. It is the
#: shorter part, so that what is usual in the clip is its own genre.
CUTAWAY_CLIPS, CUTAWAY_SHARES = 0.15, (0.25, 0.42)

#: One keyframe a second: any moment is found by decoding at most 24 frames.
ENCODER_OPTIONS = {"preset": "superfast", "crf": "24", "g": "24"}


@dataclass(frozen=True)
class ClipPlan:
    """What is needed to draw one clip: the same plan gives the same bytes on the same machine."""

    id: str
    genre: int  # row of GENRES
    number: int  # counts the clips of one genre from 0
    frames: int
    seed: int
    cutaway: tuple[int, int] | None = None  # (row of GENRES, first frame): another genre from that frame on

    @property
    def duration_s(self) -> float:
        return self.frames / FRAMES_PER_SECOND

    @property
    def fingerprint(self) -> str:
        """Stands in the file's comment and says which plan it was drawn from."""
        return f"watchnext demo {DRAWING_VERSION} seed {self.seed} {self.id} {self.frames} {self.cutaway}"

    def path(self, folder: Path) -> Path:
        return folder / f"{self.id}.mp4"


def plan_clips(clips: int, seed: int) -> list[ClipPlan]:
    """The plans of `clips` clips (4 to 6 s, most near 4.2 s), spread evenly over the genres."""
    if clips < 1:
        raise ValueError(f"a demo world has at least 1 clip, not {clips}")
    plans = []
    for i in range(clips):
        number, genre = divmod(i, len(GENRES))
        # A generator for each clip: a larger world begins with the clips of a smaller one.
        rng = np.random.default_rng([seed, 1, i])
        frames = round(FRAMES_PER_SECOND * (4 + 2 * float(rng.beta(0.8, 4.6))))
        cutaway = None
        if rng.random() < CUTAWAY_CLIPS:
            other = (genre + int(rng.integers(1, len(GENRES)))) % len(GENRES)
            cutaway = (other, round(frames * (1 - float(rng.uniform(*CUTAWAY_SHARES)))))
        slug = GENRES[genre].label.replace(" ", "-")
        plans.append(ClipPlan(f"{slug}-{number + 1:02d}", genre, number, frames, seed, cutaway))
    return plans


def is_complete(path: Path, plan: ClipPlan) -> bool:
    """Whether `path` holds the whole clip of this very plan."""
    try:
        with av.open(str(path)) as container:
            return container.metadata.get("comment") == plan.fingerprint and bool(container.streams.video)
    except (OSError, av.FFmpegError):
        return False


def encode_clip(plan: ClipPlan, folder: Path) -> None:
    """Draws the clip and writes `folder/<id>.mp4`; the name appears only when the file is whole."""
    rng = np.random.default_rng([plan.seed, 2, plan.genre, plan.number])
    draw = GENRES[plan.genre].scene(rng)
    aside = folder / f".{plan.id}.{os.getpid()}.tmp"
    try:
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(str(aside), "w", format="mp4", options=options) as container:
            container.metadata["comment"] = plan.fingerprint
            stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=ENCODER_OPTIONS)
            stream.width, stream.height, stream.pix_fmt = FRAME_WIDTH, FRAME_HEIGHT, "yuv420p"
            # One thread for a clip: the bytes do not depend on the machine's cores, and clips run side by side.
            stream.thread_count = 1
            for i in range(plan.frames):
                if plan.cutaway and i == plan.cutaway[1]:
                    draw = GENRES[plan.cutaway[0]].scene(rng)
                picture = draw(i / FRAMES_PER_SECOND)
                if picture.width != FRAME_WIDTH:
                    picture = picture.reduce(picture.width // FRAME_WIDTH)
                frame = av.VideoFrame.from_image(picture)
                frame.pts = i
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        aside.replace(plan.path(folder))
    finally:
        aside.unlink(missing_ok=True)


def make_clips(plans: Sequence[ClipPlan], folder: Path, workers: int | None = None) -> int:
    """Encodes the clips that `folder` does not hold yet and returns their number.

    `workers` is the number of processes (None: one for each core that this process may use; 1: this process alone,
    which starts at once and is right for a few clips). The processes are spawned, so a script that calls this
    needs the usual `if __name__ == "__main__"`. An interrupted call leaves whole clips only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [plan for plan in plans if not is_complete(plan.path(folder), plan)]
    workers = min(workers or len(os.sched_getaffinity(0)), len(missing))
    if not missing:
        return 0
    with progress("drawing clips", len(missing), "clips") as advance:
        if workers == 1:
            for plan in missing:
                encode_clip(plan, folder)
                advance()
            return len(missing)
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            # Longest first, so that no process sits idle while another begins a long clip at the end.
            tasks = [
                pool.submit(encode_clip, plan, folder)
                for plan in sorted(missing, key=lambda plan: plan.frames, reverse=True)
            ]
            try:
                for task in as_completed(tasks):
                    task.result()
                    advance()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return len(missing)
