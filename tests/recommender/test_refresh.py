"""Refresh: a release is published whole or not at all, whatever happens half-way."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from data.embeddings import EmbeddingTable
from data.home import Home
from data.schema import Event, MediaFacts, Video
from data.store import Store
from recommender import building, room
from recommender.building import GateError, RefreshError
from recommender.engine import Engine, query_now
from recommender.fitting import FITS
from recommender.pipeline.sources import history
from recommender.pipeline.sources.settings import SourcesSettings
from recommender.pipeline.stages import Query
from recommender.ranking import windows
from recommender.refresh import plan_refresh, refresh
from recommender.release import Releases, verify_release
from recommender.room import Sizes, memory_needed, room_for
from recommender.settings import RecommenderSettings
from tests.recommender.small_world import DIES_AT_A_WRITE, DIM, ENCODER, NOW, SETTINGS, fill, watch

MODELS = [name.replace("_", " ") for name in FITS]
PHASES = ["catalogue", "events", *MODELS, "popularity", "index", "cold start", "ranker", "view", "gates"]


def serves(home: Home, store: Store, release_id: str) -> bool:
    """Whether this release is the served one, undamaged and answering."""
    verify_release(home.releases / release_id)
    engine = Engine.open(home, store, SETTINGS)
    ranked, trace = engine.recommend(query_now(engine.profile(store.events.history("space-viewer-0"))))
    return engine.release.id == release_id and len(ranked) == 20 and trace.warnings == []


def with_index(**index: float) -> RecommenderSettings:
    return SETTINGS.model_copy(update={"index": SETTINGS.index.model_copy(update=index)})


def add_vectors(store: Store, home: Home, matrix: np.ndarray) -> None:
    """One more ready video for each row."""
    names = [f"more-{number}" for number in range(len(matrix))]
    store.catalogue.upsert(Video(id=name) for name in names)
    matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    EmbeddingTable.create(home.embeddings, ENCODER, DIM).append(names, matrix)


def test_a_refresh_publishes_what_is_known(world: Store, home: Home) -> None:
    report = refresh(world, home, SETTINGS)
    assert list(report.seconds) == PHASES and report.resumed == []
    assert report.facts["gates"] == {"recall": 1.0}
    assert serves(home, world, report.release_id)
    assert {path.name for path in home.releases.iterdir()} <= {report.release_id, "CURRENT", ".refresh.lock"}


def test_a_catalogue_without_events_or_vectors_is_enough(store: Store, home: Home) -> None:
    with pytest.raises(RefreshError, match="catalogue is empty"):
        refresh(store, home, SETTINGS)
    store.catalogue.upsert(Video(id=f"v{number}") for number in range(25))
    report = refresh(store, home, SETTINGS)
    assert (report.facts["encoder"], report.facts["index"], report.facts["collaborative"]) == ("none", "none", "none")
    assert serves(home, store, report.release_id)


def test_events_about_removed_videos_do_no_harm(world: Store, home: Home) -> None:
    world.catalogue.remove(["space-0", "cooking-9"])
    report = refresh(world, home, SETTINGS)
    assert report.facts["counts"]["videos"] == report.facts["counts"]["embeddings"] == 28
    assert serves(home, world, report.release_id)


def test_in_a_large_catalogue_factors_are_searched_among_videos_that_somebody_met(
    world: Store, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (building, history, windows):
        monkeypatch.setattr(module, "SPARSE_FROM", 10)
    world.catalogue.upsert(Video(id=name) for name in ("a-new-one", "one-more", "zoo"))
    refresh(world, home, SETTINGS)
    engine = Engine.open(home, world, SETTINGS)
    met = {engine.videos[column] for column in engine.release.factor_index.ids}
    assert met == set(engine.videos) - {"a-new-one", "one-more", "zoo"}

    query = query_now(engine.profile(world.events.history("space-viewer-0")))
    eligible = engine.pipeline.eligible(query)
    source = next(source for source in engine.pipeline.sources if source.name == "collaborative")
    searched = source.candidates(query, eligible, 10)
    monkeypatch.setattr(history, "SPARSE_FROM", 10**9)
    scored = source.candidates(query, eligible, 10)
    assert searched.columns.tolist() == scored.columns.tolist() and len(scored.columns) == 10
    np.testing.assert_allclose(searched.scores, scored.scores, rtol=1e-5)


def test_releases_go_on_with_the_old_encoder_until_the_new_one_has_seen_all(world: Store, home: Home) -> None:
    names = world.catalogue.ids()
    served = refresh(world, home, SETTINGS).release_id
    newer = EmbeddingTable.create(home.embeddings, "encoder-2", 4)

    def encode(some: list[str]) -> None:
        newer.append(some, np.eye(4)[np.arange(len(some)) % 4])
        for name in some:
            world.catalogue.mark_ready(name, "encoder-2", MediaFacts())
        assert serves(home, world, served), "encoding changes nothing that is served"

    encode(names[:25])
    halfway = refresh(world, home, SETTINGS)
    assert halfway.facts["encoder"] == ENCODER and halfway.facts["counts"]["embeddings"] == len(names)
    served = halfway.release_id
    encode(names[25:])
    assert refresh(world, home, SETTINGS).facts["encoder"] == "encoder-2"
    assert refresh(world, home, SETTINGS).facts["index"] == "flat-float32/4", "no vector of the old one is among them"


@pytest.mark.parametrize(("refused", "takes_over"), [(3, True), (20, False)])
def test_an_encoder_that_makes_nothing_of_some_takes_over_if_they_are_few(
    world: Store, home: Home, caplog: pytest.LogCaptureFixture, refused: int, takes_over: bool
) -> None:
    names = world.catalogue.ids()
    newer = EmbeddingTable.create(home.embeddings, "encoder-2", 4)
    newer.append(names[refused:], np.eye(4)[np.arange(len(names) - refused) % 4])
    for name in names[refused:]:
        world.catalogue.mark_ready(name, "encoder-2", MediaFacts())
    for name in names[:refused]:
        world.catalogue.mark_failed(name, "no_sound: it has none", "encoder-2")

    report = refresh(world, home, SETTINGS)

    assert report.facts["encoder"] == ("encoder-2" if takes_over else ENCODER)
    assert report.facts["counts"]["embeddings"] == (len(names) - refused if takes_over else len(names))
    assert ("encoder-2 has made vectors of" in caplog.text) is not takes_over


def add_a_number_that_is_too_large(store: Store) -> None:
    """No importer lets it in; a gate must hold all the same."""
    row = {"event_id": "huge", "user_id": "u", "video_id": "space-0", "type": "watch", "value": 1e39}
    store.events.add_rows([row | {"occurred_at": 1.0, "received_at": 1.0}])


# ---- Gates ---------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numbers_that_are_not_finite_publish_nothing(world: Store, home: Home) -> None:
    served = refresh(world, home, SETTINGS).release_id
    add_a_number_that_is_too_large(world)
    with pytest.raises(GateError, match="finite"):
        refresh(world, home, SETTINGS)
    assert serves(home, world, served)


def test_an_index_that_misses_neighbours_publishes_nothing(world: Store, home: Home) -> None:
    served = refresh(world, home, SETTINGS).release_id
    add_vectors(world, home, np.random.default_rng(0).normal(size=(3_000, DIM)))
    with pytest.raises(GateError, match="recall"):
        refresh(world, home, with_index(exact_below=0, recall=0.3))
    assert serves(home, world, served)
    assert refresh(world, home, with_index(exact_below=0)).facts["index"] == f"ivf-float16/{DIM}"


def test_copies_of_a_video_are_not_missed_neighbours(world: Store, home: Home) -> None:
    """Which of forty equally near copies an index finds says nothing of its quality."""
    add_vectors(world, home, np.repeat(np.random.default_rng(0).normal(size=(30, DIM)), 40, axis=0))
    assert refresh(world, home, with_index(exact_below=0)).facts["gates"]["recall"] > 0.98


def test_damaged_vectors_publish_nothing(world: Store, home: Home) -> None:
    served = refresh(world, home, SETTINGS).release_id
    (block,) = home.embeddings.glob("*/*.npy")
    content = bytearray(block.read_bytes())
    content[-1] ^= 1
    block.write_bytes(content)
    with pytest.raises(GateError, match="checksum"):
        refresh(world, home, SETTINGS)
    assert serves(home, world, served)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_after_a_failed_gate_the_next_run_begins_with_what_is_known_then(world: Store, home: Home) -> None:
    add_a_number_that_is_too_large(world)
    with pytest.raises(GateError):
        refresh(world, home, SETTINGS)
    watch(world, "late", ["space-1"])
    with world.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM events WHERE event_id = 'huge'")
    report = refresh(world, home, SETTINGS)
    assert report.resumed == [] and report.facts["counts"]["viewers"] == 25


# ---- Interruptions and crowds --------------------------------------------------------------------------------


def test_a_second_refresh_at_the_same_time_is_refused(world: Store, home: Home) -> None:
    home.releases.mkdir()
    with FileLock(home.releases / ".refresh.lock"), pytest.raises(RefreshError, match="another refresh is running"):
        refresh(world, home, SETTINGS)
    refresh(world, home, SETTINGS)


#: Dies, as if by kill -9, at the n-th of its durable writes: half of them before a file is renamed into its place.
DIES = f"""{DIES_AT_A_WRITE}
from data.home import Home
from data.store import Store
from recommender.refresh import refresh
from tests.recommender.small_world import SETTINGS
home = Home.at(sys.argv[1])
refresh(Store.open(home.database_url), home, SETTINGS)
print(writes)
"""


def run_until_write(home: Home, number: int) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", DIES, str(home.root), str(number)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])


def phases_done(home: Home) -> list[str]:
    """What an interrupted run has finished, by its own notes; none before its first note."""
    notes = [*home.releases.glob("*/.state.json")]
    return json.loads(notes[0].read_bytes())["done"] if notes else []


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
def test_a_killed_refresh_is_continued_by_the_next(world: Store, home: Home, writes: int, share: float) -> None:
    served = refresh(world, home, SETTINGS).release_id
    watch(world, "new-viewer", ["space-0", "space-1"])
    assert run_until_write(home, 1 + round(share * (writes - 2))).returncode == -9
    assert serves(home, world, served), "the old release answers meanwhile"
    done = phases_done(home)
    watch(world, "newer-viewer", ["space-0"])
    report = refresh(world, home, SETTINGS)
    assert report.resumed == done == PHASES[: len(done)] and list(report.seconds) == PHASES[len(done) :]
    assert report.facts["counts"]["viewers"] == (25 if share > 0 else 26), "on the same frozen inputs"
    assert report.release_id != served and serves(home, world, report.release_id)
    assert len(done) == len(PHASES) or share < 1


@pytest.fixture(scope="module")
def writes(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many durable writes a refresh makes that nobody kills."""
    home = Home.at(tmp_path_factory.mktemp("counted") / "home")
    store = Store.open(home.database_url)
    fill(store, home)
    refresh(store, home, SETTINGS)
    finished = run_until_write(home, -1)
    store.close()
    return int(finished.stdout)


