"""Matrix factorisation: a viewer who is folded in gets what a refit would give."""

import numpy as np
import pytest
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares

from recommender.collaborative import CollaborativeSettings, LatentFactors, fit_factors

SETTINGS = CollaborativeSettings(factors=8, regularization=2.0, alpha=5.0, iterations=10)
VIEWERS, VIDEOS, UNSEEN = 60, 40, 37


def two_tastes() -> sp.csr_matrix:
    """Viewers of even videos, viewers of odd ones; nobody met video 37."""
    rng = np.random.default_rng(0)
    same_taste = (np.arange(VIEWERS)[:, None] + np.arange(VIDEOS)) % 2 == 0
    seen = rng.random((VIEWERS, VIDEOS)) < np.where(same_taste, 0.5, 0.02)
    seen[:, UNSEEN] = False
    return sp.csr_matrix(seen * rng.uniform(0.2, 2.0, seen.shape), dtype=np.float32)


@pytest.fixture(scope="module")
def factors() -> LatentFactors:
    return fit_factors(two_tastes(), SETTINGS)


HISTORY, WEIGHTS = np.array([0, 4, 10]), np.array([1.0, 0.3, 1.7], np.float32)


def test_folding_in_is_the_step_that_implicit_takes(factors: LatentFactors) -> None:
    model = AlternatingLeastSquares(
        factors=factors.items.shape[1], regularization=SETTINGS.regularization, alpha=SETTINGS.alpha
    )
    model.item_factors = factors.items
    row = sp.csr_matrix((WEIGHTS, (np.zeros(3, int), HISTORY)), (1, VIDEOS), dtype=np.float32)
    np.testing.assert_allclose(
        factors.fold_in(HISTORY, WEIGHTS), np.ravel(model.recalculate_user(0, row)), rtol=1e-3, atol=1e-5
    )


def test_what_counts_1_is_folded_in_as_all_others_are(factors: LatentFactors) -> None:
    weights = np.array([1.0, 0.3, 1.0], np.float32) / np.float32(factors.alpha)
    confidence = factors.alpha * weights.astype(float)
    watched, more = factors.items[HISTORY].astype(float), np.diag(confidence - 1)
    gram = factors.items.T.astype(float) @ factors.items + factors.regularization * np.eye(factors.items.shape[1])
    viewer = np.linalg.solve(gram + watched.T @ more @ watched, watched.T @ confidence)
    np.testing.assert_allclose(factors.fold_in(HISTORY, weights), viewer, rtol=1e-4, atol=1e-6)


def test_a_viewer_is_offered_the_own_taste(factors: LatentFactors) -> None:
    scores = factors.scores(HISTORY, WEIGHTS)
    assert scores.shape == (VIDEOS,)
    odd, even = np.arange(1, VIDEOS, 2), np.arange(0, VIDEOS, 2)
    assert scores[even].mean() > scores[odd].mean() + 0.1


def test_contributions_add_up_to_the_score(factors: LatentFactors) -> None:
    wanted = np.array([2, 8, 3])
    parts = factors.contributions(HISTORY, WEIGHTS, wanted)
    assert parts.shape == (3, 3)
    np.testing.assert_allclose(parts.sum(axis=0), factors.scores(HISTORY, WEIGHTS)[wanted], rtol=1e-3, atol=1e-5)


def test_a_video_that_nobody_met_scores_nothing(factors: LatentFactors) -> None:
    assert factors.scores(HISTORY, WEIGHTS)[UNSEEN] == 0


def test_the_same_seed_gives_the_same_factors(factors: LatentFactors) -> None:
    np.testing.assert_allclose(fit_factors(two_tastes(), SETTINGS).items, factors.items, rtol=1e-4, atol=1e-6)


def test_a_tiny_world_can_be_fitted() -> None:
    factors = fit_factors(sp.csr_matrix(np.ones((1, 1), np.float32)))
    assert np.isfinite(factors.items).all() and factors.scores(np.array([0]), np.ones(1))[0] > 0


# ---- Warm starts -----------------------------------------------------------------------------------------------


def explains(factors: LatentFactors, positives: sp.csr_matrix) -> float:
    """The correlation of the scores of all videos with what viewers like."""
    rows = [positives[viewer] for viewer in range(VIEWERS)]
    scores = np.stack([factors.scores(row.indices, row.data) for row in rows])
    return float(np.corrcoef(scores.ravel(), positives.toarray().ravel())[0, 1])


def test_a_fit_that_begins_with_earlier_factors_needs_fewer_rounds(factors: LatentFactors) -> None:
    few = SETTINGS.model_copy(update={"iterations": 1, "warm_iterations": 1})
    warm = fit_factors(two_tastes(), few, start=factors.items)
    assert explains(warm, two_tastes()) == pytest.approx(explains(factors, two_tastes()), abs=0.01)
    assert explains(warm, two_tastes()) > explains(fit_factors(two_tastes(), few), two_tastes()) + 0.02


def test_what_earlier_factors_did_not_know_is_learned(factors: LatentFactors) -> None:
    start = factors.items.copy()
    start[[0, 3]] = 0.0
    few = SETTINGS.model_copy(update={"warm_iterations": 4})
    warm = fit_factors(two_tastes(), few, start=start)
    assert warm.items[[0, 3]].any(axis=1).all() and not warm.items[UNSEEN].any()
    assert explains(warm, two_tastes()) == pytest.approx(explains(factors, two_tastes()), abs=0.02)


@pytest.mark.parametrize("start", [np.ones((VIDEOS, 5), np.float32), np.zeros((VIDEOS, 8), np.float32)])
def test_factors_of_another_kind_are_not_begun_with(factors: LatentFactors, start: np.ndarray) -> None:
    few = SETTINGS.model_copy(update={"warm_iterations": 1})
    np.testing.assert_allclose(fit_factors(two_tastes(), few, start=start).items, factors.items, rtol=1e-4, atol=1e-6)
