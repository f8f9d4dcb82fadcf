"""Requests with an `Idempotency-Key`: done once, answered alike."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from filelock import FileLock
from flask import Flask
from flask.testing import FlaskClient

from data.home import Home
from data.store import Store
from recommender.refresh import LOCK
from tests.api.test_catalogue import problem

FILM = {"videos": [{"id": "film", "title": "Film"}, {"titel": "x"}]}


def post(client: FlaskClient, body: Any, key: str = "k-1", **headers: str) -> Any:
    return client.post("/v1/videos", json=body, headers={"Idempotency-Key": key, **headers})


def test_the_same_key_gives_the_first_answer_and_does_nothing(
    client: FlaskClient, make_app: Callable[..., Flask]
) -> None:
    first = post(client, FILM)
    assert first.json["created"] == 1 and "Idempotent-Replayed" not in first.headers
    client.delete("/v1/videos/film")
    for each in (client, make_app(cache={"enabled": False}).test_client()):
        # The same in another spelling is the same.
        again = post(each, {"videos": [{"title": "Film", "id": "film"}, {"titel": "x"}]})
        assert (again.status_code, again.get_data()) == (200, first.get_data())
        assert again.headers["Idempotent-Replayed"] == "true"
    assert client.get("/v1/videos/film").status_code == 404
    assert post(client, FILM, "k-2").json["created"] == 1


def test_another_body_under_the_same_key_is_refused(client: FlaskClient) -> None:
    post(client, FILM)
    assert problem(post(client, {"videos": [{"id": "other"}]})) == (422, "idempotency_key_reused")
    assert client.get("/v1/videos/other").status_code == 404


def test_what_ends_with_a_problem_is_not_kept(client: FlaskClient, world: Home) -> None:
    assert problem(post(client, {"videos": []})) == (422, "invalid_request")
    assert post(client, FILM).json["created"] == 1
    headers = {"Idempotency-Key": "tonight"}
    with FileLock(world.releases / LOCK):
        assert problem(client.post("/v1/refresh", headers=headers)) == (409, "refresh_running")
    assert client.post("/v1/refresh", headers=headers).status_code == 202


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "ü"])
def test_a_key_that_is_none_is_refused(client: FlaskClient, key: str) -> None:
    assert problem(post(client, FILM, key)) == (422, "invalid_request")


def test_operations_and_callers_have_keys_of_their_own(make_app: Callable[..., Flask], store: Store) -> None:
    callers = [f"Bearer {store.keys.create(name, 'admin')[1]}" for name in ("ann", "bob")]
    client = make_app(cache={"enabled": False}).test_client()
    outcomes = [post(client, FILM, Authorization=caller).json for caller in callers]
    assert [outcome["created"] for outcome in outcomes] == [1, 0]
    refused = client.post("/v1/refresh", json={"x": 1}, headers={"Idempotency-Key": "k-1", "Authorization": callers[0]})
    assert problem(refused) == (422, "invalid_request")


def test_a_refresh_is_started_once_under_a_key(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "tonight"}
    first = client.post("/v1/refresh", json={"dry_run": True}, headers=headers)
    again = client.post("/v1/refresh", json={"dry_run": True}, headers=headers)
    assert (first.status_code, again.status_code, again.json) == (202, 202, first.json)
    assert again.headers["Location"] == first.headers["Location"]
    assert len(client.get("/v1/jobs").json["items"]) == 1


def test_of_requests_side_by_side_one_does_it(client: FlaskClient) -> None:
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(post(client.application.test_client(), FILM))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [answer.get_data() for answer in answers if answer.status_code == 200]
    assert len(set(done)) == 1
    assert {problem(answer) for answer in answers if answer.status_code != 200} <= {(409, "idempotency_in_progress")}
