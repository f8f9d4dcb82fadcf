"""Viewers of the demo world and what they do: tastes, sessions, choices, likes, over 120 days.

The model, so that a reader knows what a recommender can hope to find:

* **Genre taste.** Viewers belong to a few hidden clusters that share genre affinities. Each viewer has 2 to 4
  favourite genres (Dirichlet shares) on top of that, and the country shifts the odds of genres.
* **Clip taste.** Clips and viewers have hidden factors beyond the genre (pace, mood, ...). A viewer's factors lie
  near those of the cluster: what neighbours liked says more than the genre alone.
* **Drift.** One of the favourites is given up for another in the course of the time, gradually.
* **Sessions.** Several videos in a row in the evening, in a mood for one genre; steps come from `home`, `up_next`
  or `search`. On a slate the eye goes from the top down, so high positions are chosen more often and what
  lies below the choice is not seen (no impression).
* **The catalogue.** Videos appear at their publication, are liked while fresh, differ in quality, and are
  offered only inside their window and region. A viewer rarely watches twice, never after a dislike.
* **Watching.** The fraction watched grows with enjoyment, a near-complete watch completes; likes, saves, shares and
  dislikes follow enjoyment. Some viewers come once, some nearly every day.

Knows nothing of clips, files or SQL.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.demo.genres import GENRES
from data.schema import EventType, Video

DAY = 86_400.0
DAYS = 120
HELD_BACK_SHARE = 0.15  # of the time, at its end, that is kept for evaluation

COUNTRIES = ("DE", "US", "JP", "BR", "FR", "GB", "IN")
COUNTRY_SHARES = (0.24, 0.24, 0.13, 0.13, 0.1, 0.09, 0.07)
UTC_OFFSETS = {"DE": 1, "US": -6, "JP": 9, "BR": -3, "FR": 1, "GB": 0, "IN": 5.5}  # hours

FIRST_NAMES = (
    "anna", "ben", "carla", "david", "elif", "felix", "grace", "hana", "ivan", "julia", "kenji", "lena",
    "mateo", "nora", "omar", "paula", "quentin", "rosa", "sam", "tara", "ugo", "vera", "wei", "xenia", "yuki",
    "zoe", "amara", "bruno", "chloe", "diego", "emma", "farid", "greta", "hugo", "ines", "jonas", "kira",
    "luca", "maya", "noah",
)  # fmt: skip

CLUSTERS, FACTORS, SLATE = 8, 6, 8
SEEN_PENALTY = 4.0  # in units of utility: a second watch is rare

COLUMNS = (
    "event_id", "user_id", "video_id", "type", "value", "duration_s", "occurred_at", "session_id", "request_id",
    "surface", "position", "country",
)  # fmt: skip

Floats = NDArray[np.float64]


@dataclass
class Shelf:
    """The catalogue as the simulation sees it; arrays of shape (videos,)."""

    ids: list[str]
    genre: NDArray[np.int64]
    duration_s: Floats
    opens: Floats  # seconds since 1970 from which it may be shown
    closes: Floats
    allowed: dict[str, NDArray[np.bool_]]  # country -> may be shown there
    quality: Floats
    factors: Floats  # (videos, FACTORS)


@dataclass
class Viewer:
    id: str
    country: str
    before: Floats  # log affinity to each genre, at the start
    after: Floats  # and at the end
    turns_at: float  # when the drift is half done, as a share of the time
    clip_taste: Floats  # (videos,)
    sessions: Floats  # start times, ascending
    seen: Floats = field(
        default_factory=lambda: np.empty(0)
    )  # (videos,) penalty: 0 new, SEEN_PENALTY watched, inf never

    def genre_taste(self, share: float) -> Floats:
        """Log affinity to each genre when `share` 0..1 of the time has passed."""
        moved = 1 / (1 + np.exp(-(share - self.turns_at) * 12))
        return (1 - moved) * self.before + moved * self.after


def _shelf(videos: list[Video], labels: dict[str, str], rng: np.random.Generator) -> Shelf:
    row = {genre.label: i for i, genre in enumerate(GENRES)}
    published = [video.published_at or 0.0 for video in videos]
    return Shelf(
        ids=[video.id for video in videos],
        genre=np.array([row[labels[video.id]] for video in videos]),
        duration_s=np.array([video.duration_s or 0.0 for video in videos]),
        opens=np.array([max(at, video.available_from or 0.0) for at, video in zip(published, videos, strict=True)]),
        closes=np.array([video.available_until or np.inf for video in videos]),
        allowed={
            country: np.array([not video.regions or country in video.regions for video in videos])
            for country in COUNTRIES
        },
        quality=rng.normal(0, 0.65, len(videos)),
        factors=rng.normal(0, 1 / np.sqrt(FACTORS), (len(videos), FACTORS)),
    )


def _softmax(logits: Floats) -> Floats:
    odds = np.exp(logits - logits.max())
    return np.asarray(odds / odds.sum())


def _session_times(rng: np.random.Generator, count: int, country: str, start: float, end: float, stays: bool) -> Floats:
    """Ascending start times of sessions: evenings of the viewer's country, none after `end`."""
    joined = rng.beta(0.7, 2.5) * 0.6
    shares = joined + (0.995 - joined) * rng.random(count)
    if stays and count > 1:  # most viewers of the past are viewers of the present
        shares[0] = rng.uniform(1 - HELD_BACK_SHARE, 0.995)
    day = np.floor(start / DAY) + np.floor(shares * DAYS)
    hour = np.clip(rng.normal(20.3, 2.4, count), 6, 23.8) - UTC_OFFSETS[country]
    return np.sort(np.clip(day * DAY + hour * 3600, start, end - 3600))


