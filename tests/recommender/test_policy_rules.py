"""Editors' rules in a slate: pins stand, boosts lift, blocks hold, each in its time and place."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from recommender.policy import Facts
from tests.recommender.policy_world import DAY, LABELS, NOW, VIDEOS, plain_facts, policy, request, scored, shown

PIN = {"kind": "pin", "video": "v9", "position": 2}
BLOCK = {"kind": "block", "video": "v1"}
BOOST = {"kind": "boost", "video": "v3", "factor": 5}


@pytest.fixture
def facts() -> Facts:
    """Of creator 4 are videos 7 and 8, of series 2 video 6, of label 3 video 5 and of labels 1 and 3 video 4."""
    creator, series = np.full(VIDEOS, -1, np.int32), np.full(VIDEOS, -1, np.int32)
    creator[[7, 8]], series[6] = 4, 2
    labels = sp.csr_matrix((np.ones(3, bool), ([4, 4, 5], [1, 3, 3])), (VIDEOS, LABELS))
    return plain_facts(creator=creator, series=series, labels=labels)


def test_a_pin_stands_at_its_place_and_a_boost_multiplies_the_score(facts: Facts) -> None:
    slate = policy(facts, PIN, BOOST, BLOCK).select(request(5), scored(range(10)))
    assert shown(slate) == [3, 9, 0, 2, 4]
    assert slate.rules == ("boosted", "pinned", None, None, None)
    assert slate.scores[0] == pytest.approx(5 * 0.7) and slate.removed == {1: "block", 5: "pins"}


@pytest.mark.parametrize(
    ("target", "moved"), [({"creator": "c4"}, 7), ({"series": "s2"}, 6), ({"label": "l3"}, 4), ({"video": "v8"}, 8)]
)
def test_a_rule_is_about_a_video_or_all_of_a_creator_series_or_label(
    facts: Facts, target: dict[str, str], moved: int
) -> None:
    candidates = scored(range(9))
    for rule in ({"kind": "pin", "position": 1}, {"kind": "boost", "factor": 100}):
        assert shown(policy(facts, rule | target).select(request(1), candidates)) == [moved]
    assert moved not in shown(policy(facts, {"kind": "block"} | target).select(request(VIDEOS), candidates))


def test_factors_multiply_and_push_down_below_1(facts: Facts) -> None:
    both = {"kind": "boost", "label": "l3", "factor": 2}, {"kind": "boost", "label": "l1", "factor": 3}
    slate = policy(facts, *both).select(request(6), scored(range(6)))
    assert slate.scores.tolist() == pytest.approx([6 * (2 / 6), 1, 5 / 6, 4 / 6, 3 / 6, 2 * (1 / 6)])
    low = policy(facts, {"kind": "boost", "video": "v0", "factor": 0.1}).select(request(3), scored(range(3)))
    assert shown(low) == [1, 2, 0] and set(low.rules) == {None}


def test_a_boost_lifts_and_a_push_down_lowers_where_scores_are_below_0_too(facts: Facts) -> None:
    candidates = scored(range(4), [1.0, -1.0, -2.0, -3.0])
    assert shown(policy(facts, {"kind": "boost", "video": "v2", "factor": 9}).select(request(1), candidates)) == [2]
    slate = policy(facts, {"kind": "boost", "video": "v0", "factor": 0.1}).select(request(4), candidates)
    assert shown(slate) == [1, 2, 0, 3]


@pytest.mark.parametrize(
    ("limits", "asked", "holds"),
    [
        ({"from": NOW}, {}, True),
        ({"from": NOW + 1}, {}, False),
        ({"until": NOW + 1}, {}, True),
        ({"until": NOW}, {}, False),
        ({"from": NOW - DAY, "until": NOW + DAY}, {}, True),
        ({"surface": "home"}, {"surface": "home"}, True),
        ({"surface": "home"}, {"surface": "mail"}, False),
        ({"surface": "home"}, {}, False),
        ({"country": "DE"}, {"country": "DE"}, True),
        ({"country": "DE"}, {"country": "FR"}, False),
    ],
)
def test_a_rule_holds_in_its_time_on_its_surface_and_in_its_country(
    facts: Facts, limits: dict[str, Any], asked: dict[str, Any], holds: bool
) -> None:
    for rule in (PIN, BLOCK, BOOST):
        plain = shown(policy(facts).select(request(5), scored(range(10))))
        assert (shown(policy(facts, rule | limits).select(request(5, **asked), scored(range(10)))) != plain) == holds


def test_of_an_unknown_country_blocks_hold_and_nothing_else_does(facts: Facts) -> None:
    rules = [rule | {"country": "DE"} for rule in (PIN, BLOCK, BOOST)]
    assert shown(policy(facts, *rules).select(request(4), scored(range(10)))) == [0, 2, 3, 4]


def test_no_pin_shows_what_may_not_be_shown(facts: Facts) -> None:
    gone = np.ones(VIDEOS, bool)
    gone[9] = False
    assert shown(policy(facts, PIN).select(request(3, eligible=gone), scored(range(10)))) == [0, 1, 2]
    blocked = policy(facts, PIN, {"kind": "block", "video": "v9"})
    assert shown(blocked.select(request(3), scored(range(10)))) == [0, 1, 2]
    assert 9 not in shown(blocked.select(request(VIDEOS), scored(range(10))))
    nobody = {"kind": "pin", "video": "v9999", "position": 1}
    assert shown(policy(facts, nobody).select(request(2), scored(range(10)))) == [0, 1]


def test_pins_that_want_one_place_stand_in_a_row_and_behind_the_end_there_is_none(facts: Facts) -> None:
    pins = [{"kind": "pin", "video": f"v{video}", "position": 2} for video in (20, 9, 30)]
    slate = policy(facts, *pins).select(request(3), scored(range(10)))
    assert shown(slate) == [0, 20, 9] and slate.rows.tolist() == [0, -1, 9]
    assert slate.found_by.tolist() == [1, 0, 1]


def test_a_pin_of_several_takes_the_best_candidate_else_the_newest() -> None:
    creator = np.array([4] * 10 + [-1] * 50, np.int32)
    published = np.append(np.arange(10.0), np.full(50, np.nan))
    chooser = policy(
        plain_facts(creator=creator, published_at=published), {"kind": "pin", "creator": "c4", "position": 1}
    )
    assert shown(chooser.select(request(3), scored([40, 41, 6, 3, 42]))) == [6, 40, 41]
    assert shown(chooser.select(request(3), scored([40, 41, 42]))) == [9, 40, 41]


def test_a_pin_is_not_tired_of_nor_a_duplicate(facts: Facts) -> None:
    twins = np.full(VIDEOS, -1, np.int32)
    twins[[9, 0, 40]] = 0
    chooser = policy(plain_facts(duplicate_group=twins), PIN, fatigue={"after": 1})
    asked = request(3, watched=np.array([40]), shown=np.array([9]), showings=np.array([50]))
    slate = chooser.select(asked, scored(range(10)))
    assert shown(slate) == [1, 9, 2] and slate.removed == {0: "duplicates"}


def test_a_pin_behind_the_last_video_that_may_be_shown_is_none() -> None:
    creator = np.zeros(VIDEOS, np.int32)
    pin = {"kind": "pin", "video": "v2", "position": 5}
    chooser = policy(plain_facts(creator=creator), pin, caps={"creator": {"per_window": 1, "window": 2}})
    slate = chooser.select(request(6, eligible=np.isin(np.arange(VIDEOS), [0, 2])), scored(range(9)))
    assert shown(slate) == [0, 2] and slate.rules == (None, None) and slate.relaxed == ("creator",)
