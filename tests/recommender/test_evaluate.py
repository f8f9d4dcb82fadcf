"""Metrics by hand and by scikit-learn; and lists measured exactly as they are served."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from data.home import Home
from data.schema import Video
from data.store import Store
from recommender.engine import Engine, query_now
from recommender.evaluate.metrics import bootstrap_interval, ndcg_at_k, paired_interval, recall_at_k
from recommender.evaluate.served import evaluate_served
from recommender.refresh import refresh
from tests.recommender.small_world import SETTINGS, watch


@given(st.integers(0, 2**32 - 1), st.integers(1, 25))
def test_ndcg_is_that_of_scikit_learn(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    relevant = rng.random((6, 25)) < rng.uniform(0.05, 0.9)
    relevant[:, 0] = True
    scores = rng.permuted(np.tile(np.arange(25.0), (6, 1)), axis=1)
    hits = np.take_along_axis(relevant, np.argsort(-scores, axis=1)[:, :k], axis=1)
    expected = [ndcg_score([truth], [score], k=k) for truth, score in zip(relevant, scores, strict=True)]
    np.testing.assert_allclose(ndcg_at_k(hits, relevant.sum(axis=1)), expected)


def test_lists_by_hand() -> None:
    hits = np.array([[True, False, True], [False, True, False], [False, False, False], [True, True, True]])
    relevant = np.array([2, 1, 4, 9])
    second, third = 1 / np.log2(3), 1 / np.log2(4)
    np.testing.assert_allclose(ndcg_at_k(hits, relevant), [(1 + third) / (1 + second), second, 0, 1])
    np.testing.assert_allclose(recall_at_k(hits, relevant), [1, 1, 0, 3 / 9])


def test_the_interval_holds_the_mean_and_narrows_with_more_viewers() -> None:
    values = np.random.default_rng(0).random(2_000)
    few, many = bootstrap_interval(values[:50]), bootstrap_interval(values)
    assert few[0] < values[:50].mean() < few[1] and many[1] - many[0] < few[1] - few[0]
    assert many[1] - many[0] == pytest.approx(2 * 1.96 * values.std() / np.sqrt(2_000), rel=0.1)
    assert bootstrap_interval(values) == many, "the same seed, the same interval"
    assert bootstrap_interval(np.ones(5)) == (1.0, 1.0)


def test_served_lists_are_measured_as_they_are_served(world: Store, home: Home) -> None:
    watch(world, "anna", ["space-0", "space-1"])
    watch(world, "ben", ["sports-0"])
    refresh(world, home, SETTINGS)
    engine = Engine.open(home, world, SETTINGS)

    def served(viewer: str) -> list[str]:
        ranked, _ = engine.recommend(query_now(engine.profile(world.events.history(viewer)), 5))
        return [engine.videos[column] for column in ranked.columns]

    shown = {*served("anna"), *served("ben")}
    held_out = {
        "anna": {served("anna")[0], served("anna")[2]},
        "ben": {"sports-0", "unknown to the release"},  # the first is watched already: it is never served
        "nothing held out": set(),
    }
    measured = evaluate_served(engine, world, held_out, k=5)
    ndcg = (1 + 1 / 2) / (1 + 1 / np.log2(3))
    assert (measured.viewers.tolist(), measured.k) == (["anna", "ben"], 5)
    assert measured.ndcg.tolist() == pytest.approx([ndcg, 0])
    figures = measured.as_dict()
    assert (figures["recall@5"], figures["hit_rate@5"], figures["viewers"]) == (0.5, 0.5, 2)
    assert figures["ndcg@5"] == pytest.approx(ndcg / 2) and figures["coverage"] == pytest.approx(len(shown) / 30)
    with pytest.raises(ValueError, match="nothing was held out"):
        evaluate_served(engine, world, {"anna": set()})


def test_a_source_may_be_measured_alone_and_at_another_moment(world: Store, home: Home) -> None:
    watch(world, "anna", ["space-0", "space-1"])
    refresh(world, home, SETTINGS)
    engine = Engine.open(home, world, SETTINGS)
    (only,) = (source for source in engine.pipeline.sources if source.name == "content")
    query = query_now(engine.profile(world.events.history("anna")), 5)
    best = only.candidates(query, engine.pipeline.eligible(query), 5).columns[0]
    held_out = {"anna": {engine.videos[best]}}
    assert evaluate_served(engine, world, held_out, k=5, sources={"content"}).ndcg.tolist() == [1.0]
    world.catalogue.upsert(
        [Video(id=engine.videos[best], media_path=f"/{engine.videos[best]}.mp4", available_until=query.now + 60)]
    )
    engine.view.update(world)
    for moment, found in ((query.now, 1), (query.now + 61, 0)):
        measured = evaluate_served(engine, world, held_out, k=5, sources={"content"}, moments={"anna": moment})
        assert measured.hits.sum() == found


def test_a_paired_interval_is_of_the_differences_and_counts_a_viewer_once() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.random(400)
    ours = theirs + 0.1 + 0.01 * rng.normal(size=400)
    low, high = paired_interval(ours, theirs)
    assert 0.09 < low < 0.1 < high < 0.11
    repeated = paired_interval(np.tile(ours, 5), np.tile(theirs, 5), np.tile(np.arange(400), 5))
    assert repeated[1] - repeated[0] == pytest.approx(high - low, rel=0.15), "copies of a viewer tell nothing new"
