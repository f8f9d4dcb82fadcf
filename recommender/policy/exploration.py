"""Exploration: now and then one place goes to a video that would not have got it, so that something is learnt.

With probability epsilon the item at one place is replaced by a uniform draw among the next best candidates. All else
is decided without chance, so the propensities are exact: an item's is the probability, over this draw, that it is at
its place, which is the probability that it is in the slate at all.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field


class ExplorationSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    epsilon: float = Field(default=0.0, ge=0, lt=1, description="probability that a slate explores; 0: never")
    place: int = Field(default=10, ge=1, description="place that explores, 1 is the first; shorter slates: their last")
    pool: int = Field(default=50, ge=1, description="next best candidates that one is drawn from")


@dataclass(frozen=True)
class Draw:
    """`row` is the one that was drawn, None when the item stays; propensity: of what is now at the place."""

    row: int | None
    propensity: float


def exploring_place(length: int, pinned: Collection[int], settings: ExplorationSettings) -> int | None:
    """The place, from 0, that may be explored in a slate of this length: the nearest before it that is not pinned."""
    if settings.epsilon == 0:
        return None
    places = range(min(settings.place, length) - 1, -1, -1)
    return next((place for place in places if place not in pinned), None)


def draw(next_best: np.ndarray, seed: int, settings: ExplorationSettings) -> Draw:
    """next_best: rows (m,) int64 that could stand at the place, best first."""
    pool = next_best[: settings.pool]
    if len(pool) == 0:
        return Draw(None, 1.0)
    rng = np.random.default_rng(seed)
    if rng.random() >= settings.epsilon:
        return Draw(None, 1.0 - settings.epsilon)
    return Draw(int(pool[rng.integers(len(pool))]), settings.epsilon / len(pool))


def seed_of(request_key: str) -> int:
    """The seed of a request from what makes it this one, such as its id: the same key explores the same way."""
    return int.from_bytes(hashlib.blake2b(request_key.encode(), digest_size=8).digest())