def test_an_interrupted_refresh_is_not_continued_with_other_inputs(world: Store, home: Home) -> None:
    run_until_write(home, 15)
    world.catalogue.upsert([Video(id="another")])
    report = refresh(world, home, SETTINGS)
    assert report.resumed == [] and report.facts["counts"]["videos"] == 31
    run_until_write(home, 15)
    assert refresh(world, home, with_index(exact_below=10)).resumed == []


def test_who_asks_while_releases_are_swapped_is_always_answered_from_one(store: Store, home: Home) -> None:
    fill(store, home)
    refresh(store, home, SETTINGS)
    releases, done = Releases(home.releases), threading.Event()
    seen: set[str] = set()
    problems: list[object] = []

    def ask() -> None:
        try:
            engine = Engine.open(home, store, SETTINGS)
            while not done.is_set() or engine.release.id != releases.current_id():
                if engine.release.id != releases.current_id():
                    engine = Engine.open(home, store, SETTINGS)
                size = engine.release.manifest["counts"]["videos"]
                parts = (
                    engine.release.videos,
                    engine.release.models["collaborative"].items,
                    engine.release.viewers,
                )
                assert [len(part) for part in parts] == [size] * 3
                query = query_now(engine.profile(store.events.history("sports-viewer-0")), 5)
                ranked, trace = engine.recommend(query)
                assert trace.warnings == []
                assert all(engine.videos[column].startswith("sports") for column in ranked.columns)
                assert len(engine.similar("sports-0", query)) == 5
                seen.add(engine.release.id)
        except BaseException as problem:
            problems.append(problem)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for number in range(3):
        store.catalogue.upsert([Video(id=f"new-{number}")])
        refresh(store, home, SETTINGS)
    releases.rollback()
    done.set()
    for asker in askers:
        asker.join()
    assert problems == [] and releases.current_id() in seen


