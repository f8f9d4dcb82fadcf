"""Factors for videos that nobody has watched yet: a content map over what they look like, their labels and their words.

Puts the blocks together that `recommender.content_map` learns from, for a release and for what came after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from recommender.catalogue_view import CatalogueView
from recommender.collaborative import LatentFactors
from recommender.content_map import ContentBlock, ContentMap, ContentMapSettings, fit_content_map
from recommender.live_index import LiveIndex
from recommender.words import BUCKETS, NO_WORD

#: Videos that the map is fitted to at most: those with most viewers.
FITTED_TO = 20_000
#: Videos, of these, on which maps with and without words are compared.
COMPARED_ON = 2_000
#: Labels, and words, that it knows: the commonest ones.
MOST_LABELS = MOST_WORDS = 500
#: A word of fewer videos tells nothing of others.
FEWEST_WITH_A_WORD = 3
#: Videos whose predicted factors say what a high score is for a viewer.
REFERENCE = 500


@dataclass(frozen=True)
class Vocabulary:
    """What a map knows of a description: labels by name, and words by their buckets (w,) uint16."""

    labels: tuple[str, ...]
    words: np.ndarray

    def blocks(self, view: CatalogueView, index: LiveIndex, columns: np.ndarray) -> dict[str, ContentBlock]:
        """What these videos are, as a content map sees it; without words where it knows none."""
        here, vectors = index.vectors(columns)
        looks = np.zeros((len(columns), vectors.shape[1]), np.float32)
        looks[here] = vectors
        codes = view.codes("label")
        # The codes of labels that came later, or that no video here carries, stand for nothing.
        known = np.array([codes.get(name, -2) for name in self.labels], np.int64)
        blocks = {
            "looks": ContentBlock(looks, here),
            "labels": _one_hot(view.label_codes[columns], known, len(codes)),
        }
        if len(self.words):
            blocks["words"] = _one_hot(view.word_codes[columns], self.words.astype(np.int64), BUCKETS)
        return blocks


class ColdStart:
    """A content map with the words that it knows, and the factors that it predicts for some videos of the release.

    reference: (R, F) float32.
    """

    def __init__(self, content_map: ContentMap, vocabulary: Vocabulary, reference: np.ndarray) -> None:
        self.content_map = content_map
        self.vocabulary = vocabulary
        self.reference = reference

    @property
    def trust(self) -> float:
        """Share 0..1 of the variance of factors that the map explains for a video that it has not seen."""
        return self.content_map.trust

    def factors(self, view: CatalogueView, index: LiveIndex, columns: np.ndarray) -> np.ndarray:
        """Predicted factors of videos: (n, F) float32, 0 for those of which nothing is known."""
        return self.content_map.factors(self.vocabulary.blocks(view, index, columns))

    def arrays(self) -> dict[str, np.ndarray]:
        stored = {f"map.{name}": values for name, values in self.content_map.arrays().items()}
        known = self.vocabulary
        return stored | {"labels": np.array(known.labels, "U100"), "words": known.words, "reference": self.reference}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        of_map = {name.removeprefix("map."): values for name, values in arrays.items() if name.startswith("map.")}
        known = Vocabulary(tuple(arrays["labels"].tolist()), arrays["words"])
        return cls(ContentMap.from_arrays(of_map), known, arrays["reference"])


def fit_cold_start(
    view: CatalogueView,
    index: LiveIndex,
    factors: LatentFactors,
    viewers: np.ndarray,
    settings: ContentMapSettings | None = None,
    like: ColdStart | None = None,
) -> ColdStart | None:
    """Learns which factors go with which looks and labels, and words where these explain more; viewers: (V,) how many
    liked each video.

    like: an earlier one, from much the same: what did best for it is not looked for again. None where no video with
    viewers has any of them.
    """
    settings = settings or ContentMapSettings()
    warm = np.argsort(-viewers, kind="stable")[: min(FITTED_TO, int((viewers > 0).sum()))]
    labels, words = _commonest_labels(view, warm), _commonest_words(view, warm)
    compared_on = np.random.default_rng(0).permutation(warm)[:COMPARED_ON] if len(warm) > COMPARED_ON else warm
    vocabularies = [Vocabulary(labels, words[:0]), Vocabulary(labels, words)]
    if like is not None:
        vocabularies, compared_on = [vocabularies[len(like.vocabulary.words) > 0]], warm
        found = {"regularization": like.content_map.regularization, "bandwidth": like.content_map.bandwidth}
        settings = settings.model_copy(update=found)
    fitted = []
    for each in vocabularies:
        try:
            fitted.append((_fitted(each, view, index, factors, viewers, compared_on, settings), each))
        except ValueError:
            continue
    if not fitted:
        return None
    content_map, known = max(fitted, key=lambda pair: pair[0].trust)
    if len(compared_on) < len(warm):
        content_map = _fitted(known, view, index, factors, viewers, warm, settings)
    chosen = np.random.default_rng(0).permutation(len(warm))[:REFERENCE]
    return ColdStart(content_map, known, content_map.factors(known.blocks(view, index, warm[chosen])))


def _fitted(
    known: Vocabulary,
    view: CatalogueView,
    index: LiveIndex,
    factors: LatentFactors,
    viewers: np.ndarray,
    columns: np.ndarray,
    settings: ContentMapSettings,
) -> ContentMap:
    return fit_content_map(known.blocks(view, index, columns), factors.items[columns], viewers[columns], settings)


def _one_hot(codes: np.ndarray, known: np.ndarray, none: int) -> ContentBlock:
    """codes: (n, K), `none` or -1 where there is no more; known: (k,) codes -> (n, k) which of them a video has."""
    place = np.full(none + 1, -1, np.int64)
    used = np.flatnonzero(known >= 0)
    place[known[used]] = used
    row, column = np.nonzero(place[codes] >= 0)
    values = np.zeros((len(codes), len(known)), np.float32)
    values[row, place[codes[row, column]]] = 1
    return ContentBlock(values, np.bincount(row, minlength=len(codes)) > 0)


def _commonest_labels(view: CatalogueView, columns: np.ndarray) -> tuple[str, ...]:
    codes = view.label_codes[columns]
    counts = np.bincount(codes[codes >= 0], minlength=len(view.label_names))
    names = view.label_names
    return tuple(names[code] for code in np.argsort(-counts, kind="stable")[:MOST_LABELS] if counts[code] > 0)


def _commonest_words(view: CatalogueView, columns: np.ndarray) -> np.ndarray:
    codes = view.word_codes[columns]
    counts = np.bincount(codes[codes != NO_WORD], minlength=BUCKETS)
    commonest = np.argsort(-counts, kind="stable")[:MOST_WORDS]
    return commonest[counts[commonest] >= FEWEST_WITH_A_WORD].astype(np.uint16)
