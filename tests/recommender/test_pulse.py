"""Pulses: what is served between two refreshes is what a refresh would have measured, from the newest events alone."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from data.files import CorruptFileError
from data.home import Home
from data.interactions import Interactions, load_interactions
from data.schema import Event, Video
from data.store import Store
from recommender import stream
from recommender.engine import Engine, query_now
from recommender.gates import held_back
from recommender.item_item import ItemWeights
from recommender.popularity import Popularity, measure_popularity
from recommender.pulse import Pulses
from recommender.refresh import refresh
from recommender.release import Releases, load_release
from recommender.sequential import fit_transitions
from recommender.settings import RecommenderSettings
from recommender.stream import take_pulse
from tests.conftest import REPOSITORY
from tests.recommender.small_world import DIES_AT_A_WRITE, NOW, SETTINGS, watch

TYPES = ("play", "watch", "complete", "like", "dislike", "impression", "share", "not_interested")
COUNTRIES = (None, "DE", "US", "FR", "JP")
HOUR = 3600.0


@pytest.fixture
def released(world: Store, home: Home) -> Iterator[Store]:
    refresh(world, home, SETTINGS)
    yield world


def happen(store: Store, rng: np.random.Generator, videos: list[str], count: int) -> None:
    """Events of known viewers and new ones about some videos, some of them dated before others that came earlier."""
    first = store.events.last_seq()
    viewers = [f"{genre}-viewer-{number}" for genre in ("space", "sports", "stranger") for number in range(8)]
    store.events.add(
        Event.model_validate(
            {
                "event_id": f"h{first}-{number}",
                "user_id": str(rng.choice(viewers)),
                "video_id": str(rng.choice(videos)),
                "type": (kind := str(rng.choice(TYPES))),
                "value": float(rng.random()) if kind == "watch" else None,
                "country": COUNTRIES[rng.integers(len(COUNTRIES))],
                "occurred_at": NOW + float(rng.normal(30, 200)) * HOUR,
            }
        )
        for number in range(count)
    )


def measured(store: Store, engine: Engine, settings: RecommenderSettings) -> tuple[Interactions, Popularity]:
    """What a refresh would measure now, in the engine's columns."""
    interactions = load_interactions(store).in_columns(engine.videos)
    unseen = held_back(interactions.viewers, engine.release.manifest["held_back"])
    interactions = interactions.take(~unseen[interactions.viewer])
    return interactions, measure_popularity(interactions, float(interactions.time.max()), settings.popularity)


def dense(popularity: Popularity, country: str, size: int) -> np.ndarray:
    sums = np.zeros((Popularity.WINDOWS, size))
    if country in popularity.countries:
        here = popularity.countries[country]
        sums[:, here.columns] = here.sums
    return sums


def transitions(engine: Engine) -> ItemWeights:
    model = engine._models["sequential"][0]
    assert isinstance(model, ItemWeights)
    return model