# ---- The ranker ----------------------------------------------------------------------------------------------

EPISODES, FOLLOWERS, STEPS = 60, 240, 8


def fill_with_followers(store: Store) -> None:
    """Viewers who begin anywhere and go on with what was published next, of whom popularity knows nothing."""
    rng = np.random.default_rng(0)
    published = rng.permutation(EPISODES)
    names = [f"episode-{number}" for number in range(EPISODES)]
    store.catalogue.upsert(
        Video(id=name, published_at=NOW - 86_400.0 * int(EPISODES - published[number]))
        for number, name in enumerate(names)
    )
    in_order = [names[number] for number in np.argsort(published)]
    starts = rng.integers(0, EPISODES - STEPS - 4, FOLLOWERS)
    store.events.add(
        Event(event_id=f"{viewer}-{step}", user_id=f"follower-{viewer}", video_id=in_order[start + step],
              type="complete", occurred_at=NOW + step * FOLLOWERS + viewer, value=None)
        for step in range(STEPS)
        for viewer, start in enumerate(starts.tolist())
    )  # fmt: skip


def only(source: str, **ranker: object) -> RecommenderSettings:
    """No source but this one."""
    return RecommenderSettings.model_validate(
        {
            "sources": {name: {"enabled": name == source} for name in SourcesSettings.model_fields},
            "ranker": {"viewers_per_window": 60, "windows": 6, "min_candidates_per_leaf": 20} | ranker,
        }
    )