def _viewers(rng: np.random.Generator, count: int, shelf: Shelf, start: float, end: float) -> list[Viewer]:
    genres = len(GENRES)
    appeal = {country: np.array([dict(genre.countries).get(country, 0.0) for genre in GENRES]) for country in COUNTRIES}
    cluster_genres = rng.normal(0, 1.1, (CLUSTERS, genres))
    cluster_factors = rng.normal(0, 1, (CLUSTERS, FACTORS))

    def affinity(favourites: NDArray[np.int64], background: Floats) -> Floats:
        shares = 0.25 * background
        shares[favourites] += 0.75 * rng.dirichlet(np.full(len(favourites), 3.0))
        return np.asarray(np.log(shares + 0.006))

    viewers = []
    for i in range(count):
        cluster, country = int(rng.integers(CLUSTERS)), str(rng.choice(COUNTRIES, p=COUNTRY_SHARES))
        background = _softmax(cluster_genres[cluster] + appeal[country])
        favourites = rng.choice(genres, size=int(rng.integers(2, 5)), replace=False, p=background)
        moved = favourites.copy()
        others = np.setdiff1d(np.arange(genres), favourites)
        moved[rng.integers(len(moved))] = rng.choice(others, p=background[others] / background[others].sum())
        person = 0.8 * cluster_factors[cluster] + 0.6 * rng.normal(size=FACTORS)
        light = rng.random() < 0.12
        visits = 1 if light else int(np.clip(rng.lognormal(1.75, 0.6), 2, 26))
        viewers.append(
            Viewer(
                id=f"{FIRST_NAMES[rng.integers(len(FIRST_NAMES))]}-{i + 1:03d}",
                country=country,
                before=affinity(favourites, background),
                after=affinity(moved, background),
                turns_at=float(rng.uniform(0.35, 0.9)),
                clip_taste=shelf.factors @ person,
                sessions=_session_times(rng, visits, country, start, end, stays=bool(rng.random() < 0.78)),
                seen=np.zeros(len(shelf.ids)),
            )
        )
    return viewers


