#!/usr/bin/env python
"""Writes what of the clients follows from the OpenAPI document: the models, and a method for each operation.

`make clients` runs it; a test fails while the written files differ from what it would write. How a request is sent,
tried again and paged through is in each client's own files, which are written by people.
"""

import json
import keyword
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import api.app  # noqa: E402, F401 - registers every operation
from api.openapi import openapi_document  # noqa: E402

Json = Mapping[str, Any]
MADE = "Made by clients/generate.py from the OpenAPI document; `make clients` makes it anew."
RUFF = [sys.executable, "-m", "ruff"]
_REFERENCE = re.compile(r"#/components/schemas/([\w.-]+)")
IDEMPOTENCY_KEY = "Idempotency-Key"


def main() -> None:
    for path, text in generated().items():
        (HERE / path).write_text(text, encoding="utf-8")


def generated() -> dict[str, str]:
    """Every generated file: its path below this folder, and its text."""
    document = openapi_document("1")
    schemas: Json = document["components"]["schemas"]
    operations = list(_operations(document))
    package = "python/watchnext_client"
    return {
        f"{package}/models.py": _formatted(_python_models(schemas)),
        f"{package}/operations.py": _formatted(_python_operations(operations)),
        "typescript/src/models.ts": _typescript_models(schemas),
        "typescript/src/operations.ts": _typescript_operations(operations),
    }


# ---- What the document says of an operation ----------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    name: str
    schema: Json
    required: bool
    description: str


@dataclass(frozen=True)
class Called:
    """An operation as a client calls it. `content`: media types of a body that is not JSON."""

    name: str
    method: str
    path: str
    summary: str
    description: str
    in_path: list[str]
    in_query: list[Parameter]
    body: Json | None
    content: list[str]
    answer: Json
    repeatable: bool
    keyed: bool


def _operations(document: Json) -> Iterator[Called]:
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            parameters = [_resolved(document, parameter) for parameter in told["parameters"]]
            bodies = dict(told.get("requestBody", {}).get("content", {}))
            body = bodies.pop("application/json", None)
            good = next(answer for status, answer in told["responses"].items() if status.startswith("2"))
            yield Called(
                name=told["operationId"],
                method=method.upper(),
                path=path,
                summary=told["summary"] + ".",
                description=told["description"],
                in_path=[each["name"] for each in parameters if each["in"] == "path"],
                in_query=[
                    Parameter(each["name"], each["schema"], each["required"], each["description"])
                    for each in parameters
                    if each["in"] == "query"
                ],
                body=body and body["schema"],
                content=list(bodies),
                answer=good["content"]["application/json"]["schema"],
                repeatable=told["x-repeatable"],
                keyed=any(each["name"] == IDEMPOTENCY_KEY for each in parameters),
            )


def _models_of(each: Called) -> list[str]:
    """The models that its signature names."""
    text = json.dumps([each.answer, each.body, [parameter.schema for parameter in each.in_query]])
    return [_type_name(name) for name in _REFERENCE.findall(text)]


def _type_name(name: str) -> str:
    """Of a model in the document; where one goes in otherwise than it comes out, those are `X-Input` and `X-Output`."""
    return re.sub(r"\W", "", name)


def _resolved(document: Json, part: Json) -> Json:
    if "$ref" not in part:
        return part
    found: Any = document
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found  # type: ignore[no-any-return]


# ---- Types -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Language:
    """How the types of JSON are written."""

    names: Mapping[str, str]
    literals: Callable[[list[Any]], str]
    list_of: str
    mapping_of: str

    def type_of(self, schema: Json) -> str:
        if "$ref" in schema:
            return _type_name(schema["$ref"].rsplit("/", 1)[1])
        if "const" in schema:
            return self.literals([schema["const"]])
        if "enum" in schema:
            return self.literals(schema["enum"])
        for combined in ("anyOf", "oneOf"):
            if combined in schema:
                return " | ".join(dict.fromkeys(self.type_of(choice) for choice in schema[combined]))
        if isinstance(schema.get("type"), list):
            return " | ".join(self.type_of({**schema, "type": kind}) for kind in schema["type"])
        if schema.get("type") == "array":
            return self.list_of.format(self.type_of(schema.get("items", {})))
        if schema.get("type") == "object":
            more = schema.get("additionalProperties", {})
            return self.mapping_of.format(self.type_of(more if isinstance(more, Mapping) else {}))
        return self.names[schema.get("type", "any")]


