"""Filters: what may be shown in a request. They hold on every path, cache hits and fallbacks too."""

from collections.abc import Sequence

import numpy as np

from recommender.catalogue_view import CatalogueView
from recommender.pipeline.stages import Filter, Query


class _OverCatalogue:
    def __init__(self, view: CatalogueView) -> None:
        self._view = view

    def _all_but(self, columns: np.ndarray) -> np.ndarray | None:
        if len(columns) == 0:
            return None
        mask = np.ones(len(self._view.videos), bool)
        mask[columns] = False
        return mask


class Hidden(_OverCatalogue):
    """Taken down, removed, or without playable media."""

    name = "hidden"

    def keep(self, query: Query) -> np.ndarray | None:
        return self._view.shown


class Window(_OverCatalogue):
    """Outside its availability window at the time of the request."""

    name = "window"

    def keep(self, query: Query) -> np.ndarray | None:
        return self._view.available_at(query.now)


class Region(_OverCatalogue):
    """Not licensed for the viewer's country, or for some countries only while the viewer's is unknown."""

    name = "region"

    def keep(self, query: Query) -> np.ndarray | None:
        return self._view.available_in(query.country)


class Rating(_OverCatalogue):
    """For older viewers than the request allows."""

    name = "rating"

    def keep(self, query: Query) -> np.ndarray | None:
        return None if query.max_rating is None else self._view.rating <= query.max_rating


class Labels(_OverCatalogue):
    """Without any of the wanted labels, or with an unwanted one."""

    name = "labels"

    def keep(self, query: Query) -> np.ndarray | None:
        if not query.labels and not query.not_labels:
            return None
        unwanted = self._view.with_any_label(query.not_labels)
        return self._view.with_any_label(query.labels) & ~unwanted if query.labels else ~unwanted


class Watched(_OverCatalogue):
    """Watched already, or rejected by the viewer."""

    name = "watched"

    def keep(self, query: Query) -> np.ndarray | None:
        return self._all_but(query.profile.watched)


class Excluded(_OverCatalogue):
    """Excluded by the request."""

    name = "excluded"

    def keep(self, query: Query) -> np.ndarray | None:
        return self._all_but(query.exclude)


def standard_filters(view: CatalogueView) -> list[Filter]:
    """All filters, in the order in which `why` names them."""
    kinds: Sequence[type[_OverCatalogue]] = (Hidden, Window, Region, Rating, Labels, Watched, Excluded)
    return [kind(view) for kind in kinds]  # type: ignore[misc]
