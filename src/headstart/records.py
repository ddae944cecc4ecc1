"""How a frozen dataclass becomes JSON and back, strictly: unknown, missing and ill-typed fields are errors."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from headstart.errors import RecordError

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Turn records, tuples, mappings and NumPy scalars into what :mod:`json` writes.

    Floats that are not finite become ``None``, because JSON has no word for them.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return to_plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    raise TypeError(f"a {type(value).__name__} has no place in a record")


def to_json(record: Any) -> str:
    """The JSON text of a record, indented and ending in a newline, with fields in their declared order."""
    return json.dumps(to_plain(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(cls: type[T], text: str | bytes, *, where: str = "record") -> T:
    """Read one record of class ``cls``.

    Parameters
    ----------
    text:
        The JSON text; must hold one object.
    where:
        The file's name, for the error's message.

    Raises
    ------
    RecordError
        If the text is not JSON, or a field is unknown, missing or of another type.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: not valid JSON ({error})") from error
    return from_plain(cls, plain, where=where)


def from_plain(cls: type[T], plain: Any, *, where: str = "record") -> T:
    """Build a record of class ``cls`` from plain JSON values; raises :class:`RecordError` as :func:`from_json` does."""
    if not isinstance(plain, dict):
        raise RecordError(f"{where}: expected an object with the fields of {cls.__name__}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(plain) - set(fields))
    if unknown:
        raise RecordError(f"{where}: unknown field {', '.join(map(repr, unknown))}; known are {', '.join(fields)}")
    required = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - set(plain))
    if missing:
        raise RecordError(f"{where}: missing field {', '.join(map(repr, missing))}")
    hints = get_type_hints(cls)
    return cls(**{name: _read(hints[name], value, f"{where}: {name}") for name, value in plain.items()})


def _read(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value, where)
    if origin is Literal:
        if value not in arguments:
            raise RecordError(f"{where}: {value!r} is none of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        return _read_tuple(arguments, value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise RecordError(f"{where}: expected an object")
        return {key: _read(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_plain(hint, value, where=where)  # type: ignore[arg-type]
    return _read_scalar(hint, value, where)


def _read_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    errors = []
    for argument in arguments:
        if argument is type(None):
            continue
        try:
            return _read(argument, value, where)
        except RecordError as error:
            errors.append(error)
    raise errors[0] if errors else RecordError(f"{where}: expected null")


def _read_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise RecordError(f"{where}: expected a list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_read(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(arguments) != len(value):
        raise RecordError(f"{where}: expected {len(arguments)} items, found {len(value)}")
    pairs = enumerate(zip(arguments, value, strict=True))
    return tuple(_read(argument, item, f"{where}[{i}]") for i, (argument, item) in pairs)


def _read_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and value is None:
        return math.nan  # written for a value that was not finite
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise RecordError(f"{where}: expected {hint.__name__}, found {value!r}")
    return value
