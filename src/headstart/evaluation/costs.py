"""What each mistake costs: a matrix from a file, the decisions that cost least, and what they cost."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError, OptionError
from headstart.evaluation.calibration import name_classes
from headstart.evaluation.comparison import paired_difference
from headstart.evaluation.intervals import Interval, bootstrap_weights, percentile_interval, resampling_units
from headstart.evaluation.scores import FloatArray, IntArray, row_mean

_MOST_BYTES = 16_000_000
_DRAWS = 1000


@dataclass(frozen=True)
class Costs:
    """What deciding for one class costs where another is true.

    Attributes
    ----------
    classes:
        C names.
    matrix:
        C rows of C finite numbers, none below 0: ``matrix[j][k]`` is the cost of deciding class k where j is true. In
        no row is a mistake cheaper than the right decision.
    """

    classes: tuple[str, ...]
    matrix: tuple[tuple[float, ...], ...]

    def check(self, classes: Sequence[str], where: str) -> None:
        """Raise :class:`OptionError` unless these are costs of exactly the given classes; ``where`` names the file."""
        missing, unknown = sorted(set(classes) - set(self.classes)), sorted(set(self.classes) - set(classes))
        if missing:
            raise OptionError(f"{where}: no costs for the class {missing[0]!r}; add a row and a column for it")
        if unknown:
            raise OptionError(f"{where}: the class {unknown[0]!r} is none of the data's: {', '.join(classes[:10])}")

    def among(self, classes: Sequence[str]) -> FloatArray:
        """The matrix for some of its classes in their order, float64 (C, C)."""
        places = [self.classes.index(name) for name in classes]
        return np.array(self.matrix)[np.ix_(places, places)]


def read_costs(path: Path) -> Costs:
    """Read a table of costs: a CSV file whose rows are the true and whose columns are the decided classes.

    The first line holds the classes behind one cell that says anything; each further line a class and its costs. Rows
    and columns may come in any order.

    Raises
    ------
    OptionError
        If the file can't be read, is no such table, or holds a cost that can't be meant.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise OptionError(f"{path}: more than {_MOST_BYTES // 1_000_000} MB are no table of costs")
        lines = [line for line in csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")) if any(line)]
    except FileNotFoundError as error:
        raise OptionError(f"{path}: no such file of costs") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"{path} can't be read as a CSV table of costs ({error})") from error
    if len(lines) < 3 or len(lines[0]) < 3:
        raise OptionError(f"{path}: a table of costs has a line with the classes, and then a line for each class")
    decided = tuple(name.strip() for name in lines[0][1:])
    rows: dict[str, tuple[float, ...]] = {}
    for number, line in enumerate(lines[1:], 2):
        name = line[0].strip()
        if len(line) != len(lines[0]):
            raise OptionError(f"{path}: line {number} has {len(line)} cells, the first {len(lines[0])}")
        if name in rows:
            raise OptionError(f"{path}: two rows for the class {name!r}")
        rows[name] = tuple(_number(cell, path, name, column) for cell, column in zip(line[1:], decided, strict=True))
    if len(set(decided)) < len(decided) or set(rows) != set(decided):
        raise OptionError(f"{path}: rows and columns must be the same classes, each once; rows are {', '.join(rows)}")
    return _sensible(Costs(decided, tuple(rows[name] for name in decided)), path)


def _number(cell: str, path: Path, name: str, column: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        where = f"deciding {column!r} where {name!r} is true"
        raise OptionError(f"{path}: the cost of {where} is {cell.strip()!r}; give a number from 0 on")
    return value


def _sensible(costs: Costs, path: Path) -> Costs:
    for name, row in zip(costs.classes, costs.matrix, strict=True):
        right = row[costs.classes.index(name)]
        cheaper = next((other for other, cost in zip(costs.classes, row, strict=True) if cost < right), None)
        if cheaper is not None:
            raise OptionError(
                f"{path}: where {name!r} is true, deciding {cheaper!r} costs less than deciding right; "
                "rows are the true classes, columns the decided ones"
            )
    if not np.ptp(costs.matrix):
        raise OptionError(f"{path}: all costs are equal, so that no decision is better than another")
    return costs


@dataclass(frozen=True)
class Cost:
    """A mean cost an image with its 95 % interval; ``None`` where resampling can't tell."""

    mean: float
    ci95: Interval | None


@dataclass(frozen=True)
class CostReport:
    """What decisions cost on some rows.

    Attributes
    ----------
    decided:
        Of the decisions of least expected cost.
    most_probable:
        Of always deciding for the most probable class.
    constant, constant_class:
        Of the one class that is cheapest to decide on these very rows, whatever the image: the least that a model has
        to beat.
    saved:
        What the decisions save an image against the most probable class, on the same rows; ``saved_constant`` likewise
        against the constant class.
    """

    decided: Cost
    most_probable: Cost
    constant: Cost
    constant_class: str
    saved: Cost
    saved_constant: Cost


def report_costs(
    truth: IntArray,
    probabilities: FloatArray,
    costs: Costs,
    classes: Sequence[str],
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
    seed: int = 0,
) -> CostReport:
    """What decisions of least expected cost really cost (Elkan 2001), beside two that need no costs.

    Parameters
    ----------
    truth:
        Class indices (n,), n ≥ 1.
    probabilities:
        Shape (n, C), calibrated.
    groups:
        One name a row, see :func:`headstart.evaluation.intervals.resampling_units`.

    Raises
    ------
    DataError
        If the arrays don't fit together.
    """
    if len(truth) != len(probabilities) or not len(truth):
        raise DataError(f"{len(truth)} rows of truth don't fit {len(probabilities)} rows of probabilities")
    matrix = costs.among(classes)
    decided = matrix[truth, name_classes(probabilities, matrix)]
    plain = matrix[truth, name_classes(probabilities)]
    best = int(matrix[truth].mean(axis=0).argmin())
    constant = matrix[truth, best]

    def mean(values: FloatArray) -> Cost:
        draws = [row_mean(values, weights) for weights in bootstrap_weights(len(values), groups, _DRAWS, seed)]
        units = resampling_units(groups, len(values))[1]
        return Cost(float(values.mean()), percentile_interval(np.concatenate(draws), units))

    def saved(against: FloatArray) -> Cost:
        found = paired_difference(against, decided, groups, seed)
        return Cost(found.mean, found.ci95)

    return CostReport(mean(decided), mean(plain), mean(constant), classes[best], saved(plain), saved(constant))
