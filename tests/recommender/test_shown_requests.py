"""Lists that were really shown become lessons: what was passed over, what was liked because of them, and no more."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from data.home import Home
from data.interactions import load_interactions
from data.schema import Event, Video
from data.store import Store
from data.store.exposures import ITEM, Exposure, Words
from recommender.catalogue_view import CatalogueView
from recommender.engine import FEATURES
from recommender.ranking.exposures import shown_requests
from recommender.ranking.ranker import PastRequests, train_ranker
from recommender.refresh import refresh
from tests.recommender.small_world import NOW, watch
from tests.recommender.test_refresh import fill_with_followers, popular_only

HOUR = 3600.0
VIDEOS = [f"v{number}" for number in range(6)]
NAMES = ("score", "number")


@pytest.fixture
def world(store: Store) -> Store:
    store.catalogue.upsert(Video(id=name) for name in VIDEOS)
    return store


def show(
    store: Store,
    request_id: str,
    viewer: str,
    videos: list[str],
    at: float,
    described: bool = True,
    names: Sequence[str] = NAMES,
) -> None:
    """Keeps a list; the first two features tell the place and the number of each video."""
    numbers = {record.id: record.number for record in store.catalogue.all()}
    items = np.zeros(len(videos), ITEM)
    items["number"] = [numbers[name] for name in videos]
    features = np.zeros((len(videos), len(names)), np.float16)
    features[:, :2] = [[place, numbers[name]] for place, name in enumerate(videos)]
    kept = features if described else None
    words = Words(("popular",), (), tuple(names))
    store.exposures.add([Exposure(request_id, viewer, at, None, None, "r", "s", "off", 1, words, items, kept)])


def saw(store: Store, request_id: str, viewer: str, videos: list[str]) -> None:
    store.events.add(
        [
            Event(event_id=f"{request_id}-{name}", user_id=viewer, video_id=name, type="impression",
                  occurred_at=NOW, request_id=request_id)
            for name in videos
        ]
    )  # fmt: skip


def lessons(store: Store, starts: list[float] | None = None) -> PastRequests | None:
    view = CatalogueView.load(store, VIDEOS)
    interactions = load_interactions(store).in_columns(VIDEOS)
    lists = store.exposures.with_features(NAMES, NOW + 1e6, 100)
    return shown_requests(lists, store.events.impressions(0.0), interactions, view, starts or [0.0], 24 * HOUR)


def test_what_was_liked_after_a_list_showed_it_is_its_doing(world: Store) -> None:
    watch(world, "ada", ["v1"], "complete", at=NOW + HOUR)
    watch(world, "ada", ["v2"], "share", at=NOW + 2 * HOUR)
    watch(world, "ada", ["v3"], "dislike", at=NOW + HOUR)
    watch(world, "bob", ["v0"], at=NOW + HOUR)
    show(world, "r1", "ada", ["v3", "v2", "v1", "v0"], NOW)
    found = lessons(world)
    assert found is not None
    assert found.grades.tolist() == [0, 3, 2, 0] and found.sizes.tolist() == [4] and found.relevant.tolist() == [2]
    assert found.features.tolist() == [[0, 4], [1, 3], [2, 2], [3, 1]], "as they were kept"


def test_what_was_liked_before_or_long_after_is_not(world: Store) -> None:
    watch(world, "ada", ["v1"], at=NOW - HOUR)
    watch(world, "ada", ["v2"], at=NOW + 25 * HOUR)
    show(world, "r1", "ada", ["v1", "v2", "v3"], NOW)
    assert lessons(world) is None
    watch(world, "ada", ["v3"], at=NOW + 23 * HOUR)
    found = lessons(world)
    assert found is not None and found.grades.tolist() == [0, 0, 2]


def test_what_did_not_come_into_sight_was_not_passed_over(world: Store) -> None:
    watch(world, "ada", ["v1"], at=NOW + HOUR)
    show(world, "told", "ada", ["v0", "v1", "v2", "v3"], NOW)
    show(world, "untold", "ada", ["v4", "v1"], NOW + 60)
    saw(world, "told", "ada", ["v0", "v1"])
    saw(world, "told", "bob", ["v3"])
    found = lessons(world)
    assert found is not None
    assert found.sizes.tolist() == [2, 2] and found.features[:, 1].tolist() == [1, 2, 5, 2]


def test_lists_without_features_without_outcome_or_of_strangers_teach_nothing(world: Store) -> None:
    watch(world, "ada", ["v1"], at=NOW + HOUR)
    show(world, "r1", "ada", ["v1", "v2"], NOW, described=False)
    show(world, "r2", "ada", ["v3", "v2"], NOW)
    show(world, "r3", "stranger", ["v1", "v2"], NOW)
    show(world, "r4", "ada", ["v1"], NOW)
    assert lessons(world) is None


def test_every_list_is_of_the_window_it_was_shown_in(world: Store) -> None:
    watch(world, "ada", ["v1"], at=NOW + HOUR)
    for place, at in enumerate([NOW - HOUR, NOW, NOW + HOUR - 1]):
        show(world, f"r{place}", "ada", ["v1", "v2"], at)
    found = lessons(world, [NOW - 30, NOW + 30])
    assert found is not None and found.window.tolist() == [0, 0, 1]


def test_a_refresh_shows_the_ranker_what_viewers_were_shown(
    store: Store, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_with_followers(store)
    history = store.events.history("follower-0")
    watched, at = str(history.video_ids[0]), float(history.times[0])
    others = [record.id for record in store.catalogue.all() if record.id not in history.video_ids][:3]
    show(store, "r1", "follower-0", [watched, *others], at - HOUR, names=FEATURES)
    show(store, "too late to tell", "follower-0", [watched, *others], time.time(), names=FEATURES)
    asked: list[PastRequests | None] = []

    def train(*given: Any, shown: PastRequests | None = None) -> Any:
        asked.append(shown)
        return train_ranker(*given, shown=shown)

    monkeypatch.setattr("recommender.building.train_ranker", train)
    facts = refresh(store, home, popular_only()).facts["ranker"]
    (shown,) = asked
    assert shown is not None and shown.grades.tolist() == [2, 0, 0, 0]
    assert facts["serves"] and facts["exposures"] == 0, "one list is too few to learn from"
