"""OpenAPI 3.1 from the operations as they are defined: routes, roles, and the models that validate them."""

import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.idempotency import HEADER
from api.operations import OPERATIONS, Operation, needs_a_body
from api.schemas.common import ProblemOut

_PARAMETER = re.compile(r"<(?:path:)?(\w+)>")
_ONCE = "the same key within a day gives the first answer again"
_REFS = "#/components/schemas/{model}"


def openapi_document(version: str) -> dict[str, Any]:
    """The whole document, with every operation that is registered."""
    models: set[type[BaseModel]] = {ProblemOut}
    for each in OPERATIONS:
        models |= {model for model in (each.answer, each.body) if model is not None}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=_REFS)
    paths: dict[str, dict[str, Any]] = {}
    for each in OPERATIONS:
        paths.setdefault(_PARAMETER.sub(r"{\1}", each.path), {})[each.method.lower()] = _describe(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "WatchNext",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _describe(each: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": each.name,
        "tags": [each.tag],
        "summary": each.summary,
        "description": f"Needs a key of role `{each.role}`.",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "maxLength": 200}}
            for name in _PARAMETER.findall(each.path)
        ],
        "responses": {
            str(each.status): _content(each.answer, "application/json", "the answer"),
            "default": _content(ProblemOut, "application/problem+json", "a problem (RFC 9457)"),
        },
    }
    if each.query is not None:
        schema = each.query.model_json_schema(ref_template=_REFS)
        for name, field in schema["properties"].items():
            described["parameters"].append(
                {"name": name, "in": "query", "required": name in schema.get("required", []), "schema": field}
            )
    if each.body is not None:
        described["requestBody"] = {"required": needs_a_body(each.body), **_body(each.body)}
    if each.media:
        described["requestBody"] = {"required": True, "content": {"video/*": {}}}
    if each.idempotent:
        described["parameters"].append(
            {"name": HEADER, "in": "header", "schema": {"type": "string", "maxLength": 200}, "description": _ONCE}
        )
    return described


def _body(model: type[BaseModel]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": _REFS.format(model=model.__name__)}}}}


def _content(model: type[BaseModel], kind: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": {"$ref": _REFS.format(model=model.__name__)}}}}