def popular_only(**ranker: object) -> RecommenderSettings:
    """No source but one that knows nothing of a viewer."""
    return only("popular", **ranker)


def best_is_next(engine: Engine, store: Store) -> float:
    """The share of viewers of six episodes in a row whose lists begin with the one that was published after them."""
    in_order = np.argsort(engine.view.published_at)
    right = []
    for start in range(0, EPISODES - 10, 5):
        watch(store, f"guest-{start}", [engine.videos[column] for column in in_order[start : start + 6]])
        profile = engine.profile(store.events.history(f"guest-{start}"))
        slate, trace = engine.recommend(Query(profile, 5, NOW + FOLLOWERS))
        assert trace.warnings == []
        right.append(slate.columns[0] == in_order[start + 6])
    return float(np.mean(right))


def test_a_ranker_that_learns_what_the_fusion_does_not_know_serves(store: Store, home: Home) -> None:
    fill_with_followers(store)
    facts = refresh(store, home, popular_only()).facts["ranker"]
    assert facts["serves"] and facts["trees"] > facts["fusion"] and facts["low"] > 0 and facts["requests"] > 10
    engine = Engine.open(home, store, popular_only())
    assert engine.release.manifest["ranker"] == facts
    assert best_is_next(engine, store) > 0.8
    switched_off = Engine.open(home, store, popular_only(enabled=False))
    assert switched_off.release.ranker is not None and switched_off.pipeline.ranker is None
    assert best_is_next(switched_off, store) < 0.2

    facts = refresh(store, home, popular_only(enabled=False)).facts["ranker"]
    assert facts == {"serves": False}
    assert Engine.open(home, store, popular_only()).release.ranker is None


def test_beside_models_that_the_past_cannot_be_asked_with_no_ranker_is_trained(store: Store, home: Home) -> None:
    fill_with_followers(store)
    settings = popular_only()
    settings.sources.graph.enabled = True
    settings.graph.epochs = 1
    report = refresh(store, home, settings)
    assert report.facts["collaborative"] == "graph" and report.facts["ranker"] == {"serves": False}


def test_from_little_no_ranker_is_trained(world: Store, home: Home) -> None:
    assert refresh(world, home, SETTINGS).facts["ranker"] == {"serves": False}
    engine = Engine.open(home, world, SETTINGS)
    assert engine.release.ranker is None and engine.pipeline.ranker is None


