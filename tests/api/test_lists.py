"""The lists beside the main one: a home page, what comes next after a video, and many viewers' lists in one call."""

import threading
import time
from collections import Counter
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from api.app import create_app
from api.batching import CHUNK, GIVE_WAY_S
from api.service import Service
from api.settings import load_settings
from data.home import Home
from data.schema import Event, Video
from data.store import Catalogue, EventLog, Store
from recommender.refresh import refresh
from tests.api.conftest import PER_GENRE, fill
from tests.recommender import small_world


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """A client of a world that no test changes."""
    home = Home.at(tmp_path_factory.mktemp("lists"))
    store = Store.open(home.database_url)
    fill(store)
    refresh(store, home)
    store.close()
    return create_app(load_settings(home=home.root, cache={"enabled": False})).test_client()


def ids(row: dict[str, Any]) -> list[str]:
    return [item["video_id"] for item in row["items"]]


def home_of(client: FlaskClient, user: str = "u0", **query: object) -> dict[str, Any]:
    response = client.get(f"/v1/users/{user}/home", query_string={"limit": 6} | query)
    assert response.status_code == 200, response.json
    page: dict[str, Any] = response.json
    return page


def row_of(page: dict[str, Any], code: str) -> dict[str, Any]:
    return next(row for row in page["rows"] if row["code"] == code)


def did(
    store: Store, user: str, video: str, kind: str = "complete", value: float | None = None, at: float = 1.75e9
) -> None:
    event = Event(
        event_id=f"{user}-{video}-{kind}", user_id=user, video_id=video, type=kind, value=value, occurred_at=at
    )
    assert store.events.add([event]) == ["accepted"]


def refusal(response: Any) -> tuple[int, str, str | None]:
    told = response.get_json(force=True)
    return response.status_code, told["code"], told.get("field")


def as_described(client: FlaskClient, path: str, method: str, answer: dict[str, Any]) -> None:
    document = client.get("/openapi.json").json
    schema = document["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": document["components"]}).validate(answer)


# ---- The home page -----------------------------------------------------------------------------------------


def test_a_known_viewer_has_rows_of_the_own_taste_each_with_its_reason(reader: FlaskClient) -> None:
    page = home_of(reader, "u0", country="DE")
    assert page["user_id"] == "u0" and (page["degraded"], page["warnings"]) == (False, [])
    first, because = page["rows"][0], row_of(page, "because_you_watched")
    assert (first["code"], first["title"]) == ("for_you", "For you")
    assert all(name.startswith("comedy") for name in ids(first))
    assert because["title"] == f"Because you watched {because['video_id'].title().replace('-', ' ')}"
    assert (
        row_of(page, "trending_in_label")["label"] and row_of(page, "trending_in_country")["title"] == "Trending in DE"
    )
    watched = {f"comedy-{number}" for number in range(8)}
    assert all(not watched & set(ids(row)) for row in page["rows"])
    as_described(reader, "/v1/users/{user_id}/home", "get", page)


@pytest.mark.parametrize("user", ["u0", "u1", "nobody", "späti ☕", '" OR 1=1'])
@pytest.mark.parametrize("rows", [1, 4, 20])
def test_no_video_stands_twice_and_there_are_no_more_rows_or_videos_than_asked(
    reader: FlaskClient, user: str, rows: int
) -> None:
    page = home_of(reader, user, rows=rows, limit=5)
    shown = Counter(name for row in page["rows"] for name in ids(row))
    assert 1 <= len(page["rows"]) <= rows and set(shown.values()) == {1}
    assert all(3 <= len(row["items"]) <= 5 for row in page["rows"])
    assert all([item["rank"] for item in row["items"]] == list(range(1, len(row["items"]) + 1)) for row in page["rows"])
    assert len({row["id"] for row in page["rows"]}) == len(page["rows"])


def test_an_unknown_viewer_has_a_good_page_too(reader: FlaskClient) -> None:
    page = home_of(reader, "nobody")
    assert page["rows"][0]["title"] == "Popular right now" and len(page["rows"]) >= 4
    assert {row["label"] for row in page["rows"]} > {"comedy", "drama", "space"}
    assert not any(row["video_id"] for row in page["rows"])


def test_what_was_left_half_way_and_next_episodes_stand_first(client: FlaskClient, store: Store) -> None:
    for number in (1, 2):
        store.catalogue.upsert([Video(id=f"space-{number}", title=f"Space {number}", series="trek", episode=number)])
    did(store, "anna", "drama-3", "watch", 0.4)
    did(store, "anna", "space-1")
    row = home_of(client, "anna")["rows"][0]
    assert (row["code"], row["title"]) == ("continue_watching", "Continue watching")
    assert set(ids(row)) == {"drama-3", "space-2"}
    alone = client.get("/v1/users/anna/recommendations?limit=100").json
    others = home_of(client, "anna", limit=50)["rows"][1:]
    assert "space-2" in ids(alone) and not any({"drama-3", "space-2"} & set(ids(row)) for row in others)


