"""The catalogue as its owners write it: batches, single fields, removal, and files that are uploaded."""

import errno
import io
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from api.settings import load_settings
from api.uploads import MediaUploads
from api.worker import run_worker
from data.files import sha256_of
from data.home import Home
from data.store import Store
from recommender.refresh import refresh
from tests.api.test_server import serving
from tests.embedder.made_clips import write_sound, write_video

MP4 = {"Content-Type": "video/mp4"}


def post(client: FlaskClient, *videos: Any) -> Any:
    response = client.post("/v1/videos", json={"videos": list(videos)})
    assert response.status_code == 200, response.get_data()
    return response.json


def problem(response: Any) -> tuple[int, str]:
    assert response.content_type == "application/problem+json"
    return response.status_code, response.get_json(force=True)["code"]


def uploaded(home: Home) -> set[str]:
    return {path.name for path in home.uploads.iterdir()} if home.uploads.exists() else set()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", 24, seed=1, size=(192, 144))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clips") / "other.mkv", 24, seed=2, size=(192, 144))


# ---- Describing ----------------------------------------------------------------------------------------------


def test_each_row_of_a_batch_has_its_own_result(client: FlaskClient) -> None:
    answer = post(
        client,
        {"id": "a", "title": "A", "labels": ["space"]},
        {"id": "b", "titel": "B"},
        {"id": "a", "title": "A", "labels": ["space"]},
        {"id": "a", "title": "Another"},
        {"id": "space-1", "title": "Space 1", "labels": ["space"]},
        "no object",
    )
    assert [row["status"] for row in answer["results"]] == [
        *("created", "rejected", "unchanged", "updated", "unchanged", "rejected")
    ]
    assert {name: answer[name] for name in ("created", "updated", "unchanged", "rejected")} == {
        "created": 1, "updated": 1, "unchanged": 2, "rejected": 2
    }  # fmt: skip
    wrong = answer["results"][1]
    assert (wrong["id"], wrong["code"]) == ("b", "invalid_video") and "titel" in wrong["detail"]
    video = client.get("/v1/videos/a").json
    assert (video["title"], video["labels"], video["state"]) == ("Another", [], "no_media")
    assert client.get("/v1/videos/b").status_code == 404


def test_a_batch_has_1_to_1000_videos(client: FlaskClient) -> None:
    assert post(client, *({"id": f"many-{number}"} for number in range(1_000)))["created"] == 1_000
    for videos in ([], [{"id": f"{number}"} for number in range(1_001)], {"id": "a"}, None):
        assert problem(client.post("/v1/videos", json={"videos": videos})) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"title": "without an id"}, "id"),
        ({"id": ""}, "id"),
        ({"id": 5}, "id"),
        ({"id": "x" * 201}, "id"),
        ({"id": "a\x00b"}, "id"),
        ({"id": "../../etc/passwd"}, "id"),
        ({"id": ".."}, "id"),
        ({"id": "/a"}, "id"),
        ({"id": "a/media"}, "id"),
        ({"id": "a", "title": "a\x00b"}, "title"),
        ({"id": "a", "title": "x" * 501}, "title"),
        ({"id": "a", "labels": "space"}, "labels"),
        ({"id": "a", "episode": 2**31}, "episode"),
        ({"id": "a", "episode": 2**70}, "episode"),
        ({"id": "a", "rating": 99}, "rating"),
        ({"id": "a", "regions": ["Germany"]}, "regions"),
        ({"id": "a", "published_at": 1_700_000_000_000}, "published_at"),
        ({"id": "a", "available_from": 5, "available_until": 4}, "available_until"),
        ({"id": "a", "media_path": "/etc/passwd"}, "media_path"),
        ({"id": "a", "media_path": None}, "media_path"),
        ({"id": "a", "content_hash": "0" * 64}, "content_hash"),
        ({"id": "a", "hidden": False}, "hidden"),
        ({"id": "a", "state": "ready"}, "state"),
    ],
)
def test_a_bad_row_is_rejected_with_what_is_wrong(client: FlaskClient, row: Any, named: str) -> None:
    rejected, good = post(client, row, {"id": "good"})["results"]
    assert (rejected["status"], rejected["code"], good["status"]) == ("rejected", "invalid_video", "created")
    assert named in rejected["detail"]
    assert client.get("/v1/videos/a").status_code == 404


