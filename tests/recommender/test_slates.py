"""Slates of an engine: what editors, viewers' tastes and new videos do to a list, from the next request on."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from data.embeddings import EmbeddingTable
from data.home import Home
from data.schema import MediaFacts, Rule, RuleRecord, Video
from data.store import Store
from recommender.engine import Engine
from recommender.pipeline.stages import Query, Trace
from recommender.policy import Slate
from recommender.refresh import refresh
from recommender.settings import RecommenderSettings
from tests.recommender.small_world import ENCODER, GENRES, NOW, PER_GENRE, SETTINGS, fill, watch

EVERYTHING = len(GENRES) * PER_GENRE
SPACE_LOVER = "space-viewer-0"


def with_settings(**given: Any) -> RecommenderSettings:
    return RecommenderSettings.model_validate(SETTINGS.model_dump() | {"ranker": {"enabled": False}} | given)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Home]]:
    """One release of the small world, and a viewer of two tastes, for all tests that change nothing but rules."""
    home = Home.at(tmp_path_factory.mktemp("slates") / "home")
    store = Store.open(home.database_url)
    fill(store, home)
    watch(store, "both", ["cooking-0", "cooking-1", "cooking-2", "space-0"])
    refresh(store, home, with_settings())
    yield store, home
    store.close()


@pytest.fixture
def editors(released: tuple[Store, Home]) -> Iterator[Store]:
    """The store, without rules before and after."""
    store, _ = released
    yield store
    for rule in store.rules.list():
        store.rules.remove(rule.id)


@pytest.fixture
def engine(editors: Store, released: tuple[Store, Home]) -> Engine:
    return Engine.open(released[1], editors, with_settings())


def names(engine: Engine, slate: Slate) -> list[str]:
    return [engine.videos[column] for column in slate.columns]


def made(
    engine: Engine, store: Store, viewer: str = SPACE_LOVER, limit: int = EVERYTHING, now: float = NOW, **asked: Any
) -> Slate:
    return engine.recommend(Query(engine.profile(store.events.history(viewer)), limit, now, **asked))[0]


def shown(engine: Engine, store: Store, *args: Any, **asked: Any) -> list[str]:
    return names(engine, made(engine, store, *args, **asked))


def add(engine: Engine, store: Store, **rule: Any) -> RuleRecord:
    """An editor adds a rule, and the engine looks at the database before the next request."""
    record = store.rules.add(Rule.model_validate(rule))
    engine.view.update(store)
    return record


# ---- Rules ---------------------------------------------------------------------------------------------------


def test_a_pin_holds_from_the_next_update_until_it_is_removed(engine: Engine, editors: Store) -> None:
    before = shown(engine, editors, limit=5)
    rule = editors.rules.add(Rule(kind="pin", video="cooking-7", position=2))
    assert shown(engine, editors, limit=5) == before, "nobody has told the engine yet"
    engine.view.update(editors)
    slate = made(engine, editors, limit=5)
    assert names(engine, slate) == [before[0], "cooking-7", *before[1:4]]
    assert slate.rules[1] == "pinned"
    editors.rules.remove(rule.id)
    engine.view.update(editors)
    assert shown(engine, editors, limit=5) == before


def test_a_boost_multiplies_scores_and_a_block_takes_out(engine: Engine, editors: Store) -> None:
    before = made(engine, editors)
    score_of = dict(zip(names(engine, before), before.scores.tolist(), strict=True))
    add(engine, editors, kind="boost", label="sports", factor=100)
    slate = made(engine, editors)
    boosted = names(engine, slate)
    assert all(name.startswith("sports") for name in boosted[:PER_GENRE])
    assert {slate.rules[place] for place in range(PER_GENRE)} == {"boosted"}
    for place, name in enumerate(boosted):
        factor = 100 if name.startswith("sports") else 1
        assert slate.scores[place] == pytest.approx(factor * score_of[name], rel=1e-5)
    add(engine, editors, kind="block", label="sports")
    assert sorted(shown(engine, editors)) == sorted(name for name in score_of if not name.startswith("sports"))


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "pin", "video": "cooking-7", "position": 1},
        {"kind": "boost", "label": "cooking", "factor": 100.0},
        {"kind": "block", "label": "space"},
    ],
)
def test_rules_begin_and_end_with_their_dates(engine: Engine, editors: Store, rule: dict[str, Any]) -> None:
    without = shown(engine, editors)
    add(engine, editors, **rule, **{"from": NOW, "until": NOW + 60})
    holds = {now: shown(engine, editors, now=NOW + now) != without for now in (-1, 0, 59, 60)}
    assert holds == {-1: False, 0: True, 59: True, 60: False}


def test_surface_and_country_of_a_request_reach_the_rules(engine: Engine, editors: Store) -> None:
    add(engine, editors, kind="pin", video="cooking-7", position=1, surface="home")
    add(engine, editors, kind="block", video="space-9", country="DE")
    assert shown(engine, editors, surface="home")[0] == "cooking-7" != shown(engine, editors, surface="other")[0]
    there = {country: "space-9" in shown(engine, editors, "stranger", country=country) for country in ("DE", "US")}
    assert there == {"DE": False, "US": True}


def test_a_pinned_video_that_may_not_be_shown_is_not(engine: Engine, editors: Store) -> None:
    add(engine, editors, kind="pin", video="cooking-7", position=1)
    assert shown(engine, editors)[0] == "cooking-7"
    assert "cooking-7" not in shown(engine, editors, exclude=engine.columns(["cooking-7"]))
    editors.catalogue.set_hidden("cooking-7", True)
    try:
        engine.view.update(editors)
        assert "cooking-7" not in shown(engine, editors)
    finally:
        editors.catalogue.set_hidden("cooking-7", False)
    engine.view.update(editors)
    assert shown(engine, editors)[0] == "cooking-7"
    watched = editors.events.history(SPACE_LOVER).video_ids[0]
    add(engine, editors, kind="pin", video=watched, position=2)
    assert watched not in shown(engine, editors), "nor one that was watched"


def test_a_closed_slate_shows_nothing_but_the_candidates(engine: Engine, editors: Store) -> None:
    query = Query(engine.profile(editors.events.history(SPACE_LOVER)), 10, NOW)
    ranked, _ = engine.rank(query)
    four = ranked.take(np.arange(4))
    add(engine, editors, kind="pin", video=engine.videos[ranked.columns[-1]], position=1)
    add(engine, editors, kind="pin", video=engine.videos[four.columns[2]], position=2)
    closed, open_ = engine.select(query, four, Trace(), closed=True), engine.select(query, four, Trace())
    assert sorted(closed.columns) == sorted(four.columns) and closed.columns[1] == four.columns[2]
    assert len(open_) == 10 and open_.columns[0] == ranked.columns[-1]


# ---- Taste ---------------------------------------------------------------------------------------------------


def test_calibration_gives_labels_their_shares_of_what_was_watched(
    editors: Store, released: tuple[Store, Home]
) -> None:
    def genres(strength: float, viewer: str) -> list[str]:
        chosen = with_settings(policy={"calibration": {"strength": strength}, "diversity": {"method": "none"}})
        engine = Engine.open(released[1], editors, chosen)
        assert engine.slates.needs_history is (strength > 0)
        return [name.split("-")[0] for name in shown(engine, editors, viewer, limit=8)]

    calibrated, plain = genres(0.999, "both"), genres(0.0, "both")
    assert (calibrated.count("cooking"), calibrated.count("space")) == (6, 2)
    assert plain.count("cooking") < 6, "the newest counts more than it is of what was watched"
    assert genres(0.999, "stranger") == genres(0.0, "stranger"), "whose taste is not known"


def test_rules_need_the_history(engine: Engine, editors: Store) -> None:
    assert not engine.slates.needs_history
    add(engine, editors, kind="block", label="sports")
    assert engine.slates.needs_history


# ---- Copies ------------------------------------------------------------------------------------------------


def upload(store: Store, video_id: str, content_hash: str) -> None:
    known = store.catalogue.get(video_id)
    assert known is not None
    fields = known.model_dump(include=set(Video.model_fields)) | {"content_hash": content_hash}
    store.catalogue.upsert([Video.model_validate(fields)])


def test_of_videos_that_are_the_same_file_one_is_shown(world: Store, home: Home) -> None:
    chosen = with_settings()
    refresh(world, home, chosen)
    engine = Engine.open(home, world, chosen)
    assert not engine.slates.needs_history
    liked = shown(engine, world, SPACE_LOVER, EVERYTHING)
    first, second, other = liked[:3]
    for name, content in ((first, "a" * 64), (second, "a" * 64), (other, "b" * 64)):
        upload(world, name, content)
    engine.view.update(world)
    assert engine.slates.needs_history
    now_shown = shown(engine, world, SPACE_LOVER, 10)
    assert first in now_shown and other in now_shown and second not in now_shown

    watch(world, SPACE_LOVER, [first])
    later = shown(engine, world, SPACE_LOVER, 10)
    assert first not in later and second not in later, "who watched one has watched the other"

    upload(world, second, "c" * 64)
    engine.view.update(world)
    assert second in shown(engine, world, SPACE_LOVER, 10) and not engine.slates.needs_history


# ---- New videos ----------------------------------------------------------------------------------------------


def test_new_videos_are_lifted_into_their_share_of_a_list_of_whom_they_fit(world: Store, home: Home) -> None:
    """Ten videos came after the release that look like space; viewers of something else get none of them."""
    chosen = with_settings(
        novelty={"below_viewers": 1},
        # So that new videos are far behind on their own.
        sources={"fresh": {"weight": 0.01}, "content": {"enabled": False}},
    )
    refresh(world, home, chosen)
    table = next(iter(EmbeddingTable.all(home.embeddings)))
    new = [f"new-{number}" for number in range(10)]
    world.catalogue.upsert(Video(id=name, published_at=NOW - 60, media_path=f"/{name}.mp4") for name in new)
    table.append(new, table.matrix[table.rows_of([f"space-{number}" for number in range(10)])])
    for name in new:
        world.catalogue.mark_ready(name, ENCODER, MediaFacts())

    def opened(new_share: float) -> Engine:
        return Engine.open(home, world, chosen.model_copy(update={"policy": with_settings(
            policy={"freshness": {"new_share": new_share}}).policy}))  # fmt: skip

    def how_many(slate: Slate) -> int:
        return slate.rules.count("new")

    for share, limit, most in ((0.0, 10, 0), (0.1, 10, 1), (0.3, 10, 3), (0.1, 20, 2), (0.1, 9, 0)):
        engine = opened(share)
        slate = made(engine, world, limit=limit)
        there = [name for name in names(engine, slate) if name in new]
        assert len(there) == how_many(slate) == most, (share, limit)
        assert how_many(made(engine, world, "cooking-viewer-0", limit)) == 0
        assert not set(new) & set(shown(engine, world, "stranger", limit))
    assert how_many(made(opened(0.3), world, limit=10, now=NOW + 40 * 86_400)) == 0, "they are not new for ever"
    query = Query(opened(0.3).profile(world.events.history(SPACE_LOVER)), 10, NOW)
    out_of_a_cache, _ = opened(0.3).rank(query)
    assert how_many(opened(0.3).select(query, out_of_a_cache, Trace())) == 3, (
        "by an engine that was never asked for candidates"
    )


def test_a_new_video_is_not_lifted_for_being_popular_with_others(world: Store, home: Home) -> None:
    known = world.catalogue.get("space-9")
    assert known is not None
    fields = known.model_dump(include=set(Video.model_fields)) | {"published_at": NOW - 60}
    world.catalogue.upsert([Video.model_validate(fields)])
    chosen = with_settings(policy={"freshness": {"new_share": 0.3}}, sources={"content": {"enabled": False}})
    refresh(world, home, chosen)
    engine = Engine.open(home, world, chosen)
    profile = engine.profile(world.events.history("cooking-viewer-0"))
    ranked, _ = engine.rank(Query(profile, 5, NOW))
    assert engine.column_of["space-9"] in ranked.columns[5:]
    assert "new" not in engine.select(Query(profile, 5, NOW), ranked, Trace()).rules
