"""What front ends get: lists that fit the viewer, pages that neither repeat nor skip, and never an error page."""

import base64
import hashlib
import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.cursors import FURTHEST
from data.home import Home
from data.schema import Rule, RuleKind, Video
from data.store import Store
from recommender.pipeline.sources.settings import SourcesSettings
from recommender.refresh import refresh
from recommender.release import Releases


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["video_id"] for item in answer["items"]]


def ask(client: FlaskClient, user: str = "u0", **query: object) -> dict[str, Any]:
    response = client.get(f"/v1/users/{user}/recommendations", query_string=query)
    assert response.status_code == 200, response.json
    found: dict[str, Any] = response.json
    return found


def post_event(client: FlaskClient, video: str, kind: str = "complete", user: str = "u0") -> None:
    event = {
        "event_id": f"{user}-{video}-{kind}",
        "user_id": user,
        "video_id": video,
        "type": kind,
        "occurred_at": 1_750_000_000,
    }
    assert client.post("/v1/events", json={"events": [event]}).json["accepted"] == 1


def test_a_viewer_gets_unwatched_videos_of_the_own_taste_first_with_reasons(client: FlaskClient) -> None:
    answer = ask(client, "u0", limit=5)
    watched = {f"comedy-{place}" for place in range(8)}
    assert all(item["labels"] == ["comedy"] for item in answer["items"])
    assert not watched & set(ids(answer))
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3, 4, 5]
    reason = answer["items"][0]["reason"]
    assert reason["code"] == "because_you_watched" and reason["video_id"] in watched
    assert reason["text"].startswith("Because you watched Comedy ")
    assert answer["items"][0]["sources"][0] == "collaborative"
    assert (answer["degraded"], answer["fallback"], answer["warnings"]) == (False, None, [])


def test_an_unknown_viewer_gets_what_is_popular_and_the_answer_says_so(client: FlaskClient) -> None:
    answer = ask(client, "stranger", limit=10)
    assert len(answer["items"]) == 10
    assert answer["fallback"] == "cold_start"
    assert answer["items"][0]["reason"]["code"] == "popular"


def test_an_unknown_viewer_gets_what_is_popular_in_country_and_label(client: FlaskClient) -> None:
    answer = ask(client, "stranger", limit=3, labels="space", country="de")
    assert all(item["labels"] == ["space"] for item in answer["items"])
    assert answer["items"][0]["reason"]["text"] == "Popular in space in DE"


@pytest.mark.parametrize("limit", [1, 7, 20])
def test_pages_never_repeat_and_never_skip(client: FlaskClient, limit: int) -> None:
    pages: list[str] = []
    cursor = None
    while True:
        answer = ask(client, limit=limit, **({"cursor": cursor} if cursor else {}))
        pages += ids(answer)
        cursor = answer["cursor"]
        assert answer["has_more"] is (cursor is not None)
        assert len(pages) <= 60, "pages end"
        if cursor is None:
            break
    assert set(pages) == set(ids(ask(client, limit=100)))
    assert len(set(pages)) == len(pages) == 60 - 8


@pytest.mark.parametrize("limit", [10, 23])  # 23: the pages come out even, and nothing but what is blocked is left
def test_pages_end_although_editors_block_some_candidates(client: FlaskClient, store: Store, limit: int) -> None:
    for number in range(8, 14):
        store.rules.add(Rule(kind=RuleKind.BLOCK, video=f"comedy-{number}"))
    seen: list[str] = []
    cursor = None
    for _ in range(10):
        answer = ask(client, limit=limit, **({"cursor": cursor} if cursor else {}))
        seen += ids(answer)
        assert answer["items"]
        if (cursor := answer["cursor"]) is None:
            break
    assert cursor is None and len(set(seen)) == len(seen) == 60 - 8 - 6