def test_what_looks_like_code_is_only_text(client: FlaskClient) -> None:
    names = ["'); DROP TABLE videos; --", "<script>alert(1)</script>", "${jndi:x}", "ünï/cödé ☃", "a%2Fb", "\u202egnp"]
    assert post(client, *({"id": name, "title": name} for name in names))["created"] == len(names)
    for name in names:
        assert client.get(f"/v1/videos/{quote(name)}").json["id"] == name
    listed: list[str] = []
    cursor = ""
    while cursor is not None:
        page = client.get("/v1/videos", query_string={"limit": 1} | ({"cursor": cursor} if cursor else {})).json
        listed += [item["id"] for item in page["items"]]
        cursor = page["cursor"]
    assert set(names) < set(listed) and len(listed) == 66


def test_a_takedown_and_a_file_stay_when_a_video_is_described_again(client: FlaskClient, clip: Path) -> None:
    assert client.put("/v1/videos/space-1/media", data=clip.read_bytes(), headers=MP4).status_code == 202
    client.post("/v1/videos/space-1/hide")
    assert post(client, {"id": "space-1", "title": "Described"})["updated"] == 1
    video = client.get("/v1/videos/space-1").json
    assert (video["title"], video["hidden"], video["state"]) == ("Described", True, "pending")


def test_the_answers_are_as_described(client: FlaskClient, clip: Path) -> None:
    document = client.get("/openapi.json").json

    def check(method: str, path: str, url: str, **more: Any) -> None:
        response = client.open(url, method=method.upper(), **more)
        described = document["paths"][path][method]["responses"][str(response.status_code)]
        schema = described["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": document["components"]}).validate(response.json)

    check("post", "/v1/videos", "/v1/videos", json={"videos": [{"id": "a"}, {"id": ""}, 5]})
    check("patch", "/v1/videos/{video_id}", "/v1/videos/a", json={"title": "A"})
    check("put", "/v1/videos/{video_id}/media", "/v1/videos/a/media", data=clip.read_bytes())
    check("delete", "/v1/videos/{video_id}", "/v1/videos/a")
    check("get", "/v1/releases", "/v1/releases")
    (release,) = client.get("/v1/releases").json["items"]
    check("post", "/v1/releases/{release_id}/activate", f"/v1/releases/{release['id']}/activate")
    check("post", "/v1/refresh", "/v1/refresh", json={"dry_run": True})
    check("get", "/v1/jobs", "/v1/jobs")
    check("get", "/v1/jobs/{job_id}", f"/v1/jobs/{client.get('/v1/jobs').json['items'][0]['job_id']}")


def test_only_a_key_of_enough_role_writes(make_app: Callable[..., Flask], store: Store) -> None:
    secret_of = {role: store.keys.create(role, role)[1] for role in ("read", "ingest", "admin")}
    client = make_app(cache={"enabled": False}).test_client()
    for method, path in [
        *(("POST", "/v1/videos"), ("PATCH", "/v1/videos/space-1"), ("PUT", "/v1/videos/space-1/media")),
        ("DELETE", "/v1/videos/space-1"),
    ]:
        statuses = [
            client.open(path, method=method, headers={"Authorization": f"Bearer {secret}"}).status_code
            for secret in secret_of.values()
        ]
        assert statuses[0] == 403 and 403 not in statuses[1:], (method, path)


# ---- Changing ------------------------------------------------------------------------------------------------


