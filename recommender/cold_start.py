"""Factors for videos that nobody has watched yet: a content map over what they look like and how they are labelled.

Puts the blocks together that `recommender.content_map` learns from, for a release and for what came after it.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np
import scipy.sparse as sp

from recommender.catalogue_view import CatalogueView
from recommender.collaborative import LatentFactors
from recommender.content_map import ContentBlock, ContentMap, ContentMapSettings, fit_content_map
from recommender.live_index import LiveIndex

#: Videos that the map is fitted to at most: those with most viewers.
FITTED_TO = 20_000
#: Labels that it knows: the commonest ones.
MOST_LABELS = 500
#: Videos whose predicted factors say what a high score is for a viewer.
REFERENCE = 500


class ColdStart:
    """A content map with the labels that it knows, and the factors that it predicts for some videos of the release.

    reference: (R, F) float32.
    """

    def __init__(self, content_map: ContentMap, labels: tuple[str, ...], reference: np.ndarray) -> None:
        self.content_map = content_map
        self.labels = labels
        self.reference = reference

    @property
    def trust(self) -> float:
        """Share 0..1 of the variance of factors that the map explains for a video that it has not seen."""
        return self.content_map.trust

    def factors(self, view: CatalogueView, index: LiveIndex, columns: np.ndarray) -> np.ndarray:
        """Predicted factors of videos: (n, F) float32, 0 for those without looks and labels."""
        return self.content_map.factors(_blocks(view, index, columns, self.labels))

    def arrays(self) -> dict[str, np.ndarray]:
        stored = {f"map.{name}": values for name, values in self.content_map.arrays().items()}
        return stored | {"labels": np.array(self.labels, "U100"), "reference": self.reference}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        of_map = {name.removeprefix("map."): values for name, values in arrays.items() if name.startswith("map.")}
        return cls(ContentMap.from_arrays(of_map), tuple(arrays["labels"].tolist()), arrays["reference"])


def fit_cold_start(
    view: CatalogueView,
    index: LiveIndex,
    factors: LatentFactors,
    viewers: np.ndarray,
    settings: ContentMapSettings | None = None,
) -> ColdStart | None:
    """Learns which factors go with which looks and labels; viewers: (V,) how many liked each video.

    None where no video with viewers has either.
    """
    warm = np.argsort(-viewers, kind="stable")[: min(FITTED_TO, int((viewers > 0).sum()))]
    labels = _commonest_labels(view, warm)
    blocks = _blocks(view, index, warm, labels)
    try:
        fitted = fit_content_map(blocks, factors.items[warm], viewers[warm], settings)
    except ValueError:
        return None
    chosen = np.random.default_rng(0).permutation(len(warm))[:REFERENCE]
    return ColdStart(fitted, labels, fitted.factors(_blocks(view, index, warm[chosen], labels)))


def _blocks(
    view: CatalogueView, index: LiveIndex, columns: np.ndarray, labels: tuple[str, ...]
) -> dict[str, ContentBlock]:
    here, vectors = index.vectors(columns)
    looks = np.zeros((len(columns), vectors.shape[1]), np.float32)
    looks[here] = vectors
    codes = view.codes("label")
    place = np.full(len(codes) + 1, -1, np.int64)
    place[[codes[name] for name in labels if name in codes]] = [
        number for number, name in enumerate(labels) if name in codes
    ]
    # The last place is of the code -1, no label.
    row, column = np.nonzero(place[view.label_codes[columns]] >= 0)
    known = place[view.label_codes[columns[row], column]]
    named = sp.csr_matrix((np.ones(len(row), np.float32), (row, known)), (len(columns), len(labels))).toarray()
    return {
        "looks": ContentBlock(looks, here),
        "labels": ContentBlock(named, np.bincount(row, minlength=len(columns)) > 0),
    }


def _commonest_labels(view: CatalogueView, columns: np.ndarray) -> tuple[str, ...]:
    codes = view.label_codes[columns]
    counts = np.bincount(codes[codes >= 0], minlength=len(view.label_names))
    names = view.label_names
    return tuple(names[code] for code in np.argsort(-counts, kind="stable")[:MOST_LABELS] if counts[code] > 0)
