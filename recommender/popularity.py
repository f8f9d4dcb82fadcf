"""What is popular now: decayed sums of positive signals, everywhere and by country. Knows nothing of a viewer."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from data.interactions import signals, type_codes

SECONDS_PER_DAY = 86_400.0


class PopularitySettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    half_life_days: float = Field(default=30.0, gt=0, description="a signal counts half as much this much later")
    country_weight: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="share of the viewer's country in what is popular there, the rest is the world",
    )


class Popularity:
    """Decayed popularity: `world` (V,) float32 and `countries`, one such array per country code."""

    def __init__(self, world: np.ndarray, countries: dict[str, np.ndarray], settings: PopularitySettings) -> None:
        self.world = world
        self.countries = countries
        self._weight = settings.country_weight

    def scores(self, country: str | None) -> np.ndarray:
        """(V,) float32 shares: in a known country mostly its own popularity, else the world's."""
        world = _share(self.world)
        if country is None or country not in self.countries:
            return world
        return self._weight * _share(self.countries[country]) + (1 - self._weight) * world


def measure_popularity(
    frames: Iterable[pd.DataFrame],
    column_of_video: dict[str, int],
    now: float,
    settings: PopularitySettings | None = None,
) -> Popularity:
    """Sums the positive signals of frames of events, each halved every `half_life_days` before `now`."""
    settings = settings or PopularitySettings()
    size = len(column_of_video)
    world = np.zeros(size, np.float64)
    countries: dict[str, np.ndarray] = {}
    for frame in frames:
        columns = np.fromiter((column_of_video.get(name, -1) for name in frame["video_id"]), np.int64)
        says = signals(type_codes(frame["type"]), frame["value"].to_numpy(np.float64, na_value=np.nan))
        use = (columns >= 0) & (says > 0)
        age_days = np.maximum(now - frame["occurred_at"].to_numpy(np.float64)[use], 0) / SECONDS_PER_DAY
        decayed = says[use] * np.exp2(-age_days / settings.half_life_days)
        world += np.bincount(columns[use], decayed, size)
        where = frame["country"].to_numpy(object)[use]
        for country in {name for name in where if name}:
            there = where == country
            counted = np.bincount(columns[use][there], decayed[there], size)
            countries[country] = countries.get(country, np.zeros(size)) + counted
    narrow = {name: values.astype(np.float32) for name, values in countries.items()}
    return Popularity(world.astype(np.float32), narrow, settings)


def _share(values: np.ndarray) -> np.ndarray:
    total = values.sum()
    return values / total if total > 0 else values
