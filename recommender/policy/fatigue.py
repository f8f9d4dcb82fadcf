"""Fatigue: what was shown again and again without a click comes later in the list, then not at all."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from recommender.policy.stages import SlateRequest

DAY_S = 86_400.0


class FatigueSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    after: int | None = Field(
        default=5, ge=1, description="unclicked showings that make a video count less; none: never"
    )
    factor: float = Field(default=0.5, gt=0, le=1, description="of its score, once more for every further showing")
    out_after: int = Field(default=10, ge=1, description="unclicked showings after which it is not shown")
    window_days: float = Field(default=14.0, gt=0, description="how long a showing, or a click, is remembered")


class Fatigue:
    """A constraint; `factor`: (n,) float32 in (0, 1] for the scores."""

    name = "fatigue"

    def __init__(self, factor: np.ndarray, out: np.ndarray) -> None:
        self.factor = factor
        self._out = out

    def closed(self, place: int | None) -> np.ndarray:
        return self._out

    def placed(self, row: int, place: int) -> None:
        pass


def fatigue(request: SlateRequest, columns: np.ndarray, settings: FatigueSettings) -> Fatigue | None:
    """The fatigue of (n,) columns; None when nobody is tired of any."""
    if settings.after is None or len(request.shown) == 0:
        return None
    bound = min(settings.after, settings.out_after)
    tired = request.showings >= bound
    if not tired.any():
        return None
    shown, showings = request.shown[tired], request.showings[tired]
    order = np.argsort(shown)
    place = order[np.minimum(np.searchsorted(shown, columns, sorter=order), len(shown) - 1)]
    times = np.where(shown[place] == columns, showings[place], 0)
    steps = np.maximum(times - settings.after + 1, 0)
    return Fatigue(np.power(np.float32(settings.factor), steps, dtype=np.float32), times >= settings.out_after)


def unclicked_showings(
    columns: np.ndarray, impression: np.ndarray, times: np.ndarray, now: float, settings: FatigueSettings
) -> tuple[np.ndarray, np.ndarray]:
    """`shown` and `showings` of a request from a viewer's events: (n,) int64 columns, (n,) bool whether each event is
    only a showing, (n,) float64 seconds. A video with any other event in the window is not tired of."""
    recent = times > now - settings.window_days * DAY_S
    shown, showings = np.unique(columns[recent & impression], return_counts=True)
    unclicked = ~np.isin(shown, columns[recent & ~impression])
    return shown[unclicked], showings[unclicked]
