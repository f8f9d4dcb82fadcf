"""Every operation of the description against a real application, with what the description allows and what it does not.

Whatever is asked: never a server error, and always an answer as described, in status, type, headers and shape. The
operations come from the document, so a new one is asked without a change here.
"""

import contextlib
import re
import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from api.app import create_app
from api.openapi import openapi_document
from api.operations import OPERATIONS, Operation
from api.settings import load_settings
from data.home import Home
from data.schema import Event, Video
from data.store import Store
from recommender.refresh import refresh
from tests.api.conftest import fill

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
EXAMPLES = 25
#: An operation that is slow to answer is asked less often.
BUDGET_S = 1.5
#: What is there, for requests that are to find something.
THERE = {"user_id": ("anna", "u0"), "video_id": ("coffee-03", "comedy-1")}


@schemathesis.serializer("video/*")
def as_bytes(_: schemathesis.SerializationContext, value: Any) -> bytes:
    """A body that is a file: schemathesis knows those of pictures only."""
    return value if isinstance(value, bytes) else str(value).encode()


def checks_of(each: Operation) -> list[Any]:
    """What must hold of the answers; a batch whose rows have results of their own is taken with bad ones too."""
    return CHECKS if "results" in each.answer.model_fields else [*CHECKS, negative_data_rejection]


def strict_document() -> dict[str, Any]:
    """The document without what it leaves open: every status is named, no answer has members that are not told of."""
    document = deepcopy(openapi_document("1"))
    for path in document["paths"].values():
        for operation in path.values():
            del operation["responses"]["default"]
    for name in schemas_of_answers(document):
        document["components"]["schemas"][name].setdefault("additionalProperties", False)
    return document


def schemas_of_answers(document: dict[str, Any]) -> set[str]:
    """The names of all object schemas that answers are made of, at any depth."""
    schemas = document["components"]["schemas"]
    left = [each.answer.__name__ for each in OPERATIONS if each.answer.__name__ in schemas]
    found: set[str] = set()
    while left:
        name = left.pop()
        if name not in found and "properties" in schemas[name]:
            found.add(name)
            left += re.findall(r"#/components/schemas/([\w.-]+)", str(schemas[name]))
    return found


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.BaseSchema]:
    """The API of a small world with a published release, asked with a key that may do everything."""
    home = Home.at(tmp_path_factory.mktemp("fuzzed"))
    store = Store.open(home.database_url)
    fill(store)
    store.catalogue.upsert([Video(id="coffee-03", title="Espresso for Beginners", labels=["coffee"])])
    store.events.add([Event(event_id="a", user_id="anna", video_id="comedy-1", type="like", occurred_at=1.7e9)])
    refresh(store, home)
    _, secret = store.keys.create("fuzzer", "admin")
    store.close()
    schema = schemathesis.openapi.from_dict(strict_document())
    schema.app = create_app(load_settings(home=home.root, cache={"enabled": False}))
    schema.config.update(headers={"Authorization": f"Bearer {secret}"})
    yield schema


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("each", OPERATIONS, ids=lambda each: each.name)
def test_whatever_is_asked_the_answer_is_as_described(
    asked: schemathesis.BaseSchema, each: Operation, mode: GenerationMode
) -> None:
    operation = asked.find_operation_by_id(each.name)
    until = time.monotonic() + BUDGET_S

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(mode))
        for parameter, values in THERE.items() if mode == GenerationMode.POSITIVE else ():
            for place in (case.path_parameters, case.query):
                if parameter in (place or {}) and data.draw(st.booleans(), "one that is there"):
                    place[parameter] = data.draw(st.sampled_from(values))
        if time.monotonic() < until:
            case.call_and_validate(checks=checks_of(each))

    # Where everything is allowed, nothing can be asked that is not.
    with contextlib.suppress(*[Unsatisfiable] * (mode == GenerationMode.NEGATIVE)):
        ask()
