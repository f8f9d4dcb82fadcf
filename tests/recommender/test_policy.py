"""The policy: whatever is on, a slate holds what it may hold, is as long as it can be, and says what it gave up."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.policy import Facts, Policy, PolicySettings, Slate, SlateRequest
from tests.recommender.policy_world import LABELS, VIDEOS, made_facts, plain_facts, policy, request, scored, shown

caps = st.fixed_dictionaries(
    {
        kind: st.fixed_dictionaries(
            {
                "per_slate": st.none() | st.integers(1, 3),
                "per_window": st.none() | st.integers(1, 2),
                "window": st.integers(2, 5),
            }
        )
        for kind in ("label", "creator", "series")
    }
)
choices = st.fixed_dictionaries(
    {
        "fatigue": st.fixed_dictionaries({"after": st.none() | st.integers(1, 4), "out_after": st.integers(3, 6)}),
        "freshness": st.fixed_dictionaries({"bonus": st.sampled_from([0.0, 1.0]), "new_share": st.floats(0, 1)}),
        "diversity": st.fixed_dictionaries(
            {
                "method": st.sampled_from(["mmr", "dpp", "none"]),
                "strength": st.floats(0, 0.9),
                "pool": st.integers(1, 30),
            }
        ),
        "calibration": st.fixed_dictionaries({"strength": st.sampled_from([0.0, 0.5])}),
        "caps": caps,
        "exploration": st.fixed_dictionaries(
            {"epsilon": st.sampled_from([0.0, 0.5]), "place": st.integers(1, 8), "pool": st.integers(1, 10)}
        ),
    }
)
rules = st.lists(
    st.one_of(
        st.builds(
            lambda v, p: {"kind": "pin", "video": f"v{v}", "position": p}, st.integers(0, 59), st.integers(1, 12)
        ),
        st.builds(
            lambda c, p: {"kind": "pin", "creator": f"c{c}", "position": p}, st.integers(0, 7), st.integers(1, 9)
        ),
        st.builds(lambda v: {"kind": "block", "video": f"v{v}"}, st.integers(0, 59)),
        st.builds(lambda n: {"kind": "block", "label": f"l{n}"}, st.integers(0, 5)),
        st.builds(lambda n, f: {"kind": "boost", "series": f"s{n}", "factor": f}, st.integers(0, 9), st.floats(0.1, 9)),
    ),
    max_size=4,
)


def made_request(rng: np.random.Generator, limit: int) -> SlateRequest:
    return request(
        limit,
        is_new=rng.random(VIDEOS) < 0.2,
        eligible=rng.random(VIDEOS) < rng.choice([0.1, 0.5, 0.9]),
        watched=rng.permutation(VIDEOS)[:4],
        taste=(rng.random(LABELS) * (rng.random(LABELS) < 0.6)).astype(np.float32),
        shown=rng.permutation(VIDEOS)[:30],
        showings=rng.integers(1, 8, 30),
        seed=int(rng.integers(1_000)),
    )


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 14), st.integers(0, VIDEOS), choices, rules)
def test_a_slate_keeps_every_promise(
    seed: int, limit: int, found: int, chosen: dict[str, Any], given_rules: list[dict[str, Any]]
) -> None:
    rng = np.random.default_rng(seed)
    facts = made_facts(seed)
    asked = made_request(rng, limit)
    candidates = scored(rng.permutation(VIDEOS)[:found], np.sort(rng.normal(size=found))[::-1])
    chooser = policy(facts, *given_rules, **chosen)
    slate = chooser.select(asked, candidates)
    effect = chooser.rulebook.effect(asked)
    allowed = asked.eligible & ~(np.zeros(VIDEOS, bool) if effect.blocked is None else effect.blocked)
    assert allowed[slate.columns].all(), "never what may not be shown"
    assert len(set(shown(slate))) == len(slate) == min(limit, allowed.sum()), "none twice, as long as can be"
    found_rows = slate.rows >= 0
    assert (candidates.columns[slate.rows[found_rows]] == slate.columns[found_rows]).all()
    assert not np.isin(slate.columns[~found_rows], candidates.columns).any()
    assert (slate.found_by == found_rows).all() and (slate.propensity > 0).all() and (slate.propensity <= 1).all()
    assert not set(slate.removed) & set(shown(slate))
    assert slate.rules.count("new") <= chooser.settings.freshness.new_share * limit + 1e-9
    assert_constraints_hold(slate, facts, asked, chooser.settings)
    again = chooser.select(asked, candidates)
    assert shown(again) == shown(slate), "the same question has the same answer"


def assert_constraints_hold(slate: Slate, facts: Facts, asked: SlateRequest, settings_: PolicySettings) -> None:
    """Whatever was not given up holds, but for what an editor pinned."""
    free = [rule != "pinned" for rule in slate.rules]
    groups = {
        "label": [facts.labels[column].indices.tolist() for column in shown(slate)],
        "creator": [[code] for code in facts.creator[slate.columns].tolist()],
        "series": [[code] for code in facts.series[slate.columns].tolist()],
    }
    for kind, members in groups.items():
        limits = getattr(settings_.caps, kind)
        if kind not in slate.relaxed:
            assert_at_most(limits.per_slate, members, free)
            for start in range(len(members)):
                end = start + limits.window
                assert_at_most(limits.per_window, members[start:end], free[start:end])
    if "duplicates" not in slate.relaxed:
        alike = facts.duplicate_group[slate.columns]
        assert_at_most(1, [[code] for code in alike.tolist()], free)
        assert not np.isin(alike[free], np.setdiff1d(facts.duplicate_group[asked.watched], [-1])).any()
    if "fatigue" not in slate.relaxed and settings_.fatigue.after is not None:
        tired = asked.shown[asked.showings >= settings_.fatigue.out_after]
        assert not np.isin(slate.columns[free], tired).any()


def assert_at_most(most: int | None, members: list[list[int]], free: list[bool]) -> None:
    if most is None:
        return
    times = Counter(code for codes in members for code in codes)
    by_policy = {code for codes, is_free in zip(members, free, strict=True) if is_free for code in codes}
    assert all(times[code] <= most for code in by_policy if code >= 0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(20, VIDEOS))
def test_with_all_off_a_slate_is_best_first(seed: int, limit: int, found: int) -> None:
    rng = np.random.default_rng(seed)
    # Scores with ties, and below 0: their order is the candidates'.
    candidates = scored(rng.permutation(VIDEOS)[:found], np.sort(rng.integers(-5, 5, found))[::-1])
    slate = policy(made_facts(duplicate_group=np.full(VIDEOS, -1, np.int32))).select(request(limit), candidates)
    assert slate.rows.tolist() == list(range(limit)) and shown(slate) == candidates.columns[:limit].tolist()
    assert slate.scores.tolist() == candidates.scores[:limit].tolist()
    assert set(slate.rules) == {None} and set(slate.propensity) == {1.0} and slate.relaxed == ()
    assert slate.removed == {}


def test_no_candidates_and_no_videos_are_no_trouble() -> None:
    for facts, settings_ in ((made_facts(), PolicySettings()), (plain_facts(), PolicySettings())):
        slate = Policy(facts, settings_).select(request(5), scored([]))
        assert len(slate) == 5 and set(slate.rows) == {-1} and set(slate.scores) == {0.0}
        nothing = Policy(facts, settings_).select(request(5, eligible=np.zeros(VIDEOS, bool)), scored([3, 4]))
        assert len(nothing) == 0 and nothing.removed == {3: "eligibility", 4: "eligibility"}


# ---- Caps, duplicates, and the order in which they are given up ----------------------------------------------


def test_a_cap_passes_the_place_on_to_the_next_best() -> None:
    creator = np.array([0, 0, 0, 1, 1, 2] + [-1] * 54, np.int32)
    capped = policy(plain_facts(creator=creator), caps={"creator": {"per_slate": 1}})
    slate = capped.select(request(4), scored(range(10)))
    assert shown(slate) == [0, 3, 5, 6] and slate.relaxed == ()
    assert slate.removed == {1: "creator", 2: "creator", 4: "creator"}
    in_a_row = policy(plain_facts(creator=creator), caps={"creator": {"per_window": 1, "window": 2}})
    assert shown(in_a_row.select(request(6), scored(range(6)))) == [0, 3, 1, 4, 2, 5]


def test_pins_count_for_caps_before_and_behind_them() -> None:
    facts = plain_facts(creator=np.array([0, 0, 0] + [-1] * 57, np.int32))
    pin = {"kind": "pin", "video": "v2", "position": 4}
    assert shown(policy(facts, pin, caps={"creator": {"per_slate": 1}}).select(request(4), scored(range(9)))) == [
        3, 4, 5, 2,
    ]  # fmt: skip
    near = policy(facts, pin, caps={"creator": {"per_window": 1, "window": 3}})
    assert shown(near.select(request(7), scored(range(9)))) == [0, 3, 4, 2, 5, 6, 1]


def test_what_no_source_found_is_taken_before_a_constraint_is_given_up() -> None:
    published = np.arange(VIDEOS, dtype=float)
    facts = plain_facts(creator=np.array([0] * 5 + [-1] * 55, np.int32), published_at=published)
    slate = policy(facts, caps={"creator": {"per_slate": 2}}).select(request(5), scored(range(5)))
    assert shown(slate) == [0, 1, 59, 58, 57], "the newest first"
    assert slate.relaxed == () and slate.rows.tolist() == [0, 1, -1, -1, -1]


@pytest.mark.parametrize(
    ("closed_by", "given_up"),
    [
        (["label"], ["label"]),
        (["creator", "label"], ["label", "creator"]),
        (["series", "creator", "label"], ["label", "creator", "series"]),
        (["fatigue", "series"], ["series", "fatigue"]),
        (["duplicates", "fatigue", "label"], ["label", "fatigue", "duplicates"]),
    ],
)
def test_constraints_are_given_up_in_the_written_order(closed_by: list[str], given_up: list[str]) -> None:
    """Four videos that may be shown, of which every constraint at work lets the first one pass only."""
    same, none = np.zeros(VIDEOS, np.int32), np.full(VIDEOS, -1, np.int32)
    facts = plain_facts(
        creator=same if "creator" in closed_by else none,
        series=same if "series" in closed_by else none,
        duplicate_group=same if "duplicates" in closed_by else none,
        labels=sp.csr_matrix(np.eye(1, LABELS, dtype=bool).repeat(VIDEOS, axis=0) & ("label" in closed_by)),
    )
    one = {"per_slate": 1}
    chooser = policy(facts, fatigue={"after": 1}, caps={"label": one, "creator": one, "series": one})
    tired = np.arange(1, 4) if "fatigue" in closed_by else np.zeros(0, np.int64)
    asked = request(4, eligible=np.arange(VIDEOS) < 4, shown=tired, showings=np.full(len(tired), 99))
    slate = chooser.select(asked, scored(range(4)))
    assert list(slate.relaxed) == given_up and shown(slate) == [0, 1, 2, 3]


def test_a_constraint_holds_up_to_the_place_that_it_had_to_be_given_up_for() -> None:
    creator = np.array([0, 0, 0, 0, 1, 2] + [-1] * 54, np.int32)
    asked = request(6, eligible=np.arange(VIDEOS) < 6)
    slate = policy(plain_facts(creator=creator), caps={"creator": {"per_slate": 1}}).select(asked, scored(range(6)))
    assert shown(slate) == [0, 4, 5, 1, 2, 3] and slate.relaxed == ("creator",)


def test_of_near_duplicates_the_best_is_shown_and_none_after_one_was_watched() -> None:
    groups = np.full(VIDEOS, -1, np.int32)
    groups[[0, 2, 4]], groups[[1, 50]] = 3, 5
    chooser = policy(plain_facts(duplicate_group=groups))
    slate = chooser.select(request(3, watched=np.array([50])), scored(range(8)))
    assert shown(slate) == [0, 3, 5]
    assert slate.removed == {1: "duplicates", 2: "duplicates", 4: "duplicates"}


def test_what_was_outscored_is_not_removed_but_what_a_stage_moved_out_is() -> None:
    facts = made_facts(duplicate_group=np.full(VIDEOS, -1, np.int32))
    diverse = policy(facts, diversity={"method": "mmr", "strength": 0.8})
    slate = diverse.select(request(5), scored(range(30)))
    assert slate.removed == {column: "diversity" for column in range(5) if column not in shown(slate)} != {}


def test_a_longer_slate_begins_like_a_shorter_one() -> None:
    """Nothing about the places behind changes those before, so that a page can be cut from a longer slate."""
    chooser = policy(made_facts(), diversity={"method": "mmr"}, caps={"creator": {"per_window": 1}})
    slates = [shown(chooser.select(request(limit), scored(range(50)))) for limit in (5, 10, 20)]
    assert all(longer[: len(shorter)] == shorter for shorter, longer in pairwise(slates))