def test_patch_changes_the_given_fields_and_null_clears(client: FlaskClient) -> None:
    changed = client.patch("/v1/videos/space-0", json={"title": "New", "creator": "Ann", "published_at": 1_700_000_000})
    assert (changed.status_code, changed.json["title"], changed.json["rating"]) == (200, "New", 16)
    assert (changed.json["labels"], changed.json["published_at"]) == (["space"], "2023-11-14T22:13:20Z")
    cleared = client.patch("/v1/videos/space-0", json={"title": None, "rating": None, "labels": None}).json
    assert (cleared["title"], cleared["rating"], cleared["labels"], cleared["creator"]) == ("", None, [], "Ann")
    assert client.get("/v1/videos/space-0").json["creator"] == "Ann"


@pytest.mark.parametrize(
    "body",
    [
        {"titel": "x"}, {"id": "other"}, {"media_path": "/etc/passwd"}, {"content_hash": "0" * 64}, {"hidden": True},
        {"state": "ready"}, {"rating": "many"}, {"title": 5}, {"available_from": 9, "available_until": 8}, [], "x",
    ],
)  # fmt: skip
def test_patch_refuses_what_it_does_not_know(client: FlaskClient, body: Any) -> None:
    before = client.get("/v1/videos/space-0").json
    assert problem(client.patch("/v1/videos/space-0", json=body)) == (422, "invalid_request")
    assert client.get("/v1/videos/space-0").json | {"request_id": ""} == before | {"request_id": ""}


def test_patch_of_an_unknown_video_is_404(client: FlaskClient) -> None:
    assert problem(client.patch("/v1/videos/nothing", json={"title": "x"})) == (404, "unknown_video")


def test_patch_is_refused_where_the_video_has_changed_since_it_was_read(client: FlaskClient) -> None:
    tag = client.get("/v1/videos/space-0").headers["ETag"]
    first = client.patch("/v1/videos/space-0", json={"title": "First"}, headers={"If-Match": tag})
    second = client.patch("/v1/videos/space-0", json={"title": "Second"}, headers={"If-Match": tag})
    assert (first.status_code, problem(second)) == (200, (412, "precondition_failed"))
    assert client.get("/v1/videos/space-0").json["title"] == "First"
    for good in (first.headers["ETag"], "*"):
        title = {"title": f"by {good}"}
        assert client.patch("/v1/videos/space-0", json=title, headers={"If-Match": good}).status_code == 200
    assert problem(client.patch("/v1/videos/space-0", json={}, headers={"If-Match": "x"}))[0] == 412


_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "title": st.none() | st.sampled_from(["", "a", "ü"]),
        "labels": st.none() | st.lists(st.sampled_from("abc"), max_size=3),
        "rating": st.none() | st.integers(0, 21),
        "regions": st.none() | st.lists(st.sampled_from(["DE", "US"]), max_size=2),
        "duration_s": st.none() | st.floats(0, 1e6),
        "episode": st.none() | st.integers(0, 2**31 - 1),
    },
)
_CLEARED = {"title": "", "labels": [], "rating": None, "regions": [], "duration_s": None, "episode": None}


@given(changes=st.lists(_CHANGES, max_size=5))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_any_changes_each_field_is_what_was_given_last(
    client: FlaskClient, changes: list[dict[str, Any]]
) -> None:
    name = secrets.token_hex(8)
    post(client, {"id": name})
    expected = dict(_CLEARED)
    for change in changes:
        assert client.patch(f"/v1/videos/{name}", json=change).status_code == 200
        expected |= {field: _CLEARED[field] if value is None else value for field, value in change.items()}
    video = client.get(f"/v1/videos/{name}").json
    assert {field: video[field] for field in expected} == expected


# ---- Effective at once, in every process -----------------------------------------------------------------------


