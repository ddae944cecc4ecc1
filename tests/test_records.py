"""Records survive the way to JSON and back; whatever is not exactly one of theirs is refused with its place."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from headstart.errors import RecordError
from headstart.records import from_json, from_plain, to_json, to_plain


@dataclass(frozen=True)
class Inner:
    name: str
    weight: float
    flag: bool = False


@dataclass(frozen=True)
class Outer:
    kind: Literal["a", "b"]
    inner: Inner
    several: tuple[Inner, ...]
    pair: tuple[int, str]
    maybe: Inner | None
    either: int | str
    table: dict[str, tuple[float, ...]]
    anything: Any
    mapping: Mapping[str, int]


OUTER = Outer(
    kind="b",
    inner=Inner("é\n", 0.1),
    several=(Inner("x", 1e-300, True), Inner("", -0.0)),
    pair=(2**60, "7"),
    maybe=None,
    either="text",
    table={"q": (1.5, 2.5), "": ()},
    anything=[{"deep": None}],
    mapping={"one": 1},
)


def test_a_nested_record_comes_back_equal() -> None:
    assert from_json(Outer, to_json(OUTER)) == OUTER
    assert from_plain(Outer, to_plain(OUTER)) == OUTER


def test_the_text_is_json_in_the_declared_order_and_ends_a_line() -> None:
    text = to_json(OUTER)
    assert list(json.loads(text)) == list(Outer.__dataclass_fields__)
    assert text.endswith("}\n")
    assert "é" in text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_what_is_not_finite_becomes_null_and_reads_as_nan(value: float) -> None:
    text = to_json(Inner("x", value))
    assert json.loads(text)["weight"] is None
    assert math.isnan(from_json(Inner, text).weight)


def test_numpy_values_become_plain() -> None:
    plain = to_plain({"a": np.arange(3), "b": np.float64(0.5), "c": np.bool_(True), 4: np.array([[math.nan]])})
    assert plain == {"a": [0, 1, 2], "b": 0.5, "c": True, "4": [[None]]}
    assert type(plain["b"]) is float
    assert type(plain["c"]) is bool


@pytest.mark.parametrize("value", [Path("x"), b"bytes", {1, 2}, object(), Inner])
def test_what_json_has_no_word_for_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no place in a record"):
        to_json({"field": value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extra": 1}, ("extra", "known are kind")),
        ({"kind": "c"}, ("kind", "'c'", "'a', 'b'")),
        ({"inner": {"name": "x"}}, ("inner", "missing", "weight")),
        ({"inner": {"name": "x", "weight": 1, "wieght": 1}}, ("inner", "wieght")),
        ({"inner": {"name": 3, "weight": 1}}, ("inner: name", "expected str")),
        ({"inner": {"name": "x", "weight": True}}, ("weight", "expected float", "True")),
        ({"inner": {"name": "x", "weight": "1"}}, ("weight", "expected float")),
        ({"inner": {"name": "x", "weight": 1, "flag": 1}}, ("flag", "expected bool")),
        ({"inner": None}, ("inner", "Inner")),
        ({"several": {"name": "x"}}, ("several", "expected a list")),
        ({"several": [{"name": "x", "weight": 1}, 5]}, ("several[1]", "Inner")),
        ({"pair": [1]}, ("pair", "expected 2 items, found 1")),
        ({"pair": [True, "x"]}, ("pair[0]", "expected int")),
        ({"maybe": 5}, ("maybe", "Inner")),
        ({"either": 1.5}, ("either", "expected int")),
        ({"table": [1]}, ("table", "expected an object")),
        ({"table": {"q": ["x"]}}, ("table.q[0]", "expected float")),
    ],
)
def test_an_ill_formed_record_is_refused_with_the_file_the_field_and_the_reason(
    change: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(RecordError) as caught:
        from_plain(Outer, {**to_plain(OUTER), **change}, where="plan.json")
    assert all(word in str(caught.value) for word in ("plan.json", *words)), caught.value


def test_a_missing_field_is_refused_unless_it_has_a_default() -> None:
    assert from_plain(Inner, {"name": "x", "weight": 1}) == Inner("x", 1.0, False)
    with pytest.raises(RecordError, match="missing field 'name', 'weight'"):
        from_plain(Inner, {})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", b"\xff", "[" * 100_000])
def test_what_is_no_json_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(RecordError, match=r"audit\.json"):
        from_json(Inner, text, where="audit.json")
