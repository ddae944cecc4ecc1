"""Unequal classes: one way to balance them, chosen for the metric, and how the training priors are restored after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from headstart.errors import OptionError
from headstart.evaluation.metrics import find_metric
from headstart.training.finetuning.defaults import BALANCED_RATIO, HIGHEST_WEIGHT, LOGIT_ADJUSTMENT_TAU
from headstart.training.linear import UNSEEN_COUNT

Floats = npt.NDArray[np.float64]
Kind = Literal["softmax", "sigmoid"]
Method = Literal["none", "weighted_loss", "logit_adjustment"]

METHODS: tuple[Method, ...] = ("none", "weighted_loss", "logit_adjustment")
# How far each metric that counts classes alike leans from the training priors (0) to equal ones (1). Balanced accuracy
# is served best by equal ones. F1 also counts precision: the best threshold for a class lies between its prior, where
# nothing is known, and a half, where all is (Lipton et al. 2014), so near the training priors for a good classifier. On
# normal classes of priors 0.9, 0.08, 0.02 leaning by 0.25 gains 0.04 of macro F1 where they overlap much and loses
# 0.002 where they hardly do; leaning by 1 loses 0.1 between the two.
LEANS = {"balanced_accuracy": 1.0, "macro_f1": 0.25}


@dataclass(frozen=True)
class Balance:
    """How classes are balanced while a network trains, what that does to its logits, and how a class is named after.

    With η(x) the classes' true probabilities, π the shares of the classes among the training rows and f(x) the logits
    that minimise the expected loss (softmax up to a constant a row):

    =====================  =============================================  ===========================
    method                 loss                                           minimised by
    =====================  =============================================  ===========================
    none                   −log softmax(f)[y]                             f = log η
    weighted loss          −w[y] log softmax(f)[y]                        f = log η + log w
    logit adjustment       −log softmax(f + τ log π)[y]                   f = log η − τ log π
    sigmoid, weighted      −w y log σ(f) − (1 − y) log σ(−f)              f = log (η / (1 − η)) + log w
    sigmoid, adjustment    y and 1 − y against σ(f + τ logit π)           f = logit η − τ logit π
    =====================  =============================================  ===========================

    So in every case f = (log or logit) η − ``prior_offsets``, and adding ``prior_offsets`` to the logits makes them
    mean the training priors again (Menon et al. 2021 for the adjustment, Elkan 2001 for the rest). Deep networks that
    fit their rows perfectly approach this for the adjustment; weights then lose their effect (Byrd and Lipton 2019).
    Class-balanced sampling is left out: it loses its effect likewise, and repeats the rows of a rare class within an
    epoch, by which they are learnt by heart.

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
        C values added to calibrated log-probabilities (softmax), only to decide which class is named: argmax of
        log p − log π minimises the balanced error where argmax of p minimises the error. Without them restoring the
        priors would also undo the gain in the metric. All zero for ``none``, and for sigmoid, whose thresholds a label
        are fitted.
    """

    method: Method
    reason: str
    loss_offsets: tuple[float, ...]
    loss_weights: tuple[float, ...]
    prior_offsets: tuple[float, ...]
    decision_offsets: tuple[float, ...]

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The decision offsets as :func:`headstart.evaluation.calibration.name_classes` takes them.

        C positive numbers of mean 1; ``None`` where the most probable class is the one to name.
        """
        if not any(self.decision_offsets):
            return None
        found = np.exp(-np.array(self.decision_offsets))
        return tuple((found / found.mean()).tolist())


