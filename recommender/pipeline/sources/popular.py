"""Candidates from everybody: what is popular and what is on its way up. Asks nothing of the viewer but a country."""

from collections.abc import Callable

import numpy as np

from recommender.pipeline.sources.base import BaseSource
from recommender.pipeline.sources.settings import SourceSettings
from recommender.pipeline.stages import Found, Query
from recommender.popularity import Popularity

_MOST_COUNTRIES = 64


class _SortedOnce:
    """Scores that depend on the country alone, sorted when a country is first asked for."""

    def __init__(self, scores: Callable[[str | None], np.ndarray], countries: set[str]) -> None:
        self._scores = scores
        self._countries = countries
        self._sorted: dict[str | None, tuple[np.ndarray, np.ndarray]] = {}

    def best(self, country: str | None, eligible: np.ndarray, k: int) -> Found:
        country = country if country in self._countries else None
        if country not in self._sorted:
            scores = self._scores(country).astype(np.float32)
            columns = np.flatnonzero(scores > 0)
            if len(self._sorted) >= _MOST_COUNTRIES:
                self._sorted = {}
            self._sorted[country] = (columns[np.argsort(-scores[columns], kind="stable")], scores)
        order, scores = self._sorted[country]
        reach = 2 * k
        found = order[:reach][eligible[order[:reach]]]
        while len(found) < k and reach < len(order):
            more = order[reach : 4 * reach]
            found = np.concatenate([found, more[eligible[more]]])
            reach *= 4
        found = found[:k]
        return Found(found, scores[found], scores)


class PopularSource(BaseSource):
    """What is popular in the viewer's country now. Counts for little once a viewer has a history."""

    name = "popular"
    last_resort = True
    personal = False

    def __init__(self, popularity: Popularity, prior_items: float, settings: SourceSettings) -> None:
        super().__init__(settings)
        self._sorted = _SortedOnce(popularity.scores, set(popularity.countries))
        self._prior_items = prior_items

    def enabled(self, query: Query) -> bool:
        return True

    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        return self._sorted.best(query.country, eligible, k)

    def weight(self, query: Query) -> float:
        """Shrinks with what is known: as much as all of the viewer's likes at `prior_items` of them."""
        return self._weight * self._prior_items / (self._prior_items + len(query.profile.liked))


class TrendingSource(BaseSource):
    """What has more of the attention now than it used to have, in the viewer's country."""

    name = "trending"
    personal = False

    def __init__(self, popularity: Popularity, settings: SourceSettings) -> None:
        super().__init__(settings)
        self._sorted = _SortedOnce(popularity.rising, set(popularity.countries))

    def enabled(self, query: Query) -> bool:
        return True

    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        return self._sorted.best(query.country, eligible, k)