def test_a_young_ranker_is_taken_over_while_it_would_be_asked_alike(store: Store, home: Home) -> None:
    fill_with_followers(store)
    first = refresh(store, home, popular_only()).facts["ranker"]
    watch(store, "later", ["episode-3"])
    report = refresh(store, home, popular_only())
    assert report.facts["ranker"] == first
    assert best_is_next(Engine.open(home, store, popular_only()), store) > 0.8
    other = refresh(store, home, popular_only(trees=10)).facts["ranker"]
    assert other["serves"] and other["trained_at"] > first["trained_at"]
    anew = refresh(store, home, popular_only(trees=10, keep_hours=0.0)).facts["ranker"]
    assert anew["trained_at"] > other["trained_at"]


def test_what_did_best_for_cold_starts_is_looked_for_once_a_day(world: Store, home: Home) -> None:
    first = refresh(world, home, SETTINGS).facts["cold_start"]
    watch(world, "later", ["space-3"])
    again = refresh(world, home, SETTINGS).facts["cold_start"]
    assert again["trained_at"] == first["trained_at"]
    at_once = SETTINGS.model_copy(update={"cold_start": SETTINGS.cold_start.model_copy(update={"keep_hours": 0.0})})
    anew = refresh(world, home, at_once).facts["cold_start"]
    assert anew["trained_at"] > first["trained_at"]
    assert refresh(world, home, at_once).facts["cold_start"]["trained_at"] > anew["trained_at"]


# ---- Beforehand ------------------------------------------------------------------------------------------------


def test_a_plan_says_what_would_be_done_and_does_nothing(world: Store, home: Home) -> None:
    plan = plan_refresh(world, home, SETTINGS)
    assert (plan.running, plan.done, plan.new_events) == (None, [], 120)
    assert plan.phases == [(name, None) for name in PHASES]
    assert plan.sizes == Sizes(videos=30, events=120, viewers=24, embeddings=30, dim=DIM)
    assert plan.room.lacks is None and list(home.releases.iterdir()) == []

    served = refresh(world, home, SETTINGS)
    watch(world, "new-viewer", ["space-0", "space-1"])
    run_until_write(home, 15)
    done = phases_done(home)
    plan = plan_refresh(world, home, SETTINGS)
    assert (plan.running, plan.done, plan.new_events) == (served.release_id, done, 2) and done
    assert dict(plan.phases) == served.facts["seconds"]
    assert phases_done(home) == done and refresh(world, home, SETTINGS).resumed == done


def test_without_room_a_refresh_does_not_begin(world: Store, home: Home) -> None:
    cramped = SETTINGS.model_copy(update={"memory_mb": 1.0})
    assert "memory: about" in str(plan_refresh(world, home, cramped).room.lacks)
    with pytest.raises(RefreshError, match=r"too little memory: about \d+ MB are needed and 1 MB are there"):
        refresh(world, home, cramped)
    assert not (home.releases / ".building").exists()
    there = room_for(plan_refresh(world, home, SETTINGS).sizes, SETTINGS, home.releases)
    assert "disk" in str(replace(there, disk_there=1.0).lacks)


def test_what_a_failed_run_leaves_takes_no_room(world: Store, home: Home) -> None:
    refresh(world, home, SETTINGS)
    world.catalogue.remove([f"space-{number}" for number in range(10)])
    with pytest.raises(GateError):
        refresh(world, home, SETTINGS)
    assert not (home.releases / ".building").exists()
    run_until_write(home, 15)
    written = sum(path.stat().st_size for path in (home.releases / ".building").iterdir())
    continued = plan_refresh(world, home, SETTINGS)
    anew = plan_refresh(world, home, with_index(recall=0.9))
    assert continued.done and continued.room.disk_there - anew.room.disk_there == pytest.approx(written, abs=1e6)


def test_pages_of_files_do_not_count_against_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CONTAINER", tmp_path)
    unlimited = room.memory_there()
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("990000\n")
    (tmp_path / "memory.stat").write_text("anon 200000\nactive_file 300000\ninactive_file 400000\n")
    assert room.memory_there() == 1_000_000 - 290_000
    (tmp_path / "memory.max").write_text("max\n")
    assert room.memory_there() == pytest.approx(unlimited, rel=0.2)


def test_more_of_everything_needs_more_room() -> None:
    few = Sizes(videos=1_000, events=10_000, viewers=500, embeddings=1_000, dim=64)
    for name in ("videos", "events", "embeddings", "dim"):
        more = replace(few, **{name: 1_000 * getattr(few, name)})
        assert memory_needed(more, SETTINGS) > memory_needed(few, SETTINGS)
