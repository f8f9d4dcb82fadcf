"""What is popular and what is on its way up: decayed sums of positive signals, everywhere and by country.

Knows nothing of a viewer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.interactions import Interactions

SECONDS_PER_DAY = 86_400.0
#: Sums are kept in float32: a smaller share than this is rounding.
RESIDUE = 1e-5


class PopularitySettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    half_life_days: float = Field(default=30.0, gt=0, description="a signal counts half as much this much later")
    trending_half_life_days: float = Field(default=3.0, gt=0, description="the same for what is on its way up")
    country_weight: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="share of the viewer's country in what is popular there, the rest is the world",
    )


@dataclass(frozen=True)
class CountrySums:
    """The sums of one country, for the videos that have any: columns (n,) int32 and sums (WINDOWS, n) float32."""

    columns: np.ndarray
    sums: np.ndarray


class Popularity:
    """Sums of positive signals over WINDOWS windows: all of time, decayed, and decayed quickly.

    `world`: (WINDOWS, V) float32; `countries`: by country code.
    """

    WINDOWS = 3
    ALL_TIME, DECAYED, RECENT = range(WINDOWS)

    def __init__(self, world: np.ndarray, countries: Mapping[str, CountrySums], country_weight: float) -> None:
        self.world = world
        self.countries = dict(countries)
        self.country_weight = country_weight

    def scores(self, country: str | None) -> np.ndarray:
        """(V,) float32 shares of what is popular: in a known country mostly its own popularity, else the world's."""
        return self._shares(country, self.DECAYED)

    def rising(self, country: str | None) -> np.ndarray:
        """(V,) float32: how much more of the recent attention a video has than of the attention before.

        Each video's part of the Kullback-Leibler divergence of the recent shares from the decayed ones, so that
        neither small numbers nor lasting hits count as rising; 0 for what is not.
        """
        recent, usual = self._shares(country, self.RECENT), self._shares(country, self.DECAYED)
        rising = recent > usual
        lift = np.zeros_like(recent)
        lift[rising] = recent[rising] * np.log(recent[rising] / usual[rising])
        return lift

    @classmethod
    def nothing(cls, size: int = 0) -> Self:
        """No sums of `size` videos, to add changes to."""
        return cls(np.zeros((cls.WINDOWS, size), np.float32), {}, 0.0)

    def times(self, factor: float) -> Self:
        """The same sums, so many times as large."""
        countries = {name: CountrySums(here.columns, here.sums * factor) for name, here in self.countries.items()}
        return type(self)(self.world * factor, countries, self.country_weight)

    def aged(self, seconds: float, settings: PopularitySettings) -> Self:
        """The same sums, so much later."""
        shares = np.exp2(-seconds / SECONDS_PER_DAY / np.array(_half_lives(settings)))[:, None]
        countries = {name: CountrySums(here.columns, here.sums * shares) for name, here in self.countries.items()}
        return type(self)(self.world * shares, countries, self.country_weight)

    def plus(self, change: "Popularity", columns: np.ndarray, size: int) -> Self:
        """The sums of `size` videos: ours, which are the first of them, and a change, whose k-th video is columns[k]
        (-1: none of them). Both are of the same moment."""
        world = np.zeros((self.WINDOWS, size))
        world[:, : self.world.shape[1]] = self.world
        known = columns >= 0
        world[:, columns[known]] = _added(world[:, columns[known]], change.world[:, known])
        countries = dict(self.countries)
        for name, there in change.countries.items():
            moved = columns[there.columns]
            more = CountrySums(moved[moved >= 0], there.sums[:, moved >= 0])
            countries[name] = _sum_of(countries[name], more) if name in countries else more
        return type(self)(world.astype(np.float32), countries, self.country_weight)

    def not_below_zero(self) -> Self:
        """The same sums, none of which is negative."""
        countries = {name: CountrySums(here.columns, np.maximum(here.sums, 0)) for name, here in self.countries.items()}
        return type(self)(np.maximum(self.world, 0), countries, self.country_weight)

    def arrays(self) -> dict[str, np.ndarray]:
        names = sorted(self.countries)
        there = [self.countries[name] for name in names]
        return {
            "world": self.world,
            "country_weight": np.array(self.country_weight),
            "countries": np.array(names, "U2"),
            "counts": np.array([len(each.columns) for each in there], np.int64),
            "columns": np.concatenate([np.zeros(0, np.int32), *(each.columns for each in there)]),
            "sums": np.concatenate([np.zeros((self.WINDOWS, 0), np.float32), *(each.sums for each in there)], axis=1),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        ends = np.cumsum(arrays["counts"])[:-1]
        columns, sums = np.split(arrays["columns"], ends), np.split(arrays["sums"], ends, axis=1)
        names = arrays["countries"].tolist()
        countries = {name: CountrySums(*parts) for name, *parts in zip(names, columns, sums, strict=False)}
        return cls(arrays["world"], countries, float(arrays["country_weight"]))

    def _shares(self, country: str | None, window: int) -> np.ndarray:
        world = _share(self.world[window])
        here = self.countries.get(country) if country is not None else None
        if here is None:
            return world
        shares = (1 - self.country_weight) * world
        shares[here.columns] += self.country_weight * _share(here.sums[window])
        return shares


def measure_popularity(
    interactions: Interactions, now: float, settings: PopularitySettings | None = None
) -> Popularity:
    """Sums the positive signals of each video, by window, each halved every half-life before `now`.

    What one viewer does with one video counts once, so that nobody makes a video popular alone.
    """
    settings = settings or PopularitySettings()
    liked = interactions.take(interactions.signal > 0)
    size = len(liked.videos)
    age_days = np.maximum(now - liked.time, 0) / SECONDS_PER_DAY
    weights = np.stack([liked.signal * np.exp2(-age_days / half_life) for half_life in _half_lives(settings)])
    countries = {}
    for code in np.unique(liked.country[liked.country >= 0]).tolist():
        there = liked.country == code
        columns, place = np.unique(liked.video[there], return_inverse=True)
        sums = _sums(place, weights[:, there], len(columns))
        countries[liked.countries[code]] = CountrySums(columns.astype(np.int32), sums)
    return Popularity(_sums(liked.video, weights, size), countries, settings.country_weight)


def _half_lives(settings: PopularitySettings) -> tuple[float, float, float]:
    """In days, by window."""
    return np.inf, settings.half_life_days, settings.trending_half_life_days


def _sum_of(one: CountrySums, other: CountrySums) -> CountrySums:
    columns = np.union1d(one.columns, other.columns)
    both = np.zeros((2, Popularity.WINDOWS, len(columns)))
    for each, here in zip(both, (one, other), strict=True):
        each[:, np.searchsorted(columns, here.columns)] = here.sums
    return CountrySums(columns.astype(np.int32), _added(*both).astype(np.float32))


def _added(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The sum, 0 where what one has is taken away but for rounding."""
    total: np.ndarray = one + other
    total[np.abs(total) < RESIDUE * np.maximum(np.abs(one), np.abs(other))] = 0
    return total


def _sums(columns: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    return np.stack([np.bincount(columns, row, size) for row in weights]).astype(np.float32)


def _share(values: np.ndarray) -> np.ndarray:
    total = values.sum()
    return values / total if total > 0 else values
