"""The ranker: learns what the fusion does not know, and says when it did not."""

from dataclasses import replace

import numpy as np
import pytest

from recommender.ranking.ranker import PastRequests, Ranker, RankerSettings, train_ranker

NAMES = ("score.taste", "rank.taste", "score.fusion", "age_years")
CANDIDATES, WINDOWS = 20, 4
SETTINGS = RankerSettings(min_groups=50, min_candidates_per_leaf=20, trees=30)


def past_requests(groups: int, age_matters: float, seed: int = 0) -> PastRequests:
    """Requests of which three videos were watched: by fusion, by newness and by chance."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(groups, CANDIDATES, len(NAMES))).astype(np.float32)
    features[..., 1] = np.where(rng.random((groups, CANDIDATES)) < 0.3, np.nan, features[..., 1])
    utility = features[..., 2] - age_matters * features[..., 3] + rng.gumbel(size=(groups, CANDIDATES))
    watched = np.argsort(np.argsort(-utility, axis=1), axis=1) < 3
    return PastRequests(
        features=features.reshape(-1, len(NAMES)),
        grades=watched.ravel().astype(np.int64),
        sizes=np.full(groups, CANDIDATES),
        relevant=np.full(groups, 4),
        window=np.repeat(np.arange(WINDOWS), groups // WINDOWS),
        viewer=rng.integers(0, groups // 2, groups),
    )


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    trained = train_ranker(past_requests(400, age_matters=3.0), NAMES, SETTINGS)
    assert trained is not None
    return trained[0]


def test_trees_learn_what_the_fusion_does_not_know() -> None:
    trained = train_ranker(past_requests(400, age_matters=3.0), NAMES, SETTINGS)
    assert trained is not None
    _, comparison = trained
    assert comparison.trees_are_better and comparison.low > 0
    assert comparison.low < comparison.trees - comparison.fusion < comparison.high
    assert 0.3 < comparison.trees < 1 and 20 < comparison.requests < 80


def test_the_comparison_is_on_requests_of_the_newest_window_that_were_not_trained_on() -> None:
    past = past_requests(400, age_matters=3.0)
    turned = past.features.copy()
    newest = np.repeat(past.window == WINDOWS - 1, past.sizes)
    turned[newest, 3] *= -1
    trained = train_ranker(PastRequests(**{**vars(past), "features": turned}), NAMES, SETTINGS)
    assert trained is not None and not trained[1].trees_are_better


def with_a_new_taste() -> PastRequests:
    """Requests in whose newest window age matters as it did not before."""
    before, now = past_requests(400, age_matters=0.0), past_requests(400, age_matters=3.0)
    newest = np.repeat(now.window == WINDOWS - 1, now.sizes)
    features = np.where(newest[:, None], now.features, before.features)
    return replace(before, features=features, grades=np.where(newest, now.grades, before.grades))


def test_shown_lists_are_learned_from_where_that_is_better() -> None:
    past = with_a_new_taste()
    alone = train_ranker(past, NAMES, SETTINGS)
    together = train_ranker(past, NAMES, SETTINGS, shown=past_requests(400, age_matters=3.0, seed=1))
    assert alone is not None and together is not None
    assert (alone[1].exposures, together[1].exposures) == (0, 400)
    assert together[1].trees > alone[1].trees + 0.05


def test_shown_lists_that_mislead_are_not_learned_from() -> None:
    past, misleading = past_requests(400, age_matters=3.0), past_requests(400, age_matters=-3.0, seed=1)
    alone, together = train_ranker(past, NAMES, SETTINGS), train_ranker(past, NAMES, SETTINGS, shown=misleading)
    assert alone is not None and together is not None
    assert together[1] == alone[1] and together[0].to_text() == alone[0].to_text()


def test_of_shown_lists_those_of_the_newest_window_do_not_tell_its_outcome() -> None:
    past, shown = with_a_new_taste(), past_requests(400, age_matters=3.0, seed=1)
    late = replace(shown, window=np.full(len(shown), WINDOWS - 1))
    alone, together = train_ranker(past, NAMES, SETTINGS), train_ranker(past, NAMES, SETTINGS, shown=late)
    assert alone is not None and together is not None
    assert together[1] == alone[1]


def test_a_ranker_prefers_what_was_watched(ranker: Ranker) -> None:
    features = np.zeros((3, len(NAMES)), np.float32)
    features[:, 3] = [2.0, -2.0, 0.0]
    scores = ranker.scores(features)
    assert scores.dtype == np.float32 and scores.argmax() == 1 and scores.argmin() == 0
    assert max(ranker.gains(), key=ranker.gains().__getitem__) == "age_years"
    assert sum(ranker.gains().values()) == pytest.approx(1)


def test_a_better_fused_score_never_lowers_a_candidate(ranker: Ranker) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        features = np.repeat(rng.normal(size=(1, len(NAMES))), 30, axis=0).astype(np.float32)
        features[:, 2] = np.sort(rng.normal(size=30))
        assert (np.diff(ranker.scores(features)) >= 0).all()


def test_a_ranker_survives_its_text(ranker: Ranker) -> None:
    again = Ranker.from_text(ranker.to_text())
    features = past_requests(40, 1.0, seed=5).features[:CANDIDATES]
    assert again.names == NAMES
    np.testing.assert_array_equal(again.scores(features), ranker.scores(features))


@pytest.mark.parametrize(
    "text", ["", "{}", "tree\nversion=v4", '{"names":["score.fusion"],"fusion_weight":1,"trees":"no"}']
)
def test_a_text_that_is_no_ranker_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a ranker"):
        Ranker.from_text(text)


def test_a_request_without_candidates_has_no_scores(ranker: Ranker) -> None:
    assert ranker.scores(np.zeros((0, len(NAMES)), np.float32)).shape == (0,)


def test_candidates_that_are_all_alike_score_alike(ranker: Ranker) -> None:
    assert len(set(ranker.scores(np.ones((5, len(NAMES)), np.float32)).tolist())) == 1


def test_the_same_requests_train_the_same_ranker() -> None:
    first, second = (train_ranker(past_requests(100, age_matters=3.0), NAMES, SETTINGS) for _ in range(2))
    assert first is not None and second is not None
    assert first[0].to_text() == second[0].to_text() and first[1] == second[1]


def test_too_little_to_learn_from_gives_no_ranker() -> None:
    past = past_requests(400, age_matters=3.0)
    assert train_ranker(past, NAMES, SETTINGS.model_copy(update={"min_groups": 401})) is None
    assert train_ranker(past.take(past.window == 2), NAMES, SETTINGS) is None
    assert train_ranker(past.take(past.window == 9), NAMES, SETTINGS) is None
    unwatched = PastRequests(**{**vars(past), "grades": np.zeros_like(past.grades)})
    assert train_ranker(unwatched, NAMES, SETTINGS) is None
