"""The engine over a small real world: what is asked is answered, what is forbidden never shows."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from data.embeddings import EmbeddingTable
from data.home import Home
from data.schema import MediaFacts, Rule, Video, VideoRecord
from data.store import Store
from recommender.engine import Engine
from recommender.pipeline.stages import Query, Ranked, Trace
from recommender.policy import Policy
from recommender.ranking.ranker import Ranker
from recommender.refresh import refresh
from recommender.why import why
from tests.recommender.small_world import ENCODER, GENRES, NOW, PER_GENRE, SETTINGS, add_encoded, watch

EVERYTHING = len(GENRES) * PER_GENRE


@pytest.fixture
def engine(world: Store, home: Home) -> Iterator[Engine]:
    refresh(world, home, SETTINGS)
    yield Engine.open(home, world, SETTINGS.model_copy(deep=True))


def ask(engine: Engine, store: Store, viewer: str = "nobody", limit: int = 10, **fields: object) -> Query:
    return Query(engine.profile(store.events.history(viewer)), limit, NOW, **fields)


def names(engine: Engine, ranked: Ranked) -> list[str]:
    return [engine.videos[column] for column in ranked.columns]


def slate(engine: Engine, store: Store, viewer: str = "nobody", limit: int = EVERYTHING, **fields: object) -> list[str]:
    return names(engine, engine.recommend(ask(engine, store, viewer, limit, **fields))[0])


def reasons(engine: Engine, query: Query) -> list[dict[str, str]]:
    """Why each item of the list for a request is there."""
    ranked, trace = engine.recommend(query)
    return [item["reason"] for item in engine.pipeline.hydrate(query, ranked, trace)]


def change(engine: Engine, store: Store, video_id: str, **fields: object) -> None:
    """The owner changes a video, and the engine looks at the catalogue before the next request."""
    known = store.catalogue.get(video_id).model_dump(include=set(Video.model_fields))
    store.catalogue.upsert([Video.model_validate(known | fields)])
    if "hidden" in fields:
        store.catalogue.set_hidden(video_id, bool(fields["hidden"]))
    engine.view.update(store)


# ---- What next -----------------------------------------------------------------------------------------------


def test_a_viewer_gets_unseen_videos_of_the_own_taste_first(engine: Engine, world: Store) -> None:
    watch(world, "anna", ["space-0", "space-1", "space-2"])
    offered = slate(engine, world, "anna")
    assert not {"space-0", "space-1", "space-2"} & set(offered)
    assert all(name.startswith("space-") for name in offered[:7])
    assert len(offered) == EVERYTHING - 3 == len(set(offered))


def test_the_next_event_changes_the_next_list(engine: Engine, world: Store) -> None:
    watch(world, "anna", ["space-0"])
    before = slate(engine, world, "anna", limit=5)
    watch(world, "anna", ["cooking-0", "cooking-1"], at=NOW + 10)
    after = slate(engine, world, "anna", limit=5)
    assert any(name.startswith("cooking") for name in after) and not any(name.startswith("cooking") for name in before)


def test_what_a_viewer_rejects_is_gone_at_once(engine: Engine, world: Store) -> None:
    watch(world, "anna", ["space-0"])
    first = slate(engine, world, "anna")[0]
    watch(world, "anna", [first], "not_interested", at=NOW + 10)
    assert first not in slate(engine, world, "anna")


def test_an_unknown_viewer_gets_what_is_popular_in_the_country(engine: Engine, world: Store) -> None:
    assert slate(engine, world, country="DE", limit=3)[0].startswith("sports")
    assert slate(engine, world, country="FR", limit=3)[0].startswith("cooking")
    assert len(slate(engine, world)) == EVERYTHING


def test_an_unknown_viewer_who_names_a_label_gets_what_is_popular_in_it(engine: Engine, world: Store) -> None:
    query = ask(engine, world, labels=("cooking",), country="DE")
    ranked, _ = engine.recommend(query)
    assert {name.split("-")[0] for name in names(engine, ranked)} == {"cooking"}
    reason = reasons(engine, query)[0]
    assert (reason["code"], reason["text"]) == ("popular_in_label", "Popular in cooking in DE")


def test_without_a_release_the_catalogue_is_served(world: Store, home: Home) -> None:
    engine = Engine.open(home, world, SETTINGS)
    assert engine.release.id.startswith("none-")
    watch(world, "anna", ["space-0"])
    assert len(slate(engine, world, "anna")) == EVERYTHING - 1
    assert slate(engine, world, country="DE")[0].startswith("sports")


# ---- What is forbidden ---------------------------------------------------------------------------------------

FORBIDDEN = [
    ({"hidden": True}, {}, "hidden"),
    ({"available_from": NOW + 1}, {}, "window"),
    ({"available_until": NOW}, {}, "window"),
    ({"regions": ["US"]}, {"country": "DE"}, "region"),
    ({"regions": ["US"]}, {}, "region"),
    ({"rating": 18}, {"max_rating": 12}, "rating"),
    ({"labels": ["horror"]}, {"not_labels": ("horror",)}, "labels"),
    ({"labels": ["horror"]}, {"labels": ("space", "sports")}, "labels"),
]


@pytest.mark.parametrize(("fields", "request_fields", "removed_by"), FORBIDDEN)
def test_a_forbidden_video_shows_on_no_path(
    engine: Engine, world: Store, home: Home, fields: dict, request_fields: dict, removed_by: str
) -> None:
    watch(world, "anna", ["space-0"])
    query = ask(engine, world, "anna", EVERYTHING, **request_fields)
    cached, _ = engine.rank(query)
    change(engine, world, "space-1", **fields)
    assert "space-1" not in slate(engine, world, "anna", **request_fields)
    assert "space-1" not in slate(engine, world, **request_fields), "nor for an unknown viewer"
    assert "space-1" not in names(engine, engine.select(query, cached, Trace())), "nor out of a cache"
    assert "space-1" not in names(engine, engine.similar("space-0", query))
    assert why(engine, query, "space-1")["removed_by"] == [removed_by]
    bare = Engine.open(Home.at(home.root / "without a release"), world, SETTINGS)
    assert bare.release.id.startswith("none-")
    assert "space-1" not in slate(bare, world, **request_fields)


@pytest.mark.parametrize(
    ("fields", "request_fields"),
    [
        ({"available_from": NOW, "available_until": NOW + 1}, {}),
        ({"regions": ["US", "DE"]}, {"country": "DE"}),
        ({"rating": 12}, {"max_rating": 12}),
        ({"labels": ["horror", "space"]}, {"labels": ("space", "sports")}),
    ],
)
def test_a_video_that_is_just_allowed_is_shown(
    engine: Engine, world: Store, fields: dict, request_fields: dict
) -> None:
    change(engine, world, "space-1", **fields)
    assert "space-1" in slate(engine, world, **request_fields)


def test_a_takedown_ends_when_it_is_lifted(engine: Engine, world: Store) -> None:
    change(engine, world, "space-1", hidden=True)
    change(engine, world, "space-1", hidden=False)
    assert "space-1" in slate(engine, world)
    world.catalogue.remove(["space-1"])
    engine.view.update(world)
    assert "space-1" not in slate(engine, world)


# ---- What came after the release -----------------------------------------------------------------------------


def newest(engine: Engine, store: Store, home: Home) -> Engine:
    engine.view.update(store)
    return engine.with_newest_videos(store.catalogue, home.embeddings)


def test_a_video_added_just_now_is_offered_to_who_likes_its_kind(engine: Engine, world: Store, home: Home) -> None:
    engine.settings.novelty.below_viewers = 1
    add_encoded(world, home, "late", like="space-3", published_at=NOW - 60)
    engine = newest(engine, world, home)
    assert "late" in slate(engine, world, "space-viewer-0", 10)
    assert "late" not in slate(engine, world, "cooking-viewer-0", 10)
    said = why(engine, ask(engine, world, "space-viewer-0"), "late")["sources"]
    assert said["content"]["found"] and said["fresh"]["found"] and not said["collaborative"]["found"]
    assert names(engine, engine.similar("late", ask(engine, world, limit=3)))[0].startswith("space")
    assert "late" in names(engine, engine.similar("space-3", ask(engine, world, limit=3), "visual"))
    world.catalogue.set_hidden("late", True)
    engine.view.update(world)
    assert "late" not in slate(engine, world, "space-viewer-0")


def test_what_happens_to_a_video_that_came_after_the_release_counts(engine: Engine, world: Store, home: Home) -> None:
    add_encoded(world, home, "late", like="space-3", published_at=NOW - 60)
    watch(world, "anna", ["late"])
    engine = newest(engine, world, home)
    listed = slate(engine, world, "anna", 5)
    assert all(name.startswith("space") for name in listed), "the taste is known from its looks"


def test_a_video_encoded_anew_has_its_new_looks_at_once(engine: Engine, world: Store, home: Home) -> None:
    table = next(table for table in EmbeddingTable.all(home.embeddings) if table.encoder_id == ENCODER)
    table.append(["space-0"], table.matrix[table.rows_of(["cooking-0"])])
    world.catalogue.note_content("space-0", "f" * 64)
    world.catalogue.mark_ready("space-0", ENCODER, MediaFacts())
    engine = newest(engine, world, home)
    alike = names(engine, engine.similar("space-0", ask(engine, world, limit=3), "visual"))
    assert all(name.startswith("cooking") for name in alike)


def test_without_news_the_engine_stays_the_same(engine: Engine, world: Store, home: Home) -> None:
    assert newest(engine, world, home) is engine
    world.catalogue.upsert([Video(id="without-media")])
    grown = newest(engine, world, home)
    assert grown is not engine and len(grown.videos) == len(engine.videos) + 1 and newest(grown, world, home) is grown
    assert "without-media" in slate(grown, world, limit=EVERYTHING + 1)


def test_what_the_request_excludes_is_left_out(engine: Engine, world: Store) -> None:
    exclude = engine.columns(["space-1", "unknown", "space-2"])
    offered = slate(engine, world, exclude=exclude)
    assert len(exclude) == 2 and len(offered) == EVERYTHING - 2 and not {"space-1", "space-2"} & set(offered)


def test_labels_are_ored_and_unwanted_ones_win(engine: Engine, world: Store) -> None:
    change(engine, world, "sports-0", labels=["sports", "space"])
    offered = slate(engine, world, labels=("space", "cooking"), not_labels=("sports",))
    assert {name.split("-")[0] for name in offered} == {"space", "cooking"} and len(offered) == 2 * PER_GENRE
    assert slate(engine, world, labels=("unheard of",)) == []


# ---- What is similar, and why --------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["visual", "cowatch", "both"])
def test_similar_videos_are_of_the_same_genre(engine: Engine, world: Store, by: str) -> None:
    found = names(engine, engine.similar("sports-3", ask(engine, world, limit=4), by))
    assert len(found) == 4 and "sports-3" not in found
    assert all(name.startswith("sports") for name in found)


def test_similar_by_looks_is_the_order_of_the_cosines(engine: Engine, world: Store) -> None:
    found = names(engine, engine.similar("sports-3", ask(engine, world, limit=5), "visual"))
    _, (one,) = engine.release.index.vectors(engine.columns(["sports-3"]))
    _, everything = engine.release.index.vectors(np.arange(EVERYTHING))
    expected = [engine.videos[column] for column in np.argsort(-(everything @ one))]
    assert found == [name for name in expected if name != "sports-3"][:5]
    with pytest.raises(KeyError):
        engine.similar("unknown", ask(engine, world))


def test_copies_of_a_file_are_not_like_it(engine: Engine, world: Store) -> None:
    for name in ("space-0", "space-1"):
        change(engine, world, name, content_hash="ab" * 32)
    query = ask(engine, world, limit=EVERYTHING)
    for found in (engine.similar("space-0", query), engine.next_after("space-0", query)):
        assert "space-1" not in names(engine, found) and "space-2" in names(engine, found)


# ---- What to watch after a video -----------------------------------------------------------------------------


def test_after_an_episode_comes_the_next_one_that_was_not_watched(engine: Engine, world: Store) -> None:
    for number in range(5):
        change(engine, world, f"space-{number}", series="trek", episode=number)
    after = names(engine, engine.next_after("space-1", ask(engine, world)))
    assert after[0] == "space-2" and len(after) == len(set(after)) == 10 and "space-1" not in after
    watch(world, "anna", ["space-2"])
    assert names(engine, engine.next_after("space-1", ask(engine, world, "anna")))[0] == "space-3"
    assert names(engine, engine.next_after("space-4", ask(engine, world)))[0].startswith("space"), "it was the last one"
    change(engine, world, "space-3", hidden=True)
    assert "space-3" not in names(engine, engine.next_after("space-2", ask(engine, world)))
    first = engine.next_after("space-1", ask(engine, world, limit=1))
    assert names(engine, first) == ["space-2"]
    assert engine.pipeline.source_names(int(first.found_by[0])) == ["next_episode"]


def test_what_is_watched_after_a_video_comes_before_what_is_only_alike(
    engine: Engine, world: Store, home: Home
) -> None:
    for number in range(20):
        watch(world, f"both-{number}", ["sports-1", "cooking-1"])
    refresh(world, home, SETTINGS)
    engine = Engine.open(home, world, SETTINGS)
    assert names(engine, engine.next_after("sports-1", ask(engine, world)))[0] == "cooking-1"
    assert "cooking-1" not in names(engine, engine.similar("sports-1", ask(engine, world), "visual"))


def test_the_history_of_the_viewer_counts_after_a_video_too(engine: Engine, world: Store) -> None:
    watch(world, "anna", ["cooking-0", "cooking-1", "cooking-2"])
    of_nobody = names(engine, engine.next_after("space-1", ask(engine, world, limit=EVERYTHING)))
    of_anna = names(engine, engine.next_after("space-1", ask(engine, world, "anna", limit=EVERYTHING)))
    assert of_anna[0].startswith("space") and of_nobody[0].startswith("space")
    assert not {"cooking-0", "cooking-1", "cooking-2", "space-1"} & set(of_anna)
    place = {name: of_anna.index(name) - of_nobody.index(name) for name in ("cooking-3", "sports-3")}
    assert place["cooking-3"] < place["sports-3"]


def test_after_a_video_of_which_nothing_is_known_comes_what_is_recommended_anyway(engine: Engine, world: Store) -> None:
    world.catalogue.upsert([Video(id="lonely")])
    engine.view.update(world)
    grown = engine.with_newest_videos(world.catalogue, Path("nowhere"))
    assert len(engine_names := names(grown, grown.next_after("lonely", ask(grown, world)))) == 10
    assert "lonely" not in engine_names
    with pytest.raises(KeyError):
        grown.next_after("unknown", ask(grown, world))


@pytest.mark.parametrize(("fields", "request_fields", "removed_by"), FORBIDDEN)
def test_a_forbidden_video_is_not_what_comes_next(
    engine: Engine, world: Store, fields: dict, request_fields: dict, removed_by: str
) -> None:
    change(engine, world, "space-0", series="trek", episode=1)
    change(engine, world, "space-1", series="trek", episode=2)
    change(engine, world, "space-1", **{"series": "trek", "episode": 2} | fields)
    query = ask(engine, world, limit=EVERYTHING, **request_fields)
    assert "space-1" not in names(engine, engine.next_after("space-0", query))
    assert "space-1" not in names(engine, engine.nearest(vector_of(engine, "space-1"), query))


def vector_of(engine: Engine, name: str) -> np.ndarray:
    return engine.index.vectors(engine.columns([name]))[1][0]


def test_what_editors_block_is_neither_alike_nor_next_nor_found(engine: Engine, world: Store) -> None:
    world.rules.add(Rule(kind="block", video="space-1"))
    engine.view.update(world)
    query = ask(engine, world, limit=EVERYTHING)
    for found in (
        engine.similar("space-0", query),
        engine.next_after("space-0", query),
        engine.nearest(vector_of(engine, "space-1"), query),
    ):
        assert "space-1" not in names(engine, found) and len(found) > 5


def test_why_names_the_source_its_rank_and_the_place_in_the_list(engine: Engine, world: Store) -> None:
    watch(world, "anna", ["space-0"])
    query = ask(engine, world, "anna", EVERYTHING)
    place = slate(engine, world, "anna").index("space-5")
    answer = why(engine, query, "space-5")
    assert answer["removed_by"] == [] and answer["rank"] == place + 1
    found = {name: source for name, source in answer["sources"].items() if source["found"]}
    assert {"collaborative", "item_item", "content", "popular"} <= set(found)
    assert found["content"]["because_of"] == found["collaborative"]["because_of"] == "space-0"
    score = sum(source["weight"] / (60 + source["rank"]) for source in found.values())
    assert answer["score"] == pytest.approx(score, rel=1e-5)
    watched = why(engine, query, "space-0")
    assert watched["removed_by"] == ["watched"] and watched["rank"] is None
    assert not why(engine, ask(engine, world), "space-0")["sources"]["content"]["found"]
    with pytest.raises(KeyError):
        why(engine, query, "unknown")


def test_reasons_name_a_watched_video_of_the_same_kind(engine: Engine, world: Store) -> None:
    watch(world, "anna", ["cooking-0", "space-0"])
    query = ask(engine, world, "anna", 6)
    offered = names(engine, engine.recommend(query)[0])
    for name, reason in zip(offered, reasons(engine, query), strict=True):
        genre = name.split("-")[0]
        assert (reason["code"], reason["video_id"]) == ("because_you_watched", f"{genre}-0"), name
        assert reason["text"] == f"Because you watched {genre.title()}-0"


def test_a_list_for_nobody_is_popular_and_says_where(engine: Engine, world: Store) -> None:
    for country, text in ((None, "Popular now"), ("DE", "Popular now in DE"), ("AT", "Popular now")):
        assert {reason["text"] for reason in reasons(engine, ask(engine, world, country=country))} == {text}


def test_a_disabled_source_gives_no_reasons(engine: Engine, world: Store, home: Home) -> None:
    settings = SETTINGS.model_copy(deep=True)
    for name, source in settings.sources:
        source.enabled = name == "popular"
    popular = Engine.open(home, world, settings)
    watch(world, "anna", ["space-0"])
    assert {reason["code"] for reason in reasons(popular, ask(popular, world, "anna"))} == {"popular"}


def test_the_facts_of_an_item_are_those_of_the_catalogue_now(engine: Engine, world: Store) -> None:
    change(engine, world, "space-1", title="New Title", labels=["space", "physics"])
    ranked, trace = engine.recommend(ask(engine, world, limit=EVERYTHING))
    facts = engine.pipeline.hydrate(ask(engine, world), ranked, trace, skip=("reasons",))
    assert facts[names(engine, ranked).index("space-1")] == {"title": "New Title", "labels": ["space", "physics"]}


def test_a_dislike_pushes_what_looks_like_it_down(engine: Engine, world: Store) -> None:
    watch(world, "anna", ["space-0", "cooking-0"])
    neutral = engine.profile(world.events.history("anna"))
    disliked = replace(neutral, disliked=engine.columns(["cooking-1"]))
    content = next(source for source in engine.pipeline.sources if source.name == "content")
    eligible = np.ones(EVERYTHING, bool)

    def best_cooking(profile) -> int:
        found = content.candidates(Query(profile, 10, NOW), eligible, EVERYTHING)
        return next(rank for rank, column in enumerate(found.columns) if engine.videos[column].startswith("cooking"))

    assert best_cooking(disliked) > best_cooking(neutral)


def test_the_fingerprint_changes_with_the_settings_and_the_release(engine: Engine, world: Store, home: Home) -> None:
    other = SETTINGS.model_copy(deep=True)
    other.sources.content.weight = 0.9
    prints = {engine.fingerprint, Engine.open(home, world, other).fingerprint}
    refresh(world, home, SETTINGS)
    prints.add(Engine.open(home, world, SETTINGS).fingerprint)
    assert len(prints) == 3


# ---- What must not cost anybody the list ---------------------------------------------------------------------


def test_a_takedown_while_a_new_video_is_read_is_not_lost(
    engine: Engine, world: Store, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_encoded(world, home, "late", like="space-3", published_at=NOW - 60)
    engine.view.update(world)
    read = world.catalogue.get_many

    def read_then_hide(names: list[str]) -> dict[str, VideoRecord]:
        found = read(names)
        world.catalogue.set_hidden("late", True)
        engine.view.update(world)
        return found

    monkeypatch.setattr(world.catalogue, "get_many", read_then_hide)
    grown = engine.with_newest_videos(world.catalogue, home.embeddings)
    grown.view.update(world)
    assert not grown.view.shown[grown.column_of["late"]]


def test_a_takedown_holds_although_the_rules_cannot_be_read(
    engine: Engine, world: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.catalogue.set_hidden("space-0", True)
    monkeypatch.setattr(world.rules, "list", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.view.update(world)
    assert not engine.view.shown[engine.column_of["space-0"]]


def test_a_policy_that_fails_leaves_the_best_first(
    engine: Engine, world: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Policy, "select", lambda *_: 1 / 0)
    query = ask(engine, world, "space-viewer-0", 5)
    slate, trace = engine.recommend(query)
    assert trace.warnings == ["the policy was left out: it failed"]
    assert slate.columns.tolist() == engine.rank(query)[0].columns[:5].tolist()


def test_a_ranker_of_other_features_is_left_out(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    trained = Ranker.from_text(
        Ranker(
            lightgbm.train({"verbose": -1}, lightgbm.Dataset(np.zeros((9, 1)), np.zeros(9)), 1), ["score.fusion"], 0.5
        ).to_text()
    )
    opened = Engine(replace(engine.release, ranker=trained), engine.view, engine.settings)
    assert opened.pipeline.ranker is None and "without its ranker" in caplog.text


def test_a_ranker_for_another_horizon_is_left_out(engine: Engine) -> None:
    builder = engine.features
    some = lightgbm.Dataset(np.random.default_rng(0).random((99, len(builder.names))), np.arange(99) % 2)
    trained = Ranker(lightgbm.train({"verbose": -1}, some, 1), builder.names, 0.5)
    release = replace(engine.release, ranker=trained)
    assert Engine(release, engine.view, engine.settings).pipeline.ranker is not None
    next_one = engine.settings.model_copy(update={"horizon": "next"})
    assert Engine(release, engine.view, next_one).pipeline.ranker is None


def test_describing_a_video_anew_is_no_news_of_its_looks(engine: Engine, world: Store, home: Home) -> None:
    change(engine, world, "space-0", title="Another title")
    assert not engine.view.has_news
    assert newest(engine, world, home) is engine


def test_a_prepared_engine_leaves_no_source_out_of_its_first_list(world: Store, home: Home) -> None:
    world.catalogue.upsert([Video(id="alone")])
    bare = Engine.open(home, world, SETTINGS)
    bare.prepare()
    refresh(world, home, SETTINGS)
    opened = Engine.open(home, world, SETTINGS)
    opened.prepare()
    _, trace = opened.recommend(ask(opened, world, "space-viewer-0"))
    assert trace.warnings == []
