"""The policy over HTTP: what editors, viewers' patience and chance do to a list, from the next request on."""

import time
from collections.abc import Callable
from secrets import token_hex
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from api.settings import load_settings
from data.home import Home
from data.schema import Rule, RuleKind, RuleRecord
from data.store import Store
from recommender.refresh import refresh
from recommender.settings import RecommenderSettings
from tests.api.conftest import GENRES, PER_GENRE, fill

#: What u0 has not watched.
LEFT = len(GENRES) * PER_GENRE - 8


@pytest.fixture
def world(home: Home, store: Store) -> Home:
    """Without a ranker, for which there is nothing to learn."""
    fill(store)
    refresh(store, home, RecommenderSettings.model_validate({"ranker": {"enabled": False}}))
    return home


@pytest.fixture(params=["cached", "computed"])
def make_client(request: pytest.FixtureRequest, make_app: Callable[..., Flask]) -> Callable[..., FlaskClient]:
    """Makes a client whose lists come out of the cache from the second request on, or never; keyword arguments are
    settings of the policy."""
    if request.param == "cached":
        cache: dict[str, Any] = {"redis_url": request.getfixturevalue("redis_server")}
    else:
        cache = {"cache": {"enabled": False}}

    def make(**policy: object) -> FlaskClient:
        client = make_app(recommender={"policy": policy}, **cache).test_client()
        states = [ask(client)["cache"] for _ in range(2)]
        assert states == (["miss", "hit"] if request.param == "cached" else ["off", "off"])
        return client

    return make


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["video_id"] for item in answer["items"]]


def ask(client: FlaskClient, user: str = "u0", **asked: object) -> dict[str, Any]:
    response = client.post(f"/v1/users/{user}/recommendations", json=asked)
    assert response.status_code == 200, response.json
    found: dict[str, Any] = response.json
    assert found["warnings"] == []
    return found


def add(store: Store, **rule: Any) -> RuleRecord:
    return store.rules.add(Rule.model_validate(rule))


def send(client: FlaskClient, video: str, kind: str, count: int = 1, ago_s: float = 60.0, user: str = "u0") -> None:
    events = [
        {"event_id": token_hex(8), "user_id": user, "video_id": video, "type": kind, "occurred_at": time.time() - ago_s}
        for _ in range(count)
    ]
    assert client.post("/v1/events", json={"events": events}).json["accepted"] == count


# ---- Rules ---------------------------------------------------------------------------------------------------


def test_a_rule_counts_with_the_next_request_and_ends_with_it(
    make_client: Callable[..., FlaskClient], store: Store
) -> None:
    client = make_client()
    before = ids(ask(client, limit=5))
    block = add(store, kind="block", video=before[0])
    assert ids(ask(client, limit=4)) == before[1:]
    assert before[0] not in ids(ask(client, limit=100))
    pin = add(store, kind="pin", video="drama-5", position=2)
    assert ids(ask(client, limit=4)) == [before[1], "drama-5", *before[2:4]]
    boost = add(store, kind="boost", label="space", factor=1_000)
    boosted = ask(client, limit=6)
    assert {item["labels"][0] for place, item in enumerate(boosted["items"]) if place != 1} == {"space"}
    for rule in (block, pin, boost):
        store.rules.remove(rule.id)
    assert ids(ask(client, limit=5)) == before


def test_a_pin_shows_nothing_that_the_viewer_has_watched(make_client: Callable[..., FlaskClient], store: Store) -> None:
    client = make_client()
    add(store, kind="pin", video="comedy-0", position=1)
    assert "comedy-0" not in ids(ask(client, limit=100))
    assert ids(ask(client, user="u1", limit=5))[0] == "comedy-0"


def test_surface_and_country_say_whom_a_rule_is_for(make_client: Callable[..., FlaskClient], store: Store) -> None:
    client = make_client()
    add(store, kind="pin", video="drama-5", position=1, surface="home")
    add(store, kind="pin", video="space-5", position=2, country="FR")
    add(store, kind="block", video="space-6", country="FR")

    def first(**asked: object) -> dict[int, bool]:
        found = ids(ask(client, limit=2, **asked))
        return {1: found[0] == "drama-5", 2: found[1] == "space-5"}

    assert first() == first(surface="player") == {1: False, 2: False}
    assert first(surface="home") == {1: True, 2: False}
    assert first(country="FR") == first(context={"country": "FR"}) == {1: False, 2: True}
    assert first(surface="home", country="FR") == {1: True, 2: True}
    assert first(surface="home", country="US") == {1: True, 2: False}
    there = {country: "space-6" in ids(ask(client, limit=100, country=country)) for country in ("FR", "US", None)}
    assert there == {"FR": False, "US": True, None: False}, "who is in an unknown country may be in this one"


def test_rules_hold_at_the_time_that_is_asked_for(make_client: Callable[..., FlaskClient], store: Store) -> None:
    client, tomorrow = make_client(), time.time() + 86_400
    add(store, kind="pin", video="drama-5", position=1, **{"from": tomorrow, "until": tomorrow + 60})
    first = [ids(ask(client, limit=1, context={"now": tomorrow + after}))[0] for after in (-1, 0, 60)]
    assert first[1] == "drama-5" not in (first[0], first[2], ids(ask(client, limit=1))[0])


