"""Unequal classes: one way to balance them, chosen for the metric, and how the training priors are restored after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from headstart.errors import OptionError
from headstart.evaluation.metrics import METRICS
from headstart.training.finetuning.defaults import BALANCED_RATIO, HIGHEST_WEIGHT, LOGIT_ADJUSTMENT_TAU
from headstart.training.linear import UNSEEN_COUNT

Floats = npt.NDArray[np.float64]
Kind = Literal["softmax", "sigmoid"]
Method = Literal["none", "sampling", "weighted_loss", "logit_adjustment"]

METHODS: tuple[Method, ...] = ("none", "sampling", "weighted_loss", "logit_adjustment")
# The metrics that count each class alike, however rare it is.
_CLASS_METRICS = ("balanced_accuracy", "macro_f1")


@dataclass(frozen=True)
class Balance:
    """How classes are balanced while a network trains, and what that does to its logits.

    With η(x) the classes' true probabilities, π the shares of the classes among the training rows and f(x) the logits
    that minimise the expected loss (softmax up to a constant a row):

    =====================  =============================================  ===========================
    method                 loss                                           minimised by
    =====================  =============================================  ===========================
    none                   −log softmax(f)[y]                             f = log η
    sampling, shares q     the same, on rows drawn by class               f = log η + log (q / π)
    weighted loss          −w[y] log softmax(f)[y]                        f = log η + log w
    logit adjustment       −log softmax(f + τ log π)[y]                   f = log η − τ log π
    sigmoid, weighted      −w y log σ(f) − (1 − y) log σ(−f)              f = log (η / (1 − η)) + log w
    sigmoid, adjustment    y and 1 − y against σ(f + τ logit π)           f = logit η − τ logit π
    =====================  =============================================  ===========================

    So in every case f = (log or logit) η − ``prior_offsets``, and adding ``prior_offsets`` to the logits makes them
    mean the training priors again (Menon et al. 2021 for the adjustment, Elkan 2001 for the rest). Deep networks that
    fit their rows perfectly approach this for the adjustment; weights and sampling then lose their effect (Byrd and
    Lipton 2019), which is why the adjustment is the default.

    Attributes
    ----------
    method:
        One of :data:`METHODS`.
    reason:
        One sentence.
    loss_offsets:
        Added to the logits inside the training loss only; C values, or empty.
    loss_weights:
        Of the classes (softmax; their mean over the rows is 1) or of each label's positives (sigmoid); or empty.
    prior_offsets:
        C values, all zero for ``none``. Three uses: a head that starts at a probe fitted to the plain loss starts with
        *minus* these on its bias; logits of validation and test rows get them *added* before temperature and log-loss;
        a saved model has them added to its bias.
    decision_offsets:
        C values added to calibrated log-probabilities (softmax) or log-odds (sigmoid), only to decide which class is
        named: argmax of log p − log π minimises the balanced error where argmax of p minimises the error. Without them
        restoring the priors would also undo the gain in the metric. All zero for ``none``, and for sigmoid, whose
        thresholds a label are fitted.
    """

    method: Method
    reason: str
    loss_offsets: tuple[float, ...]
    loss_weights: tuple[float, ...]
    prior_offsets: tuple[float, ...]
    decision_offsets: tuple[float, ...]


def choose_balance(counts: Sequence[int], metric: str, kind: Kind, *, rows: int) -> Balance:
    """Balance only where the metric counts classes alike and they are unequal.

    Accuracy, log-loss and the ranking metrics are best served by the training priors. For balanced accuracy and macro
    F1, exclusive classes get logit adjustment in the loss, labels get weighted positives.

    Parameters
    ----------
    counts:
        Training rows of each class; multi-label: positive rows of each label. At least 2 classes, or 1 label.
    metric:
        A name in :data:`headstart.evaluation.metrics.METRICS`.
    kind:
        ``"softmax"`` or ``"sigmoid"``.
    rows:
        All training rows.

    Raises
    ------
    OptionError
        If the metric is unknown, or the counts can't be those of so many rows.
    """
    if metric not in METRICS:
        raise OptionError(f"unknown metric {metric!r}: known are {', '.join(METRICS)}")
    ratio = _ratio(_shares(counts, kind, rows), kind)
    gap = "the rarest class has {:.1f} times fewer rows than the most frequent"
    if kind == "sigmoid":
        gap = "one answer of a label is {:.1f} times rarer than the other"
    if metric not in _CLASS_METRICS:
        return balance_by("none", counts, kind, rows=rows, reason=f"{metric} is served best by the classes as they are")
    if ratio < BALANCED_RATIO:
        return balance_by("none", counts, kind, rows=rows, reason="the classes are about equally frequent")
    method: Method = "logit_adjustment" if kind == "softmax" else "weighted_loss"
    reason = f"{metric} counts every class alike, and {gap.format(ratio)}"
    return balance_by(method, counts, kind, rows=rows, reason=reason)


def balance_by(
    method: str, counts: Sequence[int], kind: Kind, *, rows: int, reason: str = "asked for by name"
) -> Balance:
    """Balance by a named method; the parameters are those of :func:`choose_balance`.

    Class-balanced sampling needs exclusive classes: rows with several labels have no common class to be drawn by. A
    class without a row counts as half a row in the offsets, and as nothing in weights and sampling.

    Raises
    ------
    OptionError
        If the method is unknown or does not fit the task, or the counts can't be those of so many rows.
    """
    if method not in METHODS:
        raise OptionError(f"unknown way to balance {method!r}: known are {', '.join(METHODS)}")
    shares = _shares(counts, kind, rows)
    logs = np.log(shares) if kind == "softmax" else np.log(shares) - np.log1p(-shares)
    nothing, zeros = np.empty(0), np.zeros(len(shares))
    decide = _decisions(counts, logs) if kind == "softmax" else zeros
    if method == "none":
        return _balance("none", reason, nothing, nothing, zeros, zeros)
    if method == "logit_adjustment":
        offsets = LOGIT_ADJUSTMENT_TAU * logs
        return _balance(method, reason, offsets, nothing, offsets, decide)
    if method == "weighted_loss":
        weights = _class_weights(counts, kind, rows)
        return _balance(method, reason, nothing, weights, -np.log(weights), decide)
    if kind == "sigmoid":
        raise OptionError(
            "rows with several labels can't be drawn by class: balance by weighted_loss or logit_adjustment"
        )
    # All classes are drawn equally often, so q is a constant and drops out of a softmax.
    return _balance("sampling", reason, nothing, nothing, logs, decide)


def _balance(method: str, reason: str, offsets: Floats, weights: Floats, prior: Floats, decide: Floats) -> Balance:
    plain = [tuple(float(value) for value in values) for values in (offsets, weights, prior, decide)]
    return Balance(next(known for known in METHODS if known == method), reason, *plain)


def _shares(counts: Sequence[int], kind: Kind, rows: int) -> Floats:
    """Each class's share of the rows, (C,) strictly between 0 and 1."""
    found = np.asarray(counts, np.float64)
    fits = found.ndim == 1 and bool(np.all(found >= 0)) and rows >= 1
    if kind == "softmax":
        fits = fits and len(found) >= 2 and found.sum() == rows
    else:
        fits = fits and len(found) >= 1 and bool(np.all(found <= rows))
    if not fits:
        raise OptionError(f"counts of classes {list(counts)} can't be those of {rows} rows ({kind})")
    return np.asarray(np.clip(found, UNSEEN_COUNT, rows - UNSEEN_COUNT) / rows)


