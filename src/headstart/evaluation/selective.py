"""What is gained by leaving out the least sure rows: the coverage–risk curve and the area under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError
from headstart.evaluation.intervals import Interval, share_interval
from headstart.evaluation.scores import BoolArray, FloatArray, ratio

COVERAGES = tuple(round(0.05 * step, 2) for step in range(1, 21))
"""The coverages at which the curve is told."""


@dataclass(frozen=True)
class CoverageRisk:
    """One point of the curve.

    Attributes
    ----------
    coverage:
        The share of rows that are accepted, the surest first.
    risk, risk_ci95:
        The share of wrong ones among them, and its 95 % interval.
    threshold:
        The lowest confidence among them.
    """

    coverage: float
    risk: float
    risk_ci95: Interval
    threshold: float


def coverage_risk(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, groups: Sequence[Any] | npt.NDArray[Any] | None = None
) -> tuple[CoverageRisk, ...]:
    """The coverage–risk curve (Geifman and El-Yaniv 2017): how often accepted rows are wrong.

    Parameters
    ----------
    confidence:
        Shape (n,), finite, higher is surer. n ≥ 1.
    correct:
        Bool of shape (n,).
    groups:
        One name a row, see :func:`headstart.evaluation.intervals.resampling_units`.

    Returns
    -------
    The points nearest to each of :data:`COVERAGES` from above, each once. A threshold can't part rows that are equally
    sure, so they are accepted together.

    Raises
    ------
    DataError
        If the arrays differ in length, are empty, or a confidence is not finite.
    """
    sureness, right = _checked(confidence, correct)
    owners = None if groups is None else np.asarray(groups, object)
    ordered = np.sort(sureness)[::-1]
    n = len(ordered)
    points: dict[int, CoverageRisk] = {}
    for wished in COVERAGES:
        threshold = ordered[max(1, int(np.ceil(wished * n - 1e-9))) - 1]
        accepted = sureness >= threshold
        rows = int(accepted.sum())
        if rows not in points:
            wrong = ~right[accepted]
            interval = share_interval(wrong, None if owners is None else owners[accepted])
            points[rows] = CoverageRisk(rows / n, float(wrong.mean()), interval, float(threshold))
    return tuple(points.values())


def areas_under_risk(confidence: FloatArray, correct: BoolArray, weights: FloatArray) -> FloatArray:
    """The area under the coverage–risk curve, AURC: the mean over k of the risk of the k surest rows.

    Of rows that are equally sure the mean over all their orders counts, so that the rows' own order does not matter.

    Parameters
    ----------
    confidence, correct:
        Shape (n,).
    weights:
        Shape (B, n): whole numbers, how often each row counts.

    Returns
    -------
    Shape (B,), in [0, 1]: the error rate where confidence tells nothing, less where it tells right rows from wrong
    ones. NaN where all weights are zero.
    """
    order = np.argsort(-confidence, kind="stable")
    starts = np.flatnonzero(np.diff(confidence[order], prepend=np.inf))
    columns = weights.T[order]
    rows = np.add.reduceat(columns, starts, axis=0)
    wrong = np.add.reduceat(columns * ~correct[order, None], starts, axis=0)
    rows_until, wrong_until = np.cumsum(rows, axis=0), np.cumsum(wrong, axis=0)
    total = rows_until[-1]
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(total.max(initial=0)) + 1))])
    until = np.take(harmonic, rows_until.astype(np.intp))
    steps = np.diff(until, axis=0, prepend=0.0)
    rate = np.divide(wrong, rows, out=np.zeros_like(wrong), where=rows > 0)
    # Within a block of equals errors come at its rate: what came before it, and what it brings, over each row's place.
    area = (wrong_until - wrong - rate * (rows_until - rows)) * steps + wrong
    return ratio(area.sum(axis=0), total)


def least_area(correct: npt.ArrayLike) -> float:
    """The AURC of a perfect order, which puts every right row (n,) before every wrong one: what can be reached."""
    right = np.asarray(correct, np.bool_)
    return float(areas_under_risk(right.astype(np.float64), right, np.ones((1, len(right))))[0])


def _checked(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> tuple[FloatArray, BoolArray]:
    sureness, right = np.asarray(confidence, np.float64), np.asarray(correct, np.bool_)
    if sureness.shape != right.shape or sureness.ndim != 1 or not len(right) or not np.isfinite(sureness).all():
        raise DataError(f"confidences {sureness.shape} and outcomes {right.shape} must pair up, be finite and some")
    return sureness, right
