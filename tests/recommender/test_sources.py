"""What each source finds, and among whom."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from data.schema import VideoRecord
from recommender.catalogue_view import CatalogueView
from recommender.index import VectorIndex
from recommender.live_index import LiveIndex
from recommender.novelty import NewVideos, NoveltySettings
from recommender.pipeline.sources.best import best
from recommender.pipeline.sources.content import ContentSource, FreshSource, interests
from recommender.pipeline.sources.continuing import ContinueWatchingSource, NextEpisodeSource
from recommender.pipeline.sources.history import HistorySource
from recommender.pipeline.sources.popular import PopularSource
from recommender.pipeline.sources.settings import HistorySourceSettings, SourceSettings, SourcesSettings
from recommender.pipeline.stages import Found, Query
from recommender.popularity import CountrySums, Popularity
from recommender.profile import Profile, nobody

DAY = 86_400.0
NOW = 1_000 * DAY


def likes(*columns: int, **fields: object) -> Profile:
    """A viewer who liked these, the newest first."""
    columns_, none = np.array(columns, np.int64), nobody()
    return replace(
        none, liked=columns_, signal=np.ones(len(columns), np.float32), times=np.zeros(len(columns)),
        watched=np.unique(columns_), **fields,
    )  # fmt: skip


def ask(profile: Profile, **fields: object) -> Query:
    return Query(profile, 10, NOW, **fields)


def everything(count: int) -> np.ndarray:
    return np.ones(count, bool)


def around(centres: np.ndarray, each: int, spread: float = 0.1) -> np.ndarray:
    """`each` normalised vectors near each centre."""
    noise = np.random.default_rng(0).normal(size=(len(centres) * each, centres.shape[1]))
    vectors = np.repeat(centres, each, axis=0) + spread * noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Sum:
    """A model of 4 videos that scores each by the weights of the watched ones: what is asked of it shows."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], list[float]]] = []

    def scores(self, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
        self.asked.append((columns.tolist(), weights.tolist()))
        return np.array([0.0, 3.0, 1.0, 2.0], np.float32)

    def contributions(self, columns: np.ndarray, weights: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return np.outer(weights, np.ones(len(wanted)))


# ---- From histories ------------------------------------------------------------------------------------------


def test_a_history_source_asks_its_model_with_its_own_recency_about_what_the_model_knows() -> None:
    model = Sum()
    source = HistorySource("some", model, 4, HistorySourceSettings(half_life_items=1.0))
    query = ask(likes(9, 2, 0))
    found = source.candidates(query, everything(12), 2)
    assert model.asked == [([2, 0], [0.5, 0.25])], "9 came after the release"
    assert (found.columns.tolist(), found.scores.tolist()) == ([1, 3], [3.0, 2.0])
    columns, place = np.array([0, 1, 2, 3, 11]), np.array([1, 3])
    np.testing.assert_array_equal(found.scores_of(columns, place), [0.0, 3.0, 1.0, 2.0, np.nan])
    np.testing.assert_array_equal(found.scores_of(columns[:-1], place), [0.0, 3.0, 1.0, 2.0])
    without_every = Found(found.columns, found.scores)
    np.testing.assert_array_equal(without_every.scores_of(columns, place), [np.nan, 3.0, np.nan, 2.0, np.nan])
    assert source.explain(query, np.array([3, 11])).tolist() == [1, -1], "rows of the likes, newest first"


def test_who_liked_only_what_came_after_the_release_gets_nothing_from_its_models() -> None:
    model = Sum()
    source = HistorySource("some", model, 4, HistorySourceSettings())
    assert len(source.candidates(ask(likes(9)), everything(12), 2).columns) == 0 and model.asked == []
    assert source.explain(ask(likes(9)), np.array([1])).tolist() == [-1]


# ---- From looks ----------------------------------------------------------------------------------------------


def test_interests_are_the_clusters_of_the_likes_and_the_heavier_is_the_stronger() -> None:
    vectors = around(np.eye(3, 16), 4)
    weights = np.repeat([1.0, 4.0, 2.0], 4).astype(np.float32)
    medoids, strengths = interests(vectors, weights, most=3)
    by_centre = dict(zip((medoids // 4).tolist(), strengths.tolist(), strict=True))
    assert by_centre == pytest.approx({0: 0.5, 1: 1.0, 2: 0.5**0.5})
    few, equal = interests(vectors[:2], np.ones(2, np.float32), most=3)
    assert few.tolist() == [0, 1] and equal.tolist() == [1.0, 1.0]


def test_content_finds_what_is_near_each_interest_and_not_what_lies_between() -> None:
    middle = np.full((1, 16), 0.0)
    middle[0, :2] = 1.0
    centres = np.concatenate([np.eye(2, 16), middle / np.linalg.norm(middle)])
    index = LiveIndex(VectorIndex.build(around(centres, 20), np.arange(60)))
    source = ContentSource(index, HistorySourceSettings())
    query = ask(likes(*range(8), *range(20, 28)))
    eligible = everything(60)
    eligible[query.profile.watched] = False
    found = source.candidates(query, eligible, 20)
    assert {int(column) // 20 for column in found.columns} == {0, 1}
    rows = source.explain(query, found.columns)
    assert (query.profile.liked[rows] // 20 == found.columns // 20).all()


def new_videos(columns: list[int], count: int) -> NewVideos:
    view = CatalogueView([f"v{column}" for column in range(count)])
    view.shown[:] = True
    view.created_at[:] = NOW - 400 * DAY
    view.created_at[columns] = NOW - DAY
    return NewVideos(view, np.zeros(count, np.int32), NoveltySettings())


def test_fresh_finds_the_new_videos_that_are_as_near_as_the_likes_are_to_each_other() -> None:
    index = LiveIndex(VectorIndex.build(around(np.eye(2, 16), 20), np.arange(40)))
    source = FreshSource(index, new_videos([15, 16, 35], 40).columns, HistorySourceSettings())
    found = source.candidates(ask(likes(0, 1, 2, 3)), everything(40), 10)
    assert len(found.columns) > 0 and set(found.columns.tolist()) <= {15, 16}, "35 is of another kind"
    assert set(source.candidates(ask(likes(20, 21, 22)), everything(40), 10).columns.tolist()) <= {35}
    hidden = everything(40)
    hidden[[15, 16]] = False
    assert len(source.candidates(ask(likes(0, 1, 2, 3)), hidden, 10).columns) == 0


def test_a_video_is_new_until_it_is_old_or_known_or_when_it_is_not_out_yet() -> None:
    view = CatalogueView(["old", "known", "new", "re-released", "hidden", "coming"])
    view.shown[:] = [True, True, True, True, False, True]
    view.created_at[:] = [NOW - 31 * DAY, *[NOW - DAY] * 5]
    view.published_at[3], view.published_at[5] = NOW - 9_000 * DAY, NOW + DAY
    new = NewVideos(view, np.array([0, 20, 19, 0, 0]), NoveltySettings(days=30, below_viewers=20))
    assert new.columns(NOW).tolist() == [2], "the last one came after the release, and is not published yet"
    assert new.columns(NOW + 2 * DAY).tolist() == [2, 5]
    assert new.columns(NOW + 30 * DAY).tolist() == [5]
    assert new.columns(NOW).tolist() == [2], "time may go back"


# ---- From everybody ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [1.0, 0.3, 0.01])
def test_popular_gives_the_best_of_what_is_eligible_in_the_country(share: float) -> None:
    rng = np.random.default_rng(0)
    world = rng.random((Popularity.WINDOWS, 5_000)).astype(np.float32)
    german = CountrySums(np.arange(100, dtype=np.int32), 1 + rng.random((Popularity.WINDOWS, 100), np.float32))
    popularity = Popularity(world, {"DE": german}, 0.8)
    source = PopularSource(popularity, 0.5, SourceSettings())
    eligible = rng.random(5_000) < share
    for country in (None, "DE", "FR"):
        scores = np.where(eligible, popularity.scores(country), 0)
        expected = np.argsort(-scores, kind="stable")[: min(30, int(eligible.sum()))]
        found = source.candidates(ask(nobody(), country=country), eligible, 30)
        assert found.columns.tolist() == expected.tolist()
        np.testing.assert_allclose(found.scores, scores[expected], rtol=1e-6)


# ---- Where the viewer stopped --------------------------------------------------------------------------------


def test_what_was_left_half_way_is_gone_on_with_the_latest_first() -> None:
    source = ContinueWatchingSource(SourceSettings())
    assert not source.enabled(ask(likes(1)))
    query = ask(likes(3, 1, unfinished=np.array([3, 1])))
    assert source.candidates(query, everything(5), 5).columns.tolist() == [3, 1]
    assert source.candidates(query, np.arange(5) != 3, 5).columns.tolist() == [1]


def test_the_next_episode_follows_the_furthest_one_of_each_series() -> None:
    records = [
        VideoRecord(id=f"{series}{episode}", series=series, episode=episode) for series in "ab" for episode in (3, 1, 2)
    ]
    view = CatalogueView([]).with_videos([*records, VideoRecord(id="film")])
    source = NextEpisodeSource(view, SourceSettings())
    a, b = ({int(view.episode[column]): int(column) for column in view.episodes_of(code)} for code in (0, 1))
    assert list(a) == list(b) == [1, 2, 3]
    query = ask(likes(b[1], a[2], a[1]))
    found = source.candidates(query, everything(7), 5)
    assert found.columns.tolist() == [b[2], a[3]]
    assert source.explain(query, found.columns).tolist() == [0, 1]
    seen_on = ask(replace(query.profile, watched=np.array([b[1], b[2], a[2], a[1]])))
    assert source.candidates(seen_on, everything(7), 5).columns.tolist() == [b[3], a[3]]
    assert not source.enabled(ask(likes(6)))


def test_a_source_of_which_one_thing_is_set_keeps_its_own_defaults_for_the_others() -> None:
    usual = SourcesSettings()
    given = SourcesSettings.model_validate({"session": {"candidates": 200}, "fresh": {"enabled": False}})
    assert given.session == usual.session.model_copy(update={"candidates": 200})
    assert given.fresh == usual.fresh.model_copy(update={"enabled": False})
    assert given.model_copy(update={"session": usual.session, "fresh": usual.fresh}) == usual
    with pytest.raises(ValidationError, match="candidates"):
        SourcesSettings.model_validate({"session": {"candidates": 0}})


def test_the_best_are_eligible_and_above_0_and_of_equals_the_first() -> None:
    scores = np.array([3, 1, 3, np.inf, -1, 0, 2, -np.inf], np.float32)
    eligible = np.array([1, 1, 1, 0, 1, 1, 1, 0, 1], bool)
    for k, expected in ((2, [0, 2]), (3, [0, 2, 6]), (8, [0, 2, 6, 1])):
        found = best(scores, eligible, k)
        assert found.columns.tolist() == expected
        assert found.scores.tolist() == scores[expected].tolist()
    assert best(scores, np.zeros(9, bool), 3).columns.tolist() == []