def _ratio(shares: Floats, kind: Kind) -> float:
    """How many times rarer the rarest is: than the most frequent class, or a label's one answer than its other."""
    if kind == "softmax":
        return float(shares.max() / shares.min())
    odds = shares / (1 - shares)
    return float(np.maximum(odds, 1 / odds).max())


def _decisions(counts: Sequence[int], logs: Floats) -> Floats:
    """Minus the log priors; a class that no row has is favoured over none that was seen."""
    seen = np.asarray(counts) > 0
    return np.where(seen, -logs, -logs[seen].max())


def _class_weights(counts: Sequence[int], kind: Kind, rows: int) -> Floats:
    """Weights in inverse proportion to frequency, the rarest at most HIGHEST_WEIGHT times the most frequent's."""
    found = np.maximum(np.asarray(counts, np.float64), UNSEEN_COUNT)
    if kind == "sigmoid":
        odds = np.maximum(rows - np.asarray(counts, np.float64), UNSEEN_COUNT) / found
        return np.clip(odds, 1 / HIGHEST_WEIGHT, HIGHEST_WEIGHT)
    weights = np.minimum(found.max() / found, HIGHEST_WEIGHT)
    return np.asarray(weights * (rows / math.fsum(weights * np.asarray(counts, np.float64))))
