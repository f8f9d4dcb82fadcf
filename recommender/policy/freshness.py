"""Freshness: a bonus for what was published lately, and a few places for what too few know yet.

Without the second a new video is never shown because nobody has watched it, and never watched because it is not
shown. It has a budget, so that the list stays the viewer's.
"""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from recommender.policy.fatigue import DAY_S


class FreshnessSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bonus: float = Field(default=0.0, ge=0, description="scores count 1 + this times just after publication")
    half_life_days: float = Field(default=7.0, gt=0, description="the bonus is half of that after this time")
    new_share: float = Field(default=0.1, ge=0, le=1, description="share of a slate up to which new videos are lifted")
    new_affinity: float = Field(
        default=0.0, ge=0, le=1, description="share of the last place's score that a new video needs to be lifted"
    )


def freshness_factor(published_at: np.ndarray, now: float, settings: FreshnessSettings) -> np.ndarray:
    """(n,) float64 seconds, NaN for unknown -> (n,) float32 factors >= 1."""
    age = np.maximum(now - published_at, 0.0) / (settings.half_life_days * DAY_S)
    return (1.0 + settings.bonus * np.nan_to_num(np.exp2(-age))).astype(np.float32)


def lift_new(
    relevance: np.ndarray,
    is_new: np.ndarray,
    limit: int,
    settings: FreshnessSettings,
    known_by: np.ndarray | None = None,
) -> np.ndarray:
    """The rows that are lifted, those that fewest know first and the best of these, with `relevance` (n,) changed.

    relevance: (n,) float32 >= 0, best first; is_new: (n,) bool; known_by: (n,) viewers. What is new and among the best
    `limit` by its own score needs no lift and takes none from the others, or what a few know would keep out what
    nobody knows. A lifted row gets the score of a place in the slate; the places are spread evenly.
    """
    budget = int(settings.new_share * limit + 1e-9)
    if budget == 0 or len(relevance) <= limit:
        return np.zeros(0, np.int64)
    # Where the best are new anyway, there is nothing to make room in.
    budget = min(budget, limit - int(np.count_nonzero(is_new[:limit])))
    enough = is_new[limit:] & (relevance[limit:] >= settings.new_affinity * relevance[limit - 1])
    rows = limit + np.flatnonzero(enough)
    if len(rows) == 0:
        return rows
    if known_by is not None:
        rows = rows[np.argsort(known_by[rows], kind="stable")]
    rows = rows[:budget]
    relevance[rows] = relevance[np.arange(1, len(rows) + 1) * limit // (len(rows) + 1)]
    return rows
