"""Candidates from the viewer's likes: one source for each model that scores from a history."""

import numpy as np

from recommender.collaborative import FoldedIn, LatentFactors
from recommender.index import VectorIndex
from recommender.item_item import ItemWeights
from recommender.models import HistoryModel
from recommender.pipeline.sources.base import BaseSource
from recommender.pipeline.sources.best import NOTHING, best, best_of
from recommender.pipeline.sources.settings import HistorySourceSettings
from recommender.pipeline.stages import Found, Query

#: From this catalogue size on work goes with what is found and not with all that there is.
SPARSE_FROM = 50_000


class HistorySource(BaseSource):
    """What a model of the first `size` columns makes of the likes that still count."""

    def __init__(
        self,
        name: str,
        model: HistoryModel,
        size: int,
        settings: HistorySourceSettings,
        factor_index: VectorIndex | None = None,
    ) -> None:
        """factor_index: of the factors of a large catalogue, by column, where not every video is scored."""
        super().__init__(settings)
        self.name = name
        self._factor_index = factor_index
        self._model = model
        self._size = size
        self._half_life = settings.half_life_items or None

    def enabled(self, query: Query) -> bool:
        return query.profile.known

    def candidates(self, query: Query, eligible: np.ndarray, k: int) -> Found:
        columns, weights = query.profile.recent(self._half_life)
        known = columns < self._size
        if not known.all():
            columns, weights = columns[known], weights[known]
        if len(columns) == 0:
            return NOTHING
        if self._size >= SPARSE_FROM:
            if self._factor_index is not None and isinstance(self._model, LatentFactors):
                viewer = self._model.fold_in(columns, weights)
                found, scores = self._factor_index.search(viewer[None], k, self._factor_index.by_row(eligible))
                return best_of(found[0], scores[0], eligible, k)
            if isinstance(self._model, ItemWeights):
                return best_of(*self._model.sparse_scores(columns, weights), eligible, k)
        if isinstance(self._model, LatentFactors):
            folded = query.profile.memo[self._model] = self._model.folded_in(columns, weights)
            return best(self._model.items @ folded.viewer, eligible, k)
        return best(self._model.scores(columns, weights), eligible, k)

    def explain(self, query: Query, columns: np.ndarray) -> np.ndarray:
        rows, liked, weights = self._recent(query)
        behind = np.full(len(columns), -1, np.int64)
        known = np.flatnonzero(columns < self._size)
        if len(known) and len(rows):
            folded = query.profile.memo.get(self._model)
            if isinstance(self._model, LatentFactors) and isinstance(folded, FoldedIn):
                parts = folded.contributions(self._model.items[columns[known]])
            else:
                parts = self._model.contributions(liked, weights, columns[known])
            most = parts.argmax(axis=0)
            behind[known] = np.where(parts[most, np.arange(len(most))] > 0, rows[most], -1)
        return behind

    def _recent(self, query: Query) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows of `profile.liked`, their columns, their weights) of the likes that the model knows."""
        columns, weights = query.profile.recent(self._half_life)
        rows = np.flatnonzero(columns < self._size)
        return rows, columns[rows], weights[rows]
