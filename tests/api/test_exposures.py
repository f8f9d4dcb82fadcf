"""What was shown is kept, with propensities and with what the ranker saw, and no request waits or fails for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from api.service import Service
from data.store import Store
from recommender.engine import FEATURES


@contextmanager
def opened(make_app: Callable[..., Flask], **settings: Any) -> Iterator[tuple[FlaskClient, Service]]:
    app = make_app(**{"cache": {"enabled": False}} | settings)
    with app.test_client() as client:
        yield client, app.extensions["watchnext"]


def ask(client: FlaskClient, user: str = "u0", request_id: str = "r1", **query: Any) -> dict[str, Any]:
    headers = {"X-Request-ID": request_id}
    response = client.get(f"/v1/users/{user}/recommendations", query_string=query, headers=headers)
    assert response.status_code == 200
    found: dict[str, Any] = response.json
    return found


def kept(service: Service, **wanted: Any) -> list[dict[str, Any]]:
    service.exposures.flush()
    return list(service.store.exposures.newest(**wanted))


def test_a_list_is_kept_as_it_was_shown(make_app: Callable[..., Flask]) -> None:
    policy = {"exploration": {"epsilon": 0.5, "place": 3, "pool": 4}}
    with opened(make_app, recommender={"policy": policy}) as (client, service):
        answer = ask(client, limit=5, surface="home", country="DE")
        (exposure,) = kept(service)
    asked = ("request_id", "user_id", "surface", "country", "cache", "first_rank")
    assert [exposure[name] for name in asked] == ["r1", "u0", "home", "DE", "off", 1]
    assert exposure["release"] == answer["release"]["id"]
    for item, propensity, shown in zip(answer["items"], answer["propensity"], exposure["items"], strict=True):
        for name in ("video_id", "rank", "sources"):
            assert shown[name] == item[name]
        assert shown["score"] == pytest.approx(item["score"], abs=1e-6)
        assert shown["propensity"] == pytest.approx(propensity, abs=1e-6)
    assert exposure["items"][2]["propensity"] < 1
    assert (exposure["items"][2]["rule"] == "explored") == (answer["propensity"][2] < 0.5)


def test_the_features_are_those_that_the_ranker_saw(make_app: Callable[..., Flask], redis_server: str) -> None:
    client_of_cache = redis.Redis.from_url(redis_server)
    client_of_cache.flushall()
    client_of_cache.close()
    with opened(make_app, redis_url=redis_server, cache={}) as (client, service):
        first, second = ask(client, limit=5), ask(client, limit=5)
        assert (first["cache"], second["cache"]) == ("miss", "hit")
        from_cache, computed = kept(service)
        engine, store = service.current_engine(), service.store
        profile = engine.profile(store.events.history("u0"))
    for place, shown in enumerate(computed["items"]):
        column = engine.column_of[shown["video_id"]]
        features = shown["features"]
        assert set(features) <= set(FEATURES)
        assert features["history_length"] == len(profile.liked)
        assert features["popularity.all_time"] == pytest.approx(
            np.log1p(engine.release.popularity.world[0, column]), rel=1e-3
        )
        assert features == from_cache["items"][place]["features"], "also where the list came from the cache"


def test_a_later_page_is_kept_with_its_places_and_without_features(make_app: Callable[..., Flask]) -> None:
    with opened(make_app) as (client, service):
        first = ask(client, limit=4)
        ask(client, request_id="r2", limit=4, cursor=first["cursor"])
        second_page, first_page = kept(service)
    assert [item["rank"] for item in second_page["items"]] == [5, 6, 7, 8]
    assert second_page["items"][0]["features"] is None and first_page["items"][0]["features"] is not None


def test_what_is_asked_for_another_moment_is_a_question_and_not_shown(make_app: Callable[..., Flask]) -> None:
    with opened(make_app) as (client, service):
        body = {"context": {"now": "2030-01-01T00:00:00Z"}}
        assert client.post("/v1/users/u0/recommendations", json=body).status_code == 200
        assert kept(service) == []


def test_of_a_share_of_the_viewers_all_lists_are_kept(make_app: Callable[..., Flask]) -> None:
    with opened(make_app, exposures={"share": 0.3, "per_second": 1_000}) as (client, service):
        for user in range(100):
            ask(client, f"viewer-{user}", limit=1)
            ask(client, f"viewer-{user}", limit=1)
        users = [exposure["user_id"] for exposure in kept(service, limit=1_000)]
    assert 15 <= len(set(users)) <= 45
    assert len(users) == 2 * len(set(users))


def test_what_comes_too_fast_is_dropped_and_counted(make_app: Callable[..., Flask]) -> None:
    with opened(make_app, exposures={"per_second": 0.001}) as (client, service):
        before = dropped(client)
        for _ in range(3):
            ask(client)
        assert len(kept(service)) == 1 and dropped(client) - before == 2


def test_a_database_that_cannot_be_written_costs_exposures_and_no_request(
    make_app: Callable[..., Flask], store: Store
) -> None:
    with store.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE exposures"))
    with opened(make_app) as (client, service):
        before = dropped(client)
        assert len(ask(client)["items"]) == 20
        service.exposures.flush()
        assert dropped(client) - before == 1


def test_old_ones_are_forgotten(make_app: Callable[..., Flask]) -> None:
    with opened(make_app, exposures={"keep_days": 1e-9}) as (client, service):
        ask(client)
        assert kept(service) == []


def test_the_storefront_shows_lists_under_the_names_that_its_events_give_back(make_app: Callable[..., Flask]) -> None:
    with opened(make_app) as (client, service):
        page = client.get("/?viewer=u0", headers={"X-Request-ID": "page"})
        assert page.status_code == 200
        names = {exposure["request_id"] for exposure in kept(service)}
    assert "page.for_you" in names and all(name.startswith("page.") for name in names)
    assert "list=page.for_you" in page.text


def dropped(client: FlaskClient) -> float:
    text = client.get("/metrics").text
    lines = [line for line in text.splitlines() if line.startswith('watchnext_exposures_total{outcome="dropped"}')]
    return float(lines[0].split()[-1]) if lines else 0.0
