"""LightGCN: taste travels along the graph, and a viewer who is folded in stands where a stored one would."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recommender.graph import GraphFactors, GraphSettings, fit_graph

SETTINGS = GraphSettings(factors=8, layers=2, epochs=15, batch_likes=256, learning_rate=0.05, regularization=1e-3)
VIEWERS, VIDEOS, UNSEEN = 60, 40, 37


def two_tastes() -> sp.csr_matrix:
    """Viewers of even videos, viewers of odd ones; nobody met video 37."""
    rng = np.random.default_rng(0)
    same_taste = (np.arange(VIEWERS)[:, None] + np.arange(VIDEOS)) % 2 == 0
    seen = rng.random((VIEWERS, VIDEOS)) < np.where(same_taste, 0.5, 0.02)
    seen[:, UNSEEN] = False
    return sp.csr_matrix(seen * rng.uniform(0.2, 2.0, seen.shape), dtype=np.float32)


@pytest.fixture(scope="module")
def graph() -> GraphFactors:
    return fit_graph(two_tastes(), SETTINGS)


HISTORY, WEIGHTS = np.array([0, 4, 10]), np.array([1.0, 0.3, 1.7], np.float32)


def test_a_viewer_is_offered_the_own_taste(graph: GraphFactors) -> None:
    odd, even = np.arange(1, VIDEOS, 2), np.arange(0, VIDEOS, 2)
    odd = odd[odd != UNSEEN]
    scores = graph.scores(HISTORY, WEIGHTS)
    assert scores.shape == (VIDEOS,) and scores.dtype == np.float32
    assert scores[even].min() > scores[odd].max()
    other = graph.scores(np.array([1, 5]), np.ones(2, np.float32))
    assert other[odd].min() > other[even].max()


def test_a_folded_viewer_is_what_propagation_makes_of_one_who_starts_from_nothing() -> None:
    """Against dense matrices: one more viewer with an embedding of 0, beside an unchanged graph."""
    positives = two_tastes()
    untrained = GraphSettings(factors=8, layers=3, epochs=1, learning_rate=1e-12)
    graph = fit_graph(positives, untrained)
    X = (positives.toarray() > 0).astype(float)
    audience, watched = np.maximum(X.sum(axis=0), 1), np.maximum(X.sum(axis=1), 1)
    A = X / np.sqrt(watched)[:, None] / np.sqrt(audience)
    # Neither `items` nor `sent` tells the layers apart: they follow from what the seed draws.
    with torch.random.fork_rng([]):
        torch.manual_seed(untrained.seed)
        nodes = (torch.randn(VIEWERS + VIDEOS, 8) * 0.1).numpy().astype(float)
    viewer, video = [nodes[:VIEWERS]], [nodes[VIEWERS:]]
    for _ in range(3):
        viewer, video = [*viewer, A @ video[-1]], [*video, A.T @ viewer[-1]]
    met = (X.sum(axis=0) > 0)[:, None]
    np.testing.assert_allclose(graph.items, np.mean(video, axis=0) * met, atol=1e-5)
    history = np.array([2, 6, 9])
    newcomer = np.isin(np.arange(VIDEOS), history) / np.sqrt(3) / np.sqrt(audience)
    expected = np.mean([np.zeros(8), *(newcomer @ layer for layer in video[:-1])], axis=0)
    np.testing.assert_allclose(graph.fold_in(history, np.ones(3, np.float32)), expected, atol=1e-5)


def test_contributions_add_up_to_the_score(graph: GraphFactors) -> None:
    wanted = np.array([2, 8, 3])
    parts = graph.contributions(HISTORY, WEIGHTS, wanted)
    assert parts.shape == (3, 3)
    np.testing.assert_allclose(parts.sum(axis=0), graph.scores(HISTORY, WEIGHTS)[wanted], rtol=1e-4, atol=1e-6)


def test_a_video_that_nobody_met_scores_nothing_and_says_nothing(graph: GraphFactors) -> None:
    assert graph.scores(HISTORY, WEIGHTS)[UNSEEN] == 0
    assert not graph.scores(np.array([UNSEEN]), np.ones(1, np.float32)).any()
    assert not graph.scores(np.zeros(0, np.int64), np.zeros(0, np.float32)).any()


def test_the_same_seed_gives_the_same_factors(graph: GraphFactors) -> None:
    np.testing.assert_allclose(fit_graph(two_tastes(), SETTINGS).items, graph.items, rtol=1e-4, atol=1e-6)


def test_what_is_stored_is_all_that_is_needed(graph: GraphFactors, tmp_path: Path) -> None:
    np.savez(tmp_path / "stored.npz", allow_pickle=False, **graph.arrays())
    with np.load(tmp_path / "stored.npz", allow_pickle=False) as stored:
        again = GraphFactors.from_arrays(dict(stored))
    np.testing.assert_array_equal(again.scores(HISTORY, WEIGHTS), graph.scores(HISTORY, WEIGHTS))


def test_training_tells_of_every_epoch_and_ends_in_time() -> None:
    heard: list[dict[str, Any]] = []
    fit_graph(two_tastes(), SETTINGS.model_copy(update={"epochs": 5}), heard.append)
    assert [now["epoch"] for now in heard] == [1, 2, 3, 4, 5] and heard[-1]["loss"] < heard[0]["loss"]
    heard.clear()
    fit_graph(two_tastes(), SETTINGS.model_copy(update={"budget_s": 1e-9}), heard.append)
    assert len(heard) == 1


def test_numbers_that_do_not_stay_finite_are_told_of() -> None:
    with pytest.raises(ArithmeticError, match="learning_rate"):
        fit_graph(two_tastes(), SETTINGS.model_copy(update={"learning_rate": 1e30}))


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_tiny_world_can_be_fitted(shape: tuple[int, int], value: float) -> None:
    graph = fit_graph(sp.csr_matrix(np.full(shape, value, np.float32)), SETTINGS)
    assert np.isfinite(graph.scores(np.array([0]), np.ones(1, np.float32))).all()
