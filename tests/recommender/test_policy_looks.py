"""Shortened embeddings say of two videos what the long ones say, without what all have in common."""

import numpy as np

from recommender.policy.looks import compact_looks


def made_vectors(count: int, length: int, directions: int) -> np.ndarray:
    """Vectors that have much in common and differ in a few directions, with a little noise, as embeddings do."""
    rng = np.random.default_rng(0)
    vectors = 5.0 + rng.normal(size=(count, directions)) @ rng.normal(size=(directions, length))
    vectors += 0.1 * rng.normal(size=vectors.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def centred_cosines(vectors: np.ndarray) -> np.ndarray:
    centred = vectors - vectors.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    return centred @ centred.T


def test_products_are_the_cosines_of_what_differs() -> None:
    vectors = made_vectors(300, 200, 12)
    has_vector, short = compact_looks(np.arange(300), vectors, 300, dims=16)(np.arange(300))
    assert has_vector.all() and short.shape == (300, 16) and short.dtype == np.float32
    assert np.abs(short @ short.T - centred_cosines(vectors)).max() < 0.05
    _, exact = compact_looks(np.arange(300), vectors, 300, dims=200)(np.arange(300))
    assert np.abs(exact @ exact.T - centred_cosines(vectors)).max() < 1e-5
    assert (vectors @ vectors.T).mean() > 0.5 > 0.1 > (short @ short.T).mean(), "what all have in common is no likeness"


def test_what_came_later_is_seen_as_all_others_are() -> None:
    vectors = made_vectors(300, 200, 12)
    whole = compact_looks(np.arange(300), vectors, 300, dims=16)
    grown = compact_looks(np.arange(300), vectors, 300, dims=16).with_embeddings(
        np.array([304, 7]), vectors[[3, 5]], 306
    )
    _, expected = whole(np.array([3, 5, 9]))
    has_vector, found = grown(np.array([304, 305, 7, 9]))
    assert has_vector.tolist() == [True, False, True, True]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    again = grown.with_embeddings(np.array([305]), vectors[[20]], 306)
    np.testing.assert_allclose(again(np.array([305, 304]))[1], whole(np.array([20, 3]))[1], atol=1e-5)
    assert not grown(np.array([305]))[0].any()


def test_videos_without_a_vector_are_told() -> None:
    vectors = made_vectors(4, 8, 3)
    looks = compact_looks(np.array([5, 0, 3, 9]), vectors, 10)
    has_vector, found = looks(np.array([3, 1, 5, 7, 9]))
    assert has_vector.tolist() == [True, False, True, False, True]
    assert np.abs(found @ found.T - centred_cosines(vectors)[np.ix_([2, 0, 3], [2, 0, 3])]).max() < 1e-5
    nothing, none = compact_looks(np.zeros(0, np.int64), np.zeros((0, 1280), np.float32), 10)(np.array([3, 1]))
    assert not nothing.any() and len(none) == 0
    _, lonely = compact_looks(np.array([2]), vectors[:1], 10)(np.array([2]))
    assert np.isfinite(lonely).all()
