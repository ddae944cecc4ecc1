"""Whether one model beats another on the same rows: paired bootstrap, McNemar's test, and its like for groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError
from headstart.evaluation.evidence import Task
from headstart.evaluation.intervals import Interval, bootstrap_weights, percentile_interval, resampling_units
from headstart.evaluation.scores import (
    BoolArray,
    FloatArray,
    macro,
    row_label_log_loss,
    row_log_loss,
    row_mean,
    tally_classes,
    tally_labels,
    unit_weights,
)

_DRAWS = 1000
# Random signs of groups: a p-value of 0.05 is then known to within 0.005.
_SIGNS = 9999
# Signs at a time: 8 MB of them.
_CHUNK = 2**20


@dataclass(frozen=True)
class PairedDifference:
    """How the losses of model A differ from those of model B on the same rows.

    Parameters
    ----------
    mean:
        The mean of A's loss minus B's: below zero, A is better.
    ci95:
        Its 95 % interval; ``None`` where resampling can't tell (a single group, or equal differences in all rows).
    wins:
        The share of bootstrap draws in which A is better, ties counting half: in [0, 1].
    """

    mean: float
    ci95: Interval | None
    wins: float


def paired_difference(
    loss_a: npt.ArrayLike,
    loss_b: npt.ArrayLike,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
    seed: int = 0,
) -> PairedDifference:
    """Compare two models by their losses on the same rows, which neither has seen.

    Pairing takes the rows' own difficulty out of the comparison, so that far smaller differences show than intervals
    of the two scores would suggest.

    Parameters
    ----------
    loss_a, loss_b:
        Shape (n,), finite, lower is better; n ≥ 1. For example of ``row_log_loss``, or 0 for right and 1 for wrong.
    groups:
        One name a row, ``None`` for a row of its own: rows of a group are resampled together.
    seed:
        Of the 1000 bootstrap draws.

    Raises
    ------
    DataError
        If the losses differ in length, are none, or are not finite.
    """
    a, b = np.asarray(loss_a, np.float64), np.asarray(loss_b, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a) or not np.isfinite(a - b).all():
        raise DataError(f"losses of shapes {a.shape} and {b.shape} can't be paired: give one finite loss a row each")
    difference = a - b
    means = np.concatenate([row_mean(difference, w) for w in bootstrap_weights(len(a), groups, _DRAWS, seed)])
    return PairedDifference(
        mean=float(difference.mean()),
        ci95=percentile_interval(means, resampling_units(groups, len(a))[1]),
        wins=float((means < 0).mean() + (means == 0).mean() / 2),
    )


@dataclass(frozen=True, eq=False)
class Decided:
    """What a model decided, and how sure it was, on n rows.

    Parameters
    ----------
    decisions:
        Class indices (n,), or bool (n, C) for multi-label.
    probabilities:
        Shape (n, C), in [0, 1].
    """

    decisions: npt.NDArray[np.generic]
    probabilities: FloatArray

    def right(self, truth: npt.NDArray[np.generic]) -> BoolArray:
        """Which rows (n,) are wholly right."""
        equal = np.equal(self.decisions, truth)
        return equal if equal.ndim == 1 else np.asarray(equal.all(axis=1))


@dataclass(frozen=True)
class PairedScore:
    """A score of two models on the same rows, and B's minus A's with its 95 % interval.

    ``None`` for what is undefined on these rows, or what resampling can't tell.
    """

    a: float | None
    b: float | None
    difference: float | None
    ci95: Interval | None


def paired_scores(
    task: Task,
    truth: npt.NDArray[np.generic],
    a: Decided,
    b: Decided,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
    seed: int = 0,
) -> dict[str, PairedScore]:
    """Accuracy, balanced accuracy, macro F1 and log-loss of two models, and the paired bootstrap of their differences.

    Parameters
    ----------
    truth:
        Class indices (n,), or bool (n, C) for multi-label; n ≥ 1.
    groups:
        As in :func:`headstart.evaluation.intervals.resampling_units`.
    seed:
        Of the 1000 draws.
    """
    n = len(truth)
    point_a, point_b = (_scores(task, truth, one, unit_weights(n)) for one in (a, b))
    spread: dict[str, list[FloatArray]] = {name: [] for name in point_a}
    for weights in bootstrap_weights(n, groups, _DRAWS, seed):
        drawn_a, drawn_b = (_scores(task, truth, one, weights) for one in (a, b))
        for name, parts in spread.items():
            parts.append(drawn_b[name] - drawn_a[name])
    units = resampling_units(groups, n)[1]
    found = {}
    for name, parts in spread.items():
        a_score, b_score = (float(point[name][0]) for point in (point_a, point_b))
        a_told, b_told, apart = (None if math.isnan(v) else v for v in (a_score, b_score, b_score - a_score))
        interval = None if apart is None else percentile_interval(np.concatenate(parts), units)
        found[name] = PairedScore(a_told, b_told, apart, interval)
    return found


def _scores(task: Task, truth: npt.NDArray[np.generic], model: Decided, weights: FloatArray) -> dict[str, FloatArray]:
    """Each score under each row of weights (B, n)."""
    if task == "classification":
        found = truth.astype(np.intp)
        columns = model.probabilities.shape[1]
        tally = tally_classes(found, model.decisions.astype(np.intp), columns, weights)
        balanced, losses = tally.recall, row_log_loss(found, model.probabilities)
    else:
        labels = truth.astype(np.bool_)
        tally = tally_labels(labels, model.decisions.astype(np.bool_), weights)
        balanced, losses = (tally.recall + tally.specificity) / 2, row_label_log_loss(labels, model.probabilities)
    return {
        "accuracy": row_mean(model.right(truth), weights),
        "balanced_accuracy": macro(balanced),
        "macro_f1": macro(tally.f1),
        "log_loss": row_mean(losses, weights),
    }


def mcnemar(lost: int, won: int) -> float:
    """The exact two-sided p-value of McNemar's test (1947): are rows lost as often as they are won?

    Parameters
    ----------
    lost, won:
        Rows that only the one, and only the other model has right. Rows are taken for independent.

    Returns
    -------
    In (0, 1]; 1 where no row was lost or won.
    """
    from scipy.special import bdtr

    fewer, changed = min(lost, won), lost + won
    return 1.0 if not changed else min(1.0, 2 * float(bdtr(fewer, changed, 0.5)))


def sign_flip_test(
    difference: npt.ArrayLike, groups: Sequence[Any] | npt.NDArray[Any] | None = None, seed: int = 0
) -> float:
    """The two-sided p-value of a paired difference, groups taken as wholes (Fisher 1935; Winkler et al. 2015).

    If no model were better, each group's sum could as well have the other sign. Of rows that are their own groups and
    differ by −1, 0 or 1 this is McNemar's test, by sampling.

    Parameters
    ----------
    difference:
        Shape (n,): the one model's loss minus the other's.
    groups:
        As in :func:`headstart.evaluation.intervals.resampling_units`.
    seed:
        Of 9,999 random assignments of signs.

    Returns
    -------
    In (0, 1].
    """
    values = np.asarray(difference, np.float64)
    units, count = resampling_units(groups, len(values))
    sums = np.bincount(units, values, count)
    sums = sums[sums != 0]
    generator, extreme = np.random.default_rng(seed), 0
    reached = abs(sums.sum()) * (1 - 1e-9)
    step = max(1, _CHUNK // max(1, len(sums)))
    for start in range(0, _SIGNS, step):
        signs = generator.integers(0, 2, (min(step, _SIGNS - start), len(sums))) * 2.0 - 1
        extreme += int((np.abs(signs @ sums) >= reached).sum())
    return (extreme + 1) / (_SIGNS + 1)