def assert_all_is_known(store: Store, home: Home, settings: RecommenderSettings = SETTINGS) -> None:
    engine = Engine.open(home, store, settings)
    interactions, full = measured(store, engine, settings)
    size = len(engine.videos)
    np.testing.assert_allclose(engine.popularity.world, full.world, rtol=1e-4, atol=1e-5)
    for country in filter(None, COUNTRIES):
        np.testing.assert_allclose(
            dense(engine.popularity, country, size), dense(full, country, size), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(engine.popularity.rising(country), full.rising(country), rtol=1e-3, atol=1e-6)
    fitted = fit_transitions(interactions, settings.sequential)
    grown = transitions(engine).rows(np.arange(size)).toarray()
    np.testing.assert_allclose(grown, fitted.weights.toarray(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_pulse_after_pulse_all_is_as_if_it_had_been_measured_at_once(
    released: Store, home: Home, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "VIEWERS_AT_ONCE", 5)
    rng = np.random.default_rng(seed)
    videos = [video.id for video in released.catalogue.all()]
    assert_all_is_known(released, home)
    for turn in range(3):
        happen(released, rng, videos, 40)
        assert take_pulse(released, home) is not None
        assert_all_is_known(released, home)
        # Videos that came after the release are in the next pulse.
        released.catalogue.upsert([Video(id=f"later-{turn}")])
        videos.append(f"later-{turn}")
    assert Releases(home.releases).list()[0]["until_seq"] < released.events.last_seq()


@pytest.mark.parametrize("seed", range(4))
def test_what_was_retracted_is_taken_out_of_what_the_release_and_the_last_pulse_have(
    released: Store, home: Home, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    videos = [video.id for video in released.catalogue.all()]
    for _ in range(3):
        happen(released, rng, videos, 40)
        # The newest stays: of an older log the sums would be those of an older moment.
        earlier = [row["event_id"] for row in sorted(released.events.tail(1_000), key=lambda row: row["occurred_at"])]
        for place in rng.choice(len(earlier) - 1, 10, replace=False):
            released.viewers.retract(earlier[place])
        assert take_pulse(released, home) is not None
        assert_all_is_known(released, home)


def test_a_guest_who_becomes_a_user_makes_nothing_more_or_less_popular(released: Store, home: Home) -> None:
    watch(released, "guest", ["space-0", "sports-1", "space-5"], "like", at=NOW)
    take_pulse(released, home)
    released.viewers.retract(released.events.tail(1)[0]["event_id"])
    take_pulse(released, home)
    before = Engine.open(home, released, SETTINGS).popularity.world
    for guest, user in (("guest", "one"), ("one", "another"), ("another", "one")):
        released.viewers.merge(guest, user)
        take_pulse(released, home)
    np.testing.assert_allclose(Engine.open(home, released, SETTINGS).popularity.world, before, atol=1e-5)


def test_viewers_who_are_held_back_from_a_release_are_from_its_pulses(released: Store, home: Home) -> None:
    settings = SETTINGS.model_copy(deep=True)
    settings.gates.held_back, settings.gates.fewest_judged = 0.4, 2
    share = refresh(released, home, settings).facts["held_back"]
    assert share == 0.4
    happen(released, np.random.default_rng(0), [video.id for video in released.catalogue.all()], 80)
    assert take_pulse(released, home) is not None
    assert_all_is_known(released, home, settings)


def test_only_viewers_who_did_something_are_read_again(
    released: Store, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    frame_of = type(released.events).frame_of
    monkeypatch.setattr(
        type(released.events), "frame_of", lambda log, ids, until: read.append(list(ids)) or frame_of(log, ids, until)
    )
    monkeypatch.setattr(type(released.events), "frames", lambda *_: pytest.fail("the whole log was read"))
    watch(released, "space-viewer-0", ["space-1"])
    watch(released, "space-viewer-1", ["space-1"], "impression")
    assert take_pulse(released, home) is not None
    watch(released, "cooking-viewer-3", ["cooking-1"])
    assert take_pulse(released, home) is not None
    assert read == [["space-viewer-0"], ["cooking-viewer-3"]]


def test_without_an_event_nothing_is_published_and_impressions_change_nothing(released: Store, home: Home) -> None:
    assert take_pulse(released, home) is None and not list(home.live.glob("*/*"))
    watch(released, "space-viewer-0", ["space-1"])
    first = take_pulse(released, home)
    assert first is not None and take_pulse(released, home) is None
    watch(released, "space-viewer-0", ["space-2"], "impression")
    assert take_pulse(released, home) is None
    again = Pulses(home.live).read(first.release)
    assert again is not None and again.file == first.file and again.until_seq == released.events.last_seq()


def test_what_was_taken_back_is_not_popular_any_more(released: Store, home: Home) -> None:
    engine = Engine.open(home, released, SETTINGS)
    column = engine.column_of["space-3"]
    likers = [f"space-viewer-{number}" for number in range(8)]
    assert engine.popularity.world[Popularity.ALL_TIME, column] > 0
    for viewer in likers:
        watch(released, viewer, ["space-3"], "report", country="US", at=NOW + 1)
    take_pulse(released, home)
    later = Engine.open(home, released, SETTINGS)
    assert (later.popularity.world[:, column] == 0).all()
    assert later.popularity.countries["US"].sums[:, later.popularity.countries["US"].columns == column].sum() == 0


def test_somebody_else_s_pulse_is_waited_for_and_a_young_one_left_alone(released: Store, home: Home) -> None:
    watch(released, "space-viewer-0", ["space-1"])
    home.live.mkdir()
    with FileLock(home.live / ".lock"):
        assert take_pulse(released, home) is None
    assert take_pulse(released, home, every_s=60) is not None
    watch(released, "space-viewer-0", ["space-2"])
    assert take_pulse(released, home, every_s=60) is None
    assert take_pulse(released, home) is not None


def test_a_pulse_that_is_stopped_publishes_nothing(released: Store, home: Home) -> None:
    watch(released, "space-viewer-0", ["space-1"])
    with pytest.raises(InterruptedError):
        take_pulse(released, home, stop=lambda: True)
    assert not list(home.live.glob("*/*"))


def test_a_pulse_belongs_to_its_release_and_goes_with_it(released: Store, home: Home) -> None:
    watch(released, "space-viewer-0", ["space-1"])
    old = take_pulse(released, home)
    assert old is not None
    watch(released, "space-viewer-1", ["space-1"])
    new = refresh(released, home, SETTINGS).release_id
    (home.live / old.release).rename(home.live / new)
    assert Pulses(home.live).read(new) is None, "a pulse of another release counts for nothing"
    (home.live / new).rename(home.live / old.release)
    Releases(home.releases).prune(1)
    take_pulse(released, home)
    assert not (home.live / old.release).exists()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("what", ["*.npz", "manifest.json"])
def test_a_damaged_pulse_is_passed_over_and_the_next_one_starts_from_the_release(
    released: Store, home: Home, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    watch(released, "space-viewer-0", ["space-1"])
    pulse = take_pulse(released, home)
    assert pulse is not None
    (path,) = (home.live / pulse.release).glob(what)
    if what == "manifest.json":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        damage(path)
    with pytest.raises(CorruptFileError):
        Pulses(home.live).read(pulse.release)
    engine = Engine.open(home, released, SETTINGS)
    assert engine.pulse is None and "damaged" in caplog.text
    watch(released, "space-viewer-1", ["space-1"])
    assert take_pulse(released, home) is not None
    assert_all_is_known(released, home)


def test_what_a_killed_writer_left_is_swept_away(released: Store, home: Home) -> None:
    watch(released, "space-viewer-0", ["space-1"])
    first = take_pulse(released, home)
    assert first is not None
    folder = home.live / first.release
    (folder / ".9-half.npz.1234.tmp").write_bytes(b"half of")
    (folder / "9-complete.npz").write_bytes(b"no manifest names it")
    assert Pulses(home.live).read(first.release) is not None
    watch(released, "space-viewer-1", ["space-1"])
    second = take_pulse(released, home)
    assert second is not None
    # The one before may be about to be read.
    assert {path.name for path in folder.iterdir()} == {"manifest.json", first.file, second.file}
    assert json.loads((folder / "manifest.json").read_bytes())["until_seq"] == released.events.last_seq()


#: Dies, as if by kill -9, at the n-th of its durable writes: each is a file, and then that it has its name.
DIES = f"""{DIES_AT_A_WRITE}
from data.home import Home
from data.store import Store
from recommender.stream import take_pulse
home = Home.at(sys.argv[1])
take_pulse(Store.open(home.database_url), home)
"""


def test_of_a_pulse_that_was_killed_nothing_counts_and_the_next_makes_up_for_it(released: Store, home: Home) -> None:
    watch(released, "space-viewer-0", ["space-1"])
    first = take_pulse(released, home)
    assert first is not None
    watch(released, "space-viewer-1", ["space-1"])
    for write in (1, 3):
        done = subprocess.run([sys.executable, "-c", DIES, str(home.root), str(write)], cwd=REPOSITORY, check=False)
        assert done.returncode == -signal.SIGKILL
        kept = Pulses(home.live).read(first.release)
        assert kept is not None and kept.file == first.file and kept.until_seq == first.until_seq
    assert take_pulse(released, home) is not None
    assert len(list((home.live / first.release).glob("*.npz"))) == 2
    assert_all_is_known(released, home)


def test_of_rows_that_were_cut_off_the_strongest_and_the_new_are_served(released: Store, home: Home) -> None:
    """Where the fit kept a row's strongest alone, a pulse is near: no weight is too high, and new ones are there."""
    settings = SETTINGS.model_copy(deep=True)
    settings.sequential.neighbours = 3
    refresh(released, home, settings)
    rng = np.random.default_rng(0)
    happen(released, rng, [video.id for video in released.catalogue.all()], 60)
    take_pulse(released, home)
    engine = Engine.open(home, released, settings)
    whole = settings.sequential.model_copy(update={"neighbours": 400})
    full = fit_transitions(measured(released, engine, settings)[0], whole).weights.toarray()
    grown = transitions(engine).rows(np.arange(len(engine.videos))).toarray()
    assert (grown >= 0).all() and (grown <= full + 1e-5).all() and grown.sum() > 0.5 * full.sum()


def test_a_large_catalogue_s_sparse_scores_are_the_same(released: Store, home: Home) -> None:
    happen(released, np.random.default_rng(1), [video.id for video in released.catalogue.all()], 60)
    take_pulse(released, home)
    model = transitions(Engine.open(home, released, SETTINGS))
    columns, weights = np.array([3, 7, 20]), np.array([1.0, 0.5, 0.25], np.float32)
    dense_scores = model.scores(columns, weights)
    found, scores = model.sparse_scores(columns, weights)
    np.testing.assert_allclose(dense_scores[found], scores, rtol=1e-5)
    assert dense_scores.sum() == pytest.approx(scores.sum(), rel=1e-5)


def test_an_engine_that_gets_more_videos_keeps_its_pulse(released: Store, home: Home) -> None:
    released.catalogue.upsert([Video(id="first"), Video(id="second")])
    watch(released, "space-viewer-0", ["first", "second"])
    pulse = take_pulse(released, home)
    assert pulse is not None
    release = load_release(home.releases / pulse.release)
    engine = Engine(release, Engine.open(home, released, SETTINGS).view, SETTINGS, pulse=pulse)
    released.catalogue.upsert([Video(id="third")])
    engine.view.update(released)
    grown = engine.with_newest_videos(released.catalogue, home.embeddings)
    assert grown is not engine and grown.pulse is pulse and "third" in grown.column_of
    assert grown.popularity.world[0, grown.column_of["second"]] == pytest.approx(1.0)
    slate, trace = grown.recommend(query_now(grown.profile(released.events.history("space-viewer-1"))))
    assert len(slate) and trace.warnings == []


def test_a_release_without_events_has_pulses(store: Store, home: Home) -> None:
    store.catalogue.upsert(Video(id=f"v{number}") for number in range(5))
    refresh(store, home, SETTINGS)
    watch(store, "ann", ["v1", "v2"])
    assert take_pulse(store, home) is not None
    engine = Engine.open(home, store, SETTINGS)
    assert engine.popularity.world[0].tolist() == [0, 1, 1, 0, 0]


def test_a_release_that_does_not_say_when_it_was_measured_has_no_pulse(released: Store, home: Home) -> None:
    current = Releases(home.releases).current_id()
    path = home.releases / str(current) / "manifest.json"
    manifest = json.loads(path.read_bytes())
    del manifest["newest_event_at"]
    path.write_text(json.dumps(manifest))
    watch(released, "space-viewer-0", ["space-1"])
    assert take_pulse(released, home) is None
    assert Engine.open(home, released, SETTINGS).pulse is None
