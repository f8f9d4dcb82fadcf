"""Answers out of the memory of a process: the same list without work, and never a list that is no longer right."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from data.home import Home
from data.schema import Video
from data.store import Store
from recommender.refresh import refresh

#: Nothing is kept of what is shown: the first lists would be made for that.
UNSEEN = {"share": 0.0}


@pytest.fixture
def two(make_app: Callable[..., Flask]) -> tuple[FlaskClient, FlaskClient]:
    """Two processes of a service, as they are without Redis: each knows only itself and the database."""
    first, second = (make_app(exposures=UNSEEN, redis_url="redis://127.0.0.1:1").test_client() for _ in range(2))
    return first, second


def ask(client: FlaskClient, user: str = "u0", **query: object) -> dict[str, Any]:
    response = client.get(f"/v1/users/{user}/recommendations", query_string=query)
    assert response.status_code == 200
    found: dict[str, Any] = response.json
    return found


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["video_id"] for item in answer["items"]]


def kept(client: FlaskClient) -> int:
    size: int = client.application.extensions["watchnext"].ready.size
    return size


def test_the_same_question_has_the_same_answer_out_of_memory(two: tuple[FlaskClient, FlaskClient]) -> None:
    client, _ = two
    first, second = ask(client), ask(client)
    assert (first["cache"], second["cache"]) == ("off", "hit")
    assert first["request_id"] != second["request_id"]
    own = ("request_id", "cache", "timings_ms", "release")
    assert {n: v for n, v in first.items() if n not in own} == {n: v for n, v in second.items() if n not in own}
    assert first["release"].keys() == second["release"].keys()
    assert first["release"]["id"] == second["release"]["id"]
    assert ask(client, limit=3)["cache"] == "off", "another question is another one"
    assert ask(client, user="u1")["cache"] == "off"
    third = client.get("/v1/users/u0/recommendations", headers={"X-Request-ID": 'a"b\\c'})
    assert third.json["request_id"] == third.headers["X-Request-ID"] == 'a"b\\c'


def test_an_answer_out_of_memory_looks_like_any_other_to_front_ends_and_to_who_watches(
    two: tuple[FlaskClient, FlaskClient],
) -> None:
    client, _ = two
    path, counted = (
        "/v1/users/zoë %2F x/recommendations",
        r"GET.*route=\"/v1/users/<path:user_id>/recommendations\".*200",
    )

    def requests() -> float:
        found = re.search(rf"http_request_seconds_count{{.*{counted}.*}} (.+)", client.get("/metrics").text)
        return float(found[1]) if found else 0.0

    before = requests()
    made, ready = client.get(path), client.get(path)
    assert (made.json["cache"], ready.json["cache"]) == ("off", "hit")
    assert made.json["user_id"] == ready.json["user_id"]
    assert set(made.headers.keys()) == set(ready.headers.keys())
    other = ("X-Request-ID", "Content-Length")
    assert all(made.headers[name] == ready.headers[name] for name in set(made.headers.keys()) if name not in other)
    assert requests() == before + 2
    assert (client.head(path).status_code, client.head(path).data) == (200, b"")


def test_an_answer_out_of_memory_is_for_those_who_may_have_it(make_app: Callable[..., Flask], store: Store) -> None:
    client = make_app(exposures=UNSEEN, redis_url="redis://127.0.0.1:1").test_client()
    path = "/v1/users/u0/recommendations"
    assert [client.get(path).json["cache"] for _ in range(2)] == ["off", "hit"]
    assert client.get(path, environ_overrides={"REMOTE_ADDR": "192.0.2.7"}).status_code == 403
    assert client.get(path, headers={"X-Forwarded-For": "192.0.2.7"}).status_code == 403
    assert client.get(path, headers={"Host": "rebound.example"}).status_code == 403
    _, secret = store.keys.create("front end", "read")
    closed = make_app(exposures=UNSEEN, redis_url="redis://127.0.0.1:1").test_client()
    mine = {"Authorization": f"Bearer {secret}"}
    assert [closed.get(path, headers=mine).json["cache"] for _ in range(2)] == ["off", "hit"]
    assert closed.get(path).status_code == 401
    assert closed.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_whatever_the_viewer_does_in_another_process_counts_at_once(two: tuple[FlaskClient, FlaskClient]) -> None:
    here, there = two
    top = ids(ask(here))[0]
    assert ask(here)["cache"] == "hit"
    event = {"event_id": "x", "user_id": "u0", "video_id": top, "type": "not_interested", "occurred_at": 1.75e9}
    there.post("/v1/events", json={"events": [event]})
    assert top not in ids(ask(here))


def test_a_takedown_in_another_process_counts_at_once_and_so_does_its_end(
    two: tuple[FlaskClient, FlaskClient],
) -> None:
    here, there = two
    before = ids(ask(here))
    there.post(f"/v1/videos/{before[0]}/hide")
    assert before[0] not in ids(ask(here))
    there.post(f"/v1/videos/{before[0]}/unhide")
    assert ids(ask(here)) == before


@pytest.fixture
def sharing(
    make_app: Callable[..., Flask], redis_server: str
) -> Iterator[tuple[FlaskClient, FlaskClient, redis.Redis]]:
    """Two processes with a Redis and without memory, and a way to look into it."""
    with redis.Redis.from_url(redis_server) as seen:
        seen.flushall()
        settings = {"exposures": UNSEEN, "redis_url": redis_server, "cache": {"process_mb": 0}}
        yield *(make_app(**settings).test_client() for _ in range(2)), seen


def leave_only_answers(seen: redis.Redis) -> None:
    seen.delete(*(key for key in seen.scan_iter("*") if b":answer:" not in key))


def test_what_one_process_has_answered_another_answers_without_work(
    sharing: tuple[FlaskClient, FlaskClient, redis.Redis],
) -> None:
    here, there, seen = sharing
    made = ask(here, limit=7)
    leave_only_answers(seen)
    given = ask(there, limit=7)
    assert (made["cache"], given["cache"]) == ("miss", "hit")
    assert (given["user_id"], given["items"], given["cursor"]) == ("u0", made["items"], made["cursor"])
    assert given["request_id"] != made["request_id"]
    assert given["release"].keys() == made["release"].keys()
    assert ask(there, limit=6)["cache"] == "miss", "another question is another one"
    leave_only_answers(seen)
    assert ask(there, user="u3", limit=7)["cache"] == "miss"
    assert list(map(ids, (ask(here, limit=7), ask(there, limit=7)))) == [ids(made)] * 2


def test_what_another_process_has_answered_is_not_given_when_it_is_no_longer_right(
    sharing: tuple[FlaskClient, FlaskClient, redis.Redis],
) -> None:
    here, there, _ = sharing
    first, second = ids(ask(here))[:2]
    event = {"event_id": "x", "user_id": "u0", "video_id": first, "type": "not_interested", "occurred_at": 1.75e9}
    here.post("/v1/events", json={"events": [event]})
    assert first not in ids(ask(there))
    here.post(f"/v1/videos/{second}/hide")
    assert second not in ids(ask(there))
    here.post(f"/v1/videos/{second}/unhide")
    assert second in ids(ask(there))


@pytest.mark.parametrize("damage", [lambda _: b"", lambda value: value[:-9], lambda value: value[:-9] + b"x" * 9])
def test_a_damaged_answer_is_passed_over(
    sharing: tuple[FlaskClient, FlaskClient, redis.Redis], damage: Callable[[bytes], bytes]
) -> None:
    here, there, seen = sharing
    made = ask(here)
    leave_only_answers(seen)
    (key,) = seen.scan_iter("*")
    value = seen.get(key)
    assert isinstance(value, bytes)
    seen.set(key, damage(value))
    again = ask(there)
    assert (again["cache"], again["items"]) == ("miss", made["items"])


def test_answers_are_not_shared_where_that_is_not_wanted(make_app: Callable[..., Flask], redis_server: str) -> None:
    alone = make_app(exposures=UNSEEN, redis_url=redis_server, cache={"process_mb": 0, "shared_answers": False})
    with redis.Redis.from_url(redis_server) as seen:
        seen.flushall()
        client = alone.test_client()
        assert [ask(client)["cache"] for _ in range(2)] == ["miss", "hit"]
        assert list(seen.scan_iter("*:candidates:*"))
        assert not list(seen.scan_iter("*:answer:*"))


def test_impressions_in_another_process_count_for_fatigue(
    make_app: Callable[..., Flask],
) -> None:
    tired = {"policy": {"fatigue": {"after": 1}}}
    here, there = (
        make_app(exposures=UNSEEN, cache={"enabled": True}, recommender=tired).test_client() for _ in range(2)
    )
    top = ids(ask(here))[0]
    seen = {"user_id": "u0", "video_id": top, "type": "impression", "occurred_at": time.time() - 10}
    there.post("/v1/events", json={"events": [{**seen, "event_id": f"i{number}"} for number in range(3)]})
    assert top not in ids(ask(here))[:1]


def test_another_release_is_another_answer(two: tuple[FlaskClient, FlaskClient], world: Home, store: Store) -> None:
    client, _ = two
    ask(client)
    assert ask(client)["cache"] == "hit"
    second = refresh(store, world).release_id
    assert ask(client)["release"]["id"] == second


def test_a_window_that_ends_ends_answers(make_app: Callable[..., Flask], store: Store) -> None:
    """Nothing is written when a licence runs out."""
    client = make_app(exposures=UNSEEN, cache={"enabled": True}).test_client()
    top = ids(ask(client))[0]
    record = store.catalogue.get(top)
    assert record is not None
    ends = time.time() + 1.5
    fields = {name: getattr(record, name) for name in Video.model_fields}
    store.catalogue.upsert([Video.model_validate(fields | {"available_until": ends})])
    assert top in ids(ask(client))
    while time.time() < ends:
        assert ask(client)["items"]
    assert top not in ids(ask(client))


def test_memory_is_bounded_and_what_was_not_asked_for_longest_goes(make_app: Callable[..., Flask]) -> None:
    client = make_app(exposures=UNSEEN, cache={"process_mb": 0.02}).test_client()
    sizes = []
    for viewer in range(30):
        ask(client, user=f"u{viewer}", limit=5)
        sizes.append(kept(client))
    assert 0 < max(sizes) <= 20_000
    assert ask(client, user="u29", limit=5)["cache"] == "hit"
    assert ask(client, user="u0", limit=5)["cache"] != "hit"


def test_without_a_cache_nothing_is_kept(client: FlaskClient) -> None:
    ask(client)
    assert ask(client)["cache"] == "off"
    assert kept(client) == 0


def test_lists_whose_showing_is_to_be_kept_are_made(make_app: Callable[..., Flask], store: Store) -> None:
    client = make_app(redis_url="redis://127.0.0.1:1").test_client()
    for number in range(3):
        client.get("/v1/users/u0/recommendations", headers={"X-Request-ID": f"list-{number}"})
    client.application.extensions["watchnext"].exposures.flush()
    assert {shown["request_id"] for shown in store.exposures.newest()} == {"list-0", "list-1", "list-2"}


def test_a_query_is_read_as_flask_reads_it(two: tuple[FlaskClient, FlaskClient]) -> None:
    """Front ends may send UTF-8 as it is, and what is no UTF-8 must not become a list of something else."""
    client, _ = two
    path = "/v1/users/u0/recommendations"
    quoted = client.get(path, query_string="labels=caf%C3%A9").json
    plain = client.get(path, environ_overrides={"QUERY_STRING": "labels=café".encode().decode("latin-1")}).json
    assert ids(plain) == ids(quoted)
    assert quoted["items"] == [] or all("café" in item["labels"] for item in quoted["items"])
    for wrong in ("labels=\xff", "limit=none"):
        refused = client.get(path, environ_overrides={"QUERY_STRING": wrong})
        assert (refused.status_code, refused.mimetype) == (422, "application/problem+json")
    other = client.get("/v1/users//u0/recommendations").json
    assert other["user_id"] == "/u0" and other["fallback"] == "cold_start", "an id may begin with a slash"
