"""All that ``evaluation.json`` says about one split, put together from arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.evaluation.breakdown import Breakdown, Confusion, break_down, confused_pairs
from headstart.evaluation.calibration import ReliabilityBin, reliability
from headstart.evaluation.costs import CostReport, Costs, report_costs
from headstart.evaluation.evidence import Task, gather_evidence
from headstart.evaluation.operating_points import AppliedPoint, ThresholdRow, threshold_table
from headstart.evaluation.scores import BoolArray, FloatArray, IntArray
from headstart.evaluation.selective import CoverageRisk, coverage_risk, least_area


@dataclass(frozen=True)
class Details:
    """What stands behind the scores of one split.

    Attributes
    ----------
    reliability:
        The bins of a reliability diagram, by rising confidence.
    coverage_risk:
        The coverage–risk curve, by rising coverage.
    least_aurc:
        The area under it if confidence put every right row before every wrong one.
    groups, domains:
        Accuracy by group and by domain, where the data name them.
    confused_pairs:
        The most frequent first.
    thresholds:
        For two classes and for labels: by class, what follows from each threshold.
    operating_points:
        Thresholds that were chosen on validation rows, and what they give on these.
    costs:
        Where mistakes have costs.
    """

    reliability: tuple[ReliabilityBin, ...]
    coverage_risk: tuple[CoverageRisk, ...]
    least_aurc: float
    groups: Breakdown | None
    domains: Breakdown | None
    confused_pairs: tuple[Confusion, ...]
    thresholds: dict[str, tuple[ThresholdRow, ...]]
    operating_points: tuple[AppliedPoint, ...]
    costs: CostReport | None


@dataclass(frozen=True)
class Rows:
    """The rows of a split.

    Attributes
    ----------
    truth:
        Class indices (n,), or bool (n, C) for multi-label.
    probabilities:
        float64 (n, C), calibrated.
    decision:
        How probabilities become decisions, see :func:`headstart.evaluation.evidence.gather_evidence`.
    owners:
        int64 (n,): which rows are not independent of which; ``None`` where all are.
    groups, domains:
        n names as the data give them, with ``None`` for rows that have none; ``None`` where no row has one.
    """

    truth: npt.NDArray[np.generic]
    probabilities: FloatArray
    decision: FloatArray | None
    owners: IntArray | None = None
    groups: Sequence[str | None] | None = None
    domains: Sequence[str | None] | None = None


def detail(
    rows: Rows,
    task: Task,
    classes: Sequence[str],
    *,
    points: tuple[AppliedPoint, ...] = (),
    costs: Costs | None = None,
    seed: int = 0,
) -> Details:
    """Break the scores of some rows down.

    Parameters
    ----------
    points:
        Operating points, applied to these rows.
    costs:
        Of mistakes, for single-label tasks.
    seed:
        Of the bootstraps.

    Raises
    ------
    DataError
        If the arrays don't fit together.
    """
    evidence = gather_evidence(task, rows.truth, rows.probabilities, rows.decision)
    tables = {}
    if has_thresholds(task, len(classes)):
        columns = zip(classes, one_hot(evidence.truth, len(classes)).T, evidence.probabilities.T, strict=True)
        tables = {name: threshold_table(found, scores, rows.owners) for name, found, scores in columns}
    report = None
    if costs is not None:
        report = report_costs(rows.truth.astype(np.intp), rows.probabilities, costs, classes, rows.owners, seed)
    return Details(
        reliability(rows.truth, rows.probabilities),
        coverage_risk(evidence.confidence, evidence.correct, rows.owners),
        least_area(evidence.correct),
        None if rows.groups is None else break_down(evidence.correct, rows.groups),
        None if rows.domains is None else break_down(evidence.correct, rows.domains, rows.owners),
        confused_pairs(evidence, classes, rows.owners),
        tables,
        points,
        report,
    )


def has_thresholds(task: Task, classes: int) -> bool:
    """Whether decisions are a matter of thresholds: with two classes, or labels."""
    return task == "multilabel" or classes == 2


def one_hot(found: npt.NDArray[np.generic], classes: int) -> BoolArray:
    """Which rows have which class: bool (n, C), of class indices (n,) or of a matrix (n, C) as it is."""
    if found.ndim == 2:
        return found.astype(np.bool_)
    return np.asarray(found.astype(np.intp)[:, None] == np.arange(classes))
