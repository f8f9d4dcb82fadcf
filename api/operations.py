"""One way to define an HTTP operation: its route, who may call it, what it takes and what it answers.

The same definition validates requests, enforces the role and describes itself in OpenAPI, so they cannot differ.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeVar, get_origin

import orjson
from flask import Blueprint, Response, current_app, g, request
from pydantic import BaseModel, ValidationError
from werkzeug.datastructures import MultiDict

from api.auth import require_role
from api.errors import Problem
from api.idempotency import HEADER, Idempotency
from data.schema import first_error, known_fields

Role = Literal["read", "ingest", "admin"]
Handler = TypeVar("Handler", bound=Callable[..., Any])
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Operation:
    """What OpenAPI says of one operation. `path` is Flask's, with `<name>` or `<path:name>` parameters.

    `description` is the handler's whole docstring, `tag_description` the first paragraph of its module's.
    """

    name: str
    method: str
    path: str
    description: str
    tag: str
    tag_description: str
    role: Role
    query: type[BaseModel] | None
    body: type[BaseModel] | None
    answer: type[BaseModel]
    status: int
    content: tuple[str, ...] = ()
    content_description: str = ""
    problems: Mapping[int, Sequence[str]] = field(default_factory=dict)
    repeatable: bool = False
    headers: tuple[str, ...] = ()
    takes_file: bool = False


#: What of a form may stand around its file, and of which types a file may be that comes without a form.
FORM_BYTES = 64_000
FORM = "multipart/form-data"
FILE_TYPES = ("image/*", "video/*", "application/octet-stream")
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
    content: Sequence[str] = (),
    content_description: str = "",
    problems: Mapping[int, Sequence[str]] | None = None,
    repeatable: bool = False,
    headers: Sequence[str] = (),
    idempotent: bool = False,
    max_file_bytes: Callable[[], int] | None = None,
) -> Callable[[Handler], Handler]:
    """Registers a handler. It gets the path parameters and, validated, `query` or `body`; it returns the answer, or
    (answer, headers), or a response where that is made piece by piece.

    idempotent: a repeated `Idempotency-Key` gives the first answer again.
    max_file_bytes: of an operation that takes a file, too, which its handler gets as `upload` (bytes, or None).
    content: media types of a body other than JSON, such as `video/*`, which the handler reads from the request; where
    JSON is taken too, `body` is None for these. content_description: what such a body holds. problems: by status, the
    codes that the handler itself raises; what every operation may answer is described without a word. repeatable: a
    POST or PATCH that does the same sent twice as once; clients try such again, and all that read, put or delete.
    headers: those that the handler reads, by the names that `api.openapi` describes.
    """

    if idempotent:
        headers = (*headers, HEADER)
        problems = {409: ("idempotency_in_progress",), 422: ("idempotency_key_reused",), **(problems or {})}

    def register(handler: Handler) -> Handler:
        name = handler.__name__

        def view(**parameters: Any) -> Response:
            require_role(role)
            for parameter, value in parameters.items():
                if len(value) > 200:
                    detail = f"{parameter} is longer than 200 characters"
                    raise Problem(422, "invalid_request", detail, field=parameter)
            if query is not None:
                parameters["query"] = query_of(query, request.args)
            elif request.args and max_file_bytes is None:
                unknown = next(iter(request.args))
                raise Problem(422, "invalid_request", f"{unknown}: nothing is asked in the query here", field=unknown)
            if body is not None and max_file_bytes is not None:
                in_query = _values(body, request.args)
                # What a file that is the body leaves to the query has to be right there whatever the body is.
                _validated(body, in_query)
                if request.mimetype == "application/json":
                    values = _json_body(body, content)
                else:
                    values, parameters["upload"] = _form_or_file(body, max_file_bytes())
                parameters["body"] = _validated(body, in_query | values)
            elif body is not None:
                parameters["body"] = None if _is_of(content) else _validated(body, _json_body(body, content))
            elif content and request.mimetype and not _is_of(content):
                raise _unsupported(content)

            def answered() -> Response:
                found = handler(**parameters)
                if isinstance(found, Response):
                    return found
                answer, more = found if isinstance(found, tuple) else (found, {})
                response = json_response({"request_id": g.request_id} | answer, status)
                response.headers.extend(more)
                return response

            key = request.headers.get(HEADER) if idempotent else None
            if key is None:
                return answered()
            scope = f"{name} {request.headers.get('Authorization', '')}"
            asked = [request.view_args, parameters["body"].model_dump(mode="json")]
            once: Idempotency = current_app.extensions["watchnext"].idempotency
            return once.once(scope, key, asked, answered)

        blueprint.add_url_rule(path, name, view, methods=[method])
        OPERATIONS.append(
            Operation(
                name=name,
                method=method,
                path=(blueprint.url_prefix or "") + path,
                description=inspect.getdoc(handler) or name,
                tag=blueprint.name,
                tag_description=(inspect.getdoc(inspect.getmodule(handler)) or blueprint.name).split("\n\n")[0],
                role=role,
                query=query,
                body=body,
                answer=answer,
                status=status,
                content=(*content, *((FORM, *FILE_TYPES) if max_file_bytes is not None else ())),
                content_description=content_description,
                problems=problems or {},
                repeatable=repeatable or method in ("GET", "PUT", "DELETE") or role == "read",
                headers=tuple(headers),
                takes_file=max_file_bytes is not None,
            )
        )
        return handler

    return register


def json_response(value: object, status: int = 200) -> Response:
    return Response(json_of(value), status, content_type="application/json")


def json_of(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def query_of(model: type[Model], args: MultiDict[str, str]) -> Model:
    """What is asked in the query of a URL. Raises Problem 422."""
    return _validated(model, _values(model, args))


def _values(model: type[BaseModel], source: MultiDict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, given in source.lists():
        field = model.model_fields.get(name)
        is_list = field is not None and get_origin(field.annotation) is list
        if not is_list and len(given) > 1:
            raise Problem(422, "invalid_request", f"{name} is given {len(given)} times; once is right", field=name)
        values[name] = given if is_list else given[0]
    return values


def _form_or_file(model: type[BaseModel], max_file_bytes: int) -> tuple[dict[str, Any], bytes | None]:
    """The values of a form and the file in it, or none and the file that is the body."""
    request.max_content_length = max_file_bytes + FORM_BYTES
    if request.mimetype == FORM:
        values = _values(model, request.form)
        unknown = [name for name in request.files if name != "file"]
        if unknown or len(request.files.getlist("file")) > 1:
            detail = f"{unknown[0]}: is no file that is taken here" if unknown else "file: is sent more than once"
            raise Problem(422, "invalid_request", f"{detail}; send one, named file", field="file")
        file = request.files.get("file")
        content = None if file is None else file.read()
    elif _is_of(FILE_TYPES):
        values, content = {}, request.get_data()
    else:
        raise _unsupported(("application/json", FORM, *FILE_TYPES))
    if content is not None and len(content) > max_file_bytes:
        raise Problem(413, "body_too_large", f"a file may have {max_file_bytes:,} bytes here", field="file")
    return values, content


def needs_a_body(model: type[BaseModel]) -> bool:
    return any(field.is_required() for field in model.model_fields.values())


def _json_body(model: type[BaseModel], content: Sequence[str]) -> Any:
    if not request.mimetype and not request.content_length and not needs_a_body(model):
        return {}
    if request.mimetype != "application/json":
        raise _unsupported(("application/json", *content))
    try:
        values = orjson.loads(request.get_data())
    except orjson.JSONDecodeError as error:
        raise Problem(400, "invalid_json", f"the body is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise Problem(422, "invalid_request", f"the body is an object with {', '.join(known_fields(model))}")
    return values


def _is_of(kinds: Sequence[str]) -> bool:
    return any(fnmatchcase(request.mimetype, kind) for kind in kinds)


def _unsupported(kinds: Sequence[str]) -> Problem:
    return Problem(415, "unsupported_media_type", f"send a body with Content-Type: {' or '.join(kinds)}")


def _validated(model: type[Model], values: Any) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        field, message = first_error(error, model)
        raise Problem(422, "invalid_request", f"{field}: {message}", field=field) from error
