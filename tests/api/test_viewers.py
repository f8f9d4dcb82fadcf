"""What is known of a viewer over HTTP: a history in pages, the whole of it, retracted, merged, erased."""

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from data.home import Home
from data.interactions import load_interactions
from data.schema import Event
from data.store import Store
from recommender.refresh import refresh
from recommender.release import Releases

AT = 1_750_000_000


def event(event_id: str, user: str = "u0", video: str = "drama-1", **fields: object) -> dict[str, Any]:
    base = {"event_id": event_id, "user_id": user, "video_id": video, "type": "like", "occurred_at": AT}
    return base | fields


def send(client: FlaskClient, *events: dict[str, Any]) -> list[str]:
    answer = client.post("/v1/events", json={"events": list(events)}).json
    return [result["status"] for result in answer["results"]]


def listed(client: FlaskClient, user: str, **query: object) -> dict[str, Any]:
    response = client.get(f"/v1/users/{user}/recommendations", query_string=query)
    assert response.status_code == 200
    found: dict[str, Any] = response.json
    return found


def history(client: FlaskClient, user: str = "u0", **query: object) -> dict[str, Any]:
    response = client.get(f"/v1/users/{user}/history", query_string=query)
    assert response.status_code == 200, response.json
    found: dict[str, Any] = response.json
    return found


def genres(answer: dict[str, Any]) -> set[str]:
    return {label for item in answer["items"][:5] for label in item["labels"]}


@pytest.fixture
def cached(make_app: Callable[..., Flask], redis_server: str) -> Iterator[FlaskClient]:
    client = redis.Redis.from_url(redis_server)
    client.flushall()
    client.close()
    with make_app(redis_url=redis_server).test_client() as opened:
        yield opened


# ---- Retracting ----------------------------------------------------------------------------------------------


def test_the_next_list_is_made_without_a_retracted_event(cached: FlaskClient) -> None:
    send(cached, *(event(f"x{n}", "new", f"space-{n}", occurred_at=AT + n) for n in range(3)))
    assert genres(listed(cached, "new")) == {"space"}
    send(cached, event("y", "new", "drama-3", occurred_at=AT + 9))
    listed(cached, "new")
    assert listed(cached, "new")["cache"] == "hit"
    for name in ("x0", "x1", "x2"):
        response = cached.delete(f"/v1/events/{name}")
        assert response.status_code == 200
        assert (response.json["event_id"], response.json["status"]) == (name, "retracted")
    answer = listed(cached, "new")
    assert answer["cache"] == "miss" and genres(answer) == {"drama"}
    assert cached.delete("/v1/events/y").status_code == 200
    assert listed(cached, "new")["fallback"] == "cold_start"


def test_a_retracted_event_stays_retracted_whatever_is_sent_again(client: FlaskClient) -> None:
    assert send(client, event("x", "new")) == ["accepted"]
    answers = [client.delete("/v1/events/x") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json["status"] == answers[1].json["status"] == "retracted"
    assert send(client, event("x", "new")) == ["duplicate"]
    assert history(client, "new")["items"] == []
    assert client.get("/v1/users/new/export").json["events"] == []


def test_an_unknown_event_cannot_be_retracted_and_none_comes_in_as_retracted(client: FlaskClient) -> None:
    response = client.delete("/v1/events/nothing")
    assert response.status_code == 404
    assert (response.json["code"], response.json["field"]) == ("unknown_event", "event_id")
    assert send(client, event("x", type="retracted")) == ["rejected"]
    assert client.get("/v1/users/u0/history?type=retracted").status_code == 422


# ---- The history ---------------------------------------------------------------------------------------------


def test_a_history_tells_newest_first_what_a_viewer_did(client: FlaskClient, store: Store) -> None:
    told = {"session_id": "s", "request_id": "r", "surface": "home", "position": 3}
    send(client, event("x", type="watch", value=0.5, **told), event("i", type="impression"))
    answer = history(client, limit=2)
    assert answer["items"][0] == {
        "event_id": "x", "video_id": "drama-1", "title": "Drama 1", "type": "watch", "value": 0.5,
        "occurred_at": "2025-06-15T15:06:40Z", **told,
    }  # fmt: skip
    assert [item["event_id"] for item in answer["items"]] == ["x", "l-0"] and answer["has_more"]
    assert [item["event_id"] for item in history(client, type="impression")["items"]] == ["i"]
    assert {item["type"] for item in history(client, type="like")["items"]} == {"like"}
    store.catalogue.remove(["drama-1"])
    assert history(client, limit=1)["items"][0]["title"] is None
    nothing = history(client, "nobody")
    assert (nothing["items"], nothing["cursor"], nothing["has_more"]) == ([], None, False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 5), st.booleans())