def test_every_change_counts_with_the_next_request_in_every_process(
    make_app: Callable[..., Flask], redis_server: str
) -> None:
    writer = make_app(redis_url=redis_server).test_client()
    reader = make_app(redis_url=redis_server).test_client()

    def listed(**query: object) -> list[str]:
        answer = reader.get("/v1/users/u2/recommendations", query_string={"limit": 100, **query}).json
        return [item["video_id"] for item in answer["items"]]

    def similar() -> list[str]:
        return [item["video_id"] for item in reader.get("/v1/videos/space-0/similar?limit=100").json["items"]]

    first, second, third, fourth = [name for name in listed() if name in similar()][:4]
    writer.post(f"/v1/videos/{first}/hide")
    assert first not in listed() and first not in similar()
    writer.post(f"/v1/videos/{first}/unhide")
    assert first in listed() and first in similar()
    writer.patch(f"/v1/videos/{second}", json={"available_until": time.time() - 60})
    assert second not in listed() and second not in similar()
    writer.patch(f"/v1/videos/{second}", json={"available_until": None})
    assert second in listed()
    writer.delete(f"/v1/videos/{third}")
    assert third not in listed() and third not in similar()
    assert reader.get(f"/v1/videos/{third}").status_code == 404
    post(writer, {"id": fourth, "regions": ["DE"]})
    assert fourth not in listed(country="US") and fourth in listed(country="DE")
    writer.patch(f"/v1/videos/{fourth}", json={"title": "Renamed", "regions": None})
    answer = reader.get("/v1/users/u2/recommendations?limit=100").json
    assert next(item for item in answer["items"] if item["video_id"] == fourth)["title"] == "Renamed"


def test_removing_twice_is_no_error_and_a_video_can_come_back(client: FlaskClient, world: Home, clip: Path) -> None:
    client.put("/v1/videos/space-1/media", data=clip.read_bytes(), headers=MP4)
    answers = [client.delete("/v1/videos/space-1") for _ in range(2)]
    assert [(answer.status_code, answer.json["removed"]) for answer in answers] == [(200, True), (200, False)]
    assert uploaded(world) == set()
    assert client.get("/v1/videos?label=space&limit=100").json["items"][0]["id"] != "space-1"
    assert problem(client.patch("/v1/videos/space-1", json={"title": "x"})) == (404, "unknown_video")
    assert post(client, {"id": "space-1"})["created"] == 1
    assert client.get("/v1/videos/space-1").json["state"] == "no_media"


# ---- Files -----------------------------------------------------------------------------------------------------


def test_an_uploaded_file_waits_for_the_encoder_and_the_same_bytes_change_nothing(
    client: FlaskClient, world: Home, store: Store, clip: Path, other: Path
) -> None:
    path = "/v1/videos/space-1/media"
    first = client.put(path, data=clip.read_bytes(), headers=MP4)
    assert first.status_code == 202
    assert (first.json["state"], first.json["changed"]) == ("pending", True)
    assert first.json["content_hash"] == sha256_of(clip)
    (name,) = uploaded(world)
    assert name.endswith(".mp4") and "space" not in name
    assert client.get("/media/space-1").data == clip.read_bytes()

    before = store.catalogue.get("space-1")
    again = client.put(path, data=clip.read_bytes())
    assert (again.status_code, again.json["changed"]) == (202, False)
    assert store.catalogue.get("space-1") == before and uploaded(world) == {name}

    store.catalogue.mark_failed("space-1", "undecodable: x", "encoder")
    replaced = client.put(path, data=other.read_bytes(), headers={"Content-Type": "video/x-matroska"})
    assert (replaced.json["state"], replaced.json["content_hash"]) == ("pending", sha256_of(other))
    (name,) = uploaded(world)
    assert name.endswith(".mkv")
    record = store.catalogue.get("space-1")
    assert record is not None and (record.reason, record.attempts) == (None, 0)


def test_a_file_that_is_gone_can_be_uploaded_again(client: FlaskClient, world: Home, clip: Path) -> None:
    for _ in range(2):
        assert client.put("/v1/videos/space-1/media", data=clip.read_bytes()).json["changed"] is True
        (name,) = uploaded(world)
        (world.uploads / name).unlink()


