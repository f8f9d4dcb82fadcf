"""What the ranker learns from besides the replayed past: lists that were really shown, described as they were then.

The features are those that were kept with each list, so nothing that was known only later is in them. What followed is
read from the event log. Knows neither models nor how a list is made.
"""

from collections.abc import Sequence

import numpy as np

from data.interactions import Interactions
from data.store import Impressions, ShownLists
from recommender.catalogue_view import CatalogueView
from recommender.ranking.ranker import PastRequests, grades_of


def shown_requests(
    lists: ShownLists,
    impressions: Impressions,
    interactions: Interactions,
    view: CatalogueView,
    window_starts: Sequence[float],
    horizon_s: float,
) -> PastRequests | None:
    """The lists of which something was liked for the first time within `horizon_s` of being shown; None without any.

    interactions: in the columns of `view`. Where a front end tells which items of a list came into sight, the others
    are left out: what nobody saw, nobody passed over.
    """
    viewer_of = {name: code for code, name in enumerate(interactions.viewers)}
    viewer = np.fromiter((viewer_of.get(name, -1) for name in lists.user_ids), np.int64, len(lists))
    columns = view.columns_of_numbers(lists.items["number"].astype(np.int64))
    of_list = np.repeat(np.arange(len(lists)), lists.sizes)
    usable = (columns >= 0) & (viewer[of_list] >= 0) & ~np.isnan(lists.features).all(axis=1)
    usable &= _in_sight(lists, of_list, columns, impressions, view)
    grades = _grades(viewer[of_list], columns, lists.shown_at[of_list], interactions, horizon_s)
    liked = np.bincount(of_list[usable & (grades > 0)], minlength=len(lists))
    taught = (liked > 0) & (np.bincount(of_list[usable], minlength=len(lists)) > 1)
    rows = usable & taught[of_list]
    if not rows.any():
        return None
    window = np.searchsorted(window_starts, lists.shown_at[taught], "right") - 1
    return PastRequests(
        features=lists.features[rows].astype(np.float32),
        grades=grades[rows],
        sizes=np.bincount(of_list[rows], minlength=len(lists))[taught],
        relevant=liked[taught],
        window=np.maximum(window, 0),
        viewer=viewer[taught],
    )


def _in_sight(
    lists: ShownLists, of_list: np.ndarray, columns: np.ndarray, impressions: Impressions, view: CatalogueView
) -> np.ndarray:
    """(n,) bool: the items that were seen, as far as anybody tells."""
    list_of = {key: place for place, key in enumerate(zip(lists.user_ids, lists.request_ids, strict=True))}
    told = zip(impressions.user_ids, impressions.request_ids, strict=True)
    seen_list = np.fromiter((list_of.get(key, -1) for key in told), np.int64, len(impressions))
    seen_column = np.fromiter((view.column_of.get(name, -1) for name in impressions.video_ids), np.int64)
    width = len(view.videos)
    here = (seen_list >= 0) & (seen_column >= 0)
    seen = np.isin(of_list * width + columns, seen_list[here] * width + seen_column[here])
    return seen | ~np.isin(of_list, seen_list)


def _grades(
    viewer: np.ndarray, columns: np.ndarray, shown_at: np.ndarray, interactions: Interactions, horizon_s: float
) -> np.ndarray:
    """(n,) int8: what came of each item within the horizon, 0 for nothing good."""
    liked = interactions.take(interactions.signal > 0)
    width = len(interactions.videos)
    met = liked.viewer.astype(np.int64) * width + liked.video
    order = np.argsort(met)
    pair = viewer * width + columns
    grades = np.zeros(len(pair), np.int8)
    if len(order):
        row = order[np.minimum(np.searchsorted(met, pair, sorter=order), len(order) - 1)]
        since = liked.first[row] - shown_at
        followed = (met[row] == pair) & (columns >= 0) & (viewer >= 0) & (since >= 0) & (since < horizon_s)
        grades[followed] = grades_of(liked.signal[row[followed]])
    return grades