PYTHON = Language(
    names={
        "string": "str",
        "integer": "int",
        "number": "float",
        "boolean": "bool",
        "null": "None",
        "any": "Any",
    },
    literals=lambda values: f"Literal[{', '.join(map(repr, values))}]",
    list_of="list[{}]",
    mapping_of="dict[str, {}]",
)
TYPESCRIPT = Language(
    names={
        "string": "string",
        "integer": "number",
        "number": "number",
        "boolean": "boolean",
        "null": "null",
        "any": "unknown",
    },
    literals=lambda values: " | ".join(map(json.dumps, values)),
    list_of="Array<{}>",
    mapping_of="Record<string, {}>",
)


# ---- Python ------------------------------------------------------------------------------------------------


def _python_models(schemas: Json) -> str:
    parts = [f'"""The shapes of requests and answers.\n\n{MADE}\n"""\n']
    parts.append("from typing import Any, Literal, NotRequired, TypeAlias, TypedDict\n")
    return (
        "\n\n".join([*parts, *(_python_model(_type_name(name), schema) for name, schema in _in_order(schemas))]) + "\n"
    )


def _in_order(schemas: Json) -> list[tuple[str, Json]]:
    """Every model after those that it refers to, so that names are known when they are read."""
    done: dict[str, Json] = {}

    def place(name: str) -> None:
        if name not in done:
            for other in _REFERENCE.findall(json.dumps(schemas[name])):
                if other != name:
                    place(other)
            done[name] = schemas[name]

    for name in schemas:
        place(name)
    return list(done.items())


def _python_model(name: str, schema: Json) -> str:
    if "properties" not in schema:
        return f"{name}: TypeAlias = {PYTHON.type_of(schema)}"
    required = schema.get("required", [])
    fields = {
        field: PYTHON.type_of(member) if field in required else f"NotRequired[{PYTHON.type_of(member)}]"
        for field, member in schema["properties"].items()
    }
    if any(keyword.iskeyword(field) for field in fields):
        return f"{name} = TypedDict({name!r}, {{{', '.join(f'{field!r}: {kind}' for field, kind in fields.items())}}})"
    lines = [f"class {name}(TypedDict):"]
    if schema.get("description"):
        lines.append(_python_docstring(schema["description"]) + "\n")
    for field, kind in fields.items():
        lines.append(f"    {field}: {kind}")
        if schema["properties"][field].get("description"):
            lines.append(_python_docstring(schema["properties"][field]["description"]))
    return "\n".join(lines)


def _python_operations(operations: list[Called]) -> str:
    models = sorted({name for each in operations for name in _models_of(each)})
    head = f'''"""A method for each operation of the API.

{MADE}
"""

from typing import Any, Literal, cast

from watchnext_client.calls import Call, Content, path
from watchnext_client.models import {", ".join(models)}


class Operations:
    """What can be asked, one call each."""

    def _send(self, call: Call) -> Any:
        raise NotImplementedError
'''
    asynchronous = '''

class AsyncOperations:
    """What can be asked, one call each, with await."""

    async def _send(self, call: Call) -> Any:
        raise NotImplementedError
'''
    methods = "\n".join(_python_method(each, "def", "") for each in operations)
    awaited = "\n".join(_python_method(each, "async def", "await ") for each in operations)
    return f"{head}\n{methods}\n{asynchronous}\n{awaited}"


def _python_method(each: Called, define: str, wait: str) -> str:
    given = [f"{_python_name(name)}: str" for name in each.in_path]
    sent = [repr(each.method), f"path({each.path!r}{''.join(f', {_python_name(name)}' for name in each.in_path)})"]
    optional: list[str] = []
    if each.body is not None:
        alone = not each.content
        given.append(f"body: {PYTHON.type_of(each.body)}" + ("" if alone else " | None = None"))
        sent.append("body=body")
    if each.content:
        alone = each.body is None
        given.append("content: Content" + ("" if alone else " | None = None"))
        optional.append("content_type: str" + (" = 'application/octet-stream'" if not alone else ""))
        sent.append("content=content, content_type=content_type")
    for parameter in each.in_query:
        kind = PYTHON.type_of(parameter.schema)
        name = _python_name(parameter.name)
        optional.append(f"{name}: {kind}" if parameter.required else f"{name}: {kind} | None = None")
    if each.in_query:
        sent.append(f"query={{{', '.join(f'{p.name!r}: {_python_name(p.name)}' for p in each.in_query)}}}")
    sent += [f"{name}=True" for name in ("repeatable", "keyed") if getattr(each, name)]
    arguments = ", ".join(["self", *given, *(["*", *optional] if optional else [])])
    answer = PYTHON.type_of(each.answer)
    about = "".join(f"\n{p.name}: {p.description}" for p in each.in_query)
    docstring = f"{each.summary}\n\n{each.description}" + (f"\n{about}" if about else "")
    return (
        f"    {define} {each.name}({arguments}) -> {answer}:\n{_python_docstring(docstring, 8)}\n"
        f"        return cast({answer!r}, {wait}self._send(Call({', '.join(sent)})))\n"
    )