def test_pages_neither_repeat_nor_skip_whatever_comes_meanwhile(
    client: FlaskClient, store: Store, times: list[int], limit: int, comes: bool
) -> None:
    store.viewers.erase("pages")
    send(client, *(event(f"p{n}", "pages", occurred_at=AT + at) for n, at in enumerate(times)))
    expected = [f"p{n}" for n in sorted(range(len(times)), key=lambda n: (times[n], n), reverse=True)]
    found, cursor = [], None
    while True:
        page = history(client, "pages", limit=limit, **({"cursor": cursor} if cursor else {}))
        found += [item["event_id"] for item in page["items"]]
        cursor = page["cursor"]
        assert (cursor is not None) == page["has_more"]
        if cursor is None:
            break
        if comes:
            send(client, event(f"new{len(found)}", "pages", occurred_at=AT + 10))
    assert found == expected


def test_a_cursor_serves_its_viewer_and_question_alone(client: FlaskClient) -> None:
    cursor = history(client, limit=2)["cursor"]
    for path, query in (
        ("u1", {"cursor": cursor}),
        ("u0", {"cursor": cursor, "type": "like"}),
        *(("u0", {"cursor": text}) for text in ("", "?", "é", cursor[:-4], cursor + "====")),
        *(("u0", {"cursor": cursor[:8] + between + cursor[8:]}) for between in ("!", "=", "\n", "\0")),
    ):
        response = client.get(f"/v1/users/{path}/history", query_string=query)
        assert (response.status_code, response.json["code"]) == (400, "invalid_cursor")
    for query in ({"limit": 0}, {"limit": 201}, {"type": "stare"}, {"colour": "red"}):
        assert client.get("/v1/users/u0/history", query_string=query).status_code == 422


# ---- All that is known ---------------------------------------------------------------------------------------


def test_an_export_has_all_events_and_the_lists_that_were_shown(client: FlaskClient, store: Store) -> None:
    send(client, event("x", country="DE", duration_s=9.0), event("i", type="impression"))
    shown = listed(client, "u0", limit=3, surface="home")
    client.application.extensions["watchnext"].exposures.flush()
    answer = client.get("/v1/users/u0/export")
    assert answer.status_code == 200 and answer.mimetype == "application/json"
    document = answer.json
    assert document["request_id"] == answer.headers["X-Request-ID"] and document["user_id"] == "u0"
    assert {row["event_id"] for row in document["events"]} == {row["event_id"] for row in store.events.tail(99, "u0")}
    told = next(row for row in document["events"] if row["event_id"] == "x")
    assert (told["country"], told["duration_s"], told["occurred_at"]) == ("DE", 9.0, "2025-06-15T15:06:40Z")
    (exposure,) = document["exposures"]
    assert (exposure["request_id"], exposure["surface"]) == (shown["request_id"], "home")
    assert [(item["video_id"], item["rank"]) for item in exposure["items"]] == [
        (item["video_id"], item["rank"]) for item in shown["items"]
    ]
    assert [item["propensity"] for item in exposure["items"]] == pytest.approx(shown["propensity"])
    nothing = client.get("/v1/users/nobody/export").json
    assert (nothing["events"], nothing["exposures"]) == ([], [])


def test_a_long_export_comes_in_pieces(client: FlaskClient, store: Store) -> None:
    rows = [
        Event.model_validate(event(f"x{n}", "long")).model_dump(mode="json") | {"received_at": AT}
        for n in range(20_000)
    ]
    store.events.add_rows(rows)
    tracemalloc.start()
    response = client.get("/v1/users/long/export", buffered=False)
    pieces = [len(piece) for piece in response.response]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pieces) > 20 and sum(pieces) > 4_000_000
    assert most < 8_000_000


# ---- Erasing -------------------------------------------------------------------------------------------------


def test_an_erased_viewer_is_unknown_everywhere(
    cached: FlaskClient, world: Home, store: Store, redis_server: str
) -> None:
    load_interactions(store, kept=world.digest)
    assert b'"u0"' in world.digest.read_bytes()
    listed(cached, "u0")
    assert listed(cached, "u0")["cache"] == "hit"
    response = cached.delete("/v1/users/u0")
    assert response.status_code == 200
    receipt = response.json
    assert receipt["erased"]["events"] == 9 and receipt["erased"]["cache"] is True
    assert receipt["user_id"] == "u0" and receipt["erased_at"].endswith("Z")
    assert receipt["releases"] == {
        "served": Releases(world.releases).current_id(),
        "next": "will not know this viewer",
    }
    assert ["digest.npz" in what for what in receipt["remains"]] == [False, True]
    cache = redis.Redis.from_url(redis_server)
    assert [key for key in cache.keys("*") if not key.endswith(b":claim")] == []
    cache.close()
    service = cached.application.extensions["watchnext"]
    service.exposures.flush()
    document = cached.get("/v1/users/u0/export").json
    assert (document["events"], document["exposures"]) == ([], []), "nor does what waited to be kept come in"
    assert history(cached)["items"] == []
    assert listed(cached, "u0")["fallback"] == "cold_start"
    refresh(store, world)
    assert b'"u0"' not in world.digest.read_bytes()
    assert Releases(world.releases).load_current().manifest["counts"]["viewers"] == 29
    again = cached.delete("/v1/users/u0").json
    assert again["erased"]["events"] == 0 and again["receipt_id"] != receipt["receipt_id"]


