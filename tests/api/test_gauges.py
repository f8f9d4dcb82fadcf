"""What is measured beside the requests: recall, ages, the delta, drift; and who is told when it is too much."""

import functools
import json
import logging
import math
import os
import re
import shutil
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.cli import main
from api.gauges import GaugeSettings, LiveGauges, _end
from api.service import Service
from api.settings import load_settings
from api.telemetry import Telemetry
from data.embeddings import EmbeddingTable
from data.home import Home
from data.schema import Event, Video
from data.store import Store
from recommender import release as parts
from recommender.engine import Engine, query_now
from recommender.index import IndexSettings, VectorIndex, use_threads
from recommender.live_index import LiveIndex
from recommender.refresh import refresh
from recommender.release import Releases
from recommender.settings import RecommenderSettings
from tests.api.test_server import serving

VIDEOS, VIEWERS, DIM, ENCODER = 600, 60, 16, "encoder-1"
NEWEST = 1_700_000_000.0
#: An approximate index that looks into one cell of many.
POOR = IndexSettings(exact_below=0, recall=0.01)
#: Few neighbours of each like are asked for, so that an approximate index is not passed by; the rest is to be quick.
RECOMMENDER = RecommenderSettings.model_validate(
    {
        "sources": {"content": {"candidates": 10}},
        "collaborative": {"factors": 4, "iterations": 3},
        "ranker": {"enabled": False},
    }
).unhurried()