def test_what_is_new_and_fits_has_a_row(store: Store, home: Home) -> None:
    small_world.fill(store, home)
    refresh(store, home)
    for n in range(4):
        small_world.add_encoded(store, home, f"late-{n}", like=f"space-{n}", published_at=time.time() - 60)
    settings = {"cache": {"enabled": False}, "recommender": {"novelty": {"below_viewers": 1}}}
    client = create_app(load_settings(home=home.root, **settings)).test_client()
    row = row_of(home_of(client, "space-viewer-0", limit=4, rows=20), "new_for_you")
    assert row["title"] == "New for you" and len(row["items"]) >= 3
    assert all(name.startswith("late") for name in ids(row))
    assert all(row["code"] != "new_for_you" for row in home_of(client, "nobody", limit=4)["rows"])


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        ({"hidden": True}, {}),
        ({"available_until": 1_000}, {}),
        ({"regions": ["US"]}, {"country": "DE"}),
        ({"rating": 18}, {"max_rating": 12}),
        ({"labels": ["horror"]}, {"not_labels": "horror"}),
        ({}, {"exclude": "comedy-9"}),
    ],
)
@pytest.mark.parametrize("user", ["u0", "nobody"])
def test_what_may_not_be_shown_stands_in_no_row(
    client: FlaskClient, store: Store, user: str, fields: dict[str, Any], query: dict[str, Any]
) -> None:
    assert any("comedy-9" in ids(row) for row in home_of(client, user, rows=20, limit=15)["rows"])
    if "hidden" in fields:
        store.catalogue.set_hidden("comedy-9", True)
    elif fields:
        store.catalogue.upsert([Video(**{"id": "comedy-9", "title": "C", "labels": ["comedy"]} | fields)])
    did(store, user, "comedy-9", "watch", 0.4)
    page = home_of(client, user, rows=20, limit=15, **query)
    assert len(page["rows"]) >= 2 and not any("comedy-9" in ids(row) for row in page["rows"])


def test_events_about_a_row_name_it_and_what_was_shown_is_kept(client: FlaskClient, store: Store) -> None:
    page = client.get("/v1/users/u0/home?limit=5&surface=tv", headers={"X-Request-ID": "abc"}).json
    assert page["request_id"] == "abc" and page["rows"][0]["request_id"] == "abc.for_you"
    client.application.extensions["watchnext"].exposures.flush()
    kept = {row["request_id"]: row["surface"] for row in store.exposures.newest(20)}
    assert kept["abc.for_you"] == "tv"


def test_a_row_that_fails_costs_itself_and_is_named(reader: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no neighbours")

    monkeypatch.setattr(Service, "similar", fails)
    page = home_of(reader, "u0")
    assert page["degraded"] and "because_you_watched could not be asked for" in page["warnings"]
    assert {row["code"] for row in page["rows"]} >= {"for_you", "popular"}
    monkeypatch.setattr(Service, "recommend", fails)
    page = home_of(reader, "u0")
    assert page["rows"] == [] and page["degraded"]


def test_without_the_database_there_is_a_page_still(reader: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no database")

    monkeypatch.setattr(EventLog, "history", fails)
    monkeypatch.setattr(Store, "state_for", fails)
    monkeypatch.setattr(Catalogue, "version", fails)
    page = home_of(reader, "u0")
    assert page["degraded"] and page["rows"][0]["title"] == "Popular right now"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("rows=0", "rows"),
        ("rows=21", "rows"),
        ("limit=51", "limit"),
        ("limit=x", "limit"),
        ("country=DEU", "country"),
        ("max_rating=22", "max_rating"),
        ("exclude=", "exclude.0"),
        ("rows=1&rows=2", "rows"),
        ("labels=a", "labels"),
    ],
)
def test_a_bad_question_for_a_page_is_told_which_part_is_wrong(reader: FlaskClient, query: str, field: str) -> None:
    assert refusal(reader.get(f"/v1/users/u0/home?{query}")) == (422, "invalid_request", field)


# ---- What comes next ---------------------------------------------------------------------------------------