def test_files_of_the_owner_are_never_deleted(client: FlaskClient, store: Store, clip: Path, other: Path) -> None:
    store.catalogue.upsert([store.catalogue.get("space-1").model_copy(update={"media_path": str(clip)})])  # type: ignore[union-attr]
    client.put("/v1/videos/space-1/media", data=other.read_bytes())
    assert clip.is_file()
    store.catalogue.upsert([store.catalogue.get("space-2").model_copy(update={"media_path": str(clip)})])  # type: ignore[union-attr]
    client.delete("/v1/videos/space-2")
    assert clip.is_file()


def test_what_is_no_video_is_refused_and_leaves_nothing(
    client: FlaskClient, world: Home, clip: Path, tmp_path: Path
) -> None:
    path = "/v1/videos/space-1/media"
    not_videos = [
        *(b"text", secrets.token_bytes(100_000), b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n"),
        write_sound(tmp_path / "sound.m4a").read_bytes(),
        clip.read_bytes()[:2_000],
    ]
    for content in not_videos:
        response = client.put(path, data=content, headers=MP4)
        assert problem(response) == (415, "not_a_video")
    for media_type in ("application/json", "text/html", "application/x-www-form-urlencoded", "image/png"):
        response = client.put(path, data=clip.read_bytes(), headers={"Content-Type": media_type})
        assert problem(response) == (415, "unsupported_media_type")
    assert uploaded(world) == set()
    assert client.get("/v1/videos/space-1").json["state"] == "no_media"


def test_large_files_go_where_large_bodies_do_not(make_app: Callable[..., Flask], world: Home, clip: Path) -> None:
    size = clip.stat().st_size
    client = make_app(cache={"enabled": False}).test_client()
    service = client.application.extensions["watchnext"]
    service.settings.server.max_media_bytes = size
    client.application.config["MAX_CONTENT_LENGTH"] = 1_000
    # As of a server that tells by itself where a body ends.
    ends = {"wsgi.input_terminated": True}
    fits = client.put("/v1/videos/space-1/media", data=clip.read_bytes(), environ_overrides=ends)
    assert fits.status_code == 202
    large = client.put("/v1/videos/space-2/media", data=clip.read_bytes() + b"x", environ_overrides=ends)
    assert problem(large) == (413, "body_too_large")
    rows = {"videos": [{"id": "a", "title": "x" * 400} for _ in range(10)]}
    assert problem(client.post("/v1/videos", json=rows)) == (413, "body_too_large")
    assert len(uploaded(world)) == 1


def test_an_unknown_video_takes_no_file(client: FlaskClient, world: Home, clip: Path) -> None:
    for name in ("nothing", "..%2f..%2fetc%2fpasswd", "%2e%2e"):
        response = client.put(f"/v1/videos/{name}/media", data=clip.read_bytes())
        assert problem(response) == (404, "unknown_video")
    assert uploaded(world) == set()


def test_a_full_disk_is_told_and_leaves_nothing(
    client: FlaskClient, world: Home, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced = client.open(
        "/v1/videos/space-1/media", method="PUT", headers=MP4, environ_overrides={"CONTENT_LENGTH": str(2**60)}
    )
    assert problem(announced) == (413, "body_too_large")
    client.application.extensions["watchnext"].settings.server.max_media_bytes = 2**61
    announced = client.open(
        "/v1/videos/space-1/media", method="PUT", headers=MP4, environ_overrides={"CONTENT_LENGTH": str(2**60)}
    )
    assert problem(announced) == (507, "disk_full")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert problem(client.put("/v1/videos/space-1/media", data=clip.read_bytes())) == (507, "disk_full")
    assert uploaded(world) == set()


def test_uploads_leave_threads_to_others(make_app: Callable[..., Flask], world: Home, clip: Path) -> None:
    app = make_app(cache={"enabled": False})
    service = app.extensions["watchnext"]
    service.uploads = MediaUploads(world, service.store.catalogue, service.settings.embed, at_once=1)
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        def __init__(self) -> None:
            self._content = io.BytesIO(clip.read_bytes())

        def read(self, size: int) -> bytes:
            begun.set()
            go_on.wait(60)
            return self._content.read(size)

    def upload(content: object) -> Any:
        body = {"CONTENT_LENGTH": str(clip.stat().st_size), "wsgi.input": content, "wsgi.input_terminated": True}
        return app.test_client().open("/v1/videos/space-1/media", method="PUT", environ_overrides=body)

    with ThreadPoolExecutor() as threads:
        slow = threads.submit(upload, Slow())
        assert begun.wait(60)
        refused = upload(io.BytesIO(clip.read_bytes()))
        assert problem(refused) == (503, "too_many_uploads") and refused.headers["Retry-After"]
        go_on.set()
        assert slow.result().status_code == 202
    assert upload(io.BytesIO(clip.read_bytes())).status_code == 202


def test_what_a_killed_process_left_is_swept_away(client: FlaskClient, world: Home, clip: Path) -> None:
    world.uploads.mkdir(parents=True)
    for name, age_s in (("old", 7_200), ("new", 60)):
        path = world.uploads / f".{name}.tmp"
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age_s, time.time() - age_s))
    client.put("/v1/videos/space-1/media", data=clip.read_bytes())
    assert {name for name in uploaded(world) if name.endswith(".tmp")} == {".new.tmp"}


