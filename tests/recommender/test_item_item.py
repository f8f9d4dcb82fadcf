"""EASE: the closed formula, and sums that add up."""

import numpy as np
import pytest
import scipy.sparse as sp

from recommender.item_item import ItemItemSettings, ItemWeights, fit_item_weights

VIDEOS = 12


@pytest.fixture(scope="module")
def positives() -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    return sp.csr_matrix((rng.random((50, VIDEOS)) < 0.3) * rng.uniform(0.1, 3, (50, VIDEOS)), dtype=np.float32)


def closed_formula(positives: sp.csr_matrix, regularization: float) -> np.ndarray:
    X = positives.toarray() > 0
    P = np.linalg.inv(X.T.astype(float) @ X + regularization * np.eye(VIDEOS))
    B = -P / np.diag(P)
    np.fill_diagonal(B, 0)
    return B


def test_the_weights_are_those_of_the_closed_formula(positives: sp.csr_matrix) -> None:
    fitted = fit_item_weights(positives, ItemItemSettings(regularization=7.0))
    np.testing.assert_allclose(fitted.weights.toarray(), closed_formula(positives, 7.0), atol=1e-5)


def test_without_a_setting_the_regularization_is_the_mean_audience_but_at_least_ten(positives: sp.csr_matrix) -> None:
    mean = np.diff(positives.tocsc().indptr).mean()
    assert mean > 10
    np.testing.assert_allclose(
        fit_item_weights(positives).weights.toarray(), closed_formula(positives, mean), atol=1e-5
    )
    few = positives[:5]
    np.testing.assert_allclose(fit_item_weights(few).weights.toarray(), closed_formula(few, 10.0), atol=1e-5)


def test_the_strongest_neighbours_of_every_video_are_kept(positives: sp.csr_matrix) -> None:
    full = closed_formula(positives, 7.0)
    kept = fit_item_weights(positives, ItemItemSettings(regularization=7.0, neighbours=3)).weights.toarray()
    for row, expected in zip(kept, full, strict=True):
        strongest = np.argsort(-np.abs(expected))[:3]
        np.testing.assert_allclose(row[strongest], expected[strongest], atol=1e-5)
        assert np.count_nonzero(row) == 3


def test_scores_and_contributions_are_sums_over_the_history(positives: sp.csr_matrix) -> None:
    fitted = fit_item_weights(positives, ItemItemSettings(neighbours=5))
    history, weights = np.array([3, 0, 7]), np.array([1.0, 0.5, 2.0], np.float32)
    scores = fitted.scores(history, weights)
    np.testing.assert_allclose(scores, weights @ fitted.weights.toarray()[history], atol=1e-6)
    wanted = np.array([1, 9])
    parts = fitted.contributions(history, weights, wanted)
    assert parts.shape == (3, 2)
    np.testing.assert_allclose(parts.sum(axis=0), scores[wanted], atol=1e-6)


def test_a_video_that_nobody_met_scores_nothing(positives: sp.csr_matrix) -> None:
    lonely = sp.hstack([positives, sp.csr_matrix((50, 1), dtype=np.float32)]).tocsr()
    scores = fit_item_weights(lonely).scores(np.array([0, 1]), np.ones(2, np.float32))
    assert scores.shape == (VIDEOS + 1,) and scores[-1] == 0


def test_what_is_stored_comes_back_the_same(positives: sp.csr_matrix) -> None:
    fitted = fit_item_weights(positives, ItemItemSettings(neighbours=4))
    again = ItemWeights.from_arrays(fitted.arrays())
    assert all(array.dtype != object for array in fitted.arrays().values())
    np.testing.assert_array_equal(again.weights.toarray(), fitted.weights.toarray())
