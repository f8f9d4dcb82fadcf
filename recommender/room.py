"""Is there room for a refresh? What it is likely to take, in memory and on disk, before it begins.

Sums over the arrays that the largest phase holds at once; measured beside `watchnext bench refresh`. Knows nothing of
how a release is built.
"""

from dataclasses import dataclass
from pathlib import Path

import psutil

from recommender.settings import RecommenderSettings

#: The libraries, and what no size changes.
PROCESS = 450e6
#: Of a video in the catalogue and in its view; of an event while the log is read and while it lies there as a pair.
PER_VIDEO, PER_EVENT_READ, PER_EVENT = 3_000, 320, 45
#: Of an event in the digest of the log.
PER_EVENT_KEPT = 39
#: Of a neighbour of a video while the strongest are chosen, and on disk; how many places later transitions reach.
PER_NEIGHBOUR, PER_NEIGHBOUR_STORED = 40, 8
#: Where Linux says what a container may take.
CONTAINER = Path("/sys/fs/cgroup")
#: Landmarks and warm videos of a content map, float64, several at once.
CONTENT_MAP = 20_000 * 1_000 * 8 * 6


@dataclass(frozen=True)
class Sizes:
    """What a refresh is about: counts, and the dimensions of a vector."""

    videos: int
    events: int
    viewers: int
    embeddings: int
    dim: int


@dataclass(frozen=True)
class Room:
    """Bytes that a refresh is likely to take, and that there are."""

    memory: float
    memory_there: float
    disk: float
    disk_there: float

    @property
    def lacks(self) -> str | None:
        """What there is too little of, in words; None where there is enough."""
        if self.memory > self.memory_there:
            return (
                f"memory: about {self.memory / 1e6:,.0f} MB are needed and {self.memory_there / 1e6:,.0f} MB are there"
                " (recommender.memory_mb sets what may be taken)"
            )
        if self.disk > self.disk_there:
            return f"disk: about {self.disk / 1e6:,.0f} MB are needed and {self.disk_there / 1e6:,.0f} MB are free"
        return None


def room_for(sizes: Sizes, settings: RecommenderSettings, folder: Path) -> Room:
    """folder: where releases are."""
    allowed = settings.memory_mb
    return Room(
        memory=memory_needed(sizes, settings),
        memory_there=memory_there() if allowed is None else allowed * 1e6,
        disk=disk_needed(sizes, settings),
        disk_there=psutil.disk_usage(str(folder)).free,
    )


def memory_needed(sizes: Sizes, settings: RecommenderSettings) -> float:
    factors = (sizes.viewers + sizes.videos) * settings.collaborative.factors * 4
    neighbours = _neighbours(sizes, settings) * PER_NEIGHBOUR
    vectors = sizes.embeddings * sizes.dim * 4
    square = sizes.videos**2 * 4 if sizes.videos < settings.item_item.below_videos else 0
    phases = (
        sizes.events * PER_EVENT_READ,
        sizes.events * 2 * 12 + 2 * factors,
        2 * square,
        neighbours,
        settings.index.bytes_for(sizes.embeddings, sizes.dim, "float16") + vectors,
        min(CONTENT_MAP, sizes.videos * 1_000 * 8 * 6) + vectors,
    )
    return PROCESS + sizes.videos * PER_VIDEO + sizes.events * PER_EVENT + max(phases)


def disk_needed(sizes: Sizes, settings: RecommenderSettings) -> float:
    lists = 2 if sizes.videos >= settings.item_item.below_videos else 3
    neighbours = lists * _neighbours(sizes, settings) * PER_NEIGHBOUR_STORED
    factors = sizes.videos * settings.collaborative.factors * (4 + 2)
    index = settings.index.bytes_for(sizes.embeddings, sizes.dim, settings.index.storage or "float32")
    # What was read of the log is replaced by what is: for a moment both are there.
    digest = 2 * sizes.events * PER_EVENT_KEPT
    return 10e6 + neighbours + factors + index + sizes.videos * 40 + digest


def _neighbours(sizes: Sizes, settings: RecommenderSettings) -> float:
    """Of all videos together at most: as many as are kept of each, and no more than its viewers have watched."""
    watched = sizes.events / max(sizes.viewers, 1)
    of_each = min(settings.walks.neighbours, sizes.videos, sizes.events / max(sizes.videos, 1) * watched)
    return sizes.videos * of_each


def memory_there() -> float:
    """What the system could give, and what a container may take."""
    free = float(psutil.virtual_memory().available)
    try:
        limit, used = (int((CONTAINER / f"memory.{name}").read_text()) for name in ("max", "current"))
        facts = dict(line.split() for line in (CONTAINER / "memory.stat").read_text().splitlines())
        # What was read from files is given back as soon as it is needed.
        used -= int(facts["inactive_file"]) + int(facts["active_file"])
    except (OSError, ValueError, KeyError):
        return free
    return min(free, float(max(limit - used, 0)))
