"""Candidates that go on where the viewer stopped: what was left half-way, and the episode after the last one."""

from collections.abc import Container

import numpy as np

from recommender.catalogue_view import CatalogueView
from recommender.pipeline.sources.base import BaseSource
from recommender.pipeline.sources.best import NOTHING
from recommender.pipeline.sources.settings import SourceSettings
from recommender.pipeline.stages import Found, Query


def _in_order(columns: np.ndarray, k: int) -> Found:
    columns = columns[:k]
    return Found(columns, (1.0 / np.arange(1, len(columns) + 1)).astype(np.float32))


def following_episode(view: CatalogueView, column: int, watched: Container[int]) -> int | None:
    """The column of the next episode of the same series that was not watched yet; None without one."""
    code = int(view.series[column])
    if code < 0:
        return None
    episodes = view.episodes_of(code)
    later = episodes[view.episode[episodes] > view.episode[column]]
    return next((following for following in later.tolist() if following not in watched), None)


class ContinueWatchingSource(BaseSource):
    """What the viewer left half-way, the latest first."""

    name = "continue_watching"

    def enabled(self, query: Query) -> bool:
        return len(query.profile.unfinished) > 0

    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        left = query.profile.unfinished
        return _in_order(left[eligible[left]], k)


class NextEpisodeSource(BaseSource):
    """The episode after the furthest one that was watched of each series, the series watched last first."""

    name = "next_episode"

    def __init__(self, view: CatalogueView, settings: SourceSettings) -> None:
        super().__init__(settings)
        self._view = view

    def enabled(self, query: Query) -> bool:
        return query.profile.known and bool((self._view.series[query.profile.liked] >= 0).any())

    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        following, _ = self._following(query)
        return _in_order(following[eligible[following]], k) if len(following) else NOTHING

    def explain(self, query: Query, columns: np.ndarray) -> np.ndarray:
        following, behind = self._following(query)
        rows = {int(column): int(row) for column, row in zip(following, behind, strict=True)}
        return np.array([rows.get(int(column), -1) for column in columns], np.int64)

    def _following(self, query: Query) -> tuple[np.ndarray, np.ndarray]:
        """(columns of next episodes, rows of `profile.liked` that they follow)."""
        view, liked = self._view, query.profile.liked
        series = view.series[liked]
        watched = set(query.profile.watched.tolist())
        found: list[int] = []
        behind: list[int] = []
        for code in dict.fromkeys(series[series >= 0].tolist()):
            rows = np.flatnonzero(series == code)
            furthest = rows[view.episode[liked[rows]].argmax()]
            following = following_episode(view, int(liked[furthest]), watched)
            if following is not None:
                found.append(following)
                behind.append(int(furthest))
        return np.array(found, np.int64), np.array(behind, np.int64)
