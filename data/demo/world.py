"""Puts the demo world together: the plan of the clips, their catalogue entries, the viewers' events.

Knows nothing of SQL or HTTP: what becomes of a world is for others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from data.demo.clips import ClipPlan, make_clips, plan_clips
from data.demo.genres import GENRES
from data.demo.viewers import DAY, DAYS, make_events
from data.schema import Video

#: The world's last moment, fixed so that the same seed is the same world on every day.
DEFAULT_END = datetime(2026, 11, 1, tzinfo=UTC).timestamp()

HELD_BACK_LABELS = 0.25  # of the clips have no label in the catalogue


@dataclass(frozen=True)
class World:
    """A small world to try the service with.

    `videos` are catalogue entries with absolute media paths. `true_labels` knows the genre of every video;
    `held_back` names those (about a quarter of each genre) whose catalogue entry has no label, to measure labels on.
    `events` has the columns of `data.schema.Event`, ascending by time, None where a value is missing. Events from
    `cut` (seconds since 1970) on are the tail for offline evaluation.
    """

    videos: list[Video]
    true_labels: dict[str, str]
    held_back: list[str]
    events: pd.DataFrame
    cut: float


def describe(plans: Sequence[ClipPlan], folder: Path, seed: int, end: float) -> tuple[list[Video], list[str]]:
    """The catalogue entries of the planned clips and the ids of those without a label.

    Publication is spread over the eight months before `end`; a few entries have a window, a region or a minimum age.
    """
    rng = np.random.default_rng([seed, 4])
    folder = folder.resolve()
    held_back = _choose_held_back(plans, rng)
    videos = []
    for plan in plans:
        genre = GENRES[plan.genre]
        part, row = divmod(plan.number, len(genre.titles))
        # Half of the shelf is there when the viewers arrive, the other half comes while they watch.
        age_days = rng.uniform(DAYS, 2 * DAYS) if rng.random() < 0.55 else rng.uniform(1, DAYS)
        published = round(end - float(age_days) * DAY)
        window = rng.random()
        in_series = genre.series is not None and plan.number < genre.episodes
        opening = genre.openings[rng.integers(len(genre.openings))]
        ending = genre.endings[rng.integers(len(genre.endings))]
        tags = rng.choice(genre.tags, size=int(rng.integers(3, 7)), replace=False)
        regional, restricted = rng.random() < 0.03, rng.random() < 0.3
        videos.append(
            Video(
                id=plan.id,
                title=genre.titles[row] + (f", Part {part + 1}" if part else ""),
                description=f"{opening} {ending}",
                tags=tags.tolist(),
                labels=[] if plan.id in held_back else [genre.label],
                duration_s=round(plan.duration_s, 3),
                published_at=published,
                # Licences that began at the publication; those of the first kind have ended by now.
                available_from=published if window < 0.03 else None,
                available_until=end - 5 * DAY
                if window < 0.015 and age_days > 30
                else (end + 60 * DAY if window < 0.03 else None),
                regions=["DE", "FR", "GB"] if regional else [],
                rating=genre.rating if restricted else None,
                creator=genre.creators[rng.integers(len(genre.creators))],
                series=genre.series if in_series else None,
                episode=plan.number + 1 if in_series else None,
                media_path=str(plan.path(folder)),
            )
        )
    return videos, [plan.id for plan in plans if plan.id in held_back]


def _choose_held_back(plans: Sequence[ClipPlan], rng: np.random.Generator) -> set[str]:
    """A quarter of the clips, the same share of every genre as far as it can be divided."""
    order = rng.permutation(len(plans))
    taken: dict[int, int] = {}
    ranked = []
    for at in order.tolist():
        genre = plans[at].genre
        rank = taken[genre] = taken.get(genre, 0) + 1
        ranked.append((rank, at))
    ranked.sort()
    # The first of each genre keeps its label: a genre without any example could not be learned.
    chosen = [at for rank, at in ranked if rank > 1][: round(HELD_BACK_LABELS * len(plans))]
    return {plans[at].id for at in chosen}


def make_world(
    folder: Path,
    clips: int = 200,
    viewers: int = 500,
    seed: int = 7,
    workers: int | None = None,
    end: float = DEFAULT_END,
) -> World:
    """Draws the clips into `folder` (those that are there already are kept) and lets the viewers watch them.

    `workers` is the number of drawing processes, None for one on each core. `end` (seconds since 1970) is the
    world's last moment; another value moves all times and changes nothing else of weight. The same
    arguments give the same world.
    """
    plans = plan_clips(clips, seed)
    make_clips(plans, folder, workers)
    videos, held_back = describe(plans, folder, seed, end)
    true_labels = {plan.id: GENRES[plan.genre].label for plan in plans}
    events, cut = make_events(videos, true_labels, viewers, seed, end)
    return World(videos, true_labels, held_back, events, cut)
