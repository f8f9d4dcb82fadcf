"""What is popular and what is on its way up, everywhere and in a country."""

import numpy as np
import pandas as pd
import pytest

from data.interactions import collect_interactions
from recommender.popularity import SECONDS_PER_DAY, Popularity, PopularitySettings, measure_popularity

NOW = 1_000 * SECONDS_PER_DAY
VIDEOS = ["a", "b", "c"]


def measure(*rows: tuple, settings: PopularitySettings | None = None) -> Popularity:
    """rows: (video, type, value, days before now, country), each of another viewer."""
    frame = pd.DataFrame(rows, columns=["video_id", "type", "value", "days", "country"], dtype=object)
    frame["user_id"] = [f"u{row}" for row in range(len(frame))]
    frame["occurred_at"] = NOW - frame.pop("days").astype(float) * SECONDS_PER_DAY
    return measure_popularity(collect_interactions([frame]).in_columns(VIDEOS), NOW, settings)


def test_a_signal_counts_half_after_the_half_life() -> None:
    settings = PopularitySettings(half_life_days=10, trending_half_life_days=5)
    measured = measure(("a", "like", None, 0, None), ("b", "like", None, 10, None), settings=settings)
    np.testing.assert_allclose(measured.world, [[1, 1, 0], [1, 0.5, 0], [1, 0.25, 0]])
    np.testing.assert_allclose(measured.scores(None), [2 / 3, 1 / 3, 0.0], rtol=1e-6)


def test_only_what_speaks_for_a_video_counts() -> None:
    measured = measure(
        ("a", "watch", 0.5, 0, None), ("a", "watch", 0.05, 0, None), ("b", "dislike", None, 0, None),
        ("b", "impression", None, 0, None), ("c", "like", None, -3, None), ("nobody", "like", None, 0, None),
    )  # fmt: skip
    # An event of the future counts as one of now.
    np.testing.assert_allclose(measured.world[Popularity.DECAYED], [0.5, 0.0, 1.0])


def test_one_viewer_makes_nothing_popular_alone() -> None:
    frame = pd.DataFrame(
        {"user_id": "u", "video_id": "a", "type": "play", "value": None, "country": None, "occurred_at": [NOW] * 9}
    )
    measured = measure_popularity(collect_interactions([frame]).in_columns(VIDEOS), NOW)
    np.testing.assert_allclose(measured.world[Popularity.ALL_TIME], [0.2, 0, 0])


def test_a_country_has_its_own_taste_and_a_bit_of_the_world_s() -> None:
    rows = [("a", "like", None, 0, "DE"), *[("b", "like", None, 0, "US")] * 3, ("c", "like", None, 0, None)]
    measured = measure(*rows, settings=PopularitySettings(country_weight=0.8))
    world = np.array([0.2, 0.6, 0.2])
    np.testing.assert_allclose(measured.scores(None), world, rtol=1e-6)
    np.testing.assert_allclose(measured.scores("DE"), 0.8 * np.array([1, 0, 0]) + 0.2 * world, rtol=1e-6)
    np.testing.assert_allclose(measured.scores("FR"), world, rtol=1e-6)


def test_what_has_more_of_the_attention_than_before_is_rising() -> None:
    lasting = [("a", "like", None, day, "DE") for day in range(0, 60)]
    sudden = [("b", "like", None, 0, "DE")] * 10
    faded = [("c", "like", None, 40, None)] * 30
    rising = measure(*lasting, *sudden, *faded).rising(None)
    assert rising.argmax() == 1 and rising[2] == 0 and (rising >= 0).all()
    elsewhere = measure(*lasting, *sudden, ("a", "like", None, 0, "FR"), ("b", "like", None, 50, "FR"))
    assert elsewhere.rising("DE")[1] > elsewhere.rising("FR")[1]


def test_what_is_stored_says_the_same() -> None:
    rows = [(video, "play", None, day, country) for day in range(5) for video, country in [("a", "DE"), ("b", "US")]]
    measured = measure(*rows, ("c", "play", None, 1, None))
    again = Popularity.from_arrays(measured.arrays())
    for country in (None, "DE", "US", "FR"):
        np.testing.assert_array_equal(again.scores(country), measured.scores(country))
        np.testing.assert_array_equal(again.rising(country), measured.rising(country))


def test_what_is_added_later_is_as_if_it_had_been_measured_with_the_rest() -> None:
    old = [("a", "watch", 0.37, 1.3, "DE"), ("b", "watch", 0.71, 2.9, "US"), ("a", "like", None, 4.1, None)]
    new = [("b", "watch", 0.53, 0.2, "DE"), ("c", "like", None, 0.1, "FR")]
    settings = PopularitySettings()
    then = Popularity.from_arrays(measure(*((*row[:3], row[3] - 0.5, row[4]) for row in old)).arrays())
    # The change speaks of c, b and a video that we do not have.
    moved = [("a" if row[0] == "c" else row[0], *row[1:]) for row in new]
    change = measure(*moved, ("c", "like", None, 0, "JP"))
    both = then.aged(0.5 * SECONDS_PER_DAY, settings).plus(change, np.array([2, 1, -1]), 3)
    for country in (None, "DE", "US", "FR"):
        np.testing.assert_allclose(both.scores(country), measure(*old, *new).scores(country), rtol=1e-5, atol=1e-7)


def test_of_what_is_taken_away_again_nothing_is_left_by_rounding() -> None:
    rows = [(video, "watch", 0.31 + day / 17, day * 1.3, "DE") for day in range(9) for video in VIDEOS]
    then = Popularity.from_arrays(measure(*((*row[:3], row[3] - 0.7, row[4]) for row in rows if row[3] > 0.7)).arrays())
    now = then.aged(0.7 * SECONDS_PER_DAY, PopularitySettings())
    gone = now.plus(measure(*(row for row in rows if row[3] > 0.7)).times(-1), np.arange(3), 3)
    assert (gone.world == 0).all() and (gone.countries["DE"].sums == 0).all()
    too_much = gone.plus(measure(*rows).times(-1), np.arange(3), 3)
    assert (too_much.world < 0).all() and (too_much.not_below_zero().countries["DE"].sums == 0).all()
    assert (too_much.not_below_zero().world == 0).all()


@pytest.mark.parametrize("country", [None, "DE"])
def test_where_nothing_happened_nothing_is_popular(country: str | None) -> None:
    nothing = measure()
    assert (nothing.scores(country) == 0).all() and (nothing.rising(country) == 0).all()
