"""What is watched next: transitions between videos, counted in the order of the viewers' histories.

A first-order Markov model (Rendle, Freudenthaler, Schmidt-Thieme: Factorizing Personalized Markov Chains for
Next-Basket Recommendation, 2010) without factors, over a window instead of one step. Knows nothing of taste that
lasts: what viewers like in the long run is for `recommender.item_item` and `recommender.collaborative`.
"""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field

from data.interactions import Interactions
from recommender.item_item import ItemWeights, add_up
from recommender.strongest import strongest_of_product

#: Likes whose followers are looked up at a time: some hundred megabytes.
LIKES_AT_A_TIME = 1_000_000


class TransitionSettings(BaseModel):
    """Defaults that did best on MovieLens-1M's next video of every viewer."""

    model_config = ConfigDict(extra="forbid")

    window: int = Field(default=10, ge=1, le=100, description="how many videos later still count as following")
    half_life_items: float = Field(default=3.0, gt=0, description="following this many videos later counts half")
    watched_discount: float = Field(
        default=0.5, ge=0, le=1, description="exponent of the watched video's audience, which its row is divided by"
    )
    following_discount: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="exponent of the following video's audience, which its column is divided by",
    )
    neighbours: int = Field(default=400, ge=1, description="strongest transitions kept per video")


def fit_transitions(interactions: Interactions, settings: TransitionSettings | None = None) -> ItemWeights:
    """Counts which videos are liked after which, in the order of every viewer's likes.

    Row i, column j of the weights: sum over viewers who liked j d places after i, d = 1 … window, of
    2^(-(d - 1) / half_life_items), divided by n_i^watched_discount n_j^following_discount with n the number of
    viewers who liked a video. A viewer's own order is all that counts, not the time between two videos.
    """
    settings = settings or TransitionSettings()
    viewer, column = _histories(interactions)
    size = len(interactions.videos)
    audience = np.maximum(interactions.audience(), 1).astype(np.float32)
    following_share = audience**-settings.following_discount
    # Behind each history so many places are empty that none reaches the next one.
    place = np.arange(len(column)) + settings.window * np.cumsum(np.diff(viewer, prepend=viewer[:1]) != 0)
    histories = np.full(int(place.max(initial=0)) + settings.window + 1, -1, np.int32)
    histories[place] = column
    # Likes by their videos: those of one video after another, wherever in the histories they stand.
    likes = place[np.argsort(column, kind="stable")]
    begins = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=size))])
    blocks = []
    for start, end in _blocks(begins, LIKES_AT_A_TIME):
        places = likes[begins[start] : begins[end]]
        of_video = sp.csr_matrix(
            (np.ones(len(places), np.float32), np.arange(len(places)), begins[start : end + 1] - begins[start]),
            (end - start, len(places)),
        )
        following = _what_follows(histories, places, following_share, settings)
        blocks.append(strongest_of_product(of_video, following, settings.neighbours))
    weights = sp.vstack(blocks, "csr") if blocks else sp.csr_matrix(np.zeros((0, 0), np.float32))
    weights.data *= np.repeat(audience**-settings.watched_discount, np.diff(weights.indptr))
    weights.sort_indices()
    return ItemWeights(weights)