def test_a_page_after_an_event_and_a_new_release_still_continues_the_frozen_slate(
    client: FlaskClient, world: Home, store: Store
) -> None:
    first = ask(client, limit=6)
    frozen = ids(ask(client, limit=6, cursor=first["cursor"]))
    post_event(client, frozen[2])
    store.catalogue.upsert([store.catalogue.get("comedy-1").model_copy(update={"title": "new"})])  # type: ignore[union-attr]
    refresh(store, world)
    second = ask(client, limit=6, cursor=first["cursor"])
    assert second["release"]["id"] != first["release"]["id"]
    assert set(frozen) - {frozen[2]} < set(ids(second)) and not set(ids(first)) & set(ids(second))
    assert frozen[2] not in ids(second)


def test_a_cursor_serves_no_other_question_and_a_damaged_one_is_refused(client: FlaskClient) -> None:
    cursor = ask(client, limit=5)["cursor"]
    other = "y" if cursor[0] == "x" else "x"
    strange = [cursor[:8] + between + cursor[8:] for between in ("!", "=", "\n", "\0", "é")]
    damaged = [other + cursor[1:], cursor + "=", "nonsense", "", *strange]
    for query in ({"cursor": cursor, "labels": "space"}, *({"cursor": text} for text in damaged)):
        response = client.get("/v1/users/u0/recommendations", query_string=query)
        assert (response.status_code, response.json["code"]) == (400, "invalid_cursor")
    assert client.get("/v1/users/u1/recommendations", query_string={"cursor": cursor}).status_code == 400


def forged(cursor: str, *, shown: int | None = None, places: int | None = None, scores: float | None = None) -> str:
    """A cursor with other facts and the checksum that belongs to them; `places`: so many of its first candidate."""
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[4:]
    bound_to, count, shown_before = struct.unpack_from("<4sHI", raw)
    rest = [raw[start : start + 12] for start in range(10, len(raw), 12)]
    assert len(rest) == count
    if places is not None:
        rest = rest[:1] * places
    if scores is not None:
        rest = [each[:4] + struct.pack("<f", scores) + each[8:] for each in rest]
    head = struct.pack("<4sHI", bound_to, len(rest), shown_before if shown is None else shown)
    content = head + b"".join(rest)
    checksum = hashlib.blake2b(content, digest_size=4).digest()
    return base64.urlsafe_b64encode(checksum + content).decode().rstrip("=")


