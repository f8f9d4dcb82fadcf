"""OpenAPI 3.1 from the operations as they are defined: routes, roles, and the models that validate them.

Everything is derived from `OPERATIONS`: what is defined tomorrow is described tomorrow. The document depends on the
code alone, so that generated clients can be compared with it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from api.operations import FORM, OPERATIONS, Operation, needs_a_body
from api.samples import meaning, sample
from api.schemas.common import ProblemOut
from data.schema import Identifier

Json = dict[str, Any]

DESCRIPTION = """
What to watch next: recommendations for viewers, videos like a video, and the reasons for both.

- **Keys.** `Authorization: Bearer KEY` with a key of the role that an operation names (`read` < `ingest` < `admin`).
  Without any key configured the service answers this machine only.
- **Problems.** Whatever goes wrong is answered as `application/problem+json` (RFC 9457) with a stable `code`, the
  `field` that is to blame and a `detail` that says what would be right.
- **Pages.** A `cursor` continues where its page ended; it is opaque, and all else must be asked the same.
- **Request ids.** `X-Request-ID` is honoured and comes back with every answer.
- **Trying again.** After 429 and 503, as `Retry-After` says, and only what does the same twice as once: `x-repeatable`.
"""

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_REFS = "#/components/schemas/{model}"

#: By status: the name of the response, when it is given and, for those that any operation gives, the codes.
_PROBLEMS: dict[int, tuple[str, str, tuple[str, ...]]] = {
    400: ("BadRequest", "The request cannot be read.", ()),
    401: ("Unauthenticated", "A key is needed.", ("unauthenticated",)),
    403: ("Forbidden", "The key's role is too low, or no key is configured.", ("forbidden", "loopback_only")),
    404: ("NotFound", "There is no such thing.", ("not_found",)),
    409: ("Conflict", "It does not go together with the state of things.", ()),
    413: ("BodyTooLarge", "The body is larger than the server takes.", ("body_too_large",)),
    415: ("UnsupportedMediaType", "The body is of another media type.", ("unsupported_media_type",)),
    422: ("InvalidRequest", "A parameter or field is unknown, missing or out of range.", ("invalid_request",)),
    429: ("TooManyRequests", "Past the limit; `Retry-After` says when to come again.", ()),
    500: ("Internal", "A defect; the log has it under the request id.", ("internal",)),
    503: ("Unavailable", "The database is away; nothing was changed.", ("keys_unavailable", "database_unavailable")),
}
_MAY_COME_AGAIN = (429, 503)

_HEADERS: dict[str, Json] = {
    "X-Request-ID": {
        "description": "the id that was sent, or a new one; the log has it",
        "schema": {"type": "string", "maxLength": 200},
        "example": "ccfe7d41a09b3c52",
    },
    "Retry-After": {
        "description": "seconds after which to try again",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
        "example": "1",
    },
    "WWW-Authenticate": {"description": "how to authenticate", "schema": {"type": "string"}, "example": "Bearer"},
}
#: What a request may have; the first, every one.
_REQUEST_HEADERS: dict[str, Json] = {
    "X-Request-ID": {
        "description": "an id of your own for this request, 1 to 200 printable characters; any other is replaced",
        "schema": {"type": "string"},
        "example": "ccfe7d41a09b3c52",
    },
    "Idempotency-Key": {
        "description": "the same key within a day gives the first answer again",
        "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[\x21-\x7e]+$"},
        "example": "3f6c0f4e7b8d",
    },
    "If-Match": {
        "description": "the ETag of the version that is to be changed",
        "schema": {"type": "string"},
        "example": '"7"',
    },
    "X-Deadline-Ms": {
        "description": "milliseconds that the answer may take; parts that are late are left out",
        "schema": {"type": "integer", "minimum": 1, "maximum": 60_000},
        "example": 80,
    },
}


def openapi_document(version: str) -> Json:
    """The whole document, with every operation that is registered."""
    models = _Models()
    paths: dict[str, Json] = {}
    for each in sorted(OPERATIONS, key=lambda each: (each.path, _METHODS.index(each.method))):
        described = _describe(each, models)
        paths.setdefault(_PARAMETER.sub(r"{\1}", each.path), {})[each.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "WatchNext",
            "version": version,
            "summary": "An open recommendation service for video",
            "description": DESCRIPTION.strip(),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": n, "description": d} for n, d in sorted({(e.tag, e.tag_description) for e in OPERATIONS})],
        "paths": paths,
        "components": {
            "schemas": models.shown(),
            "responses": {_PROBLEMS[status][0]: _problem(status, _PROBLEMS[status][2]) for status in sorted(_PROBLEMS)},
            "headers": _HEADERS,
            "parameters": {name: {"name": name, "in": "header", **told} for name, told in _REQUEST_HEADERS.items()},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "made by `watchnext keys create`"}
            },
        },
        "security": [{"key": []}, {}],
    }


# ---- Models ------------------------------------------------------------------------------------------------


class _Untitled(GenerateJsonSchema):
    """Fields are called by their names alone."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class _Models:
    """The schemas of all models, as they come in (`validation`) and as they go out (`serialization`)."""

    def __init__(self) -> None:
        wanted: set[tuple[type[BaseModel], JsonSchemaMode]] = {(ProblemOut, "serialization")}
        for each in OPERATIONS:
            wanted.add((each.answer, "serialization"))
            wanted |= {(model, "validation") for model in (each.query, each.body) if model is not None}
        ordered = sorted(wanted, key=lambda pair: (pair[0].__name__, pair[1]))
        self._references, made = models_json_schema(ordered, ref_template=_REFS, schema_generator=_Untitled)
        self.schemas: dict[str, Json] = made["$defs"]

    def reference(self, model: type[BaseModel], mode: JsonSchemaMode) -> Json:
        """`{"$ref": ...}` to a model's schema."""
        return dict(self._references[model, mode])

    def fields(self, model: type[BaseModel]) -> Json:
        """The schema of a model that comes in, whose fields stand as parameters."""
        return self.schemas[self.reference(model, "validation")["$ref"].rsplit("/", 1)[1]]

    def shown(self) -> dict[str, Json]:
        """By name, without those whose fields stand as parameters and nowhere else."""
        bodies = {model for each in OPERATIONS for model in (each.body, each.answer)}
        queries = {each.query for each in OPERATIONS if each.query is not None} - bodies
        hidden = [id(self.fields(model)) for model in queries]
        return {name: schema for name, schema in sorted(self.schemas.items()) if id(schema) not in hidden}


