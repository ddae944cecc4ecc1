"""Which runs of a list are wanted, and in which order: by their fields, scores, options and versions."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from headstart.errors import OptionError
from headstart.runs.summary import RunSummary, Setting

FIELDS = (
    "name", "state", "data", "task", "strategy", "backbone", "metric", "cut", "stages", "tested", "seconds", "seed",
    "started", "finished", "version", "command",
)  # fmt: skip
"""Fields of a summary that conditions and orders may name, beside scores, options and what it was made with."""

_CONDITION = re.compile(r"\s*([\w. -]*[\w.-])\s*(<=|>=|!=|==|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_WAY_OUT = 'write for example "test_accuracy>0.9", "strategy=linear_probe" or "data~plants"'
_MOST_NAMED = 12


@dataclass(frozen=True)
class Condition:
    """A comparison that a run passes or fails: ``test_accuracy > 0.9``.

    Attributes
    ----------
    field:
        What :func:`value_of` takes.
    sign:
        ``<``, ``<=``, ``>``, ``>=``, ``=``, ``==``, ``!=``, or ``~`` for "contains", which is blind to case.
    value:
        The other side, as it was written.
    """

    field: str
    sign: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read ``FIELD SIGN VALUE``; raises :class:`OptionError` for anything else."""
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise OptionError(f"{text!r} is no condition: {_WAY_OUT}")
        return cls(*match.groups())

    def holds(self, run: RunSummary) -> bool:
        """Whether a run passes; one that lacks the field never does.

        Numbers are compared as numbers, everything else as text.
        """
        found = value_of(run, self.field)
        if found is None:
            return False
        if self.sign == "~":
            return self.value.casefold() in _as_text(found).casefold()
        number = _number(self.value)
        if isinstance(found, int | float) and not isinstance(found, bool) and number is not None:
            return _COMPARE[self.sign](found, number)
        return _COMPARE[self.sign](_as_text(found), self.value)


def value_of(run: RunSummary, field: str) -> Setting | None:
    """A field of :data:`FIELDS`, a score, the ``_low`` or ``_high`` end of its interval, an option, or a version."""
    if field in FIELDS:
        value: Setting | None = getattr(run, field)
        return value
    for values in (run.scores, run.options, run.made_with):
        if field in values:
            return values[field]
    name, _, end = field.rpartition("_")
    if end in ("low", "high") and name in run.intervals:
        return run.intervals[name][end == "high"]
    return None


def select(runs: Iterable[RunSummary], conditions: Sequence[Condition]) -> list[RunSummary]:
    """The runs that pass every condition, in their order.

    Raises
    ------
    OptionError
        If no run, but there are some, has the field of a condition.
    """
    runs = list(runs)
    for condition in conditions:
        _require_field(runs, condition.field)
    return [run for run in runs if all(condition.holds(run) for condition in conditions)]


def order(runs: Iterable[RunSummary], fields: str) -> list[RunSummary]:
    """Sort by fields with commas between them, descending where one has ``-`` before it.

    Runs that lack a field come last either way.

    Raises
    ------
    OptionError
        If no run, but there are some, has a field.
    """
    runs = list(runs)
    for name in reversed([name.strip() for name in fields.split(",")]):  # sorting is stable, so the first comes last
        field = name.removeprefix("-")
        _require_field(runs, field)
        having = [run for run in runs if value_of(run, field) is not None]
        lacking = [run for run in runs if value_of(run, field) is None]
        having.sort(key=lambda run: _rank(value_of(run, field)), reverse=name.startswith("-"))
        runs = having + lacking
    return runs


def _require_field(runs: Sequence[RunSummary], field: str) -> None:
    if not runs or field in FIELDS or any(value_of(run, field) is not None for run in runs):
        return
    known = sorted({*FIELDS, *(name for run in runs for name in (*run.scores, *run.options, *run.made_with))})
    near = difflib.get_close_matches(field, known, n=_MOST_NAMED)
    raise OptionError(f"no run has {field!r}; known are for example {', '.join(near or known[:_MOST_NAMED])}")


def _rank(value: Setting | None) -> tuple[bool, float, str]:
    """Numbers before texts."""
    if isinstance(value, int | float):
        return False, float(value), ""
    return True, 0.0, str(value).casefold()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _as_text(value: Setting) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
