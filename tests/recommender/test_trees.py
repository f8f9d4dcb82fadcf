"""Trees as arrays: the numbers are those of the library."""

import warnings

import lightgbm
import numpy as np
import pytest

from recommender.ranking.ranker import FUSION, Ranker
from recommender.ranking.trees import MOST_LEAVES, TreeArrays

FEATURES = 6


def trained(leaves: int, lacking: float, seed: int = 0, **parameters: object) -> lightgbm.Booster:
    """Trees over features of which some are few whole numbers, so that candidates stand exactly on thresholds."""
    rng = np.random.default_rng(seed)
    features = candidates(2_000, lacking, seed)
    known = np.nan_to_num(features, nan=-0.7)
    outcome = known[:, 0] * known[:, 1] + np.sin(3 * known[:, 2]) + 0.1 * rng.normal(size=len(features))
    usual = {"num_leaves": leaves, "min_data_in_leaf": 5, "num_threads": 1, "verbose": -1, "seed": seed}
    return lightgbm.train({**usual, **parameters}, lightgbm.Dataset(features, outcome), 30)


def candidates(count: int, lacking: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, FEATURES)).astype(np.float32)
    features[:, 3:] = np.round(features[:, 3:])
    features[rng.random(features.shape) < lacking] = np.nan
    return features


def as_arrays(booster: lightgbm.Booster) -> TreeArrays:
    return TreeArrays([tree["tree_structure"] for tree in booster.dump_model()["tree_info"]], FEATURES)


@pytest.mark.parametrize("lacking_then", [0.0, 0.2])
@pytest.mark.parametrize("lacking_now", [0.0, 0.3])
@pytest.mark.parametrize("leaves", [2, 5, MOST_LEAVES])
def test_scores_are_those_of_the_library_to_the_last_bit(leaves: int, lacking_then: float, lacking_now: float) -> None:
    booster = trained(leaves, lacking_then)
    features = candidates(300, lacking_now, seed=1)
    features[0], features[1] = np.inf, -np.inf
    expected = booster.predict(features, raw_score=True)
    np.testing.assert_array_equal(as_arrays(booster).scores(features.T), expected)


def test_a_candidate_on_a_threshold_goes_the_same_way() -> None:
    booster = trained(15, 0.0)
    thresholds = booster.trees_to_dataframe()["threshold"].dropna().to_numpy()
    near = np.concatenate([np.float32(thresholds), np.nextafter(np.float32(thresholds), np.float32(np.inf))])
    features = np.repeat(near[:, None], FEATURES, axis=1).astype(np.float32)
    np.testing.assert_array_equal(as_arrays(booster).scores(features.T), booster.predict(features, raw_score=True))


def test_thresholds_beyond_all_float32_are_kept_without_a_warning() -> None:
    split = {"split_feature": 0, "decision_type": "<=", "missing_type": "NaN", "default_left": False}
    leaves = {"left_child": {"leaf_value": 1.0}, "right_child": {"leaf_value": 2.0}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trees = TreeArrays([{**split, **leaves, "threshold": 1.7e308}], 1)
    lowest, highest = -np.finfo(np.float32).max, np.finfo(np.float32).max
    assert trees.scores(np.array([[lowest, highest, np.nan]], np.float32)).tolist() == [1, 1, 2]


def test_trees_that_learned_nothing_have_a_leaf_each() -> None:
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(np.zeros((50, FEATURES)), np.ones(50)), 2)
    np.testing.assert_array_equal(as_arrays(booster).scores(np.zeros((FEATURES, 3), np.float32)), [1, 1, 1])


def test_what_arrays_cannot_say_is_refused_and_a_ranker_asks_the_library() -> None:
    large, zeros = trained(40, 0.0), trained(8, 0.0, zero_as_missing=True)
    for booster, reason in ((large, "more than 16 leaves"), (zeros, "Zero missing")):
        with pytest.raises(ValueError, match=reason):
            as_arrays(booster)
        names = [FUSION, *(f"feature {number}" for number in range(1, FEATURES))]
        features = candidates(20, 0.2, seed=2)
        features[:, 0] = 0.5
        expected = booster.predict(features, raw_score=True).astype(np.float32)
        np.testing.assert_array_equal(Ranker(booster, names, 0.0).scores(features), expected)
