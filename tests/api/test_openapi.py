"""The description of the API: complete for every operation that is registered, valid, and always the same."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Blueprint, request
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from pydantic import BaseModel

from api.app import create_app
from api.openapi import openapi_document
from api.operations import OPERATIONS, Operation, operation
from api.schemas.common import Asked
from api.settings import load_settings
from data.home import Home
from data.schema import Timestamp

EVERY = pytest.mark.parametrize("each", OPERATIONS, ids=lambda each: each.name)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document("1.2.3")


def described(document: dict[str, Any], each: Operation) -> dict[str, Any]:
    return document["paths"][re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", each.path)][each.method.lower()]


def resolved(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in part:
        found: Any = document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


def check(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


# ---- Every operation ---------------------------------------------------------------------------------------


@EVERY
def test_every_operation_is_told_of_in_words(document: dict[str, Any], each: Operation) -> None:
    told = described(document, each)
    assert told["summary"] and told["summary"] in " ".join(each.description.split())
    assert f"role `{each.role}`" in told["description"] and told["security"][0] == {"key": [each.role]}
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert tags[told["tags"][0]]
    for parameter in told["parameters"]:
        parameter = resolved(document, parameter)
        assert parameter["description"], f"{each.name} does not tell what {parameter['name']} is"
        assert "schema" in parameter and parameter["in"] in ("path", "query", "header")


@EVERY
def test_every_operation_tells_its_problems(document: dict[str, Any], each: Operation) -> None:
    told = described(document, each)["responses"]
    wanted = {str(each.status), "401", "403", "422", "429", "503", "default"}
    wanted |= {"413", "415"} if each.body or each.content else set()
    wanted |= {"400"} if each.body else set()
    wanted |= {"404"} if "<" in each.path else set()
    assert wanted <= set(told)
    for status, response in told.items():
        response = resolved(document, response)
        assert response["description"] and "X-Request-ID" in response["headers"]
        assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))
        kind = "application/json" if status == str(each.status) else "application/problem+json"
        assert list(response["content"]) == [kind]
    for status, codes in each.problems.items():
        for code in codes:
            assert f"`{code}`" in told[str(status)]["description"]


@EVERY
def test_every_example_is_as_the_schema_says(document: dict[str, Any], each: Operation) -> None:
    told = described(document, each)
    for parameter in told["parameters"]:
        parameter = resolved(document, parameter)
        if "example" in parameter:
            check(document, parameter["schema"], parameter["example"])
    body = told.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        check(document, body["schema"], body["example"])
        assert each.body is not None
        each.body.model_validate(body["example"])
    for response in told["responses"].values():
        for content in resolved(document, response)["content"].values():
            shown = [content["example"]] if "example" in content else []
            for value in shown + [example["value"] for example in content.get("examples", {}).values()]:
                check(document, content["schema"], value)


def test_the_document_is_valid_and_names_every_operation_once(document: dict[str, Any]) -> None:
    validate(document)
    names = [told["operationId"] for path in document["paths"].values() for told in path.values()]
    assert sorted(names) == sorted(each.name for each in OPERATIONS) and len(set(names)) == len(names)


def test_nothing_in_the_document_is_referred_to_by_nobody(document: dict[str, Any]) -> None:
    text = str(document)
    for name in document["components"]["schemas"]:
        assert f"'#/components/schemas/{name}'" in text, name


def test_the_document_is_always_the_same(document: dict[str, Any]) -> None:
    order = OPERATIONS[:]
    try:
        OPERATIONS.reverse()
        assert str(openapi_document("1.2.3")) == str(document)
    finally:
        OPERATIONS[:] = order


# ---- What is served ----------------------------------------------------------------------------------------


@pytest.fixture
def bare(home: Home) -> FlaskClient:
    """A client of a house without videos."""
    return create_app(load_settings(home=home.root, cache={"enabled": False})).test_client()


def test_the_document_is_sent_once_to_who_keeps_it(bare: FlaskClient) -> None:
    first = bare.get("/openapi.json")
    assert first.json["openapi"] == "3.1.0" and first.headers["Cache-Control"] == "no-cache"
    again = bare.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_a_row_of_events_is_described_and_not_judged_at_the_door(bare: FlaskClient) -> None:
    document = bare.get("/openapi.json").json
    batch = document["components"]["schemas"]["EventBatch"]
    assert batch["properties"]["events"]["items"] == {"$ref": "#/components/schemas/Event"}
    answer = bare.post("/v1/events", json={"events": [{}, 7, None]})
    assert answer.status_code == 202
    assert [row["code"] for row in answer.json["results"]] == ["invalid_event"] * 3


def test_what_is_asked_where_nothing_can_be_asked_is_refused(bare: FlaskClient) -> None:
    answer = bare.get("/v1/videos/v1?verbose=1")
    assert (answer.status_code, answer.get_json(force=True)["field"]) == (422, "verbose")


# ---- Bodies other than JSON --------------------------------------------------------------------------------


class Words(Asked):
    text: str


class Heard(BaseModel):
    request_id: str
    heard: str


class Moment(BaseModel):
    at: Timestamp


class Moments(BaseModel):
    request_id: str
    items: list[Moment]


@pytest.fixture
def uploads(home: Home) -> Iterator[FlaskClient]:
    """Two operations that take files, one of them JSON as well, and one whose model goes in and comes out."""
    before = len(OPERATIONS)
    blueprint = Blueprint("uploads", __name__, url_prefix="/v1")

    @operation(
        blueprint, "PUT", "/files", role="read", answer=Heard, content=("video/*",), content_description="the file"
    )
    def put_file() -> dict[str, Any]:
        """Takes a file.

        And tells how long it is.
        """
        return {"heard": str(len(request.get_data()))}

    @operation(
        blueprint, "POST", "/finds", role="read", answer=Heard, body=Words, content=("image/*", "multipart/form-data")
    )
    def post_find(body: Words | None) -> dict[str, Any]:
        """By words or by a picture."""
        return {"heard": body.text if body is not None else request.mimetype}

    @operation(blueprint, "POST", "/moments", role="read", answer=Moments, body=Moment)
    def post_moment(body: Moment) -> dict[str, Any]:
        """Gives a moment back."""
        return {"items": [body.model_dump()]}

    app = create_app(load_settings(home=home.root, cache={"enabled": False}))
    app.register_blueprint(blueprint)
    yield app.test_client()
    del OPERATIONS[before:]


def test_a_body_of_another_kind_is_described_and_taken(uploads: FlaskClient) -> None:
    document = openapi_document("1")
    validate(document)
    put, find = document["paths"]["/v1/files"]["put"], document["paths"]["/v1/finds"]["post"]
    assert put["requestBody"] == {"required": True, "description": "the file", "content": {"video/*": {}}}
    assert set(find["requestBody"]["content"]) == {"application/json", "image/*", "multipart/form-data"}
    assert (put["summary"], put["description"].split("\n")[0]) == ("Takes a file", "And tells how long it is.")
    assert uploads.put("/v1/files", data=b"12345", content_type="video/mp4").json["heard"] == "5"
    assert uploads.post("/v1/finds", json={"text": "tea"}).json["heard"] == "tea"
    assert uploads.post("/v1/finds", data=b"GIF", content_type="image/gif").json["heard"] == "image/gif"


def test_a_model_is_described_as_it_goes_in_and_as_it_comes_out(uploads: FlaskClient) -> None:
    document = openapi_document("1")
    validate(document)
    told = document["paths"]["/v1/moments"]["post"]
    asked = told["requestBody"]["content"]["application/json"]
    given = told["responses"]["200"]["content"]["application/json"]
    answer = uploads.post("/v1/moments", json=asked["example"]).json
    check(document, asked["schema"], asked["example"])
    check(document, given["schema"], given["example"])
    check(document, given["schema"], answer)
    assert isinstance(answer["items"][0]["at"], float) and isinstance(asked["example"]["at"], str)


@pytest.mark.parametrize(("path", "method"), [("/v1/files", "PUT"), ("/v1/finds", "POST")])
def test_a_body_of_a_kind_that_is_not_taken_is_refused(uploads: FlaskClient, path: str, method: str) -> None:
    answer = uploads.open(path, method=method, data=b"x", content_type="text/plain")
    problem = answer.get_json(force=True)
    assert (answer.status_code, problem["code"]) == (415, "unsupported_media_type")
    assert ("video/*" if method == "PUT" else "application/json or image/*") in problem["detail"]