@pytest.mark.parametrize(
    "false",
    [
        {"shown": 4_294_967_293},
        {"shown": 2**31},
        {"shown": FURTHEST + 1},
        {"places": 2},
        {"places": 301},
        {"scores": math.nan},
        {"scores": math.inf},
    ],
)
def test_what_no_server_can_have_written_into_a_cursor_is_refused(client: FlaskClient, false: dict[str, Any]) -> None:
    cursor = ask(client, limit=5)["cursor"]
    assert forged(cursor) == cursor
    response = client.get("/v1/users/u0/recommendations", query_string={"cursor": forged(cursor, **false)})
    assert (response.status_code, response.json["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize("place", [0, 4, 8, 11])  # of the checksum, the viewer and question, and the two counts
def test_a_cursor_of_which_one_byte_is_another_is_refused(client: FlaskClient, place: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(ask(client, limit=60 - 8 - 6)["cursor"] + "=="))
    raw[place] ^= 1
    text = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    response = client.get("/v1/users/u0/recommendations", query_string={"cursor": text})
    assert (response.status_code, response.json["code"]) == (400, "invalid_cursor")
    assert "damaged" in response.json["detail"]


def test_a_page_at_the_furthest_place_of_a_list_is_the_last_one(client: FlaskClient) -> None:
    cursor = forged(ask(client, limit=5)["cursor"], shown=FURTHEST)
    answer = ask(client, limit=5, cursor=cursor)
    assert [item["rank"] for item in answer["items"]] == [FURTHEST + 1 + place for place in range(5)]
    assert (answer["has_more"], answer["cursor"]) == (False, None)


def test_a_page_continues_in_a_process_that_never_saw_the_release_of_its_cursor(
    make_app: Callable[..., Flask], world: Home, store: Store
) -> None:
    before = make_app(cache={"enabled": False}).test_client()
    cursor = ask(before, limit=10)["cursor"]
    frozen = ids(ask(before, limit=10, cursor=cursor))
    refresh(store, world)
    after = make_app(cache={"enabled": False}).test_client()
    answer = ask(after, limit=10, cursor=cursor)
    assert ids(answer) == frozen and answer["items"][0]["rank"] == 11


def test_what_is_licensed_for_some_countries_needs_one_of_them(client: FlaskClient, store: Store) -> None:
    top = ids(ask(client, limit=1))[0]
    record = store.catalogue.get(top)
    assert record is not None
    video = Video.model_validate(record.model_dump(include=set(Video.model_fields)) | {"regions": ["DE"]})
    store.catalogue.upsert([video])
    assert ids(ask(client, limit=1, country="DE")) == [top]
    for country in ({"country": "US"}, {}):
        assert top not in ids(ask(client, limit=100, **country))


def test_a_reason_does_not_name_what_was_taken_down(client: FlaskClient) -> None:
    named = ask(client, limit=1)["items"][0]["reason"]["video_id"]
    client.post(f"/v1/videos/{named}/hide")
    reason = ask(client, limit=1)["items"][0]["reason"]
    assert (reason["code"], reason["video_id"]) == ("from_your_history", None)


def test_labels_are_ored_unwanted_ones_left_out_and_excluded_videos_never_there(client: FlaskClient) -> None:
    both = ask(client, limit=100, labels=["space", "drama"])
    assert {item["labels"][0] for item in both["items"]} == {"space", "drama"}
    without = ask(client, limit=100, not_labels="space")
    assert {item["labels"][0] for item in without["items"]} == {"comedy", "drama"}
    first = ids(ask(client, limit=3))
    assert not set(first) & set(ids(ask(client, limit=100, exclude=first)))


def test_a_post_takes_context_session_history_and_weights(client: FlaskClient) -> None:
    body = {
        "limit": 5,
        "context": {"max_rating": 12},
        "history": [{"video_id": "space-3"}, {"video_id": "space-4", "type": "like", "value": None}],
    }
    answer = client.post("/v1/users/guest/recommendations", json=body).json
    assert all(item["labels"] == ["space"] for item in answer["items"])
    assert not {"space-0", "space-3"} & set(ids(answer))
    assert answer["items"][0]["reason"]["video_id"] in ("space-3", "space-4")
    nothing = dict.fromkeys(SourcesSettings.model_fields, 0)
    popular = {"weights": nothing | {"popular": 1}, "include": ["scores", "trace"]}
    weighted = client.post("/v1/users/u0/recommendations", json=popular).json
    assert {tuple(item["sources"]) for item in weighted["items"]} == {("popular",)}
    assert "reason" not in weighted["items"][0]
    assert "filters" in weighted["timings_ms"]


def test_a_watched_video_is_gone_and_the_taste_has_moved_with_the_next_request(client: FlaskClient) -> None:
    before = ids(ask(client, limit=5))
    post_event(client, before[0])
    assert before[0] not in ids(ask(client, limit=100))
    for number in (10, 11, 12):
        post_event(client, f"space-{number}", "like")
    assert ask(client, limit=1)["items"][0]["labels"] == ["space"]


def test_a_takedown_counts_with_the_next_request_on_every_path(
    make_app: Callable[..., Flask], redis_server: str
) -> None:
    cached = make_app(redis_url=redis_server).test_client()
    other_process = make_app(redis_url=redis_server).test_client()
    top = ids(ask(cached, limit=1))[0]
    cursor = ask(cached, limit=1, user="u3")["cursor"]
    next_of_u3 = ids(ask(cached, limit=2, user="u3"))[1]
    stranger = ids(ask(cached, limit=1, user="stranger"))[0]
    for video in {top, next_of_u3, stranger}:
        assert other_process.post(f"/v1/videos/{video}/hide").json["hidden"] is True
    for video, user in ((top, "u0"), (stranger, "stranger")):
        answer = ask(cached, limit=40, user=user)
        assert answer["cache"] == "hit" and video not in ids(answer)
    assert next_of_u3 not in ids(ask(cached, limit=40, user="u3", cursor=cursor))
    assert top not in ids(ask(cached, limit=100)), "nor in a list that is computed anew"
    seed = "comedy-5"
    assert top not in ids(cached.get(f"/v1/videos/{seed}/similar?limit=100").json)
    why = cached.get("/v1/why", query_string={"user_id": "u0", "video_id": top}).json
    assert (why["removed_by"], why["rank"]) == (["hidden"], None)
    assert other_process.post(f"/v1/videos/{top}/unhide").json["hidden"] is False
    assert ids(ask(cached, limit=1)) == [top]


def test_similar_says_how_it_was_found_and_an_unknown_video_is_a_problem(client: FlaskClient) -> None:
    answer = client.get("/v1/videos/drama-4/similar?limit=5&by=cowatch").json
    assert all(item["labels"] == ["drama"] and "content" not in item["sources"] for item in answer["items"])
    assert "drama-4" not in ids(answer)
    response = client.get("/v1/videos/nothing/similar")
    assert (response.status_code, response.json["code"]) == (404, "unknown_video")


def test_why_gives_numbers(client: FlaskClient) -> None:
    top = ids(ask(client, limit=2))[1]
    why = client.get("/v1/why", query_string={"user_id": "u0", "video_id": top}).json
    assert why["rank"] == 2 and why["sources"]["collaborative"]["found"] and why["removed_by"] == []
    watched = client.get("/v1/why", query_string={"user_id": "u0", "video_id": "comedy-0"}).json
    assert watched["removed_by"] == ["watched"]


def test_without_a_release_there_is_a_list_all_the_same(make_app: Callable[..., Flask], world: Home) -> None:
    (world.releases / "CURRENT").unlink()
    for folder in world.releases.glob("2*"):
        for path in folder.iterdir():
            path.unlink()
    answer = ask(make_app().test_client(), limit=5)
    assert len(answer["items"]) == 5
    assert answer["release"]["id"].startswith("none-")


def test_a_damaged_release_is_passed_over_for_the_one_before(
    make_app: Callable[..., Flask], world: Home, store: Store
) -> None:
    good = Releases(world.releases).current_id()
    client = make_app().test_client()
    refresh(store, world)
    bad = Releases(world.releases).current_id()
    assert bad is not None
    with (world.releases / bad / "collaborative.items.npy").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff\xff\xff")
    for served in (client, make_app().test_client()):
        answer = ask(served)
        assert answer["release"]["id"] == good
        assert answer["degraded"] and bad in answer["warnings"][0]


def test_without_the_database_a_viewer_still_gets_a_list(client: FlaskClient, world: Home) -> None:
    ask(client)
    client.application.extensions["watchnext"].store.close()
    (world.root / "watchnext.db").rename(world.root / "gone.db")
    (world.root / "watchnext.db").mkdir()
    answer = ask(client, limit=10)
    assert len(answer["items"]) == 10
    assert answer["degraded"] and any("database" in warning for warning in answer["warnings"])


def test_a_list_comes_in_the_time_that_the_request_gives_it(client: FlaskClient) -> None:
    given = client.get("/v1/users/u0/recommendations", headers={"X-Deadline-Ms": "1"})
    assert given.status_code == 200
    assert given.json["items"] and given.json["degraded"]
    assert any("no time was left" in warning for warning in given.json["warnings"])
    assert client.get("/v1/users/u0/recommendations", headers={"X-Deadline-Ms": "60000"}).json["warnings"] == []


@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "soon", "", "60001", "9" * 40])
def test_a_deadline_that_is_none_is_refused(client: FlaskClient, wrong: str) -> None:
    given = client.get("/v1/users/u0/recommendations", headers={"X-Deadline-Ms": wrong})
    assert (given.status_code, given.json["field"]) == (422, "X-Deadline-Ms")
