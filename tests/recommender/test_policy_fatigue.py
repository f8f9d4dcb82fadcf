"""What was shown in vain comes later, then not at all; what is new has its few places, and no more."""

import numpy as np
import pytest

from recommender.policy.fatigue import FatigueSettings, unclicked_showings
from tests.recommender.policy_world import DAY, NOW, VIDEOS, plain_facts, policy, request, scored, shown


def test_what_was_shown_in_vain_is_demoted_step_by_step_and_then_out() -> None:
    chooser = policy(plain_facts(), fatigue={"after": 5, "factor": 0.5, "out_after": 8})
    asked = request(6, shown=np.array([3, 0, 50, 1, 2]), showings=np.array([8, 4, 99, 5, 7]))
    slate = chooser.select(asked, scored(range(8), [8, 7, 6, 5, 4, 3, 2, 1]))
    assert shown(slate) == [0, 4, 1, 5, 6, 7]
    assert slate.scores.tolist() == [8, 4, 3.5, 3, 2, 1]
    assert slate.removed == {3: "fatigue"}
    short = chooser.select(request(8, eligible=np.arange(VIDEOS) < 8, shown=asked.shown, showings=asked.showings),
                           scored(range(8), [8, 7, 6, 5, 4, 3, 2, 1]))  # fmt: skip
    assert len(short) == 8 and short.relaxed == ("fatigue",), "rather a tired slate than a short one"


def test_showings_count_in_the_window_and_without_any_click() -> None:
    # 4 was clicked, 2 was shown too long ago, and the click on 9 is forgotten.
    columns = np.array([7, 7, 4, 4, 7, 2, 9, 9, 9])
    impression = np.array([True, True, True, False, True, True, True, True, False])
    ages = np.array([0, 1, 2, 3, 13, 15, 3, 5, 20]) * DAY
    shown_, showings = unclicked_showings(columns, impression, NOW - ages, NOW, FatigueSettings(window_days=14))
    assert dict(zip(shown_.tolist(), showings.tolist(), strict=True)) == {7: 3, 9: 2}


def test_new_videos_are_lifted_to_spread_places_within_the_budget() -> None:
    is_new = np.isin(np.arange(VIDEOS), [15, 20, 25, 29])
    chooser = policy(plain_facts(), freshness={"new_share": 0.2})
    slate = chooser.select(request(10, is_new=is_new), scored(range(50)))
    assert [slate.rules.index("new"), slate.rules.count("new")] == [4, 2]
    assert [column for column in shown(slate) if is_new[column]] == [15, 20], "the best of them"
    assert [column for column in shown(slate) if not is_new[column]] == list(range(8))


@pytest.mark.parametrize(
    ("new", "share", "lifted"),
    [
        ([25, 30], 0.1, [25]),
        ([25, 30], 0.09, []),  # a tenth of ten places is the first whole one
        ([25, 30], 0.0, []),
        ([3, 25], 0.1, [25]),  # 3 is there on its own merit and takes nothing from what nobody knows yet
        ([3, 25, 28], 0.1, [25]),
        ([45], 0.2, []),  # too far from the viewer's taste
        (range(VIDEOS), 0.2, []),  # where all are new nothing changes
    ],
)
def test_the_budget_is_for_what_has_no_place_of_its_own_and_asks_for_affinity(
    new: list[int], share: float, lifted: list[int]
) -> None:
    chooser = policy(plain_facts(), freshness={"new_share": share, "new_affinity": 0.5})
    slate = chooser.select(request(10, is_new=np.isin(np.arange(VIDEOS), list(new))), scored(range(50)))
    assert [column for column, rule in zip(shown(slate), slate.rules, strict=True) if rule == "new"] == lifted


def test_what_fewest_know_is_lifted_first() -> None:
    chooser = policy(plain_facts(), freshness={"new_share": 0.1})
    is_new, known_by = np.isin(np.arange(VIDEOS), [15, 20, 29]), np.full(VIDEOS, 7, np.int32)
    known_by[[20, 29]] = 0
    slate = chooser.select(request(10, is_new=is_new, known_by=known_by), scored(range(50)))
    assert [column for column in shown(slate) if is_new[column]] == [20], "of equals the better one"


def test_a_bonus_for_freshness_halves_with_age_and_passes_over_unknown_dates() -> None:
    published = np.full(VIDEOS, np.nan)
    published[[3, 2]] = NOW, NOW - 7 * DAY
    chooser = policy(plain_facts(published_at=published), freshness={"bonus": 1.0, "half_life_days": 7, "new_share": 0})
    slate = chooser.select(request(4), scored(range(4), [4, 4, 4, 4]))
    assert shown(slate) == [3, 2, 0, 1] and slate.scores.tolist() == [8, 6, 4, 4]
