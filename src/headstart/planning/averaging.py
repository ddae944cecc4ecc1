"""An average of several rungs' probabilities, with weights that are fitted and judged out of fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.data.splits import folds
from headstart.errors import DataError
from headstart.evaluation.calibration import fit_thresholds
from headstart.evaluation.intervals import resampling_units
from headstart.evaluation.scores import row_label_log_loss, row_log_loss
from headstart.planning.rule_table import LEAST_WEIGHT, ROWS_FOR_THE_SINGLE
from headstart.tasks import Task
from headstart.training.finetuning.watch import Improvement, improvement

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_PARTS = 5
_STEPS = 500
_TOLERANCE = 1e-7
_SMALLEST = 1e-12


@dataclass(frozen=True, eq=False)
class Average:
    """A weighted mean of calibrated probabilities.

    Attributes
    ----------
    names, weights:
        Members, and their weights: each at least :data:`LEAST_WEIGHT`, with the sum 1.
    single:
        The rung that it is compared with.
    probabilities:
        float64 (n, C): each row with weights that were fitted without it.
    saved:
        Nats a row that those save against the single rung, with the standard error.
    points:
        By how many points more of the rows are predicted right.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    single: str
    probabilities: Floats
    saved: Improvement
    points: float

    @property
    def worthwhile(self) -> bool:
        """Whether it has several members, a lower loss by more than noise, and no fewer rows right."""
        return len(self.names) > 1 and self.saved.beyond_noise and self.points >= 0

    @property
    def said(self) -> str:
        """The members with their weights."""
        return " + ".join(f"{weight:.0%} {name}" for name, weight in zip(self.names, self.weights, strict=True))


def average_rungs(
    probabilities: Mapping[str, Floats],
    single: str,
    targets: npt.NDArray[np.generic],
    groups: Ints,
    task: Task,
    *,
    thresholds: Floats | None = None,
    seed: int = 0,
) -> Average:
    """Fit convex weights that minimise log-loss, on all rows and, to judge them, on four fifths in turn.

    Few rows leave most of the weight with the single rung; rows of a group count once.

    Parameters
    ----------
    probabilities:
        Of each rung, float64 (n, C), calibrated, of rows that it has not seen.
    single:
        The name of the best rung.
    thresholds:
        (C,) of balanced classes, or ``None``. Labels have thresholds that suit whoever predicts them.

    Raises
    ------
    DataError
        If a rung says nothing of some row.
    """
    for name, rows in probabilities.items():
        if rows.shape != probabilities[single].shape or not np.isfinite(rows).all():
            raise DataError(f"{name} does not predict every row: average rungs on the rows that all have judged")
    stacked = np.stack(list(probabilities.values()))
    first = list(probabilities).index(single)
    weights = _fit(stacked, first, targets, groups, task)
    crossed = np.tensordot(weights, stacked, axes=1)
    for seen, held in folds(targets, groups, _PARTS, seed):
        part = _fit(stacked[:, seen], first, targets[seen], groups[seen], task)
        crossed[held] = np.tensordot(part, stacked[:, held], axes=1)
    losses: Any = row_log_loss if task.kind == "softmax" else row_label_log_loss
    before, after = (_correct(targets, rows, task, thresholds) for rows in (probabilities[single], crossed))
    return Average(
        tuple(name for name, weight in zip(probabilities, weights, strict=True) if weight > 0),
        tuple(weights[weights > 0].tolist()),
        single,
        crossed,
        improvement(losses(targets, probabilities[single]), losses(targets, crossed), groups),
        100 * float(after.mean() - before.mean()),
    )


def _correct(
    targets: npt.NDArray[np.generic], rows: Floats, task: Task, thresholds: Floats | None
) -> npt.NDArray[np.bool_]:
    if task.kind == "sigmoid":
        thresholds = fit_thresholds(targets.astype(bool), rows)
    return task.correct(targets, rows, thresholds)


def _fit(stacked: Floats, single: int, targets: npt.NDArray[np.generic], groups: Ints, task: Task) -> Floats:
    """Weights (K,) without small ones."""
    if task.kind == "softmax":
        chosen = stacked[:, np.arange(len(targets)), targets.astype(np.int64)]
        counts = _counts(groups)
    else:
        true = targets.astype(bool)
        labels = np.where(true, stacked, 1 - stacked)
        chosen = labels.reshape(len(stacked), -1)
        counts = np.repeat(_counts(groups) / labels.shape[2], labels.shape[2])
    weights = fit_weights(chosen, counts, single)
    weights = np.where(weights >= LEAST_WEIGHT, weights, 0.0)
    if not weights.any():
        weights[single] = 1.0
    return np.asarray(weights / weights.sum())


def fit_weights(chosen: Floats, counts: Floats, single: int) -> Floats:
    """The weights (K,) that maximise the mean logarithm of the mixture, with a prior for a single member.

    Expectation maximisation (Dempster, Laird and Rubin 1977), which never leaves the simplex and never gets worse, on a
    concave problem; the prior is :data:`ROWS_FOR_THE_SINGLE` rows that belong to the single member.

    Parameters
    ----------
    chosen:
        (K, n): the probability that each member gives to what was true.
    counts:
        (n,): how much each row counts.
    """
    chosen = np.maximum(chosen, _SMALLEST)
    prior = np.zeros(len(chosen))
    prior[single] = ROWS_FOR_THE_SINGLE
    weights = np.full(len(chosen), 1 / len(chosen))
    for _ in range(_STEPS):
        shares = weights[:, None] * chosen
        found = (shares / shares.sum(axis=0)) @ counts + prior
        found /= found.sum()
        moved = float(np.abs(found - weights).max())
        weights = found
        if moved < _TOLERANCE:
            break
    return np.asarray(weights)


def _counts(groups: Ints) -> Floats:
    codes = resampling_units(groups, len(groups))[0]
    return np.asarray(1 / np.bincount(codes)[codes])
