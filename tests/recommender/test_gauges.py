"""The recall of a live index is what a comparison with every vector says it is."""

import numpy as np
import pytest

from recommender import gauges
from recommender.gauges import own_searches, recall_of
from recommender.index import IndexSettings, VectorIndex
from recommender.live_index import LiveIndex
from recommender.pipeline.stages import Search

VIDEOS, DIM = 1_500, 16
#: An approximate index that looks into one cell of many.
POOR = IndexSettings(exact_below=0, recall=0.01, storage="float32")


def vectors(seed: int, count: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


MATRIX = vectors(0, VIDEOS)
LATER = np.arange(VIDEOS - 300, VIDEOS, 3)


def live(settings: IndexSettings) -> LiveIndex:
    """Of the last videos some have come later, and some of the first were encoded anew."""
    before = MATRIX.copy()
    before[:50] *= -1
    columns = np.setdiff1d(np.arange(VIDEOS), LATER)
    index = LiveIndex(VectorIndex.build(before[columns], columns, settings))
    return index.with_vectors({int(column): MATRIX[column] for column in (*range(50), *LATER)})


def searches(count: int = 30) -> list[Search]:
    rng = np.random.default_rng(1)
    return [
        Search(vector, 3 + 4 * (place % 3), rng.random(VIDEOS) < 0.99) for place, vector in enumerate(vectors(2, count))
    ]


def by_hand(index: LiveIndex, asked: list[Search]) -> float:
    found = wanted = 0
    for search in asked:
        scores = np.where(search.eligible, MATRIX @ search.vector, -np.inf)
        exact = np.argsort(-scores)[: search.k]
        columns, _ = index.search(search.vector[None], search.k, search.eligible)
        found += len(np.intersect1d(exact, columns))
        wanted += len(exact)
    return found / wanted


@pytest.mark.parametrize("chunk", [100, 7 * DIM * 4, 1 << 24])
def test_it_is_what_a_comparison_with_all_says(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(gauges, "CHUNK_BYTES", chunk)
    poor, asked = live(POOR), searches()
    rests: list[int] = []
    recall = recall_of(poor, asked, lambda: rests.append(0))
    assert recall == pytest.approx(by_hand(poor, asked)) and recall < 0.95
    assert recall_of(live(IndexSettings()), asked) == 1.0
    assert len(rests) >= VIDEOS * DIM * 4 // max(chunk, DIM * 4), "others get their turn"


def test_videos_that_are_equally_near_stand_for_each_other() -> None:
    """A flat index finds one of two copies, the delta has the other: neither is a miss."""
    index = LiveIndex(VectorIndex.build(MATRIX[:100], np.arange(100))).with_vectors({100: MATRIX[3]})
    assert recall_of(index, [Search(MATRIX[3], 1, np.ones(101, bool))]) == 1.0


def test_where_little_or_nothing_is_eligible() -> None:
    few, nothing = np.zeros(VIDEOS, bool), np.zeros(VIDEOS, bool)
    few[[3, 900]] = True
    index = live(POOR)
    assert recall_of(index, [Search(MATRIX[0], 10, few), Search(MATRIX[0], 10, nothing)]) == 1.0
    assert recall_of(index, [Search(MATRIX[0], 10, nothing)]) is None
    assert recall_of(index, []) is None
    empty = LiveIndex(VectorIndex.build(np.zeros((0, 1), np.float32), np.zeros(0, np.int64)))
    assert own_searches(empty, 5) == [] and recall_of(empty, searches()) is None


def test_without_requests_it_is_tried_with_its_own_videos() -> None:
    asked = own_searches(live(POOR), VIDEOS, most=40, k=5)
    assert len(asked) == 40 and {search.k for search in asked} == {5}
    assert all((MATRIX @ search.vector).max() == pytest.approx(1, abs=1e-5) for search in asked), "as they are now"
    assert recall_of(live(IndexSettings()), asked) == 1.0
    assert (recall_of(live(POOR), asked) or 0) < 0.95