def test_a_receipt_says_when_the_cache_did_not_answer(make_app: Callable[..., Flask], redis_server: str) -> None:
    client = make_app(redis_url=redis_server + ".nothing").test_client()
    receipt = client.delete("/v1/users/u0").json
    assert receipt["erased"]["cache"] is False and receipt["erased"]["events"] == 9
    assert any("the cache did not answer" in what and "3600 s" in what for what in receipt["remains"])


def test_a_refresh_that_was_interrupted_is_not_continued_after_an_erasure(
    world: Home, store: Store, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(client, event("x", "somebody"))
    with monkeypatch.context() as patched:
        patched.setattr("recommender.release.seal", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            refresh(store, world)
    client.delete("/v1/users/somebody")
    assert refresh(store, world).resumed == []


# ---- Merging -------------------------------------------------------------------------------------------------


def test_what_a_guest_did_is_the_user_s_with_the_next_list(cached: FlaskClient) -> None:
    send(cached, *(event(f"x{n}", "guest", f"space-{n}", occurred_at=AT + n) for n in range(3)))
    send(cached, event("i", "guest", "space-9", type="impression"))
    assert listed(cached, "user")["fallback"] == "cold_start"
    assert genres(listed(cached, "guest")) == {"space"}
    response = cached.post("/v1/users/user/merge", json={"from": "guest"})
    assert response.status_code == 200
    assert response.json["merged"] == {"events": 4, "exposures": 1}
    assert (response.json["user_id"], response.json["from"]) == ("user", "guest")
    assert genres(listed(cached, "user")) == {"space"}
    assert [item["event_id"] for item in history(cached, "user")["items"]] == ["x2", "x1", "x0"]
    assert listed(cached, "guest")["fallback"] == "cold_start" and history(cached, "guest")["items"] == []
    again = cached.post("/v1/users/user/merge", json={"from": "guest"}).json
    assert again["merged"]["events"] == 0
    assert send(cached, event("x0", "guest", "space-0")) == ["duplicate"]


def test_nobody_is_merged_into_themselves_and_the_guest_is_named(client: FlaskClient) -> None:
    response = client.post("/v1/users/u0/merge", json={"from": "u0"})
    assert (response.status_code, response.json["code"], response.json["field"]) == (422, "invalid_request", "from")
    response = client.post("/v1/users/u0/merge", json={"guest": "u1"})
    assert response.status_code == 422 and response.json["field"] == "from"
    response = client.post("/v1/users/u0/merge", json={"from": "g", "guest": "u1"})
    assert "known are from" in response.json["detail"]


# ---- What all of them share ----------------------------------------------------------------------------------


def test_each_operation_asks_for_a_key_of_its_role(make_app: Callable[..., Flask], store: Store) -> None:
    secrets = {role: store.keys.create(role, role)[1] for role in ("read", "ingest", "admin")}
    client = make_app(cache={"enabled": False}).test_client()

    def statuses(method: str, path: str, **more: Any) -> list[int]:
        headers = [{"Authorization": f"Bearer {secret}"} for secret in secrets.values()]
        return [client.open(path, method=method, headers=each, **more).status_code for each in headers]

    assert statuses("DELETE", "/v1/events/l-0") == [403, 200, 200]
    assert statuses("GET", "/v1/users/u0/history") == [200, 200, 200]
    assert statuses("GET", "/v1/users/u0/export") == [403, 403, 200]
    assert statuses("POST", "/v1/users/u0/merge", json={"from": "guest"}) == [403, 200, 200]
    assert statuses("DELETE", "/v1/users/u0") == [403, 403, 200]


def test_the_answers_are_as_described(client: FlaskClient) -> None:
    listed(client, "u0", limit=3)
    client.application.extensions["watchnext"].exposures.flush()
    document = client.get("/openapi.json").json
    for method, path, url, body in (
        ("get", "/v1/users/{user_id}/history", "/v1/users/u0/history", None),
        ("get", "/v1/users/{user_id}/export", "/v1/users/u0/export", None),
        ("delete", "/v1/events/{event_id}", "/v1/events/l-0", None),
        ("post", "/v1/users/{user_id}/merge", "/v1/users/u0/merge", {"from": "u3"}),
        ("delete", "/v1/users/{user_id}", "/v1/users/u0", None),
    ):
        described = document["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
        answer = client.open(url, method=method.upper(), json=body).json
        Draft202012Validator({**described, "components": document["components"]}).validate(answer)


def test_while_the_database_is_away_all_of_them_say_so(client: FlaskClient, world: Home) -> None:
    client.application.extensions["watchnext"].store.close()
    (world.root / "watchnext.db").rename(world.root / "gone.db")
    (world.root / "watchnext.db").mkdir()
    for method, url, body in (
        ("GET", "/v1/users/u0/history", None),
        ("GET", "/v1/users/u0/export", None),
        ("DELETE", "/v1/events/l-0", None),
        ("POST", "/v1/users/u0/merge", {"from": "u3"}),
        ("DELETE", "/v1/users/u0", None),
    ):
        response = client.open(url, method=method, json=body)
        assert (response.status_code, response.json["code"]) == (503, "database_unavailable")