def vectors(seed: int, count: int) -> np.ndarray:
    """All over, but for a common part, as embeddings have it."""
    drawn = np.random.default_rng(seed).normal(size=(count, DIM)) + 0.5
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a published release of an exact index; not to be written to."""
    home = Home.at(tmp_path_factory.mktemp("gauges") / "home")
    store = Store.open(home.database_url)
    add_encoded(store, home, "video", vectors(0, VIDEOS))
    rng = np.random.default_rng(1)
    watched = [(viewer, int(video)) for viewer in range(VIEWERS) for video in rng.choice(VIDEOS, 8, replace=False)]
    store.events.add(
        [
            Event(event_id=f"e{place}", user_id=f"u{viewer}", video_id=f"video-{video}", type="complete", value=None,
                  occurred_at=NEWEST - place)
            for place, (viewer, video) in enumerate(watched)
        ]
    )  # fmt: skip
    refresh(store, home, RECOMMENDER)
    store.close()
    return home


@pytest.fixture
def world(made: Home, tmp_path: Path) -> Home:
    shutil.copytree(made.root, tmp_path / "home")
    return Home.at(tmp_path / "home")


@pytest.fixture
def store(world: Home) -> Iterator[Store]:
    opened = Store.open(world.database_url)
    yield opened
    opened.close()


def add_encoded(store: Store, home: Home, name: str, matrix: np.ndarray) -> None:
    names = [f"{name}-{number}" for number in range(len(matrix))]
    EmbeddingTable.create(home.embeddings, ENCODER, DIM).append(names, matrix)
    store.catalogue.upsert(Video(id=each, title=each) for each in names)


def give_poor_index(home: Home) -> None:
    """The served release with an index that no gate would have let through."""
    # Two threads that wait for each other on a busy machine take twenty times as long.
    use_threads(1)
    folder = Releases(home.releases).folder(Releases(home.releases).current_id() or "")
    release = parts.load_release(folder)
    _, matrix = release.index.vectors(release.index.ids)
    parts.write_index(folder, VectorIndex.build(matrix, release.index.ids, POOR))
    facts = {name: value for name, value in release.manifest.items() if name not in ("format", "files")}
    parts.seal(folder, facts, parts.checksums(folder))


@contextmanager
def opened(home: Home, **given: float) -> Iterator[tuple[FlaskClient, Service]]:
    settings = load_settings(
        home=home.root,
        cache={"enabled": False},
        server={"release_check_s": 1e-6, "release_wait_s": 60},
        recommender=RECOMMENDER,
        exposures={"share": 0.0},
        gauges={"share": 1.0, "every_s": 3_600.0, "lists": 50} | given,
    )
    app = create_app(settings)
    with app.test_client() as client:
        yield client, app.extensions["watchnext"]


def ask(client: FlaskClient, viewers: int = VIEWERS) -> None:
    for viewer in range(viewers):
        assert client.get(f"/v1/users/u{viewer}/recommendations?limit=1").status_code == 200


def metric(client: FlaskClient, name: str) -> float:
    (line,) = [line for line in client.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[-1])


def warned(client: FlaskClient) -> list[str]:
    """What /readyz warns of; it is ready all the same."""
    state = client.get("/readyz")
    assert state.status_code == 200 and state.json["ready"]
    return list(state.json["warnings"])


# ---- Recall -------------------------------------------------------------------------------------------------


def test_an_index_that_finds_too_little_is_warned_of_until_it_is_better(
    world: Home, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    give_poor_index(world)
    caplog.set_level(logging.INFO, "api.gauges")
    with opened(world) as (client, service):
        ask(client, 30)
        measured = service.gauges.measure()
        assert measured.recall is not None and measured.recall < 0.95
        assert metric(client, "watchnext_index_recall") == pytest.approx(measured.recall)
        assert metric(client, 'watchnext_warnings{about="index_recall"}') == 1
        (warning,) = warned(client)
        assert f"{measured.recall:.3f}" in warning and "gauges.min_recall" in warning
        ask(client, 3)
        service.gauges.measure()
        assert [record.message.startswith("the index finds") for record in caplog.records] == [True], "once"
        answer = client.get("/v1/users/u0/recommendations").json
        assert not answer["degraded"], "a warning is for who runs it"

        refresh(store, world, RECOMMENDER)
        assert service.gauges.measure().recall is None, "what another release was asked for says nothing of this one"
        ask(client, 10)
        assert service.gauges.measure().recall == 1.0
        assert (warned(client), metric(client, 'watchnext_warnings{about="index_recall"}')) == ([], 0)
        service.gauges.measure()
        assert [record.message.startswith("no longer: the index finds") for record in caplog.records[1:]] == [True]


def test_what_is_hidden_and_what_came_later_is_measured_as_it_is_served(world: Home, store: Store) -> None:
    """The exact search has the same mask and the same delta, or an exact index would not find all."""
    with opened(world) as (client, service):
        add_encoded(store, world, "later", vectors(2, 60))
        for number in range(0, 120, 2):
            store.catalogue.set_hidden(f"video-{number}", True)
        ask(client, 20)
        measured = service.gauges.measure()
        assert measured.recall == 1.0
        assert measured.hidden_share == pytest.approx(60 / 660) == metric(client, 'watchnext_index_share{of="hidden"}')
        assert measured.delta_share == pytest.approx(60 / 660) == metric(client, 'watchnext_index_share{of="delta"}')
        assert metric(client, 'watchnext_index_videos{part="delta"}') == measured.delta_videos == 60
        assert metric(client, 'watchnext_index_videos{part="all"}') == 660
        assert warned(client) == []


def test_a_service_that_nobody_asks_says_nothing_of_recall(world: Home) -> None:
    give_poor_index(world)
    with opened(world, share=0.0) as (client, service):
        ask(client, 5)
        assert service.gauges.measure().recall is None
        assert math.isnan(metric(client, "watchnext_index_recall")) and warned(client) == []


def test_a_share_of_the_requests_is_measured_with(world: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []
    with opened(world, share=0.5, queries=1_000) as (client, service):
        real = service.current_engine().content_search
        monkeypatch.setattr(Engine, "content_search", lambda _, query: tried.append(query) or real(query))
        ask(client)
        service.gauges.measure()
        assert 10 <= len(tried) <= 50
        service.gauges.measure()
        assert len(tried) <= 50, "the same is not measured again"


# ---- Drift and the delta ------------------------------------------------------------------------------------


def test_new_embeddings_of_another_kind_are_warned_of_and_those_of_the_same_are_not(world: Home, store: Store) -> None:
    with opened(world) as (client, service):
        service.gauges.measure()
        assert math.isnan(metric(client, 'watchnext_drift_psi{of="embedding_mean"}')), "there is none to compare"
        add_encoded(store, world, "same", vectors(3, 60))
        measured = service.gauges.measure()
        assert measured.drift.keys() == {"embedding_mean", "embedding_nearest"} and warned(client) == []
        assert metric(client, 'watchnext_drift_psi{of="embedding_mean"}') == measured.drift["embedding_mean"].psi

        add_encoded(store, world, "other", -vectors(4, 60))
        psi = service.gauges.measure().drift["embedding_mean"].psi
        (warning,) = warned(client)
        assert f"PSI {psi:.2f} of embedding_mean" in warning
        assert metric(client, 'watchnext_warnings{about="embedding_drift"}') == 1
        refresh(store, world, RECOMMENDER)
        service.gauges.measure()
        assert warned(client) == [], "they are what the release is made of now"


def test_scores_that_drift_are_warned_of(world: Home, store: Store) -> None:
    with opened(world) as (client, service):
        ask(client)
        assert "score" not in service.gauges.measure().drift, "the first lists are what is compared with"
        ask(client)
        assert service.gauges.measure().drift["score"].psi < 0.25 and warned(client) == []
        engine = service.current_engine()
        for viewer in range(60):
            profile = engine.profile(service.store.events.history(f"u{viewer}"))
            ranked, _ = engine.rank(query_now(profile))
            service.gauges.listed(engine, ranked.scores / 3)
        measured = service.gauges.measure()
        (warning,) = warned(client)
        assert warning.startswith("scores are") and "gauges.max_drift" in warning
        assert metric(client, 'watchnext_drift_psi{of="score"}') == measured.drift["score"].psi > 1
        ask(client)
        service.gauges.measure()
        assert warned(client) == []
        refresh(store, world, RECOMMENDER)
        ask(client)
        assert "score" not in service.gauges.measure().drift, "another release has scores of its own"


def test_lists_that_are_not_like_the_others_are_not_compared(world: Home) -> None:
    with opened(world) as (client, service):
        cursor = client.get("/v1/users/u0/recommendations", query_string={"limit": 5}).json["cursor"]
        service.gauges.measure()
        left = service.gauges._lists
        path = "/v1/users/u0/recommendations"
        client.get(path, query_string={"limit": 5, "cursor": cursor})
        client.get(path, query_string={"exclude": "video-1"})
        client.post(path, json={"weights": {"content": 1.0}})
        client.post(path, json={"context": {"now": "2030-01-01T00:00:00Z"}})
        assert len(left) == 0
        client.get(path, query_string={"limit": 1})
        assert [len(scores) for _, scores in left] == [10], "however few are shown of it"


def test_a_delta_that_has_grown_is_warned_of(world: Home, store: Store) -> None:
    with opened(world) as (client, service):
        add_encoded(store, world, "later", vectors(2, 160))
        service.gauges.measure()
        (warning,) = warned(client)
        assert warning.startswith("21% of the index") and "gauges.max_delta_share" in warning
    with opened(world, max_delta_share=0.25) as (client, service):
        service.gauges.measure()
        assert warned(client) == []


# ---- Ages ---------------------------------------------------------------------------------------------------


def test_every_part_has_an_age(world: Home) -> None:
    with opened(world) as (client, service):
        before = time.time()
        ages = service.gauges.measure().ages_s
        after = time.time()
        manifest = service.current_engine().release.manifest
        assert before - manifest["created_at"] <= ages["release"] <= after - manifest["created_at"]
        assert before - NEWEST <= ages["events"] <= after - NEWEST
        block = next(world.embeddings.rglob("*.npy"))
        os.utime(block, (before - 1_000, before - 1_000))
        assert 1_000 <= service.gauges.measure().ages_s["embeddings"] <= 1_000 + time.time() - before
        for part in ("release", "events", "embeddings", "catalogue"):
            assert metric(client, f'watchnext_age_seconds{{part="{part}"}}') >= 0
        assert math.isnan(metric(client, 'watchnext_age_seconds{part="ranker"}')), "too little for one to be trained"
        assert warned(client) == []


def test_an_old_release_is_warned_of(world: Home, store: Store) -> None:
    with opened(world, max_release_age_s=1e-3) as (client, service):
        service.gauges.measure()
        (warning,) = warned(client)
        assert "hours old" in warning and "watchnext refresh" in warning


def test_while_the_database_is_away_the_catalogue_grows_old(world: Home) -> None:
    with opened(world) as (client, service):
        service.gauges.measure()
        assert metric(client, 'watchnext_age_seconds{part="catalogue"}') == 0
        service.store.close()
        (world.root / "watchnext.db").rename(world.root / "gone.db")
        (world.root / "watchnext.db").mkdir()
        service.gauges.measure()
        first = metric(client, 'watchnext_age_seconds{part="catalogue"}')
        service.gauges.measure()
        assert 0 < first < metric(client, 'watchnext_age_seconds{part="catalogue"}')


# ---- The thread, the processes, the doctor ------------------------------------------------------------------


def gauges_of(home: Home, store: Store, current: Callable[[], Engine]) -> LiveGauges:
    """Gauges without an application, which warn at once."""
    settings = GaugeSettings(every_s=0.01, share=1.0, max_release_age_s=1e-3)
    return LiveGauges(current, store.catalogue.version, home.embeddings, settings, Telemetry())


def warns(gauges: LiveGauges) -> bool:
    return len(gauges.warnings) == 1


def until(reached: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_is_measured_beside_the_requests_and_ends_with_them(world: Home, store: Store) -> None:
    engine = Engine.open(world, store, RECOMMENDER)
    begun = threading.active_count()
    gauges = gauges_of(world, store, lambda: engine)
    gauges.begin()
    gauges.begin()
    until(functools.partial(warns, gauges))
    assert threading.active_count() == begun + 1
    gone = weakref.ref(gauges)
    del gauges
    until(lambda: gone() is None and threading.active_count() == begun)


def test_a_measuring_that_fails_is_not_the_last(world: Home, store: Store) -> None:
    engine = Engine.open(world, store, RECOMMENDER)
    faults = [OSError("once")]

    def current() -> Engine:
        if faults:
            raise faults.pop()
        return engine

    gauges = gauges_of(world, store, current)
    gauges.begin()
    until(functools.partial(warns, gauges))
    assert not faults


def test_it_ends_in_the_midst_of_a_search(world: Home, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the end of the process, which waits for it: no thread may be in FAISS when the interpreter goes."""
    monkeypatch.setattr("recommender.gauges.CHUNK_BYTES", 1)
    monkeypatch.setattr("api.gauges.REST_S", 0.2)
    engine = Engine.open(world, store, RECOMMENDER)
    measuring = threading.Event()
    searched: list[object] = []
    monkeypatch.setattr(LiveIndex, "search", lambda *asked: searched.append(asked))
    gauges = gauges_of(world, store, lambda: (measuring.set(), engine)[1])
    gauges.asked(engine, query_now(engine.profile(store.events.history("u0"))))
    gauges.begin()
    thread = gauges._thread
    assert thread is not None and measuring.wait(20)
    _end(gauges._stop, thread)
    assert not thread.is_alive() and searched == [], "it has not gone through all videos first"


