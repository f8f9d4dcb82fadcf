"""The catalogue over HTTP."""

import pytest
from flask.testing import FlaskClient


def test_the_catalogue_comes_in_pages_in_the_order_of_ids(client: FlaskClient) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        answer = client.get("/v1/videos", query_string={"limit": 25, **({"cursor": cursor} if cursor else {})}).json
        seen += [item["id"] for item in answer["items"]]
        cursor = answer["cursor"]
        if not answer["has_more"]:
            break
    assert seen == sorted(seen) and len(seen) == 60 and cursor is None


def test_the_catalogue_can_be_asked_by_state_and_label(client: FlaskClient) -> None:
    assert len(client.get("/v1/videos?label=space&limit=100").json["items"]) == 20
    assert client.get("/v1/videos?state=ready").json["items"] == []
    assert client.get("/v1/videos?state=lost").status_code == 422


@pytest.mark.parametrize("damaged", ["", "!!!!", "\0", "🎬", "=", "{}!", "{}=", "{}\n", " {}", "_w", "YQBi"])
def test_a_cursor_of_the_catalogue_that_was_never_given_is_refused(client: FlaskClient, damaged: str) -> None:
    cursor = client.get("/v1/videos?limit=1").json["cursor"]
    response = client.get("/v1/videos", query_string={"cursor": damaged.format(cursor)})
    assert (response.status_code, response.json["code"]) == (400, "invalid_cursor")


def test_one_video_is_shown_without_paths_of_the_server(client: FlaskClient) -> None:
    video = client.get("/v1/videos/space-0").json
    assert (video["title"], video["rating"], video["state"]) == ("Space 0", 16, "no_media")
    assert "media_path" not in video and "thumbnail_path" not in video
    assert client.get("/v1/videos/nothing").json["code"] == "unknown_video"
    assert client.post("/v1/videos/nothing/hide").status_code == 404


def test_hiding_shows_in_the_catalogue(client: FlaskClient) -> None:
    client.post("/v1/videos/space-0/hide")
    assert client.get("/v1/videos/space-0").json["hidden"] is True
