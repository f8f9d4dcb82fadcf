"""What is popular now, everywhere and in a country."""

import numpy as np
import pandas as pd
import pytest

from recommender.popularity import SECONDS_PER_DAY, Popularity, PopularitySettings, measure_popularity

NOW = 1_000 * SECONDS_PER_DAY
COLUMNS = {"a": 0, "b": 1, "c": 2}


def measure(*rows: tuple, settings: PopularitySettings | None = None, frames: int = 1) -> Popularity:
    """rows: (video, type, value, days before now, country)."""
    frame = pd.DataFrame(rows, columns=["video_id", "type", "value", "days", "country"], dtype=object)
    frame["occurred_at"] = NOW - frame.pop("days").astype(float) * SECONDS_PER_DAY
    parts = [frame.iloc[start::frames] for start in range(frames)]
    return measure_popularity(parts, COLUMNS, NOW, settings)


def test_a_signal_counts_half_after_the_half_life() -> None:
    settings = PopularitySettings(half_life_days=10)
    measured = measure(("a", "like", None, 0, None), ("b", "like", None, 10, None), settings=settings)
    np.testing.assert_allclose(measured.world, [1.0, 0.5, 0.0])
    np.testing.assert_allclose(measured.scores(None), [2 / 3, 1 / 3, 0.0], rtol=1e-6)


def test_only_what_speaks_for_a_video_counts() -> None:
    measured = measure(
        ("a", "watch", 0.5, 0, None), ("a", "watch", 0.05, 0, None), ("b", "dislike", None, 0, None),
        ("b", "impression", None, 0, None), ("c", "like", None, -3, None), ("nobody", "like", None, 0, None),
    )  # fmt: skip
    # An event of the future counts as one of now.
    np.testing.assert_allclose(measured.world, [0.5, 0.0, 1.0])


def test_a_country_has_its_own_taste_and_a_bit_of_the_world_s() -> None:
    rows = [("a", "like", None, 0, "DE"), *[("b", "like", None, 0, "US")] * 3, ("c", "like", None, 0, None)]
    measured = measure(*rows, settings=PopularitySettings(country_weight=0.8))
    world = np.array([0.2, 0.6, 0.2])
    np.testing.assert_allclose(measured.scores(None), world, rtol=1e-6)
    np.testing.assert_allclose(measured.scores("DE"), 0.8 * np.array([1, 0, 0]) + 0.2 * world, rtol=1e-6)
    np.testing.assert_allclose(measured.scores("FR"), world, rtol=1e-6)


def test_where_the_log_is_cut_into_frames_does_not_matter() -> None:
    rows = [(video, "play", None, day, country) for day in range(5) for video, country in [("a", "DE"), ("b", None)]]
    one, three = measure(*rows), measure(*rows, frames=3)
    np.testing.assert_allclose(one.world, three.world, rtol=1e-6)
    np.testing.assert_allclose(one.countries["DE"], three.countries["DE"], rtol=1e-6)


@pytest.mark.parametrize("country", [None, "DE"])
def test_where_nothing_happened_nothing_is_popular(country: str | None) -> None:
    assert (measure_popularity([], COLUMNS, NOW).scores(country) == 0).all()
