"""Random walks: the probabilities of the papers, blockwise or not, and rows that stay short."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender import walks
from recommender.walks import WalkSettings, fit_walks

VIEWERS, VIDEOS, UNSEEN = 30, 14, 13


def world(seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    seen = (rng.random((VIEWERS, VIDEOS)) < 0.25) * rng.uniform(0.1, 3, (VIEWERS, VIDEOS))
    seen[:, UNSEEN] = 0
    seen[4] = 0
    return sp.csr_matrix(seen, dtype=np.float32)


def step(matrix: np.ndarray, alpha: float) -> np.ndarray:
    """The transition probabilities between rows and columns, to the power of alpha."""
    return np.nan_to_num(matrix / matrix.sum(axis=1, keepdims=True)) ** alpha


def by_hand(positives: sp.csr_matrix, alpha: float, viewer_alpha: float, beta: float) -> np.ndarray:
    seen = (positives.toarray() > 0).astype(float)
    with np.errstate(invalid="ignore"):
        W = step(seen.T, alpha) @ step(seen, viewer_alpha) / np.maximum(seen.sum(axis=0), 1) ** beta
    np.fill_diagonal(W, 0)
    return W


@given(st.integers(0, 50), st.sampled_from([0.5, 1.0]), st.sampled_from([0.7, 1.3]), st.sampled_from([0.0, 0.4]))
@settings(max_examples=20, deadline=None)
def test_the_weights_are_those_of_rp3beta(seed: int, alpha: float, viewer_alpha: float, beta: float) -> None:
    fitted = fit_walks(world(seed), WalkSettings(alpha=alpha, viewer_alpha=viewer_alpha, beta=beta, far=0))
    np.testing.assert_allclose(fitted.weights.toarray(), by_hand(world(seed), alpha, viewer_alpha, beta), rtol=1e-5)


def test_the_most_probable_ends_are_kept() -> None:
    full = by_hand(world(), 0.7, 1.3, 0.0)
    kept = fit_walks(world(), WalkSettings(alpha=0.7, viewer_alpha=1.3, far=0, neighbours=3)).weights
    assert np.diff(kept.indptr).max() == 3
    for row, expected in zip(kept.toarray(), full, strict=True):
        np.testing.assert_allclose(np.sort(row)[-3:], np.sort(expected)[-3:], rtol=1e-5)


def test_far_walks_reach_videos_that_share_no_viewer() -> None:
    chain = sp.csr_matrix(np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], np.float32))
    near, far = (fit_walks(chain, WalkSettings(far=far)).weights.toarray() for far in (0.0, 0.5))
    assert near[0, 2] == 0 and far[0, 2] == pytest.approx(0.5 * near[0, 1] * near[1, 2])
    assert far[0, 1] == pytest.approx(near[0, 1]) and far[0, 3] == 0
    assert not np.diagonal(far).any()


def test_working_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = WalkSettings(far=0.5, neighbours=4)
    at_once = fit_walks(world(), settings).weights.toarray()
    monkeypatch.setattr(walks, "BLOCK", 3)
    np.testing.assert_array_equal(fit_walks(world(), settings).weights.toarray(), at_once)


def test_how_strong_a_signal_was_does_not_matter() -> None:
    pattern = world().astype(bool).astype(np.float32)
    np.testing.assert_array_equal(fit_walks(world()).weights.toarray(), fit_walks(pattern).weights.toarray())


def test_a_video_that_nobody_met_neither_gives_nor_gets() -> None:
    weights = fit_walks(world(), WalkSettings(far=1.0)).weights
    assert weights.dtype == np.float32
    assert weights[[UNSEEN]].nnz == 0 and weights[:, [UNSEEN]].nnz == 0


def test_an_empty_world_can_be_fitted() -> None:
    assert fit_walks(sp.csr_matrix((3, 5), dtype=np.float32)).weights.shape == (5, 5)
