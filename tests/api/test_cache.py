"""The cache: a help and never a need."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from api.embedded_redis import embedded_redis, socket_path
from data.home import Home
from data.store import EventLog, Store
from recommender.engine import FEATURES
from recommender.refresh import refresh


@pytest.fixture
def cached(make_app: Callable[..., Flask], redis_server: str) -> Iterator[FlaskClient]:
    client = redis.Redis.from_url(redis_server)
    client.flushall()
    client.close()
    with make_app(redis_url=redis_server).test_client() as opened:
        yield opened


def ask(client: FlaskClient, **query: object) -> dict[str, Any]:
    response = client.get("/v1/users/u0/recommendations", query_string=query)
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


def test_every_key_has_a_bounded_size_and_a_ttl_with_jitter(cached: FlaskClient, redis_server: str) -> None:
    for viewer in range(20):
        cached.get(f"/v1/users/u{viewer}/recommendations")
    client = redis.Redis.from_url(redis_server)
    keys = list(client.scan_iter("wn:*"))
    ttls = {client.pttl(key) for key in keys}
    assert len(keys) == 20
    assert all(0 < ttl <= 300_000 for ttl in ttls) and len(ttls) > 1
    assert all(client.strlen(key) <= 20 + 12 * 500 + (4 + 2 * len(FEATURES)) * 150 for key in keys)
    client.close()


def test_garbage_in_the_cache_is_passed_over(cached: FlaskClient, redis_server: str) -> None:
    right = ask(cached)
    client = redis.Redis.from_url(redis_server)
    for key in client.scan_iter("wn:*"):
        client.set(key, b"\x00garbage")
    assert without_circumstances(ask(cached)) == without_circumstances(right)
    client.close()


def test_redis_away_is_no_failure_and_it_comes_back_by_itself(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    socket = tmp_path / "r.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)]
    try:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        pytest.skip("redis-server is not installed")
    _until_up(socket)
    client = make_app(redis_url=f"unix://{socket}", cache={"retry_after_s": 0.05}).test_client()
    ask(client)
    assert ask(client)["cache"] == "hit"
    process.kill()
    process.wait()
    assert [ask(client)["cache"] for _ in range(3)][-1] == "off"
    assert client.get("/readyz").json["cache"] == "away"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _until_up(socket)
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


def _until_up(socket: Path) -> None:
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    client = redis.Redis(unix_socket_path=str(socket), retry=Retry(ConstantBackoff(0.05), 200))
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
        patch.setattr(EventLog, "history", broken)
        assert ask(cached)["degraded"]
    answer = ask(cached)
    assert (answer["cache"], answer["degraded"], answer["fallback"]) == ("miss", False, None)


def test_candidates_of_another_world_are_passed_over(cached: FlaskClient, redis_server: str) -> None:
    right = ask(cached)
    client = redis.Redis.from_url(redis_server)
    for key in client.scan_iter("wn:*"):
        value = bytearray(client.get(key))
        value[20:24] = b"\xff\xff\xff\x7f"
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
