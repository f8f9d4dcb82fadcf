"""What chance shows is logged with its exact probability."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from recommender.policy.exploration import seed_of
from tests.recommender.policy_world import VIDEOS, made_facts, plain_facts, policy, request, scored, shown

DRAWS = 1_500


def test_the_logged_propensities_are_the_frequencies() -> None:
    """With caps and duplicates at work, which make the pool smaller than it looks."""
    chooser = policy(
        made_facts(1),
        exploration={"epsilon": 0.3, "place": 4, "pool": 5},
        caps={"creator": {"per_slate": 1}},
    )
    asked, candidates = request(6), scored(range(30))
    slates = [chooser.select(replace(asked, seed=seed), candidates) for seed in range(DRAWS)]
    times = Counter(int(slate.columns[3]) for slate in slates)
    said = {int(slate.columns[3]): slate.propensity[3] for slate in slates}
    assert len(times) == 6 and sum(said.values()) == pytest.approx(1.0), "all that can happen, with its probability"
    for column, count in times.items():
        deviation = np.sqrt(said[column] * (1 - said[column]) / DRAWS)
        assert count / DRAWS == pytest.approx(said[column], abs=4 * deviation)
    assert sorted(set(said.values())) == pytest.approx([0.3 / 5, 0.7])
    for slate in slates:
        assert np.delete(slate.propensity, 3).tolist() == [1.0] * 5
        assert (slate.rules[3] == "explored") == (slate.propensity[3] < 0.1)
        assert ("exploration" in slate.removed.values()) == (slate.rules[3] == "explored")
    rest = {tuple(np.delete(slate.columns, 3)) for slate in slates}
    assert len(rest) == 1, "nothing but the one place is left to chance"
    assert {slate.columns.tolist().count(column) for slate in slates for column in times} <= {0, 1}


def test_the_pool_is_the_next_best_and_smaller_where_there_are_fewer() -> None:
    chooser = policy(plain_facts(), exploration={"epsilon": 0.9, "place": 2, "pool": 3})
    seen = {chooser.select(request(4, seed=seed), scored(range(9))).columns[1] for seed in range(200)}
    assert seen == {1, 4, 5, 6}
    few = [chooser.select(request(4, seed=seed), scored(range(5))) for seed in range(50)]
    assert {(slate.columns[1], slate.propensity[1].round(6)) for slate in few} == {(1, 0.1), (4, 0.9)}
    none = chooser.select(request(4, eligible=np.arange(VIDEOS) < 4), scored(range(4)))
    assert set(none.propensity) == {1.0}, "where there is nothing to draw the item is certain"


@pytest.mark.parametrize(("pinned", "explores"), [([], 3), ([4], 2), ([4, 3], 1), ([1, 2, 3, 4], None)])
def test_a_pin_is_not_explored_away_and_a_short_slate_explores_its_last_place(
    pinned: list[int], explores: int | None
) -> None:
    pins = [{"kind": "pin", "video": f"v{50 + position}", "position": position} for position in pinned]
    chooser = policy(plain_facts(), *pins, exploration={"epsilon": 0.5, "place": 9})
    propensity = chooser.select(request(4), scored(range(20))).propensity
    assert np.flatnonzero(propensity < 1).tolist() == ([] if explores is None else [explores])


def test_the_same_request_explores_the_same_way_and_another_its_own() -> None:
    chooser = policy(plain_facts(), exploration={"epsilon": 0.5, "place": 2})
    slates = [
        shown(chooser.select(request(3, seed=seed_of(key)), scored(range(20)))) for key in ("r1", "r1", "r2", "r3")
    ]
    assert slates[0] == slates[1]
    assert len({seed_of(f"request-{number}") for number in range(1_000)}) == 1_000


def test_what_replaces_an_item_fits_beside_the_others_only() -> None:
    """Video 3 is of the creator of 0, which stays; 4 of that of 1, which it may replace."""
    creator = np.array([7, 8, 9, 7, 8] + [-1] * 55, np.int32)
    chooser = policy(
        plain_facts(creator=creator),
        caps={"creator": {"per_slate": 1}},
        exploration={"epsilon": 0.9, "place": 2, "pool": 2},
    )
    seen = {chooser.select(request(3, seed=seed), scored(range(9))).columns[1] for seed in range(100)}
    assert seen == {1, 4, 5}
