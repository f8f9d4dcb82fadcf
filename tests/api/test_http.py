"""What holds for every route: problems, request ids, who may ask, metrics, and a description that is true."""

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from werkzeug.test import TestResponse

from data.home import Home
from data.store import Store


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/nothing", None, 404, "not_found"),
        ("DELETE", "/v1/events", None, 405, "method_not_allowed"),
        ("GET", "/v1/users/u0/recommendations?limit=many", None, 422, "invalid_request"),
        ("GET", "/v1/users/u0/recommendations?limit=5&limit=6", None, 422, "invalid_request"),
        ("GET", "/v1/users/u0/recommendations?limti=5", None, 422, "invalid_request"),
        ("GET", f"/v1/users/{'u' * 201}/recommendations", None, 422, "invalid_request"),
        ("POST", "/v1/events", b"{", 400, "invalid_json"),
        ("POST", "/v1/events", b"x" * 3_000_000, 413, "body_too_large"),
        ("POST", "/v1/users/u0/recommendations", b'{"context": {"country": "Germany"}}', 422, "invalid_request"),
        ("GET", "/v1/why?user_id=u0", None, 422, "invalid_request"),
        ("GET", "/v1/videos/a%00b", None, 422, "invalid_request"),
        ("GET", "/v1/users/%00/recommendations", None, 422, "invalid_request"),
        ("GET", "/v1/users/%20u0/recommendations", None, 422, "invalid_request"),
        ("POST", "/v1/users/u0%20/merge", b'{"from": "u1"}', 422, "invalid_request"),
        ("GET", "/v1/videos?cursor=YQBi", None, 400, "invalid_cursor"),
    ],
)
def test_every_error_is_a_problem_that_says_what_would_be_right(
    client: FlaskClient, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    response = client.open(path, method=method, data=body, content_type="application/json" if body else None)
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    problem = response.get_json(force=True)
    assert (problem["code"], problem["status"]) == (code, status)
    assert problem["detail"] and problem["request_id"] == response.headers["X-Request-ID"]


CONTEXT = "is not known here; known are device, country, max_rating, now"
SESSION = "is not known here; known are video_id, type, value"


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("users/u0/recommendations", {"context": {"max_ratng": 12}}, f"context.max_ratng: {CONTEXT}"),
        ("users/u0/recommendations", {"history": [{"video_id": "v", "x": 1}]}, f"history.0.x: {SESSION}"),
        ("users/u0/merge", {"from": "guest", "x": 1}, "x: is not known here; known are from"),
        ("users/u0/merge", [], "the body is an object with from"),
    ],
)
def test_an_unknown_field_is_told_which_are_known_where_it_stands(
    client: FlaskClient, path: str, body: object, detail: str
) -> None:
    response = client.post(f"/v1/{path}", json=body)
    assert (response.status_code, response.get_json(force=True)["detail"]) == (422, detail)


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "users/u0/recommendations", {"limit": True}, "limit"),
        ("POST", "users/u0/recommendations", {"seed": False}, "seed"),
        ("POST", "users/u0/recommendations", {"weights": {"popular": True}}, "weights.popular"),
        ("POST", "users/u0/recommendations", {"context": {"max_rating": True}}, "context.max_rating"),
        ("POST", "users/u0/recommendations", {"history": [{"video_id": "v", "value": True}]}, "history.0.value"),
        ("POST", "recommendations:batch", {"users": [{"user_id": "u0"}], "limit": True}, "limit"),
        ("POST", "search", {"text": "comedy", "limit": True}, "limit"),
        ("PATCH", "videos/drama-1", {"rating": True}, "rating"),
        ("PATCH", "videos/drama-1", {"duration_s": True}, "duration_s"),
        ("PATCH", "videos/drama-1", {"episode": False}, "episode"),
    ],
)
def test_true_and_false_are_no_numbers(
    client: FlaskClient, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    response = client.open(f"/v1/{path}", method=method, json=body)
    problem = response.get_json(force=True)
    assert (response.status_code, problem["code"], problem["field"]) == (422, "invalid_request", field)
    assert "is a number" in problem["detail"]
    assert client.post("/v1/users/u0/recommendations", json={"reasons": False}).status_code == 200


def test_a_body_that_is_not_json_is_refused(client: FlaskClient) -> None:
    response = client.post("/v1/events", data="a=1", content_type="application/x-www-form-urlencoded")
    assert (response.status_code, response.get_json(force=True)["code"]) == (415, "unsupported_media_type")


def test_a_request_id_is_honoured_when_it_is_harmless(client: FlaskClient) -> None:
    given = client.get("/healthz", headers={"X-Request-ID": "abc-123"})
    assert given.headers["X-Request-ID"] == "abc-123"
    assert (
        client.get("/v1/users/u0/recommendations", headers={"X-Request-ID": "abc-123"}).json["request_id"] == "abc-123"
    )
    for bad in ("with space", "x" * 201, "ü"):
        assert client.get("/healthz", headers={"X-Request-ID": bad}).headers["X-Request-ID"] != bad


def test_without_a_key_only_loopback_is_answered(client: FlaskClient) -> None:
    path = "/v1/users/u0/recommendations"
    assert client.get(path).status_code == 200
    elsewhere = client.get(path, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    rebound = client.get(path, headers={"Host": "attacker.example"})
    assert [elsewhere.get_json(force=True)["code"], rebound.get_json(force=True)["code"]] == ["loopback_only"] * 2
    proxied = client.get(path, headers={"X-Forwarded-For": "192.0.2.7"})
    assert proxied.get_json(force=True)["code"] == "loopback_only"
    assert client.get("/healthz", environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 200


def test_a_page_from_elsewhere_cannot_write_through_a_browser_on_this_machine(client: FlaskClient) -> None:
    hide = "/v1/videos/space-1/hide"
    unreadable = ("http://[", "http://[::1", "//[", "http://evil[.example")
    for origin in ("https://attacker.example", "null", *unreadable):
        refused = client.post(hide, headers={"Origin": origin})
        assert (refused.status_code, refused.get_json(force=True)["code"]) == (403, "loopback_only")
    assert client.get("/v1/videos/space-1").json["hidden"] is False
    assert client.post(hide, headers={"Origin": "http://localhost:8080"}).status_code == 200


def test_revoking_the_last_key_closes_the_service(make_app: Callable[..., Flask], store: Store) -> None:
    key, secret = store.keys.create("only", "admin")
    store.keys.revoke(key.id)
    client = make_app(cache={"enabled": False}).test_client()
    assert client.get("/v1/videos").status_code == 401
    assert client.get("/v1/videos", headers={"Authorization": f"Bearer {secret}"}).status_code == 401


def test_while_the_database_is_away_writes_are_refused_as_unavailable(client: FlaskClient, world: Home) -> None:
    client.application.extensions["watchnext"].store.close()
    (world.root / "watchnext.db").rename(world.root / "gone.db")
    (world.root / "watchnext.db").mkdir()
    event = {"event_id": "x", "user_id": "u0", "video_id": "space-1", "type": "play", "occurred_at": 1_750_000_000}
    for response in (client.post("/v1/events", json={"events": [event]}), client.get("/v1/videos")):
        assert (response.status_code, response.get_json(force=True)["code"]) == (503, "database_unavailable")
        assert response.headers["Retry-After"] == "1"


def test_invented_methods_do_not_grow_the_metrics(client: FlaskClient) -> None:
    for number in range(5):
        client.open("/healthz", method=f"INVENTED{number}")
    assert "INVENTED" not in client.get("/metrics").get_data(as_text=True)


def test_with_keys_every_request_needs_one_of_enough_role(make_app: Callable[..., Flask], store: Store) -> None:
    secrets = {role: store.keys.create(role, role)[1] for role in ("read", "ingest", "admin")}
    client = make_app(cache={"enabled": False}).test_client()

    def status(path: str, role: str | None, **more: Any) -> int:
        headers = {"Authorization": f"Bearer {secrets[role]}"} if role else {}
        return client.open(path, headers=headers, environ_base={"REMOTE_ADDR": "192.0.2.7"}, **more).status_code

    assert status("/v1/videos", None) == 401
    assert status("/", None) == 401 and status("/metrics", None) == 401 and status("/openapi.json", None) == 401
    assert status("/healthz", None) == status("/readyz", None) == 200
    assert [status("/v1/videos", role) for role in secrets] == [200, 200, 200]
    events = {"method": "POST", "json": {"events": [{}]}}
    assert [status("/v1/events", role, **events) for role in secrets] == [403, 202, 202]
    hide = {"method": "POST"}
    assert [status("/v1/videos/space-1/hide", role, **hide) for role in secrets] == [403, 403, 200]
    assert client.get("/v1/videos", headers={"Authorization": "Bearer wn_wrong"}).status_code == 401


def test_metrics_count_lists_events_and_errors(client: FlaskClient) -> None:
    client.get("/v1/users/u0/recommendations")
    client.get("/v1/videos/nothing")
    text = client.get("/metrics").get_data(as_text=True)
    assert re.search(r'watchnext_recommendations_total\{cache="off",degraded="false",fallback="none"\} [1-9]', text)
    assert re.search(
        r'watchnext_http_request_seconds_count\{method="GET",route="/v1/videos/<path:video_id>",status="404"\}', text
    )
    assert "watchnext_stage_seconds_bucket" in text


def test_the_description_is_valid_and_the_answers_are_as_described(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    validate(document)
    asked = {
        "/v1/users/{user_id}/recommendations": "/v1/users/u0/recommendations",
        "/v1/videos/{video_id}/similar": "/v1/videos/drama-1/similar",
        "/v1/why": "/v1/why?user_id=u0&video_id=drama-9",
        "/v1/videos": "/v1/videos",
        "/v1/videos/{video_id}": "/v1/videos/drama-1",
    }
    for path, url in asked.items():
        operation = document["paths"][path]["get"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": document["components"]}).validate(client.get(url).json)
    problem = {"$ref": "#/components/schemas/ProblemOut", "components": document["components"]}
    Draft202012Validator(problem).validate(client.get("/v1/videos/nothing").get_json(force=True))


def test_every_route_under_v1_is_described(client: FlaskClient) -> None:
    described = set(client.get("/openapi.json").json["paths"])
    routes = {re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule) for rule in client.application.url_map.iter_rules()}
    assert {route for route in routes if route.startswith("/v1")} == described


def test_what_is_broken_off_or_too_long_is_not_taken_for_a_whole(client: FlaskClient) -> None:
    def post(body: bytes, length: int | None) -> TestResponse:
        # As the server has it: a body ends where its bytes do.
        given: dict[str, object] = {"wsgi.input_terminated": True, "wsgi.input": io.BytesIO(body)}
        if length is not None:
            given["CONTENT_LENGTH"] = str(length)
        path = "/v1/users/u0/recommendations"
        return client.post(path, content_type="application/json", environ_overrides=given)

    whole = b'{"limit": 3}'
    assert post(whole, len(whole)).status_code == post(whole, None).status_code == 200
    broken = post(whole, 50)
    assert (broken.status_code, broken.json["code"]) == (400, "incomplete_body") and "12 of 50" in broken.json["detail"]
    long = post(whole + b" " * 2_000_000, None)
    assert (long.status_code, long.json["code"]) == (413, "body_too_large")


def test_an_id_that_begins_with_a_slash_is_another_one(client: FlaskClient) -> None:
    asked = client.get("/v1/users/%2Fu0/recommendations")
    assert (asked.status_code, asked.json["user_id"], asked.json["fallback"]) == (200, "/u0", "cold_start")
    erased = client.delete("/v1/users/%2Fu0")
    assert (erased.status_code, erased.json["user_id"]) == (200, "/u0")
    assert client.get("/v1/users/u0/history").json["items"], "nobody else is erased"
    assert client.get("/v1//users/u0/history").status_code == 404, "nobody is sent to another address"


def test_a_path_that_is_no_utf_8_is_refused(client: FlaskClient) -> None:
    for path in ("/v1/users/\xff/recommendations", "/v1/users/\xed\xa0\x80/history"):
        # As the server has it: each byte is a character.
        refused = client.get("/", environ_overrides={"PATH_INFO": path})
        assert (refused.status_code, refused.json["code"]) == (422, "invalid_request"), path


def test_a_deadline_that_is_none_is_refused_however_quick_the_list_would_be(make_app: Callable[..., Flask]) -> None:
    client = make_app(exposures={"share": 0}).test_client()
    path = "/v1/users/u1/recommendations?limit=7"
    assert [client.get(path).json["cache"] for _ in range(2)][-1] == "hit"
    assert client.get(path, headers={"X-Deadline-Ms": "abc"}).status_code == 422
