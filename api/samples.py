"""Example values made from a JSON Schema, so that every request and answer in the description has one.

Knows the words of the house (what a `user_id` may look like), not the operations.
"""

from collections.abc import Mapping
from typing import Any

#: What is meant by a name and a value that it may have, for parameters and members that say nothing themselves.
WORDS: dict[str, tuple[str, Any]] = {
    "user_id": ("the viewer, by the id that your events name", "anna"),
    "video_id": ("the video, by its id in the catalogue", "coffee-03"),
    "event_id": ("the event, by the id that you gave it", "8f14e45f-ceea-467f-9575-1d2c0b7a3f60"),
    "release_id": ("the release, by its id", "20260131T201500-5f2c"),
    "job_id": ("the job, by the id that its start was answered with", "6b1e0c9f2d7a4853"),
    "request_id": ("of this request, as in the header X-Request-ID", "ccfe7d41a09b3c52"),
    "cursor": ("of the page before; all else must be the same", "q83vASNFZ4kAAgAAAAo"),
    "limit": ("how many at most", None),
    "labels": ("only videos with one of these labels", ["coffee"]),
    "not_labels": ("no videos with one of these labels", ["horror"]),
    "label": ("only videos with this label", "coffee"),
    "exclude": ("video ids that must not be there", ["coffee-11"]),
    "country": ("of the viewer, ISO 3166", "DE"),
    "surface": ("where the list is shown", "home"),
    "session_id": ("what the viewer does in one sitting", "s-2041"),
    "title": ("", "Ristretto or Lungo"),
    "text": ("", "Because you watched Espresso for Beginners"),
    "id": ("", "coffee-03"),
    "has_more": ("", True),
    "sources": ("", ["collaborative", "content"]),
    "propensity": ("", [1.0]),
    "timings_ms": ("", {"total": 2.3}),
}

Schema = Mapping[str, Any]
_KINDS = {str: "string", bool: "boolean", list: "array", dict: "object"}


def meaning(name: str) -> str:
    """What is meant by a parameter of this name."""
    return WORDS.get(name, ("", None))[0] or name.replace("_", " ")


def sample(schema: Schema, schemas: Mapping[str, Schema], name: str = "", *, whole: bool) -> Any:
    """A value that fits a schema. `schemas`: those that it may refer to; `whole`: with what is optional too."""
    if "$ref" in schema:
        return sample(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas, name, whole=whole)
    if schema.get("examples"):
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if name in WORDS and WORDS[name][1] is not None and _fits(WORDS[name][1], schema):
        return WORDS[name][1]
    if schema.get("default") not in (None, [], {}):
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    for combined in ("anyOf", "oneOf", "allOf"):
        if combined in schema:
            chosen = next((each for each in schema[combined] if each.get("type") != "null"), {"type": "null"})
            return sample(chosen, schemas, name, whole=whole)
    return _of_type(schema, schemas, name, whole)


def _of_type(schema: Schema, schemas: Mapping[str, Schema], name: str, whole: bool) -> Any:
    kind = schema.get("type")
    if kind == "object":
        return _members(schema, schemas, whole)
    if kind == "array":
        wanted = whole or schema.get("minItems", 0) > 0
        return [sample(schema.get("items", {}), schemas, name.removesuffix("s"), whole=whole)] if wanted else []
    if kind in ("integer", "number"):
        return max(schema.get("minimum", 0), schema.get("exclusiveMinimum", -1) + 1)
    if kind == "string":
        return "2026-01-31T20:15:00Z" if schema.get("format") == "date-time" or name.endswith("_at") else name or "text"
    return False if kind == "boolean" else None


def _members(schema: Schema, schemas: Mapping[str, Schema], whole: bool) -> dict[str, Any]:
    required = schema.get("required", [])
    members = {
        name: sample(member, schemas, name, whole=whole)
        for name, member in schema.get("properties", {}).items()
        if whole or name in required or "examples" in member
    }
    more = schema.get("additionalProperties")
    if whole and not members and isinstance(more, Mapping):
        names = schema.get("propertyNames", {})
        members[sample(names, schemas, "name", whole=whole) or "name"] = sample(more, schemas, whole=whole)
    return members


def _fits(value: Any, schema: Schema) -> bool:
    kinds = {schema.get("type")} | {each.get("type") for each in schema.get("anyOf", ())}
    return _KINDS[type(value)] in kinds and not {"enum", "properties"} & set(schema)
