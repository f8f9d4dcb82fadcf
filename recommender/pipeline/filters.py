"""Filters: what may be shown in a request. They hold on every path, cache hits and fallbacks too."""

from collections.abc import Hashable, Sequence

import numpy as np

from recommender.catalogue_view import CatalogueView
from recommender.pipeline.stages import Filter, Query


class _OverCatalogue:
    def __init__(self, view: CatalogueView) -> None:
        self._view = view

    def same_for(self, query: Query) -> Hashable | None:
        """Of this request alone, where a filter does not know better."""
        return None


class Hidden(_OverCatalogue):
    """Taken down, removed, or without playable media."""

    name = "hidden"

    def take_out(self, query: Query, mask: np.ndarray) -> None:
        mask &= self._view.shown

    def same_for(self, query: Query) -> Hashable | None:
        return self._view.state


class Window(_OverCatalogue):
    """Outside its availability window at the time of the request."""

    name = "window"

    def take_out(self, query: Query, mask: np.ndarray) -> None:
        mask &= self._view.available_at(query.now)

    def same_for(self, query: Query) -> Hashable | None:
        state = self._view.state
        return None if state is None else (state, self._view.available_since(query.now))


class Region(_OverCatalogue):
    """Not licensed for the viewer's country, or for some countries only while the viewer's is unknown."""

    name = "region"

    def take_out(self, query: Query, mask: np.ndarray) -> None:
        mask &= self._view.available_in(query.country)

    def same_for(self, query: Query) -> Hashable | None:
        state = self._view.state
        return None if state is None else (state, query.country if self._view.knows(query.country) else None)


class Rating(_OverCatalogue):
    """For older viewers than the request allows."""

    name = "rating"

    def take_out(self, query: Query, mask: np.ndarray) -> None:
        if query.max_rating is not None:
            mask &= self._view.rating <= query.max_rating

    def same_for(self, query: Query) -> Hashable | None:
        state = self._view.state
        return None if state is None else (state, query.max_rating)


class Labels(_OverCatalogue):
    """Without any of the wanted labels, or with an unwanted one."""

    name = "labels"

    def take_out(self, query: Query, mask: np.ndarray) -> None:
        if query.labels:
            mask &= self._view.with_any_label(query.labels)
        if query.not_labels:
            mask &= ~self._view.with_any_label(query.not_labels)


class Watched(_OverCatalogue):
    """Watched already, or rejected by the viewer."""

    name = "watched"

    def take_out(self, query: Query, mask: np.ndarray) -> None:
        mask[query.profile.watched] = False


class Excluded(_OverCatalogue):
    """Excluded by the request."""

    name = "excluded"

    def take_out(self, query: Query, mask: np.ndarray) -> None:
        mask[query.exclude] = False


def standard_filters(view: CatalogueView) -> list[Filter]:
    """All filters, in the order in which `why` names them."""
    kinds: Sequence[type[_OverCatalogue]] = (Hidden, Window, Region, Rating, Labels, Watched, Excluded)
    return [kind(view) for kind in kinds]  # type: ignore[misc]