def test_of_several_processes_those_that_live_count(world: Home) -> None:
    environment = {"WATCHNEXT_GAUGES__EVERY_S": "0.2", "WATCHNEXT_GAUGES__MAX_RELEASE_AGE_S": "0.001"}
    with serving(world, **environment) as (address, process), httpx.Client(base_url=address, timeout=30) as client:
        files = world.root / "run" / "metrics"

        def measuring() -> set[int]:
            # Whoever asks often enough is answered by every process.
            with suppress(httpx.TransportError):
                client.get("/readyz", headers={"Connection": "close"})
            return {int(path.stem.rsplit("_", 1)[1]) for path in files.glob("gauge_livemax_*.db")}

        until(lambda: len(measuring()) == 2)
        until(lambda: 'watchnext_warnings{about="release_age"} 1.0' in client.get("/metrics").text)
        lines = [line for line in client.get("/metrics").text.splitlines() if "watchnext_age_seconds{" in line]
        assert len(lines) == 5 and not any("pid=" in line for line in lines)
        killed = min(measuring())
        psutil.Process(killed).kill()
        until(lambda: killed not in measuring() and len(measuring()) == 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_the_doctor_tells_what_is_known_without_a_server(
    world: Home, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    give_poor_index(world)
    add_encoded(store, world, "later", vectors(2, 160))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WATCHNEXT_HOME", str(world.root))
    monkeypatch.setenv("WATCHNEXT_EMBED__ENCODER__NAME", "handcrafted")
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert not ended.value.code, "warnings are not what is missing"
    (gauges,) = [check for check in told["checks"] if check["name"] == "gauges"]
    assert gauges["ok"] and re.search(
        r"0\.\d hours old; 760 videos .* 21% of them came .*; recall 0\.\d", gauges["detail"]
    )
    assert [warning.split()[0] for warning in told["warnings"]] == ["the", "21%"]
    with pytest.raises(SystemExit):
        main(["doctor"])
    assert "21% of the index came after" in capsys.readouterr().out