# ---- An operation ------------------------------------------------------------------------------------------


def _describe(each: Operation, models: _Models) -> Json:
    summary, _, more = each.description.partition("\n\n")
    summary = " ".join(summary.split())
    text = [*([more] if more else []), f"Needs a key of role `{each.role}`."]
    good = {"schema": models.reference(each.answer, "serialization")}
    good["example"] = sample(good["schema"], models.schemas, whole=True)
    described: Json = {
        "operationId": each.name,
        "tags": [each.tag],
        "summary": summary.removesuffix("."),
        "description": "\n\n".join(text),
        "security": [{"key": [each.role]}, {}],
        "x-repeatable": each.repeatable,
        "parameters": [
            *_parameters(each, models),
            *({"$ref": f"#/components/parameters/{name}"} for name in ("X-Request-ID", *each.headers)),
        ],
        "responses": {
            str(each.status): {
                "description": each.answer.__doc__ or "The answer.",
                "headers": {"X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}},
                "content": {"application/json": good},
            },
            **{str(status): _problem_of(each, status) for status in sorted(_statuses(each))},
            "default": {"$ref": "#/components/responses/Internal"},
        },
    }
    if each.body is not None or each.content:
        described["requestBody"] = _request_body(each, models)
    return described


def _parameters(each: Operation, models: _Models) -> Iterable[Json]:
    identifier = {**TypeAdapter(Identifier).json_schema(), "type": "string"}
    for name in _PARAMETER.findall(each.path):
        yield _parameter(name, "path", identifier, True, models.schemas)
    # A file that is the body leaves the query for all else.
    asked = each.body if each.takes_file else each.query
    if asked is not None:
        schema = models.fields(asked)
        required = [] if each.takes_file else schema.get("required", [])
        for name, field in schema.get("properties", {}).items():
            yield _parameter(name, "query", _without_null(field), name in required, models.schemas)


def _parameter(name: str, where: str, schema: Json, required: bool, schemas: Mapping[str, Json]) -> Json:
    schema = {key: value for key, value in schema.items() if key not in ("title", "examples")}
    described = {
        "name": name,
        "in": where,
        "required": required,
        "description": schema.pop("description", None) or meaning(name),
        "schema": schema,
    }
    example = sample(schema, schemas, name, whole=True)
    return described if name == "cursor" else described | {"example": example}


def _without_null(schema: Json) -> Json:
    """A parameter is there or not: it cannot be null."""
    schema = {key: value for key, value in schema.items() if key != "default" or value is not None}
    choices = [choice for choice in schema.pop("anyOf", []) if choice.get("type") != "null"]
    if len(choices) == 1:
        return choices[0] | schema
    return schema | ({"anyOf": choices} if choices else {})


def _request_body(each: Operation, models: _Models) -> Json:
    content: Json = {}
    if each.body is not None:
        schema = models.reference(each.body, "validation")
        content["application/json"] = {"schema": schema, "example": sample(schema, models.schemas, whole=False)}
    for kind in each.content:
        # In OpenAPI 3.1 a body of bytes has no schema; the parts of a form have theirs.
        content[kind] = {"schema": _form(each, models)} if kind == FORM else {}
    described: Json = {"required": each.body is None or needs_a_body(each.body), "content": content}
    return described | ({"description": each.content_description} if each.content_description else {})


def _form(each: Operation, models: _Models) -> Json:
    fields = models.fields(each.body).get("properties", {}) if each.body is not None else {}
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    properties = {name: _without_null(field) for name, field in fields.items()} | {"file": file}
    return {"type": "object", "properties": properties, "additionalProperties": False}


# ---- Problems ----------------------------------------------------------------------------------------------


def _statuses(each: Operation) -> set[int]:
    """The statuses of the problems that an operation may give, beside those that nobody expects."""
    statuses = {401, 403, 422, 429, 503, *each.problems}
    if each.body is not None or each.content:
        statuses |= {413, 415}
    if _codes_of_reading(each):
        statuses.add(400)
    return statuses | ({404} if _PARAMETER.search(each.path) else set())


def _codes_of_reading(each: Operation) -> tuple[str, ...]:
    is_paged = any("cursor" in model.model_fields for model in (each.query, each.body) if model is not None)
    return ("invalid_json",) * (each.body is not None) + ("invalid_cursor",) * is_paged


def _problem_of(each: Operation, status: int) -> Json:
    own = tuple(each.problems.get(status, ())) + (_codes_of_reading(each) if status == 400 else ())
    usual = _PROBLEMS.get(status)
    if usual is not None and not own:
        return {"$ref": f"#/components/responses/{usual[0]}"}
    return _problem(status, (*(usual[2] if usual and status != 404 else ()), *own))


def _problem(status: int, codes: tuple[str, ...]) -> Json:
    description = _PROBLEMS[status][1] if status in _PROBLEMS else "It could not be done."
    if codes:
        description += f" `code`: {', '.join(f'`{code}`' for code in codes)}."
    names = ["X-Request-ID", *(["Retry-After"] if status in _MAY_COME_AGAIN else [])]
    if status == 401:
        names.append("WWW-Authenticate")
    content: Json = {"schema": {"$ref": _REFS.format(model=ProblemOut.__name__)}}
    if codes:
        content["examples"] = {code: {"value": _problem_example(status, code)} for code in codes}
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {"application/problem+json": content},
    }


def _problem_example(status: int, code: str) -> Json:
    return {
        "type": f"urn:watchnext:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "code": code,
        "detail": "what was wrong and what would be right",
        "request_id": "ccfe7d41a09b3c52",
    }
