"""Every constant of a rule of the planner stands in one table, with its source, and is used."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import headstart
from headstart.planning import rule_table

SOURCE = Path(headstart.__file__).parent
TABLE = Path(rule_table.__file__)

# What other modules of the planner keep, each with why it is no constant of a rule.
SETTINGS = {
    "backbone_ranking.DRAWS": "random draws",
    "finalist.SMALL": "threads of a fit: how fast, not what",
    "forecast.DRAWS": "random draws",
    "forecast.LEAST_STEP": "the grid of sizes",
    "forecast.MOST_REPEATS": "the grid of sizes",
    "forecast.MOST_SIZES": "the grid of sizes",
    "forecast.PENALTY_RANGE": "the grid of penalties",
    "forecast.REACH": "a point of the normal distribution",
    "forecast.ROWS_TRAINED": "the grid of sizes",
    "forecast.STEPS_PER_DOUBLING": "the grid of sizes",
    "outlook.TOLERANCE": "where a fit ends",
    "plan.SCHEMA": "the version of a file",
    "power_law.HUBER": "how a curve is fitted",
    "power_law.WEIGHT_POWER": "how a curve is fitted",
    "transferability.NLEEP_COMPONENTS": "part of a published score",
    "transferability.NLEEP_FLOOR": "part of a published score",
    "transferability.NLEEP_LEAST_ROWS": "part of a published score",
    "transferability.NLEEP_VARIANCE": "part of a published score",
    "transferability.RANK_TOLERANCE": "rounding noise",
    "transferability.RATIO_POINTS": "the grid of a search",
    "transferability.RATIO_RANGE": "the grid of a search",
    "transferability.SECTIONS": "the grid of a search",
}


def test_each_constant_of_the_table_is_final_and_has_its_source_above_it() -> None:
    lines = TABLE.read_text().splitlines()
    found = list(_constants(ast.parse(TABLE.read_text())))
    assert len(found) > 60
    for name, statement in found:
        above = lines[statement.lineno - 2]
        assert re.match("# (?!--)", above), f"{name} has no source"
        assert isinstance(statement, ast.AnnAssign), f"{name} is not Final"
        assert ast.unparse(statement.annotation).startswith("Final"), f"{name} is not Final"


def test_each_constant_of_the_table_is_used() -> None:
    used = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == rule_table.__name__:
                used |= {alias.name for alias in node.names}
    assert {name for name, _ in _constants(ast.parse(TABLE.read_text()))} - used == set()


def test_no_other_module_of_the_planner_has_constants_of_rules() -> None:
    found = set()
    for path in TABLE.parent.glob("*.py"):
        if path == TABLE:
            continue
        module = importlib.import_module(f"headstart.planning.{path.stem}")
        names = {name for name, _ in _constants(ast.parse(path.read_text()))}
        found |= {f"{path.stem}.{name}" for name in names if _is_plain(getattr(module, name))}
    assert found == set(SETTINGS), "move what decides something to the table; name the rest here, with why it does not"


def _constants(module: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Public names in capitals that a module gives a value at its top, with the statements that do."""
    for statement in module.body:
        targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
        for target in filter(None, targets):
            for node in ast.walk(target):
                if isinstance(node, ast.Name) and re.fullmatch("[A-Z][A-Z0-9_]*", node.id):
                    yield node.id, statement


def _is_plain(value: Any) -> bool:
    """Whether it is a number, or numbers in tuples or mappings."""
    if isinstance(value, tuple | Mapping):
        values = list(value.values() if isinstance(value, Mapping) else value)
        return bool(values) and all(map(_is_plain, values))
    return isinstance(value, int | float)