def _python_name(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name


def _python_docstring(text: str, indent: int = 4) -> str:
    lines = [wrapped for line in text.strip().splitlines() for wrapped in textwrap.wrap(line, 100) or [""]]
    quote = '"""' if len(lines) == 1 else '\n"""'
    written = "\n".join([f'"""{lines[0]}', *lines[1:]]).replace("\\", "\\\\") + quote
    return textwrap.indent(written, " " * indent)


def _formatted(code: str) -> str:
    config = ["--config", str(HERE.parent / "pyproject.toml"), "--no-cache"]
    for command in (["check", "--quiet", "--fix", "--select", "F401,I"], ["format"]):
        code = subprocess.run(
            [*RUFF, *command, *config, "-"], input=code, capture_output=True, text=True, check=True
        ).stdout
    return code


# ---- TypeScript --------------------------------------------------------------------------------------------


def _typescript_models(schemas: Json) -> str:
    parts = [f"// The shapes of requests and answers.\n// {MADE}\n"]
    for model, schema in schemas.items():
        name = _type_name(model)
        comment = _typescript_comment(schema.get("description", ""))
        if "properties" not in schema:
            parts.append(f"{comment}export type {name} = {TYPESCRIPT.type_of(schema)};\n")
            continue
        lines = [f"{comment}export interface {name} {{"]
        for field, member in schema["properties"].items():
            mark = "" if field in schema.get("required", []) else "?"
            lines.append(_typescript_comment(member.get("description", ""), 2) + f"  {field}{mark}: ")
            lines[-1] += f"{TYPESCRIPT.type_of(member)};"
        parts.append("\n".join([*lines, "}\n"]))
    return "\n".join(parts)


def _typescript_operations(operations: list[Called]) -> str:
    names = sorted({name for each in operations for name in _models_of(each)})
    calls = ", ".join(["Call", "CallOptions", *(["Content"] if any(each.content for each in operations) else [])])
    head = (
        f"// A method for each operation of the API.\n// {MADE}\n\n"
        f'import type {{ {calls} }} from "./calls.js";\n'
        'import { path } from "./calls.js";\n'
        "import type {\n" + "".join(f"  {name},\n" for name in names) + '} from "./models.js";\n\n'
        "/** What can be asked, one call each. */\n"
        "export abstract class Operations {\n"
        "  protected abstract send<Answer>(call: Call, options?: CallOptions): Promise<Answer>;\n"
    )
    return head + "".join(_typescript_method(each) for each in operations) + "}\n"


def _typescript_method(each: Called) -> str:
    given = [f"{_camel(name)}: string" for name in each.in_path]
    sent = [f"method: {json.dumps(each.method)}"]
    sent.append(f"path: path({', '.join([json.dumps(each.path), *(_camel(name) for name in each.in_path)])})")
    bodies = [TYPESCRIPT.type_of(each.body)] if each.body is not None else []
    if bodies and not each.content:
        given.append(f"body: {bodies[0]}")
        sent.append("body")
    elif each.content:
        given.append(f"body: {' | '.join([*bodies, 'Content'])}")
        given.append(f"contentType{'?' if bodies else ''}: string")
        sent.append("body, contentType")
    if each.in_query:
        fields = "; ".join(
            f"{p.name}{'' if p.required else '?'}: {TYPESCRIPT.type_of(p.schema)}" for p in each.in_query
        )
        given.append(f"query: {{ {fields} }}" + ("" if any(p.required for p in each.in_query) else " = {}"))
        sent.append("query")
    sent += [f"{name}: true" for name in ("repeatable", "keyed") if getattr(each, name)]
    about = "".join(f"\n@param query.{p.name} {p.description}" for p in each.in_query)
    comment = _typescript_comment(f"{each.summary}\n\n{each.description}" + (f"\n{about}" if about else ""), 2)
    arguments = "".join(f"    {each_given},\n" for each_given in [*given, "options?: CallOptions"])
    return (
        f"\n{comment}  {_camel(each.name)}(\n{arguments}  ): Promise<{TYPESCRIPT.type_of(each.answer)}> {{\n"
        f"    return this.send({{ {', '.join(sent)} }}, options);\n  }}\n"
    )


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)


def _typescript_comment(text: str, indent: int = 0) -> str:
    lines = text.strip().replace("*/", "* /").splitlines()
    if len(lines) <= 1:
        return f"{' ' * indent}/** {lines[0]} */\n" if lines else ""
    written = "\n".join(["/**", *(f" * {line}".rstrip() for line in lines), " */"])
    return textwrap.indent(written, " " * indent) + "\n"


if __name__ == "__main__":
    main()