def choose_balance(counts: Sequence[int], metric: str, kind: Kind, *, rows: int) -> Balance:
    """Balance only where the metric counts classes alike and they are unequal.

    Accuracy, log-loss and the ranking metrics are best served by the training priors. For balanced accuracy exclusive
    classes get logit adjustment, whose minimiser serves it exactly. For macro F1, which rare classes pay for with
    precision too, they get a weighted loss that leans a quarter of that way (:data:`LEANS`). Labels get weighted
    positives for either.

    Parameters
    ----------
    counts:
        Training rows of each class; multi-label: positive rows of each label. At least 2 classes, or 1 label.
    metric:
        A name that :func:`headstart.evaluation.metrics.find_metric` knows.
    kind:
        ``"softmax"`` or ``"sigmoid"``.
    rows:
        All training rows.

    Raises
    ------
    OptionError
        If the metric is unknown, or the counts can't be those of so many rows.
    """
    find_metric(metric)
    ratio = _ratio(_shares(counts, kind, rows), kind)
    gap = "the rarest class has {:.1f} times fewer rows than the most frequent"
    if kind == "sigmoid":
        gap = "one answer of a label is {:.1f} times rarer than the other"
    if metric not in LEANS:
        return balance_by("none", counts, kind, rows=rows, reason=f"{metric} is served best by the classes as they are")
    if ratio < BALANCED_RATIO:
        return balance_by("none", counts, kind, rows=rows, reason="the classes are about equally frequent")
    method: Method = "logit_adjustment" if (kind, metric) == ("softmax", "balanced_accuracy") else "weighted_loss"
    reason = f"{metric} counts every class alike, and {gap.format(ratio)}"
    return balance_by(method, counts, kind, rows=rows, reason=reason, lean=LEANS[metric])


def balance_by(
    method: str,
    counts: Sequence[int],
    kind: Kind,
    *,
    rows: int,
    reason: str = "asked for by name",
    lean: float = 1.0,
) -> Balance:
    """Balance by a named method; the other parameters are those of :func:`choose_balance`.

    A class without a row counts as half a row in the offsets, and as nothing in the mean of the weights.

    Parameters
    ----------
    lean:
        How far exclusive classes lean from the training priors (0) to equal ones (1), in the loss and in decisions.

    Raises
    ------
    OptionError
        If the method is unknown, or the counts can't be those of so many rows.
    """
    if method not in METHODS:
        raise OptionError(f"unknown way to balance {method!r}: known are {', '.join(METHODS)}")
    shares = _shares(counts, kind, rows)
    lean = lean if kind == "softmax" else 1.0
    logs = lean * (np.log(shares) if kind == "softmax" else np.log(shares) - np.log1p(-shares))
    nothing, zeros = np.empty(0), np.zeros(len(shares))
    if method == "none":
        return _balance("none", reason, nothing, nothing, zeros, zeros)
    decide = _decisions(counts, logs) if kind == "softmax" else zeros
    if method == "logit_adjustment":
        offsets = LOGIT_ADJUSTMENT_TAU * logs
        return _balance("logit_adjustment", reason, offsets, nothing, offsets, decide)
    weights = _class_weights(counts, kind, rows, lean)
    return _balance("weighted_loss", reason, nothing, weights, -np.log(weights), decide)


def _balance(method: Method, reason: str, offsets: Floats, weights: Floats, prior: Floats, decide: Floats) -> Balance:
    plain = [tuple(float(value) for value in values) for values in (offsets, weights, prior, decide)]
    return Balance(method, reason, *plain)


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
    """Minus the leaning log priors; a class that no row has is favoured over none that was seen."""
    seen = np.asarray(counts) > 0
    return np.where(seen, -logs, -logs[seen].max())


def _class_weights(counts: Sequence[int], kind: Kind, rows: int, lean: float) -> Floats:
    """Weights in inverse proportion to frequency, to the power ``lean`` where classes exclude each other.

    The rarest class weighs at most HIGHEST_WEIGHT times as much as the most frequent one.
    """
    found = np.maximum(np.asarray(counts, np.float64), UNSEEN_COUNT)
    if kind == "sigmoid":
        odds = np.maximum(rows - np.asarray(counts, np.float64), UNSEEN_COUNT) / found
        return np.clip(odds, 1 / HIGHEST_WEIGHT, HIGHEST_WEIGHT)
    weights = np.minimum((found.max() / found) ** lean, HIGHEST_WEIGHT)
    return np.asarray(weights * (rows / math.fsum(weights * np.asarray(counts, np.float64))))
