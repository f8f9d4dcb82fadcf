"""One way to define an HTTP operation: its route, who may call it, what it takes and what it answers.

The same definition validates requests, enforces the role and describes itself in OpenAPI, so they cannot differ.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_origin

import orjson
from flask import Blueprint, Response, current_app, g, request
from pydantic import BaseModel, ValidationError

from api.auth import require_role
from api.errors import Problem
from api.idempotency import HEADER, Idempotency
from data.schema import first_error

Role = Literal["read", "ingest", "admin"]
Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True)
class Operation:
    """What OpenAPI says of one operation. `path` is Flask's, with `<name>` or `<path:name>` parameters."""

    name: str
    method: str
    path: str
    summary: str
    tag: str
    role: Role
    query: type[BaseModel] | None
    body: type[BaseModel] | None
    answer: type[BaseModel]
    status: int
    idempotent: bool
    media: bool


OPERATIONS: list[Operation] = []


def operation(
    blueprint: Blueprint,
    method: Literal["GET", "POST", "DELETE", "PUT", "PATCH"],
    path: str,
    *,
    role: Role,
    answer: type[BaseModel],
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    status: int = 200,
    ready: Callable[..., Response | None] | None = None,
    idempotent: bool = False,
    media: bool = False,
) -> Callable[[Handler], Handler]:
    """Registers a handler. It gets the path parameters and, validated, `query` or `body`; it returns the answer, or
    (answer, headers), or a response where that is made piece by piece.

    ready: is asked first, with the path parameters; where it has an answer, that is given.
    idempotent: a repeated `Idempotency-Key` gives the first answer again; media: the body is a media file, which the
    handler reads from the request.
    """

    def register(handler: Handler) -> Handler:
        name = handler.__name__

        def view(**parameters: Any) -> Response:
            require_role(role)
            for parameter, value in parameters.items():
                if len(value) > 200:
                    detail = f"{parameter} is longer than 200 characters"
                    raise Problem(422, "invalid_request", detail, field=parameter)
            if ready is not None and (answer := ready(**parameters)) is not None:
                return answer
            if query is not None:
                parameters["query"] = _validated(query, _query_values(query))
            if body is not None:
                parameters["body"] = _validated(body, _json_body(body))

            def answered() -> Response:
                found = handler(**parameters)
                if isinstance(found, Response):
                    return found
                content, headers = found if isinstance(found, tuple) else (found, {})
                response = json_response({"request_id": g.request_id} | content, status)
                response.headers.extend(headers)
                return response

            key = request.headers.get(HEADER) if idempotent else None
            if key is None:
                return answered()
            scope = f"{name} {request.headers.get('Authorization', '')}"
            asked = [request.view_args, parameters["body"].model_dump(mode="json")]
            once: Idempotency = current_app.extensions["watchnext"].idempotency
            return once.once(scope, key, asked, answered)

        blueprint.add_url_rule(path, name, view, methods=[method])
        summary = (handler.__doc__ or name).strip().splitlines()[0]
        full_path = (blueprint.url_prefix or "") + path
        OPERATIONS.append(
            Operation(
                name, method, full_path, summary, blueprint.name, role, query, body, answer, status, idempotent, media
            )
        )
        return handler

    return register


def json_response(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, content_type="application/json")


def _query_values(model: type[BaseModel]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, given in request.args.lists():
        field = model.model_fields.get(name)
        is_list = field is not None and get_origin(field.annotation) is list
        if not is_list and len(given) > 1:
            raise Problem(422, "invalid_request", f"{name} is given {len(given)} times; once is right", field=name)
        values[name] = given if is_list else given[0]
    return values


def needs_a_body(model: type[BaseModel]) -> bool:
    return any(field.is_required() for field in model.model_fields.values())


def _json_body(model: type[BaseModel]) -> Any:
    if not request.mimetype and not request.content_length and not needs_a_body(model):
        return {}
    if request.mimetype != "application/json":
        raise Problem(415, "unsupported_media_type", "send a JSON body with Content-Type: application/json")
    try:
        values = orjson.loads(request.get_data())
    except orjson.JSONDecodeError as error:
        raise Problem(400, "invalid_json", f"the body is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise Problem(422, "invalid_request", f"the body is an object with {', '.join(model.model_fields)}")
    return values


def _validated(model: type[BaseModel], values: Any) -> BaseModel:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        field, message = first_error(error)
        if error.errors()[0]["type"] == "extra_forbidden":
            known = (declared.alias or name for name, declared in model.model_fields.items())
            message = f"is not known here; known are {', '.join(known)}"
        raise Problem(422, "invalid_request", f"{field}: {message}", field=field) from error
