"""``evaluation.json``: what stands behind the scores of a run, split by split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.data import Dataset
from headstart.data.splits import folds
from headstart.evaluation.costs import Costs
from headstart.evaluation.details import Details, Rows, detail, has_thresholds, one_hot
from headstart.evaluation.operating_points import AppliedPoint, OperatingPoint, apply_points, decide, fit_points
from headstart.planning.judging import Judged
from headstart.planning.rule_table import NESTED_FOLDS
from headstart.reporting.evidence import NESTED

SCHEMA = 1


def evaluation_record(
    dataset: Dataset,
    validation: Judged,
    tested: Judged,
    points: Sequence[OperatingPoint],
    costs: Costs | None,
    seed: int,
) -> dict[str, Any]:
    """The content of ``evaluation.json``; ``docs/reference.md`` has its keys.

    Parameters
    ----------
    points:
        The operating points that the validation rows chose. They are applied to the test rows. A nested estimate is of
        the validation rows themselves, so there each fold meets points that the other folds chose.
    """
    nested = tested.estimate == NESTED
    applied = _nested_points(dataset, tested, seed) if nested else _applied(dataset, tested, points)
    return {
        "schema": SCHEMA,
        "task": dataset.task,
        "classes": dataset.classes,
        "splits": {
            validation.split: _details(dataset, validation, (), costs, seed),
            tested.split: _details(dataset, tested, applied, costs, seed),
        },
    }


def _details(
    dataset: Dataset, judged: Judged, points: tuple[AppliedPoint, ...], costs: Costs | None, seed: int
) -> Details:
    return detail(
        Rows(
            judged.targets,
            judged.probabilities,
            judged.thresholds,
            judged.groups,
            _names(dataset.group_names, judged.places),
            _names(dataset.domains, judged.places),
        ),
        dataset.task,
        dataset.classes,
        points=points,
        costs=costs,
        seed=seed,
    )


def _names(column: Sequence[str | None], places: npt.NDArray[np.int64]) -> list[str | None] | None:
    """Some rows of a column of names; ``None`` where none of them has one."""
    names = [column[place] for place in places]
    return names if any(name is not None for name in names) else None


def _applied(dataset: Dataset, judged: Judged, points: Sequence[OperatingPoint]) -> tuple[AppliedPoint, ...]:
    truth = one_hot(judged.targets, len(dataset.classes))
    decided = decide(points, judged.probabilities, dataset.classes)
    return apply_points(points, decided, truth, dataset.classes, judged.groups)


def _nested_points(dataset: Dataset, judged: Judged, seed: int) -> tuple[AppliedPoint, ...]:
    """Points that all rows choose, with decisions by points that were chosen without the row's fold."""
    if not has_thresholds(dataset.task, len(dataset.classes)):
        return ()
    truth = one_hot(judged.targets, len(dataset.classes))
    points = fit_points(truth, judged.probabilities, dataset.classes)
    decided = np.zeros((len(truth), len(points)), np.bool_)
    places = {(point.positive, point.fixed, point.target): number for number, point in enumerate(points)}
    owners = np.arange(len(truth)) if judged.groups is None else judged.groups
    for seen, held in folds(judged.targets, owners, NESTED_FOLDS, seed):
        chosen = fit_points(truth[seen], judged.probabilities[seen], dataset.classes)
        found = decide(chosen, judged.probabilities[held], dataset.classes)
        for point, column in zip(chosen, found.T, strict=True):
            decided[held, places[point.positive, point.fixed, point.target]] = column
    return apply_points(points, decided, truth, dataset.classes, judged.groups)