def test_next_is_the_next_episode_then_what_fits_the_video_and_the_viewer(client: FlaskClient, store: Store) -> None:
    store.catalogue.upsert(
        Video(id=f"drama-{n}", title=f"Drama {n}", labels=["drama"], series="saga", episode=n) for n in (1, 2, 3)
    )
    answer = client.get("/v1/videos/drama-1/next?limit=5").json
    assert ids(answer)[0] == "drama-2" and answer["items"][0]["sources"] == ["next_episode"]
    assert len(answer["items"]) == 5 and answer["user_id"] is None
    as_described(client, "/v1/videos/{video_id}/next", "get", answer)
    did(store, "anna", "drama-2")
    assert ids(client.get("/v1/videos/drama-1/next?user_id=anna").json)[0] == "drama-3"
    unknown = client.get("/v1/videos/drama-1/next?user_id=nobody")
    assert ids(unknown.json)[0] == "drama-2"
    store.catalogue.set_hidden("drama-2", True)
    assert "drama-2" not in ids(client.get("/v1/videos/drama-1/next?limit=100").json)


def test_next_keeps_to_what_the_request_wants(reader: FlaskClient) -> None:
    def after(**query: object) -> list[str]:
        return ids(reader.get("/v1/videos/drama-4/next", query_string={"limit": 100} | query).json)

    assert "drama-5" in after() and "drama-4" not in after()
    assert "drama-5" not in after(exclude="drama-5") and "drama-0" not in after(max_rating=12)
    assert {name.split("-")[0] for name in after(labels="space")} == {"space"}
    assert "drama" not in {name.split("-")[0] for name in after(not_labels="drama")}
    watched = {f"comedy-{number}" for number in range(8)}
    assert not watched & set(after(user_id="u0")) and len(after(user_id="u0")) == 3 * PER_GENRE - 1 - len(watched)


def test_similar_leaves_out_unwanted_labels(reader: FlaskClient) -> None:
    answer = reader.get("/v1/videos/drama-4/similar?limit=100&not_labels=drama").json
    assert answer["items"] and not any(name.startswith("drama") for name in ids(answer))


def test_next_of_an_unknown_video_and_bad_questions_are_told(reader: FlaskClient) -> None:
    assert refusal(reader.get("/v1/videos/nothing/next")) == (404, "unknown_video", "video_id")
    assert refusal(reader.get("/v1/videos/drama-1/next?limit=0")) == (422, "invalid_request", "limit")
    assert refusal(reader.get("/v1/videos/drama-1/next?user_id=")) == (422, "invalid_request", "user_id")
    assert refusal(reader.get("/v1/videos/drama-1/next?by=visual")) == (422, "invalid_request", "by")
    assert refusal(reader.get(f"/v1/videos/{'x' * 201}/next")) == (422, "invalid_request", "video_id")


