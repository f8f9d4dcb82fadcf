"""The cache: a help and never a need."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from api.candidates import HEAD_BYTES
from api.embedded_redis import embedded_redis, socket_path
from api.ready import MOST_BYTES
from data.home import Home
from data.schema import Event, EventType
from data.store import EventLog, Store
from recommender.engine import FEATURES
from recommender.refresh import refresh


@pytest.fixture
def bare_redis(redis_server: str) -> Iterator[redis.Redis]:
    """Nothing in it, and nothing set."""
    client = redis.Redis.from_url(redis_server)
    client.flushall()
    yield client
    client.config_set("maxmemory", 0)
    client.close()


@pytest.fixture
def cached(make_app: Callable[..., Flask], bare_redis: redis.Redis, redis_server: str) -> Iterator[FlaskClient]:
    """Everything comes from Redis, nothing from the memory of the process."""
    with make_app(redis_url=redis_server, cache={"process_mb": 0}).test_client() as opened:
        yield opened


def ask(client: FlaskClient, user: str = "u0", **query: object) -> dict[str, Any]:
    response = client.get(f"/v1/users/{user}/recommendations", query_string=query)
    assert response.status_code == 200
    found: dict[str, Any] = response.json
    return found


def without_circumstances(answer: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in answer.items() if name not in ("request_id", "cache", "timings_ms", "release")
    }


def test_the_second_request_is_a_hit_with_the_same_answer(cached: FlaskClient) -> None:
    first, second = ask(cached), ask(cached)
    assert (first["cache"], second["cache"]) == ("miss", "hit")
    assert without_circumstances(first) == without_circumstances(second)


def test_a_request_with_wishes_is_answered_from_the_same_candidates(cached: FlaskClient) -> None:
    ask(cached)
    answer = ask(cached, labels="drama", limit=3)
    assert answer["cache"] == "hit"
    assert [item["labels"] for item in answer["items"]] == [["drama"]] * 3


def test_an_event_makes_the_next_request_new(cached: FlaskClient) -> None:
    top = ask(cached)["items"][0]["video_id"]
    event = {"event_id": "x", "user_id": "u0", "video_id": top, "type": "not_interested", "occurred_at": 1_750_000_000}
    cached.post("/v1/events", json={"events": [event]})
    answer = ask(cached, limit=20)
    assert answer["cache"] == "miss"
    assert top not in [item["video_id"] for item in answer["items"]]


def test_a_release_never_reads_the_candidates_of_another(cached: FlaskClient, world: Home, store: Store) -> None:
    ask(cached)
    refresh(store, world)
    assert ask(cached)["cache"] == "miss"


def test_every_key_has_a_bounded_size_and_a_ttl_with_jitter(cached: FlaskClient, bare_redis: redis.Redis) -> None:
    for viewer in range(20):
        cached.get(f"/v1/users/u{viewer}/recommendations")
        cached.get(f"/v1/users/u{viewer}/recommendations", query_string={"limit": 50, "include": "reasons"})
        cached.get(f"/v1/users/u{viewer}/recommendations", query_string={"limit": 100})
    kinds = ("candidates", "history", "answer")
    kept = {kind: list(bare_redis.scan_iter(f"wn:*:{kind}:" + "[0-9a-f]" * 32)) for kind in kinds}
    assert {kind: len(keys) for kind, keys in kept.items()} == dict.fromkeys(kinds, 20)
    assert all(bare_redis.strlen(key) <= MOST_BYTES for key in kept["answer"])
    assert all(0 < bare_redis.pttl(key) <= 300_000 for key in kept["answer"])
    most = HEAD_BYTES + 12 * 500 + (4 + 2 * len(FEATURES)) * 150
    assert all(bare_redis.strlen(key) <= most for key in kept["candidates"])
    ttls = {bare_redis.pttl(key) for key in kept["candidates"]}
    assert all(0 < ttl <= 900_000 for ttl in ttls) and len(ttls) > 10
    assert all(0 < bare_redis.pttl(key) <= 3_600_000 for key in bare_redis.scan_iter("*"))


def test_a_long_history_is_not_kept_and_counts_all_the_same(
    cached: FlaskClient, bare_redis: redis.Redis, store: Store
) -> None:
    store.events.add(
        Event(
            event_id=f"long-{n}", user_id="long", video_id=f"space-{n % 20}", type=EventType.LIKE, occurred_at=1e9 + n
        )
        for n in range(2_001)
    )
    answer = ask(cached, user="long")
    assert answer["fallback"] is None
    assert answer["items"][0]["reason"]["code"] == "because_you_watched"
    assert not list(bare_redis.scan_iter("wn:*:history:*"))


def test_what_came_after_the_history_that_is_kept_counts(cached: FlaskClient, bare_redis: redis.Redis) -> None:
    ask(cached, user="new")
    for video in ("space-1", "space-2"):
        event = {"event_id": f"e-{video}", "user_id": "new", "video_id": video, "type": "like", "occurred_at": 1.75e9}
        cached.post("/v1/events", json={"events": [event]})
        reasons = {item["reason"]["video_id"] for item in ask(cached, user="new")["items"]}
        assert video in reasons
    assert reasons == {"space-1", "space-2"}


@pytest.mark.parametrize("damage", [b"", b"\x00garbage", b"\xff" * 60])
def test_a_damaged_history_is_passed_over(cached: FlaskClient, bare_redis: redis.Redis, damage: bytes) -> None:
    right = ask(cached)
    for key in bare_redis.scan_iter("wn:*"):
        bare_redis.set(key, damage)
    assert without_circumstances(ask(cached)) == without_circumstances(right)


def test_only_plain_commands_of_one_key_are_used(cached: FlaskClient, bare_redis: redis.Redis) -> None:
    """So that it is safe with a cluster, and with every version and kind of server."""
    bare_redis.config_resetstat()
    for _ in range(2):
        ask(cached)
    used = set(bare_redis.info("commandstats")) - {"cmdstat_config|resetstat", "cmdstat_info"}
    assert {"cmdstat_get", "cmdstat_set"} <= used
    assert used <= {f"cmdstat_{name}" for name in ("get", "set", "hello", "client|setinfo", "ping")}


def test_what_is_old_is_served_while_it_is_made_anew(
    make_app: Callable[..., Flask], bare_redis: redis.Redis, redis_server: str
) -> None:
    settings = {"process_mb": 0, "ttl_s": 0.3, "jitter": 0}
    client = make_app(redis_url=redis_server, cache=settings).test_client()
    first = ask(client)
    (key,) = bare_redis.scan_iter("wn:*:candidates:" + "[0-9a-f]" * 32)
    made = bare_redis.get(key)
    deadline = time.monotonic() + 20
    while ask(client)["cache"] != "stale":
        assert time.monotonic() < deadline
    while bare_redis.get(key) == made:
        assert ask(client)["cache"] in ("stale", "hit")
        assert time.monotonic() < deadline
    assert without_circumstances(ask(client)) == without_circumstances(first)
    assert "watchnext_cache_age_seconds_count" in client.get("/metrics").get_data(as_text=True)


def test_of_many_who_want_the_same_one_makes_it(
    make_app: Callable[..., Flask], bare_redis: redis.Redis, redis_server: str
) -> None:
    """Another process has begun to make what is asked for here: it is waited for."""
    here, there = (make_app(redis_url=redis_server, cache={"process_mb": 0}).test_client() for _ in range(2))
    ask(there)
    (key,) = bare_redis.scan_iter("wn:*:candidates:" + "[0-9a-f]" * 32)
    (claim,) = bare_redis.scan_iter("wn:*:claim")
    made = bare_redis.get(key)
    assert made is not None
    bare_redis.delete(key)
    bare_redis.set(claim, b"")
    ends = threading.Timer(0.01, bare_redis.set, (key, made))
    ends.start()
    assert ask(here)["cache"] == "hit"
    ends.join()
    bare_redis.delete(key)
    bare_redis.set(claim, b"")
    assert ask(here)["cache"] == "miss", "who never delivers is not waited for for ever"


def test_a_full_redis_costs_no_answer(cached: FlaskClient, bare_redis: redis.Redis) -> None:
    right = ask(cached)
    bare_redis.config_set("maxmemory-policy", "noeviction")
    bare_redis.config_set("maxmemory", 1)
    assert ask(cached)["cache"] == "hit", "what is there can still be read"
    answers = [ask(cached, user="u3") for _ in range(3)]
    assert {answer["cache"] for answer in answers} == {"miss"}
    assert cached.get("/readyz").json["cache"] == "up"
    assert 'watchnext_cache_failures_total{reason="refused"}' in cached.get("/metrics").get_data(as_text=True)
    assert without_circumstances(ask(cached)) == without_circumstances(right)


def test_a_redis_that_hangs_costs_one_request_its_time_and_the_others_none(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        client = make_app(redis_url=url, cache={"process_mb": 0, "timeout_ms": 400}).test_client()
        started = time.monotonic()
        assert ask(client)["cache"] == "off"
        first = time.monotonic() - started
        started = time.monotonic()
        assert [ask(client)["cache"] for _ in range(3)] == ["off"] * 3
        assert first >= 0.4 > (time.monotonic() - started) / 3
        assert client.get("/readyz").json["cache"] == "away"


def test_while_the_database_is_away_a_viewer_known_to_the_cache_has_a_list_of_their_own(
    cached: FlaskClient, world: Home
) -> None:
    right = ask(cached)
    cached.application.extensions["watchnext"].store.close()
    (world.root / "watchnext.db").rename(world.root / "gone.db")
    (world.root / "watchnext.db").mkdir()
    answer = ask(cached)
    assert (answer["cache"], answer["degraded"], answer["fallback"]) == ("stale", True, None)
    assert answer["items"] == right["items"]
    assert ask(cached, user="u1")["items"], "and others have one, too"


def test_what_will_not_be_kept_is_not_announced(cached: FlaskClient, bare_redis: redis.Redis) -> None:
    """Whoever asks for the same viewer next would wait for it in vain."""
    kept = "wn:*:candidates:" + "[0-9a-f]" * 32
    ask(cached, labels="space")
    assert list(bare_redis.scan_iter(f"{kept}*")) == []
    ask(cached)
    assert len(list(bare_redis.scan_iter(f"{kept}:*"))) == 1 == len(list(bare_redis.scan_iter(kept)))


def test_garbage_in_the_cache_is_passed_over(cached: FlaskClient, redis_server: str) -> None:
    right = ask(cached)
    client = redis.Redis.from_url(redis_server)
    for key in client.scan_iter("wn:*"):
        client.set(key, b"\x00garbage")
    assert without_circumstances(ask(cached)) == without_circumstances(right)
    client.close()


def test_redis_away_is_no_failure_and_it_comes_back_by_itself(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    try:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        pytest.skip("redis-server is not installed")
    _until_up(path)
    settings = {"retry_after_s": 0.05, "process_mb": 0}
    client = make_app(redis_url=f"unix://{path}", cache=settings).test_client()
    ask(client)
    assert ask(client)["cache"] == "hit"
    process.kill()
    process.wait()
    assert [ask(client)["cache"] for _ in range(3)][-1] == "off"
    assert client.get("/readyz").json["cache"] == "away"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _until_up(path)
        assert any(ask(client)["cache"] == "hit" for _ in range(200))
    finally:
        process.kill()
        process.wait()


def test_the_embedded_server_runs_on_a_unix_socket_and_ends_with_its_owner(home: Home) -> None:
    with embedded_redis(home, 16) as url:
        client = redis.Redis.from_url(url)
        assert client.ping()
        assert client.info("server")["tcp_port"] == 0
        with embedded_redis(home, 16) as same:
            assert same == url
        assert client.ping(), "who only used the server must not stop it"
        client.close()
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(url).ping()


def test_a_home_with_a_long_path_gets_a_socket_that_fits(tmp_path: Path) -> None:
    assert len(str(socket_path(Home.at(tmp_path / ("deep" * 30))))) <= 100


def _until_up(path: Path) -> None:
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    client = redis.Redis(unix_socket_path=str(path), retry=Retry(ConstantBackoff(0.05), 200))
    assert client.ping()
    client.close()


def test_what_is_cached_for_a_short_list_serves_a_long_one(cached: FlaskClient) -> None:
    assert len(ask(cached, limit=1)["items"]) == 1
    answer = ask(cached, limit=50)
    assert (answer["cache"], len(answer["items"])) == ("hit", 50)


def test_a_list_that_was_made_without_the_history_is_not_kept(
    cached: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise OSError("the disk went away")

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "numbered_history", broken)
        assert ask(cached)["degraded"]
    answer = ask(cached)
    assert (answer["cache"], answer["degraded"], answer["fallback"]) == ("miss", False, None)


def test_candidates_of_another_world_are_passed_over(cached: FlaskClient, redis_server: str) -> None:
    right = ask(cached)
    client = redis.Redis.from_url(redis_server)
    for key in client.scan_iter("wn:*"):
        value = bytearray(client.get(key))
        value[HEAD_BYTES : HEAD_BYTES + 4] = b"\xff\xff\xff\x7f"
        client.set(key, bytes(value))
    assert without_circumstances(ask(cached)) == without_circumstances(right)
    client.close()


def test_a_video_that_is_put_back_is_there_with_the_next_request(cached: FlaskClient) -> None:
    top = ask(cached)["items"][0]["video_id"]
    cached.post(f"/v1/videos/{top}/hide")
    assert top not in [item["video_id"] for item in ask(cached, limit=50)["items"]]
    assert ask(cached)["cache"] == "hit"
    cached.post(f"/v1/videos/{top}/unhide")
    assert ask(cached)["items"][0]["video_id"] == top


def test_impressions_do_not_cost_the_cache(cached: FlaskClient) -> None:
    shown = ask(cached)["items"][0]["video_id"]
    event = {"event_id": "i", "user_id": "u0", "video_id": shown, "type": "impression", "occurred_at": 1_750_000_000}
    assert cached.post("/v1/events", json={"events": [event]}).json["accepted"] == 1
    assert ask(cached)["cache"] == "hit"


def test_out_of_the_cache_too_a_page_with_all_that_may_be_shown_is_the_last_one(cached: FlaskClient) -> None:
    ask(cached, user="stranger")
    answer = ask(cached, user="stranger", labels="drama", limit=20)
    assert [item["labels"] for item in answer["items"]] == [["drama"]] * 20
    assert (answer["has_more"], answer["cursor"]) == (False, None)