def _blocks(begins: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose entries (from begins[i] to begins[i + 1]) are about `most` together."""
    size, start = len(begins) - 1, 0
    while start < size:
        end = max(start + 1, int(np.searchsorted(begins, begins[start] + most, "right")) - 1)
        yield start, min(end, size)
        start = end


def _what_follows(
    histories: np.ndarray, places: np.ndarray, share: np.ndarray, settings: TransitionSettings
) -> sp.csr_matrix:
    """(n, V): for the likes at n places of the histories, how much each video counts as following; -1 is none."""
    window = np.arange(1, settings.window + 1)
    nearness = np.exp2(-(window - 1) / settings.half_life_items).astype(np.float32)
    followed = histories[places[:, None] + window]
    # The place -1 is the last.
    data = np.append(share, np.float32(0))[followed] * nearness
    np.maximum(followed, 0, out=followed)
    rows = np.arange(0, data.size + 1, settings.window, dtype=np.int32)
    return sp.csr_matrix((data.ravel(), followed.ravel(), rows), (len(places), len(share)))


def count_following(interactions: Interactions, settings: TransitionSettings) -> sp.csr_matrix:
    """(V, V) float32: the same sums, not divided by anything."""
    viewer, column = _histories(interactions)
    size = len(interactions.videos)
    counts = _following(viewer, column, size, 1, 1.0)
    for distance in range(2, settings.window + 1):
        counts = counts + _following(viewer, column, size, distance, 0.5 ** ((distance - 1) / settings.half_life_items))
    return counts


class GrownTransitions(ItemWeights):
    """Transitions that were fitted to what viewers did until some moment, and what has changed since.

    The weights of a history are put together when they are asked for. They are those of a fit to everything, but for
    rows of which the fit kept the strongest alone: what it left out counts from 0 when it changes, and the new ones are
    not cut off again.
    """

    def __init__(
        self,
        fitted: ItemWeights,
        audience: np.ndarray,
        counts: sp.csr_matrix,
        viewers: np.ndarray,
        settings: TransitionSettings,
    ) -> None:
        """audience: (V,) viewers of each video when `fitted` was; since then, of W >= V videos: the change of
        `count_following`, (W, W), and of the viewers of each, (W,)."""
        super().__init__(fitted.weights)
        size = len(viewers)
        before = np.zeros(size, np.float32)
        before[: len(audience)] = audience
        now = np.maximum(before + viewers, 1)
        before = np.maximum(before, 1)
        self._watched_share = ((before / now) ** settings.watched_discount).astype(np.float32)
        self._following_share = ((before / now) ** settings.following_discount).astype(np.float32)
        # A video that came later has no row in the fit: it takes the first one's, and nothing of it.
        self._row = np.where(np.arange(size) < len(audience), np.arange(size), 0)
        self._watched_share[len(audience) :] = 0
        self._change = counts.astype(np.float32)
        _discount(self._change, now, settings)

    @property
    def size(self) -> int:
        return len(self._row)

    def scores(self, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
        sums = np.zeros(self.size, np.float32)
        add_up(np.arange(len(columns)), np.asarray(weights, np.float32), *self._compressed_rows(columns), sums)
        return sums

    def _compressed_rows(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        offsets, indices, data = super()._compressed_rows(self._row[columns])
        data *= np.repeat(self._watched_share[columns], np.diff(offsets))
        data *= self._following_share[indices]
        rows = sp.csr_matrix((data, indices, offsets), (len(columns), self.size)) + self._change[columns]
        return rows.indptr, rows.indices, np.maximum(rows.data, 0)


def _discount(counts: sp.csr_matrix, audience: np.ndarray, settings: TransitionSettings) -> None:
    """Divides counts, in place, by powers of the number of viewers (V,)."""
    viewers = np.maximum(audience, 1).astype(np.float32)
    counts.data *= np.repeat(viewers**-settings.watched_discount, np.diff(counts.indptr))
    counts.data *= (viewers**-settings.following_discount)[counts.indices]


def _histories(interactions: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Viewer and column of every like, viewer by viewer, each from the oldest on."""
    liked = interactions.signal > 0
    viewer, column = interactions.viewer[liked], interactions.video[liked]
    order = np.argsort(viewer, kind="stable")
    return viewer[order], column[order]


def _following(viewer: np.ndarray, column: np.ndarray, size: int, distance: int, share: float) -> sp.csr_matrix:
    """`share` for every time that a video came `distance` places after another in the same history."""
    same = viewer[:-distance] == viewer[distance:]
    cells = (column[:-distance][same], column[distance:][same])
    return sp.csr_matrix((np.full(len(cells[0]), share, np.float32), cells), (size, size))