def test_next_is_not_personal_but_there_while_histories_cannot_be_read(
    reader: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no database")

    monkeypatch.setattr(EventLog, "history", fails)
    answer = reader.get("/v1/videos/drama-1/next?user_id=u0").json
    assert answer["items"] and "not personalised" in answer["warnings"][0]


# ---- Many viewers at once ----------------------------------------------------------------------------------


def batch(client: FlaskClient, users: list[Any], **asked: object) -> list[dict[str, Any]]:
    response = client.post("/v1/recommendations:batch", json={"users": users, **asked})
    assert response.status_code == 200, response.json
    results: list[dict[str, Any]] = response.json["results"]
    assert len(results) == len(users)
    return results


def test_a_batch_gives_everyone_the_list_of_a_single_request(reader: FlaskClient) -> None:
    users = [f"u{number}" for number in range(30)] + ["nobody", "u3"]
    results = batch(reader, [{"user_id": user} for user in users], limit=7)
    assert [result["user_id"] for result in results] == users
    for user, result in zip(users, results, strict=True):
        alone = reader.get(f"/v1/users/{user}/recommendations?limit=7").json
        assert (ids(result), result["fallback"]) == (ids(alone), alone["fallback"]) and result["error"] is None
    as_described(
        reader,
        "/v1/recommendations:batch",
        "post",
        reader.post("/v1/recommendations:batch", json={"users": [{"user_id": "u1"}, {}]}).json,
    )


def test_bad_rows_of_a_batch_cost_only_themselves(reader: FlaskClient) -> None:
    bad = [
        {},
        {"user_id": ""},
        {"user_id": 7},
        "u1",
        None,
        {"user_id": "u1", "limit": 3},
        {"user_id": "u1", "country": "X"},
    ]
    results = batch(reader, [{"user_id": "u0"}, *bad, {"user_id": "u2"}], limit=3)
    assert [len(result["items"]) for result in results] == [3, *[0] * len(bad), 3]
    assert all(result["error"]["code"] == "invalid_request" and result["error"]["detail"] for result in results[1:-1])
    assert [result["error"]["field"] for result in results[-3:-1]] == ["limit", "country"]
    known = "user_id, country, max_rating, exclude"
    assert results[-3]["error"]["detail"] == f"limit: is not known here; known are {known}"


def test_what_a_batch_says_of_all_holds_for_all_and_a_row_may_say_otherwise(client: FlaskClient, store: Store) -> None:
    store.catalogue.upsert([Video(id="comedy-9", title="C", labels=["comedy"], regions=["DE"], rating=16)])
    users = [
        {"user_id": "u0"},
        {"user_id": "u0", "country": "DE"},
        {"user_id": "u0", "country": "DE", "max_rating": 12},
    ]
    users.append({"user_id": "u0", "country": "DE", "exclude": ["comedy-9"]})
    results = batch(client, users, country="US", labels=["comedy"], exclude=["comedy-10"], limit=50)
    assert ["comedy-9" in ids(result) for result in results] == [False, True, False, False]
    for result in results:
        assert ids(result) and "comedy-10" not in ids(result) and {n.split("-")[0] for n in ids(result)} == {"comedy"}
    assert "reason" not in batch(client, users[:1], include=[])[0]["items"][0]


def test_the_lists_of_a_batch_are_kept_like_others(client: FlaskClient, store: Store) -> None:
    results = batch(client, [{"user_id": "u0"}, {"user_id": "u1"}], surface="email")
    client.application.extensions["watchnext"].exposures.flush()
    kept = {row["request_id"]: (row["user_id"], row["surface"]) for row in store.exposures.newest(10)}
    assert {result["request_id"]: (result["user_id"], "email") for result in results} == kept


def test_histories_of_a_batch_are_read_together(reader: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    together = EventLog.numbered_histories

    def counted(self: EventLog, user_ids: Any, *more: Any) -> Any:
        asked.append(len(user_ids))
        return together(self, user_ids, *more)

    monkeypatch.setattr(EventLog, "numbered_histories", counted)
    batch(reader, [{"user_id": f"u{number}"} for number in range(CHUNK + 5)], limit=1)
    assert asked == [CHUNK, 5]


def test_a_takedown_counts_in_the_middle_of_a_batch(client: FlaskClient, store: Store) -> None:
    store.catalogue.set_hidden("comedy-8", True)
    assert all("comedy-8" not in ids(result) for result in batch(client, [{"user_id": "u0"}] * 3, limit=50))


def test_while_the_database_is_away_a_batch_has_lists_for_strangers(
    reader: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no database")

    monkeypatch.setattr(EventLog, "numbered_histories", fails)
    results = batch(reader, [{"user_id": "u0"}, {"user_id": "u1"}], limit=4)
    assert all(len(result["items"]) == 4 and result["degraded"] for result in results)


def test_one_batch_at_a_time_and_requests_go_first(reader: FlaskClient) -> None:
    service: Service = reader.application.extensions["watchnext"]
    answers: list[int] = []

    def ask_for_many() -> None:
        with reader.application.test_client() as other:
            users = [{"user_id": f"u{number % 30}"} for number in range(200)]
            answers.append(other.post("/v1/recommendations:batch", json={"users": users}).status_code)

    with service.batches.others_first():
        waiting = threading.Thread(target=ask_for_many)
        waiting.start()
        while not service.batches.is_busy:
            pass
        told = reader.post("/v1/recommendations:batch", json={"users": [{"user_id": "u1"}]})
        assert refusal(told)[:2] == (429, "batch_busy") and told.headers["Retry-After"] == "1"
        assert reader.get("/v1/users/u1/recommendations").status_code == 200
    waiting.join()
    assert answers == [200]


def test_a_batch_gives_way_after_every_list_as_long_as_somebody_waits(reader: FlaskClient) -> None:
    service: Service = reader.application.extensions["watchnext"]
    users = [{"user_id": f"u{number}"} for number in range(20)]
    with service.batches.others_first():
        started = time.perf_counter()
        batch(reader, users, limit=1)
        assert time.perf_counter() - started >= len(users) * GIVE_WAY_S


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "users"),
        ({"users": []}, "users"),
        ({"users": [{"user_id": "u"}] * 1_001}, "users"),
        ({"users": {"user_id": "u"}}, "users"),
        ({"users": [{"user_id": "u"}], "limit": 0}, "limit"),
        ({"users": [{"user_id": "u"}], "include": ["trace"]}, "include.0"),
        ({"users": [{"user_id": "u"}], "cursor": "x"}, "cursor"),
    ],
)
def test_a_bad_batch_is_told_which_part_is_wrong(reader: FlaskClient, body: dict[str, Any], field: str) -> None:
    assert refusal(reader.post("/v1/recommendations:batch", json=body)) == (422, "invalid_request", field)


@examples(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    users=st.lists(
        st.one_of(
            st.text(max_size=5), st.none(), st.integers(), st.fixed_dictionaries({"user_id": st.text(max_size=5)})
        ),
        min_size=1,
        max_size=5,
    )
)
def test_every_row_of_a_batch_has_a_list_or_an_error(reader: FlaskClient, users: list[Any]) -> None:
    for result in batch(reader, users, limit=1):
        assert (len(result["items"]) == 1) == (result["error"] is None)