class _Diary:
    """Collects events as rows; everything that all events of one step share is said once."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def note(
        self,
        step: tuple[str, str, str, str],
        video_id: str,
        type_: EventType,
        at: float,
        value: float | None = None,
        duration_s: float | None = None,
        position: int | None = None,
    ) -> None:
        """`step` is (user, session, surface, country)."""
        user, session, surface, country = step
        self.rows.append(
            (user, video_id, type_.value, value, duration_s, round(at, 3), session, None, surface, position, country)
        )


def _react(
    rng: np.random.Generator, diary: _Diary, step: tuple[str, str, str, str], video_id: str, at: float, joy: float
) -> bool:
    """Notes what the viewer says about a watched video; whether it was a dislike."""
    chance = rng.random(4)
    if chance[0] < 0.34 / (1 + np.exp(-2.2 * (joy - 0.9))):
        diary.note(step, video_id, EventType.LIKE, at + 1)
    if chance[1] < 0.13 / (1 + np.exp(-2.2 * (joy - 1.1))):
        diary.note(step, video_id, EventType.SAVE, at + 2)
    if chance[2] < 0.07 / (1 + np.exp(-2.2 * (joy - 1.2))):
        diary.note(step, video_id, EventType.SHARE, at + 3)
    disliked = bool(chance[3] < 0.3 / (1 + np.exp(3.0 * (joy + 0.9))))
    if disliked:
        diary.note(step, video_id, EventType.DISLIKE, at + 1)
    return disliked


def _session(
    rng: np.random.Generator, diary: _Diary, viewer: Viewer, shelf: Shelf, number: int, start: float, end: float
) -> None:
    """One visit: some videos in a row."""
    now = float(viewer.sessions[number])
    country = viewer.country if rng.random() > 0.03 else str(rng.choice(COUNTRIES))  # somebody travels
    taste = viewer.genre_taste((now - start) / (end - start))
    mood = rng.choice(len(taste), p=_softmax(taste))
    age_days = np.maximum(0.0, now - shelf.opens) / DAY
    fresh = 0.8 * np.exp(-age_days / 6)
    liking = 1.0 * taste[shelf.genre] + 1.4 * viewer.clip_taste + shelf.quality
    wish = liking + fresh + 1.1 * (shelf.genre == mood)
    # An hour of slack: nothing leaves the catalogue while it is being watched.
    there = shelf.allowed[country] & (shelf.opens <= now) & (shelf.closes > now + 3600)
    middle = float(np.mean(liking)) + 2.8
    first = f"{viewer.id}-s{number + 1:02d}"
    length = 1 + int(rng.poisson(1.9)) if len(viewer.sessions) > 1 else 1
    for i in range(length):
        surface = "search" if rng.random() < 0.08 else ("home" if i == 0 else "up_next")
        step = (viewer.id, first, surface, country)
        utility = np.where(there, wish - viewer.seen, -np.inf)
        if not np.isfinite(utility).any():
            return
        noise = rng.gumbel(size=len(utility))
        if surface == "search":
            chosen, position = int(np.argmax(utility + 0.4 * noise)), 0
        else:
            # The service of today knows a little about the viewer; the viewer knows more.
            offered = np.argsort(-(0.65 * utility + noise))[:SLATE]
            offered = offered[np.isfinite(utility[offered])]
            pull = utility[offered] - 0.22 * np.arange(len(offered)) + 0.7 * rng.gumbel(size=len(offered))
            position = int(np.argmax(pull))
            chosen = int(offered[position])
            # The eye skips some of the titles above the choice; the chosen one was certainly seen.
            for place in range(position + 1):
                if place == position or rng.random() < 0.6:
                    video = int(offered[place])
                    diary.note(step, shelf.ids[video], EventType.IMPRESSION, now + 0.4 * place, position=place)
                    if place < position and liking[video] < middle - 2.4 and rng.random() < 0.03:
                        diary.note(step, shelf.ids[video], EventType.NOT_INTERESTED, now + 0.4 * place + 0.2)
                        viewer.seen[video] = np.inf
        video_id, length_s = shelf.ids[chosen], float(shelf.duration_s[chosen])
        begins = now + 0.4 * position + 1.5
        joy = 0.7 * (float(liking[chosen]) - middle) + float(rng.normal(0, 0.45))
        # The scale is chosen so that a liked clip is mostly watched to its end and a wrong one is left at once.
        share = 1.12 / (1 + np.exp(-(0.55 + 1.4 * joy + float(rng.normal(0, 0.8)))))
        fraction = float(np.clip(share, 0.02, 1.0))
        ends = begins + fraction * length_s
        diary.note(step, video_id, EventType.PLAY, begins, position=position)
        diary.note(step, video_id, EventType.WATCH, ends, round(fraction, 3), round(fraction * length_s, 2), position)
        if fraction >= 0.95:
            diary.note(step, video_id, EventType.COMPLETE, ends + 0.2)
        disliked = _react(rng, diary, step, video_id, ends, joy)
        viewer.seen[chosen] = np.inf if disliked else SEEN_PENALTY
        now = ends + float(rng.uniform(6, 45))


def make_events(
    videos: list[Video], labels: dict[str, str], viewers: int, seed: int, end: float
) -> tuple[pd.DataFrame, float]:
    """Everything that `viewers` viewers did in the 120 days before `end` (seconds since 1970), and the cut.

    `labels` gives the true genre of each video. The frame has the columns of `data.schema.Event`, None where a
    value is missing, and is sorted by time; events from the cut on are the tail that offline evaluation keeps back.
    """
    rng = np.random.default_rng([seed, 3])
    start = end - DAYS * DAY
    shelf = _shelf(videos, labels, rng)
    diary = _Diary()
    for viewer in _viewers(rng, viewers, shelf, start, end):
        for number in range(len(viewer.sessions)):
            _session(rng, diary, viewer, shelf, number, start, end)
    # Objects, not floats with NaN: a row goes into Event as it is.
    events = pd.DataFrame(diary.rows, columns=list(COLUMNS[1:]), dtype=object)
    events["occurred_at"] = events["occurred_at"].astype(float)
    events = events.sort_values("occurred_at", kind="stable", ignore_index=True)
    events.insert(0, "event_id", [f"demo-{i + 1:06d}" for i in range(len(events))])
    return events, end - HELD_BACK_SHARE * DAYS * DAY