def test_films_uploaded_to_a_running_service_are_encoded_and_found(world: Home, store: Store, tmp_path: Path) -> None:
    films = {
        f"film {number}": write_video(tmp_path / f"{number}.mp4", 24, seed=number, size=(192, 144))
        for number in range(3)
    }
    with serving(world) as (address, _), httpx.Client(base_url=f"{address}/v1", timeout=60) as client:
        rows = [{"id": name, "title": name.title()} for name in films]
        assert client.post("/videos", json={"videos": rows}).json()["created"] == 3
        for name, path in films.items():
            answer = client.put(f"/videos/{quote(name)}/media", content=path.read_bytes(), headers=MP4)
            assert (answer.status_code, answer.json()["state"]) == (202, "pending"), answer.text
        assert client.put("/videos/film%200/media", content=b"", headers=MP4).json()["code"] == "not_a_video"
        _break_off(address, films["film 0"].read_bytes())
        assert len(uploaded(world)) == 3

        embed = {"encoder": {"name": "handcrafted"}, "workers": 1}
        never = {"refresh_every_s": 0}
        assert run_worker(load_settings(home=world.root, embed=embed, worker=never), once=True).encoded == 3
        assert client.get("/videos/film%200").json()["state"] == "ready"
        release = refresh(store, world).release_id
        deadline = time.monotonic() + 60
        while (found := client.get("/videos/film%200/similar?by=visual").json()).get("release", {}).get(
            "id"
        ) != release:
            assert time.monotonic() < deadline, found
        assert {item["video_id"] for item in found["items"]} == {"film 1", "film 2"}
        listed = client.get("/users/u2/recommendations?limit=100").json()["items"]
        assert films.keys() <= {item["video_id"] for item in listed}


def _break_off(address: str, content: bytes) -> None:
    """An upload that ends early, and one in chunks."""
    for length, status, code in [
        (("Content-Length", "50000000"), 400, "incomplete_body"),
        (("Transfer-Encoding", "chunked"), 411, "length_required"),
    ]:
        connection = HTTPConnection(address.removeprefix("http://"), timeout=60)
        connection.putrequest("PUT", "/v1/videos/film%200/media")
        connection.putheader("Content-Type", "video/mp4")
        connection.putheader(*length)
        connection.endheaders(content if status == 400 else None)
        connection.sock.shutdown(socket.SHUT_WR)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (status, code)
        connection.close()
