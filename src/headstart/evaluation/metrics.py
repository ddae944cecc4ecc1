"""All numbers of one split with their intervals, and the one metric that governs every choice."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError, OptionError
from headstart.evaluation.calibration_error import expected_calibration_error
from headstart.evaluation.evidence import ClassEvidence, LabelEvidence, Task, Weighing, gather_evidence
from headstart.evaluation.intervals import (
    bootstrap_weights,
    percentile_interval,
    resampling_units,
    scaled_interval,
    share_interval,
)
from headstart.evaluation.operating_points import Fixed, best_at, decision_shares
from headstart.evaluation.scores import FloatArray, IntArray, confusion, macro, row_mean, unit_weights
from headstart.evaluation.selective import areas_under_risk

_Score = Callable[[Weighing], FloatArray]

# Weights times passes that a bootstrap may touch: about two seconds a line on one core (bench it before changing it).
_COUNTING_BUDGET = 4e7
_RANKING_BUDGET = 1e8
_FEWEST_DRAWS = 100

_COUNTING: dict[str, _Score] = {
    "accuracy": lambda w: row_mean(w.evidence.correct, w.weights),
    "balanced_accuracy": lambda w: w.evidence.balanced_accuracy(w.tally),
    "macro_precision": lambda w: macro(w.tally.precision),
    "macro_recall": lambda w: macro(w.tally.recall),
    "macro_f1": lambda w: macro(w.tally.f1),
    "micro_f1": lambda w: w.tally.micro_f1,
    "log_loss": lambda w: row_mean(w.evidence.log_loss, w.weights),
    "brier": lambda w: row_mean(w.evidence.brier, w.weights),
    "ece": lambda w: expected_calibration_error(w.evidence.claims, w.weights),
}
_RANKING: dict[str, _Score] = {
    "auroc": lambda w: macro(w.auroc),
    "map": lambda w: macro(w.average_precision),
    "aurc": lambda w: areas_under_risk(w.evidence.confidence, w.evidence.correct, w.weights),
}
# Scores that start at 0 and have no upper end that matters; the calibration error lies at 0 too often for any scale.
_SCALES: dict[str, Literal["logit", "log"]] = {"log_loss": "log", "brier": "log", "aurc": "log"}
_AT_A_POINT = re.compile(r"(sensitivity|specificity)@(sensitivity|specificity)=(0?\.\d+)")


@dataclass(frozen=True)
class Metric:
    """One of the scores that may govern every choice of a run."""

    name: str
    higher_is_better: bool


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        name: Metric(name, higher_is_better=name != "log_loss")
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "map", "log_loss")
    }
)
"""The metrics that go by one name; :func:`find_metric` knows those of two classes too."""


def find_metric(name: str) -> Metric:
    """A governing metric by its name.

    Besides :data:`METRICS` there are ``sensitivity@specificity=0.95`` and ``specificity@sensitivity=0.95``, with any
    number between 0 and 1, for two classes. The positive class is the last one, as in scikit-learn: sensitivity is the
    share of it that is found, and specificity the share of the first class that is left alone. They are read off the
    ROC curve of the rows that are scored.

    Raises
    ------
    OptionError
        If there is none of this name.
    """
    if name in METRICS:
        return METRICS[name]
    if point_of(name) is None:
        raise OptionError(
            f"unknown metric {name!r}: known are {', '.join(METRICS)}, and for two classes "
            "sensitivity@specificity=0.95 or specificity@sensitivity=0.95 with any number between 0 and 1"
        )
    return Metric(name, higher_is_better=True)


def point_of(metric: str) -> tuple[Fixed, float] | None:
    """What a metric at an operating point holds fixed, and at which value; ``None`` for every other metric."""
    found = _AT_A_POINT.fullmatch(metric)
    if found is None or found[1] == found[2] or not 0 < float(found[3]) < 1:
        return None
    return ("specificity" if found[2] == "specificity" else "sensitivity"), float(found[3])


def check_metric(metric: str, task: Task, classes: int) -> None:
    """Raise :class:`OptionError` unless a metric is known and can be measured for this task and number of classes."""
    find_metric(metric)
    if point_of(metric) is not None and (task != "classification" or classes != 2):
        kind = "several labels an image" if task == "multilabel" else f"{classes} classes"
        raise OptionError(f"--metric {metric} needs two classes, and the data have {kind}: take auroc, or another")


def score(
    metric: str,
    task: Task,
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    thresholds: Sequence[float] | npt.NDArray[Any] | None = None,
) -> float:
    """One governing metric of some rows, and nothing else computed.

    Parameters
    ----------
    metric:
        A name that :func:`find_metric` knows; each has the meaning that :func:`evaluate` gives it.
    task, truth, probabilities, thresholds:
        As in :func:`evaluate`.

    Returns
    -------
    The score; NaN where it is undefined (AUROC of rows of a single class, for example).

    Raises
    ------
    OptionError
        If the metric or the task is unknown.
    DataError
        If the arrays don't fit together.
    """
    check_metric(metric, task, np.shape(probabilities)[-1])
    evidence = gather_evidence(task, truth, probabilities, thresholds)
    weighing = Weighing(evidence, unit_weights(len(evidence.truth)))
    return float(_function(metric)(weighing)[0])


def better(metric: str, a: float, b: float) -> bool:
    """Whether score ``a`` is strictly better than ``b``; NaN is worse than any number.

    Raises
    ------
    OptionError
        If the metric is unknown.
    """
    higher_is_better = find_metric(metric).higher_is_better
    if math.isnan(a) or math.isnan(b):
        return not math.isnan(a)
    return a > b if higher_is_better else a < b


def evaluate(
    task: Task,
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    classes: Sequence[str],
    *,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
    thresholds: Sequence[float] | npt.NDArray[Any] | None = None,
    seed: int = 0,
    draws: int = 1000,
    metric: str = "accuracy",
) -> dict[str, Any]:
    """Everything that ``metrics.json`` says about one split.

    Parameters
    ----------
    task:
        ``"classification"`` or ``"multilabel"``.
    truth:
        Class indices (n,), or for multi-label a 0/1 matrix (n, C). n ≥ 1.
    probabilities:
        Shape (n, C), in [0, 1].
    classes:
        C names.
    groups:
        One name a row, ``None`` for a row of its own. Rows of a group are resampled together.
    thresholds:
        One a class. Multi-label: the probability from which each label is decided, 0.5 where ``None``. Single-label:
        positive; the class of the largest probability over threshold is decided, the most probable where ``None``. Or
        costs (C, C), see :func:`headstart.evaluation.calibration.name_classes`.
    seed:
        Of the bootstrap: the same arrays and seed give the same numbers.
    draws:
        The most bootstrap draws to take. For the time's sake many rows get fewer, at least 100: counting scores
        4e7 / n, ranking scores (AUROC, average precision, AURC) 1e8 / (n C). Intervals of so many rows are narrow
        anyway.
    metric:
        The governing metric: one at an operating point (:func:`find_metric`) is scored as well, under its name.

    Returns
    -------
    Plain values ready for JSON, ``None`` where a score is undefined:

    - ``n``, and ``groups``: the number of groups, ``None`` without groups;
    - each score, and its 95 % interval ``<score>_ci95`` as ``[low, high]`` or ``None``: ``accuracy`` (multi-label: the
      share of rows with all labels right), ``balanced_accuracy``, ``macro_precision``, ``macro_recall``, ``macro_f1``
      (each the mean over the classes where it is defined), ``micro_f1`` (multi-label), ``log_loss``, ``brier``,
      ``ece``, ``auroc``, ``map`` (mean average precision; both one-vs-rest, mean over the classes with rows of both
      kinds, or with positive rows), ``aurc`` (:func:`headstart.evaluation.selective.areas_under_risk`);
    - ``per_class``: by name, ``precision``, ``recall``, ``f1`` (each with its interval), ``auroc``,
      ``average_precision``, ``support``, and for multi-label ``threshold``;
    - ``confusion`` (single-label): C lists of C counts, rows the truth.

    Intervals of shares of rows are :func:`headstart.evaluation.intervals.share_interval`'s. The others rest on the
    bootstrap: :func:`headstart.evaluation.intervals.scaled_interval`, or for ``ece``, which is often 0, percentiles.

    Raises
    ------
    OptionError
        If the task is unknown.
    DataError
        If the arrays don't fit together.
    """
    evidence = gather_evidence(task, truth, probabilities, thresholds)
    n, columns = evidence.probabilities.shape
    if len(classes) != columns:
        raise DataError(f"there are {len(classes)} class names for {columns} columns of probabilities")
    unit_of_row, units = resampling_units(groups, n)
    owners = None if groups is None else unit_of_row
    counting = {name: s for name, s in _COUNTING.items() if task == "multilabel" or name != "micro_f1"}
    ranking = _RANKING if point_of(metric) is None else {**_RANKING, metric: _function(metric)}
    point = Weighing(evidence, unit_weights(n))
    spread = _resample(evidence, counting, ranking, owners, seed, draws)
    result: dict[str, Any] = {"n": n, "groups": None if groups is None else units}
    for name, compute in (counting | ranking).items():
        value = _plain(compute(point)[0])
        interval = None
        if name == "accuracy":
            interval = share_interval(evidence.correct, owners)
        elif name == "ece":
            interval = percentile_interval(spread[name], units)
        elif value is not None:
            interval = scaled_interval(value, spread[name], units, _SCALES.get(name, "logit"))
        result |= {name: value, f"{name}_ci95": None if value is None or interval is None else list(interval)}
    result["per_class"] = _per_class(point, classes, owners)
    if isinstance(evidence, ClassEvidence):
        result["confusion"] = confusion(evidence.truth, evidence.decided, columns).tolist()
    return result


def _resample(
    evidence: ClassEvidence | LabelEvidence,
    counting: Mapping[str, _Score],
    ranking: Mapping[str, _Score],
    groups: Sequence[Any] | npt.NDArray[Any] | None,
    seed: int,
    draws: int,
) -> dict[str, FloatArray]:
    """Every score in every draw; the costly ranking scores only in the first draws."""
    n, columns = evidence.probabilities.shape
    counted = min(draws, max(_FEWEST_DRAWS, int(_COUNTING_BUDGET / n)))
    ranked = min(counted, max(_FEWEST_DRAWS, int(_RANKING_BUDGET / (n * columns))))
    chunks: dict[str, list[FloatArray]] = {name: [] for name in (*counting, *ranking)}
    done = 0
    for weights in bootstrap_weights(n, groups, counted, seed):
        weighing = Weighing(evidence, weights)
        wanted = {**counting, **ranking} if done < ranked else counting
        for name, compute in wanted.items():
            chunks[name].append(compute(weighing))
        done += len(weights)
    return {name: np.concatenate(parts) if parts else np.empty(0) for name, parts in chunks.items()}


def _per_class(point: Weighing, classes: Sequence[str], owners: IntArray | None) -> dict[str, dict[str, Any]]:
    columns = {
        "precision": point.tally.precision,
        "recall": point.tally.recall,
        "f1": point.tally.f1,
        "auroc": point.auroc,
        "average_precision": point.average_precision,
    }
    table = {}
    for index, name in enumerate(classes):
        row: dict[str, Any] = {key: _plain(values[0, index]) for key, values in columns.items()}
        shares = decision_shares(*point.evidence.of_class(index), owners)
        row |= {f"{key}_ci95": None if ends is None else list(ends) for key, ends in shares.intervals().items()}
        row["support"] = int(point.tally.support[0, index])
        if isinstance(point.evidence, LabelEvidence):
            row["threshold"] = float(point.evidence.thresholds[index])
        table[name] = row
    return table


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _function(metric: str) -> _Score:
    point = point_of(metric)
    if point is None:
        return (_COUNTING | _RANKING)[metric]
    fixed, target = point
    return lambda w: best_at(w.evidence.rankings[-1], w.weights, fixed, target)
