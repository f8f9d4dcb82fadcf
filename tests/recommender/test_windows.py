"""The past that the ranker learns from: what was known at each moment, what came after it, and nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.home import Home
from data.interactions import Interactions, load_interactions
from data.schema import Event, Video
from data.store import Store
from recommender.catalogue_view import CatalogueView
from recommender.engine import RANKED_BY, Engine
from recommender.index import VectorIndex
from recommender.pipeline.sources.settings import SourcesSettings
from recommender.pipeline.stages import Query, Trace
from recommender.ranking.features import feature_names
from recommender.ranking.ranker import PastRequests, RankerSettings
from recommender.ranking.windows import NEXT_FEW, Window, past_requests, rolling_windows
from recommender.refresh import refresh
from recommender.settings import RecommenderSettings
from tests.recommender.small_world import NOW, SETTINGS

VIDEOS, VIEWERS, EACH, DIM = 30, 24, 12, 6
YEAR = 365.25 * 86_400
NAMES = [f"v{number}" for number in range(VIDEOS)]
#: The moment that parts the past from what followed: viewers have done two thirds of what they do.
START = NOW + 8 * VIEWERS
WINDOW = Window(START, START + 2 * VIEWERS)
NAME = {name: number for number, name in enumerate(feature_names(RANKED_BY))}
NO_VECTORS = VectorIndex.build(np.zeros((0, 1), np.float32), np.zeros(0, np.int64))


def made_of(rows: list[tuple[int, int, float, float]]) -> Interactions:
    """Interactions out of (viewer, video, signal, time), put in order."""
    rows = sorted(rows, key=lambda row: row[3])
    viewer, video, signal, time = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions(
        np.array([f"u{number}" for number in range(viewer.max() + 1)], object),
        np.array(NAMES, object),
        viewer.astype(np.int32),
        video.astype(np.int32),
        signal.astype(np.float32),
        time.astype(np.float64),
        np.full(len(rows), -1, np.int16),
        time.astype(np.float64),
    )


def histories() -> list[tuple[int, int, float, float]]:
    """Every viewer watches twelve videos of their own choice, one after another and all at the same pace."""
    rng = np.random.default_rng(0)
    return [
        (viewer, int(video), 1.0, NOW + place * VIEWERS + viewer)
        for viewer in range(VIEWERS)
        for place, video in enumerate(rng.choice(VIDEOS, EACH, replace=False))
    ]


def with_settings(**given: Any) -> RecommenderSettings:
    """Few sources, so that little has to be fitted."""
    few = {name: {"enabled": name in ("collaborative", "popular")} for name in SourcesSettings.model_fields}
    return RecommenderSettings.model_validate(SETTINGS.model_dump() | {"sources": few} | given)


@pytest.fixture
def view(store: Store) -> CatalogueView:
    """Videos of different ages in whole years, by which candidates are known again among the features."""
    store.catalogue.upsert(
        Video(id=name, labels=[f"genre-{number % 3}"], published_at=NOW - number * YEAR)
        for number, name in enumerate(NAMES)
    )
    return CatalogueView.load(store, NAMES)


def asked(
    view: CatalogueView,
    interactions: Interactions,
    settings: RecommenderSettings | None = None,
    window: Window = WINDOW,
) -> PastRequests:
    found = past_requests(window, 4, interactions, view, NO_VECTORS, settings or with_settings())
    assert found is not None
    return found


def of_request(past: PastRequests, number: int, name: str) -> np.ndarray:
    """A feature of the candidates of one request."""
    return np.split(past.features[:, NAME[name]], np.cumsum(past.sizes)[:-1])[number]


def same(one: PastRequests, other: PastRequests, *fields: str) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in fields)


def with_other_videos(interactions: Interactions, rows: np.ndarray) -> Interactions:
    """The same, but what happened in some rows was about other videos."""
    video = interactions.video.copy()
    video[rows] = (video[rows] + 7) % VIDEOS
    return replace(interactions, video=video)


# ---- Windows -------------------------------------------------------------------------------------------------


def one_a_second(count: int) -> Interactions:
    return made_of([(0, number % VIDEOS, 1.0, float(number)) for number in range(count)])


def test_windows_are_the_newest_shares_oldest_first_and_adjoin() -> None:
    found = rolling_windows(one_a_second(100), RankerSettings(windows=3, window_share=0.1))
    assert found == [Window(70.0, 80.0), Window(80.0, 90.0), Window(90.0, np.inf)]


def test_no_window_begins_before_a_quarter_of_what_happened() -> None:
    found = rolling_windows(one_a_second(100), RankerSettings(windows=10, window_share=0.2))
    assert found == [Window(40.0, 60.0), Window(60.0, 80.0), Window(80.0, np.inf)]


def test_what_happened_at_one_moment_has_nothing_before_it(view: CatalogueView) -> None:
    nothing = one_a_second(1).take(np.zeros(0, np.int64))
    assert rolling_windows(nothing, RankerSettings()) == []
    at_once = replace(one_a_second(100), time=np.zeros(100))
    for window in rolling_windows(at_once, RankerSettings()):
        assert past_requests(window, 0, at_once, view, NO_VECTORS, with_settings()) is None


# ---- What was known ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", ["window", "next"])
def test_what_came_after_a_window_changes_nothing(view: CatalogueView, horizon: str) -> None:
    happened = made_of(histories())
    past = asked(view, happened, with_settings(horizon=horizon))
    later = happened.time >= WINDOW.end
    assert later.sum() == 2 * VIEWERS
    otherwise = asked(view, with_other_videos(happened, np.flatnonzero(later)), with_settings(horizon=horizon))
    assert same(past, otherwise, *vars(past))
    gone = asked(view, happened.take(~later), with_settings(horizon=horizon))
    assert same(past, gone, *vars(past))


def test_of_a_window_nothing_is_known_when_it_begins_but_who_asks_and_when(view: CatalogueView) -> None:
    happened = made_of(histories())
    past = asked(view, happened)
    otherwise = asked(view, with_other_videos(happened, np.flatnonzero(happened.time >= START)))
    assert same(past, otherwise, "features", "sizes", "viewer", "relevant")
    assert not same(past, otherwise, "grades"), "what was right has changed"
    assert (past.features[:, NAME["history_length"]] == 8).all() and (past.relevant == 2).all()
    # Everyone asks at the own first like, which is a round of all viewers after the like before.
    minutes = past.features[:, NAME["log_minutes_since_last"]]
    np.testing.assert_allclose(minutes, np.log1p(VIEWERS / 60), rtol=1e-5)
    before = np.flatnonzero(happened.time < START)[-1:]
    assert not same(past, asked(view, with_other_videos(happened, before)), "features")


def test_of_what_is_next_everything_until_the_moment_is_known_and_nothing_after_it(view: CatalogueView) -> None:
    happened, settings = made_of(histories()), with_settings(horizon="next")
    window = Window(START, np.inf)
    past = asked(view, happened, settings, window)
    known = np.array([of_request(past, number, "history_length")[0] for number in range(len(past))]).astype(int)
    assert set(known) == {8, 9, 10, 11} and (past.relevant == np.minimum(EACH - known, NEXT_FEW)).all()
    place = np.argsort(np.argsort(happened.viewer, kind="stable"), kind="stable") % EACH
    known_of = np.zeros(VIEWERS, int)
    known_of[past.viewer] = known
    after = place >= known_of[happened.viewer]
    otherwise = asked(view, with_other_videos(happened, np.flatnonzero(after)), settings, window)
    assert same(past, otherwise, "features", "sizes", "viewer", "relevant")
    just_before = np.flatnonzero((place == known_of[happened.viewer] - 1) & (happened.time >= START))
    assert not same(past, asked(view, with_other_videos(happened, just_before), settings, window), "features")


def test_dislikes_of_a_window_are_neither_moments_nor_right(view: CatalogueView) -> None:
    rows = histories()
    turned = [(u, v, -0.3 if time >= START and (u + v) % 2 else signal, time) for u, v, signal, time in rows]
    past = asked(view, made_of(turned))
    liked = {(u, v) for u, v, signal, time in turned if START <= time < WINDOW.end and signal > 0}
    assert set(past.viewer.tolist()) == {u for u, _ in liked} and past.relevant.sum() == len(liked)
    assert (past.grades > 0).sum() <= len(liked)


# ---- What was right, and who is asked ------------------------------------------------------------------------


def test_grades_say_how_much_was_watched_of_which_video(view: CatalogueView) -> None:
    watched_before = {video for viewer, video, _, time in histories() if viewer == 3 and time < START}
    new = [number for number in range(VIDEOS) if number not in watched_before][:6]
    graded = dict(zip(new, [(0.2, 1), (0.5, 1), (0.6, 2), (1.0, 2), (2.0, 3), (4.0, 3)], strict=True))
    rows = [row for row in histories() if row[3] < START]
    rows += [(3, video, signal, START + 1) for video, (signal, _) in graded.items()]
    past = asked(view, made_of(rows))
    assert past.viewer.tolist() == [3] and past.relevant.tolist() == [6] and past.window.tolist() == [4]
    age = past.features[:, NAME["age_years"]]
    candidates = np.round(age).astype(int).tolist()
    assert dict(zip(candidates, past.grades.tolist(), strict=True)) == {
        number: graded.get(number, (0.0, 0))[1] for number in range(VIDEOS) if number not in watched_before
    }


def test_who_is_new_in_a_window_is_asked_for_what_is_next_only(view: CatalogueView) -> None:
    newcomer, once = VIEWERS, VIEWERS + 1
    rows = histories() + [(newcomer, video, 1.0, START + video) for video in range(3)] + [(once, 5, 1.0, START)]
    happened = made_of(rows)
    assert sorted(asked(view, happened).viewer) == list(range(VIEWERS))
    past = asked(view, happened, with_settings(horizon="next"))
    assert sorted(past.viewer) == list(range(VIEWERS + 1)), "but with nothing at all before, there is nothing to ask"
    number = past.viewer.tolist().index(newcomer)
    known = of_request(past, number, "history_length")[0]
    assert known in (1, 2) and past.relevant[number] == 3 - known


@pytest.mark.parametrize("horizon", ["window", "next"])
def test_of_many_viewers_some_are_asked_for(view: CatalogueView, horizon: str) -> None:
    settings = with_settings(horizon=horizon, ranker={"viewers_per_window": 10})
    rows = histories()
    if horizon == "window":
        rows += [(newcomer, 5, 1.0, START + 1) for newcomer in range(VIEWERS, 3 * VIEWERS)]
    past = asked(view, made_of(rows), settings)
    assert len(past) == 10 and len(set(past.viewer.tolist())) == 10
    assert same(past, asked(view, made_of(rows), settings), *vars(past)), "the same ones whenever it is built"


# ---- As it is served -----------------------------------------------------------------------------------------


def test_features_are_those_that_a_release_of_that_past_would_have_served(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "past")
    served = Store.open(home.database_url)
    served.catalogue.upsert(
        Video(id=name, labels=[f"genre-{number % 3}"], published_at=NOW - number * YEAR)
        for number, name in enumerate(NAMES)
    )
    # Slowly enough that what is on its way up differs from what is popular.
    rows = [(viewer, video, signal, NOW + 3_600 * (time - NOW)) for viewer, video, signal, time in histories()]
    newest = max(time for _, _, _, time in rows if time < NOW + 3_600 * (START - NOW))
    window = Window(newest + 1, newest + 3_600 * 2 * VIEWERS)

    def add(wanted: list[tuple[int, int, float, float]]) -> None:
        served.events.add(
            Event(event_id=f"{viewer}-{video}", user_id=f"u{viewer}", video_id=NAMES[video], type="complete",
                  occurred_at=time, value=None)
            for viewer, video, _, time in wanted
        )  # fmt: skip

    settings = RecommenderSettings.model_validate(SETTINGS.model_dump() | {"ranker": {"enabled": False}})
    add([row for row in rows if row[3] <= newest])
    refresh(served, home, settings)
    engine = Engine.open(home, served, settings)
    queries = {}
    for viewer in range(VIEWERS):
        first = min(time for who, _, _, time in rows if who == viewer and time > newest)
        queries[viewer] = Query(engine.profile(served.events.history(f"u{viewer}")), 10, first)
    add([row for row in rows if row[3] > newest])
    happened = load_interactions(served).in_columns(engine.videos)
    past = past_requests(window, 0, happened, CatalogueView.load(served, engine.videos), NO_VECTORS, settings)
    assert past is not None and len(past) == VIEWERS
    starts = np.cumsum(past.sizes)[:-1]
    for viewer, features in zip(past.viewer.tolist(), np.split(past.features, starts), strict=True):
        query = queries[int(happened.viewers[viewer][1:])]
        eligible = engine.pipeline.eligible(query)
        candidates, _ = engine.pipeline.fuse(query, engine.pipeline.gather(query, eligible, Trace()))
        best = candidates.first(settings.pipeline.ranked)
        # Popularity is as old as the newest event in a release, and as the window here: a second apart.
        np.testing.assert_allclose(
            features, engine.features.build(query.profile, best, query.now), rtol=1e-3, atol=1e-5
        )
    served.close()


def test_what_was_published_only_later_was_no_candidate(view: CatalogueView) -> None:
    """It could only be wrong, and so teach that what is new and unpopular is bad."""
    interactions = made_of(histories())
    before = asked(view, interactions)
    view.published_at[:5] = WINDOW.end + YEAR
    later = asked(view, interactions)
    assert (before.features[:, NAME["age_years"]] >= 0).all() and (later.features[:, NAME["age_years"]] >= 0).all()
    assert later.sizes.sum() < before.sizes.sum()