# ---- Fatigue -------------------------------------------------------------------------------------------------


def test_what_is_shown_in_vain_comes_later_then_not_at_all_until_it_is_clicked(
    make_client: Callable[..., FlaskClient],
) -> None:
    client = make_client(fatigue={"factor": 0.9}, diversity={"method": "none"})
    places, limit = [], LEFT - 5
    tired = ids(ask(client, limit=1))[0]
    score = ask(client, limit=1)["items"][0]["score"]
    others = ids(ask(client, user="u3", limit=limit))
    for count in (4, 1, 4):
        send(client, tired, "impression", count)
        answer = ask(client, limit=limit)
        places.append(ids(answer).index(tired))
        scores = {item["video_id"]: item["score"] for item in answer["items"]}
        score_now = scores[tired]
    assert places[0] == 0 < places[1] < places[2]
    assert score_now == pytest.approx(score * 0.9**5, rel=1e-3)
    send(client, tired, "impression")
    assert tired not in ids(ask(client, limit=limit))
    assert ids(ask(client, user="u3", limit=limit)) == others, "nobody else is tired of it"
    send(client, tired, "play")
    assert ids(ask(client, limit=limit)).index(tired) < places[1]


def test_showings_are_forgotten(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client()
    first = ids(ask(client, limit=1))
    send(client, first[0], "impression", 20, ago_s=15 * 86_400)
    assert ids(ask(client, limit=1)) == first
    send(client, first[0], "impression", 20, ago_s=13 * 86_400)
    assert ids(ask(client, limit=1)) != first


# ---- Chance --------------------------------------------------------------------------------------------------


def test_propensities_are_those_of_the_draw_and_a_seed_draws_the_same(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(exploration={"epsilon": 0.3, "place": 3, "pool": 4})
    answers = [ask(client, limit=5, seed=seed) for seed in range(60)]
    usual = max({tuple(ids(answer)) for answer in answers}, key=[tuple(ids(each)) for each in answers].count)
    drawn = set()
    for seed, answer in enumerate(answers):
        listed, propensity = ids(answer), answer["propensity"]
        assert [*listed[:2], *listed[3:]] == [*usual[:2], *usual[3:]]
        assert propensity == [1, 1, 0.7 if listed[2] == usual[2] else 0.075, 1, 1]
        if listed[2] != usual[2]:
            drawn.add(listed[2])
        again = ask(client, limit=5, seed=seed)
        assert (ids(again), again["propensity"]) == (listed, propensity)
    assert len(drawn) == 4 and not drawn & set(usual)
    assert 8 <= sum(answer["propensity"][2] < 0.1 for answer in answers) <= 28


def test_without_a_seed_a_list_that_is_asked_for_again_is_the_same(
    make_client: Callable[..., FlaskClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(exploration={"epsilon": 0.5, "place": 1})
    monkeypatch.setattr("api.answer.SEED_LASTS_S", 1e12)
    lists = {user: ids(ask(client, user=user, limit=3)) for user in (f"stranger-{number}" for number in range(20))}
    assert all(ids(ask(client, user=user, limit=3)) == listed for user, listed in lists.items())
    assert len({listed[0] for listed in lists.values()}) > 3, "but not the same for all"


# ---- Pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [5, 20])
def test_pages_never_repeat_and_never_skip_whatever_the_policy_does(
    make_client: Callable[..., FlaskClient], store: Store, limit: int
) -> None:
    client = make_client(
        exploration={"epsilon": 0.9, "place": 3},
        caps={"label": {"per_slate": limit // 2, "per_window": 2, "window": 3}},
        calibration={"strength": 0.3},
    )
    add(store, kind="pin", video="drama-5", position=1)
    add(store, kind="pin", label="space", position=4)
    add(store, kind="boost", label="space", factor=1.5)
    add(store, kind="block", label="drama", country="FR")
    add(store, kind="block", video="comedy-19")
    pages: list[str] = []
    cursor = None
    for page in range(LEFT):
        answer = ask(client, limit=limit, country="US", seed=page, **({"cursor": cursor} if cursor else {}))
        assert [item["rank"] for item in answer["items"]] == list(
            range(len(pages) + 1, len(pages) + 1 + len(ids(answer)))
        )
        pages += ids(answer)
        cursor = answer["cursor"]
        if cursor is None:
            break
    assert pages[0] == "drama-5" and len(set(pages)) == len(pages)
    eligible = {f"{genre}-{number}" for genre in GENRES for number in range(PER_GENRE)}
    assert set(pages) == eligible - {f"comedy-{place}" for place in range(8)} - {"comedy-19"}


def test_rules_and_takedowns_do_not_wait_for_the_next_look_at_releases(world: Home, store: Store) -> None:
    app = create_app(load_settings(home=world.root, server={"release_check_s": 1_000.0}, cache={"enabled": False}))
    with app.test_client() as client:
        first, second, *_ = (item["video_id"] for item in client.get("/v1/users/u0/recommendations").json["items"])
        store.catalogue.set_hidden(first, True)
        store.rules.add(Rule(kind=RuleKind.BLOCK, video=second))
        assert not {first, second} & {
            item["video_id"] for item in client.get("/v1/users/u0/recommendations").json["items"]
        }
