"""Features: what they say of candidates, and that serving sees what training saw."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from recommender.pipeline.stages import Candidates
from recommender.popularity import SECONDS_PER_DAY
from recommender.profile import Profile, nobody, profile_of_likes
from recommender.ranking.features import FeatureBuilder, VideoFacts, feature_names

NOW = 1_700_000_000.0
YEAR = 365.25 * SECONDS_PER_DAY
#: Six videos, the first three of the genre 0, the next two of the genre 1, the last one without labels.
LABELS = sp.csr_matrix(np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 0]], bool))
VECTORS = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1], [-1, 0]], np.float32)


def vectors(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of all but the last."""
    here = columns < 5
    return here, VECTORS[columns[here]]


FACTS = VideoFacts(
    popularity=np.array([[9, 9, 9, 9, 0, 9], [1, 0, 0, 5, 0, 0]], np.float32),
    popularity_names=("all", "30d"),
    published_at=NOW - YEAR * np.array([1, 2, 3, 4, 5, np.nan]),
    duration_s=np.array([60, 60, 120, np.nan, 60, 60.0]),
    labels=LABELS,
    vectors=vectors,
)


def viewer(*liked: int, minutes_ago: float = 5) -> Profile:
    times = NOW - 60 * minutes_ago * np.arange(1, len(liked) + 1)
    return profile_of_likes(np.array(liked, np.int64), np.ones(len(liked), np.float32), times)


def scored(columns: list[int], **sources: list[float]) -> Candidates:
    """Candidates with these scores by source, all found, the best first."""
    scores = np.array(list(sources.values()), np.float32).reshape(len(sources), len(columns))
    ranks = (-scores).argsort(axis=1).argsort(axis=1) + 1
    weights = np.ones(len(sources), np.float32)
    fused = (1 / (60 + ranks)).sum(axis=0).astype(np.float32)
    return Candidates(np.array(columns, np.int64), tuple(sources), weights, ranks.astype(np.int32), scores, fused)


def features(
    facts: VideoFacts, viewer: Profile, candidates: Candidates, sources: tuple[str, ...]
) -> dict[str, np.ndarray]:
    builder = FeatureBuilder(facts, sources)
    built = builder.build(viewer, candidates, NOW)
    assert built.shape == (len(candidates.columns), len(builder.names)) and built.dtype == np.float32
    return dict(zip(builder.names, built.T, strict=True))


def test_scores_of_a_source_are_standardised_and_the_order_of_sources_does_not_matter() -> None:
    one = scored([1, 2, 4], taste=[1.0, 2.0, 6.0], trend=[5.0, 5.0, 5.0])
    other = scored([1, 2, 4], trend=[5.0, 5.0, 5.0], taste=[1.0, 2.0, 6.0])
    built = features(FACTS, viewer(0), one, ("trend", "taste"))
    np.testing.assert_allclose(built["score.taste"], (np.array([1, 2, 6]) - 3) / np.std([1, 2, 6]), rtol=1e-5)
    np.testing.assert_array_equal(built["score.trend"], 0)
    np.testing.assert_array_equal(built["rank.taste"], [3, 2, 1])
    swapped = features(FACTS, viewer(0), other, ("taste", "trend"))
    for name in built:
        np.testing.assert_array_equal(built[name], swapped[name])


def test_a_source_that_did_not_answer_and_a_candidate_it_did_not_find_are_unknown() -> None:
    candidates = scored([1, 2], taste=[1.0, 2.0])
    candidates.ranks[0, 0] = 0
    built = features(FACTS, viewer(0), candidates, ("taste", "trend"))
    assert np.isnan(built["score.trend"]).all() and np.isnan(built["rank.trend"]).all()
    np.testing.assert_array_equal(np.isnan(built["rank.taste"]), [True, False])
    assert not np.isnan(built["score.taste"]).any()
    np.testing.assert_allclose(built["score.fusion"], [-1.0, 1.0], rtol=1e-6, err_msg="in standard deviations")


def test_a_candidate_that_a_source_does_not_score_is_left_out_of_the_comparison() -> None:
    built = features(
        FACTS, viewer(0), scored([1, 2, 4], taste=[1.0, np.nan, 3.0], trend=[np.nan] * 3), ("taste", "trend")
    )
    np.testing.assert_allclose(built["score.taste"], [-1, np.nan, 1], rtol=1e-6)
    assert np.isnan(built["score.trend"]).all()


