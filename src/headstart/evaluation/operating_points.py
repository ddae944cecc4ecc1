"""Where to put the threshold: tables of thresholds, and the points that hold sensitivity or specificity fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstart.evaluation.intervals import Interval, share_interval
from headstart.evaluation.ranking import Ranking, roc
from headstart.evaluation.scores import BoolArray, FloatArray

Fixed = Literal["sensitivity", "specificity"]
Groups = Sequence[Any] | npt.NDArray[Any] | None

TARGETS = (0.90, 0.95, 0.99)
"""The sensitivities and specificities that points are told for."""

THRESHOLDS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""The thresholds of a table."""


@dataclass(frozen=True)
class Share:
    """A share of some rows with its 95 % interval; ``value`` is ``None`` where there are none of these rows."""

    value: float | None
    ci95: Interval | None
    rows: int


@dataclass(frozen=True)
class DecisionShares:
    """How decisions for one class or label turn out; ``f1`` has the rows that have it or are given it."""

    precision: Share
    recall: Share
    specificity: Share
    f1: Share

    def intervals(self) -> dict[str, Interval | None]:
        """Those of precision, recall and F1."""
        return {name: share.ci95 for name, share in vars(self).items() if name != "specificity"}


@dataclass(frozen=True)
class ThresholdRow:
    """What follows from deciding for a class or label where its probability reaches ``threshold``."""

    threshold: float
    shares: DecisionShares


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold that was chosen on some rows, to be applied to others.

    Attributes
    ----------
    positive:
        The class or label that is decided for where its probability reaches ``threshold``.
    fixed, target:
        What was to be held, and at which value at least.
    rows:
        How many rows the threshold rests on: the negative ones for a specificity, the positive ones for a sensitivity.
    """

    positive: str
    fixed: Fixed
    target: float
    threshold: float
    rows: int


@dataclass(frozen=True)
class AppliedPoint:
    """What an operating point gives on rows that it was not chosen on."""

    point: OperatingPoint
    sensitivity: Share
    specificity: Share


def threshold_table(truth: BoolArray, scores: FloatArray, groups: Groups = None) -> tuple[ThresholdRow, ...]:
    """Precision, recall, specificity and F1 at each of :data:`THRESHOLDS`.

    Parameters
    ----------
    truth:
        Shape (n,): which rows have the class or label.
    scores:
        Shape (n,): its probability.
    groups:
        One name a row, see :func:`headstart.evaluation.intervals.resampling_units`.
    """
    return tuple(
        ThresholdRow(threshold, decision_shares(truth, scores >= threshold, groups)) for threshold in THRESHOLDS
    )


def decision_shares(truth: BoolArray, decided: BoolArray, groups: Groups = None) -> DecisionShares:
    """Precision, recall, specificity and F1 of decisions for one class, each with its interval.

    F1 is 2 J / (1 + J), where J is the share of right ones among the rows that have the class or are given it; so its
    interval is that share's, carried over.

    Parameters
    ----------
    truth, decided:
        Shape (n,): which rows have the class, and which are given it.
    groups:
        One name a row, see :func:`headstart.evaluation.intervals.resampling_units`.
    """
    overlap = _share(truth & decided, truth | decided, groups)
    f1 = overlap
    if overlap.value is not None and overlap.ci95 is not None:
        f1 = Share(_f1(overlap.value), (_f1(overlap.ci95[0]), _f1(overlap.ci95[1])), overlap.rows)
    return DecisionShares(
        _share(truth, decided, groups), _share(decided, truth, groups), _share(~decided, ~truth, groups), f1
    )


def fit_points(truth: BoolArray, probabilities: FloatArray, classes: Sequence[str]) -> tuple[OperatingPoint, ...]:
    """For each class the thresholds that hold sensitivity and specificity at each of :data:`TARGETS`.

    Parameters
    ----------
    truth:
        Bool of shape (n, C): which rows have which class or label. Of rows that the model had not seen.
    probabilities:
        Shape (n, C), in [0, 1].
    classes:
        C names. A class that all rows or none have gets no points.
    """
    points = []
    for name, positive, scores in zip(classes, truth.T, probabilities.T, strict=True):
        counts = {"sensitivity": int(positive.sum()), "specificity": int((~positive).sum())}
        if all(counts.values()):
            points += [
                OperatingPoint(name, fixed, target, threshold_at(positive, scores, fixed, target), counts[fixed])
                for fixed in ("specificity", "sensitivity")
                for target in TARGETS
            ]
    return tuple(points)


def decide(points: Sequence[OperatingPoint], probabilities: FloatArray, classes: Sequence[str]) -> BoolArray:
    """Bool of shape (n, P): which rows each of the P points decides for its class; ``probabilities`` is (n, C)."""
    columns = [list(classes).index(point.positive) for point in points]
    return np.asarray(probabilities[:, columns] >= [point.threshold for point in points])


def apply_points(
    points: Sequence[OperatingPoint],
    decided: BoolArray,
    truth: BoolArray,
    classes: Sequence[str],
    groups: Groups = None,
) -> tuple[AppliedPoint, ...]:
    """Sensitivity and specificity of decisions by operating points, with intervals.

    Parameters
    ----------
    decided:
        Shape (n, P), of :func:`decide`, on rows that the points were not chosen on.
    truth:
        Bool of shape (n, C).
    """
    found = []
    for point, column in zip(points, decided.T, strict=True):
        positive = truth[:, list(classes).index(point.positive)]
        found.append(
            AppliedPoint(point, _share(column, positive, groups), _share(~column, ~positive, groups)),
        )
    return tuple(found)


def threshold_at(positive: BoolArray, scores: FloatArray, fixed: Fixed, target: float) -> float:
    """The threshold that holds one of sensitivity and specificity at ``target`` and makes the other the largest.

    It lies midway between the two scores that it parts, so that neither is met by rounding.

    Parameters
    ----------
    positive:
        Shape (n,): which rows have the class; some, but not all.
    scores:
        Shape (n,): its probability, in [0, 1].
    """
    if fixed == "specificity":  # so many negatives stay below it
        held = np.sort(scores[~positive])
        below = float(held[max(1, int(np.ceil(target * len(held) - 1e-9))) - 1])
        taken = float(scores[scores > below].min(initial=max(1.0, np.nextafter(below, 2.0))))
    else:  # so many positives reach it
        held = np.sort(scores[positive])[::-1]
        taken = float(held[max(1, int(np.ceil(target * len(held) - 1e-9))) - 1])
        below = float(scores[scores < taken].max(initial=0.0))
    middle = (below + taken) / 2
    return middle if middle > below else taken


def best_at(ranking: Ranking, weights: FloatArray, fixed: Fixed, target: float) -> FloatArray:
    """The best sensitivity where the specificity is at least ``target``, or the reverse: read off the ROC curve.

    Parameters
    ----------
    ranking:
        Of the positive class.
    weights:
        Shape (B, n).

    Returns
    -------
    Shape (B,), in [0, 1]; NaN where a kind of row is missing.
    """
    curve = roc(ranking, weights)
    if curve is None:
        return np.full(len(weights), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = curve.hits / curve.positives
        specificity = 1 - curve.false_alarms / curve.negatives
    if fixed == "specificity":
        found = np.where(specificity >= target - 1e-9, sensitivity, 0.0).max(axis=0)
    else:  # all rows taken reach every sensitivity
        found = np.where(sensitivity >= target - 1e-9, specificity, 0.0).max(axis=0)
    return np.where((curve.positives > 0) & (curve.negatives > 0), found, np.nan)


def _f1(overlap: float) -> float:
    return 2 * overlap / (1 + overlap)


def _share(hits: BoolArray, among: BoolArray, groups: Groups) -> Share:
    """The share of hits among some of the rows (n,)."""
    rows = int(among.sum())
    if not rows:
        return Share(None, None, 0)
    owners = None if groups is None else np.asarray(groups)[among]
    return Share(float(hits[among].mean()), share_interval(hits[among], owners), rows)
