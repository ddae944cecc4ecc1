"""JSON Schema of the records in :mod:`headstart.serving.answers`, read from their annotations."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

Schema = dict[str, Any]

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}


def schema_of(hint: Any) -> Schema:
    """The schema of an annotation; records are referred to by their name in ``#/components/schemas``."""
    if dataclasses.is_dataclass(hint):
        return {"$ref": f"#/components/schemas/{hint.__name__}"}  # type: ignore[union-attr]
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(one) for one in arguments]}
    if origin is tuple and arguments[1:] == (Ellipsis,):
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1])}
    raise TypeError(f"{hint} has no JSON Schema here")


def record_schema(record: type) -> Schema:
    """The schema of one record: all its fields are always there, and no others."""
    hints = get_type_hints(record)
    names = [field.name for field in dataclasses.fields(record)]
    return {
        "type": "object",
        "description": " ".join((record.__doc__ or "").replace("``", "").split()),
        "properties": {name: schema_of(hints[name]) for name in names},
        "required": names,
        "additionalProperties": False,
    }


def query_parameters(record: type) -> list[Schema]:
    """A record of wishes as OpenAPI parameters of the query."""
    hints = get_type_hints(record)
    return [
        {
            "name": field.name,
            "in": "query",
            "required": False,
            "description": field.metadata["about"],
            "schema": _wish(hints[field.name], field),
        }
        for field in dataclasses.fields(record)
    ]


def _wish(hint: Any, field: dataclasses.Field[Any]) -> Schema:
    plain = next((one for one in get_args(hint) if one is not types.NoneType), hint)
    words = {"minimum": "minimum", "maximum": "maximum", "above": "exclusiveMinimum", "below": "exclusiveMaximum"}
    schema = schema_of(plain) | {word: field.metadata[key] for key, word in words.items() if key in field.metadata}
    return schema if field.default is None else schema | {"default": field.default}