def test_popularity_and_its_trend() -> None:
    built = features(FACTS, viewer(0), scored([1, 3, 4], taste=[1, 2, 3]), ("taste",))
    np.testing.assert_allclose(built["popularity.all"], np.log1p([9, 9, 0]), rtol=1e-6)
    rising = built["trend.30d"]
    assert rising[1] > 0 > rising[0]
    np.testing.assert_allclose(built["more_popular_than_history"], np.log1p([9, 9, 0]) - np.log1p(9), atol=1e-6)


def test_age_and_distances_from_the_history() -> None:
    built = features(FACTS, viewer(0, 2), scored([1, 4, 5], taste=[1, 2, 3]), ("taste",))
    np.testing.assert_allclose(built["age_years"], [2, 5, np.nan], rtol=1e-5)
    np.testing.assert_allclose(built["published_after_history"], [0, -3, np.nan], atol=1e-5)
    # The newer like counts more: what is usual moves towards it.
    assert -1 < built["published_after_recent"][0] < 0
    assert built["duration_after_history"][0] < 0


def test_labels_that_the_viewer_likes_more_than_usual_stand_out() -> None:
    built = features(FACTS, viewer(0, 1, 3), scored([2, 4, 5], taste=[1, 2, 3]), ("taste",))
    for name in ("label_affinity", "recent_label_affinity"):
        assert np.isnan(built[name][2])
    # The newest like is of genre 0, the oldest of genre 1.
    assert built["recent_label_affinity"][0] > built["label_affinity"][0]
    assert built["recent_label_affinity"][1] < built["label_affinity"][1]
    only = features(FACTS, viewer(3), scored([2, 4], taste=[1, 2]), ("taste",))["label_affinity"]
    assert only[0] == 0 and only[1] > 1


def test_labels_that_the_viewer_likes_at_this_time_of_day_stand_out() -> None:
    """Genre 0 was liked in the evenings, genre 1 in the mornings, days ago."""
    hour = 3_600.0
    evening_and_morning = replace(viewer(0, 3), times=NOW - np.array([24 * 3 * hour, 24 * 2 * hour + 12 * hour]))

    def affinities(now: float) -> np.ndarray:
        built = FeatureBuilder(FACTS, ("taste",)).build(evening_and_morning, scored([2, 4], taste=[1, 2]), now)
        return built[:, feature_names(("taste",), FACTS.popularity_names).index("label_affinity_at_this_hour")]

    for at_evening in (NOW, NOW + hour, NOW + 48 * hour - hour):
        assert affinities(at_evening)[0] > 1 and affinities(at_evening)[1] < 0.1
    assert affinities(NOW + 12 * hour)[1] > 1 and affinities(NOW + 12 * hour)[0] < 0.1
    halfway = affinities(NOW + 6 * hour)
    np.testing.assert_allclose(halfway, affinities(NOW - 6 * hour), rtol=1e-4)


def test_likeness_to_the_history_is_a_cosine() -> None:
    built = features(FACTS, viewer(0, 3), scored([1, 4, 5], taste=[1, 2, 3]), ("taste",))
    np.testing.assert_allclose(built["similarity"], [1.4 / np.sqrt(2), -1 / np.sqrt(2), np.nan], rtol=1e-5)
    np.testing.assert_allclose(built["recent_similarity"], [0.8, 0, np.nan], rtol=1e-5)


def test_what_is_known_of_the_viewer() -> None:
    built = features(FACTS, viewer(0, 4), scored([1], taste=[1]), ("taste",))
    assert built["history_length"] == [2]
    np.testing.assert_allclose(built["history_popularity"], [np.log1p(9) / 2], rtol=1e-6)
    np.testing.assert_allclose(built["log_minutes_since_last"], [np.log1p(5)], rtol=1e-6)


@pytest.mark.parametrize("known", [True, False])
def test_where_nothing_is_known_features_are_missing_and_not_wrong(known: bool) -> None:
    unknown, no_labels = np.full(2, np.nan), sp.csr_matrix((2, 0), dtype=bool)
    nothing = VideoFacts(np.zeros((0, 2), np.float32), unknown, unknown, no_labels, popularity_names=())
    built = features(nothing, viewer(0) if known else nobody(), scored([1], taste=[2.0]), ("taste",))
    said = {name for name, values in built.items() if not np.isnan(values).all()}
    about_viewer = {"history_length", "log_minutes_since_last"}
    assert said == {"score.taste", "rank.taste", "score.fusion"} | (about_viewer if known else set())


def test_no_candidates_have_no_features() -> None:
    built = features(FACTS, viewer(0), scored([], taste=[]), ("taste",))
    assert len(built["score.fusion"]) == 0
