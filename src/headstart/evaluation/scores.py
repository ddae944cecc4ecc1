"""Scores of decisions and probabilities, each written once for a whole matrix of row weights.

Every function takes ``weights``, float64 of shape (B, n): one row of ones gives the score itself, B rows of bootstrap
counts give B bootstrap scores, and sample weights work the same way. A result whose denominator is zero is NaN,
never a silent zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]

_EPSILON = float(np.finfo(np.float64).eps)


def unit_weights(n: int) -> FloatArray:
    """Weights of shape (1, n), all one: what turns a weighted score into the plain one."""
    return np.ones((1, n))


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """``numerator / denominator``, broadcast, and NaN where the denominator is zero."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    quotient: FloatArray = np.divide(numerator, denominator, out=np.full(shape, np.nan), where=denominator != 0)
    return quotient


def row_mean(values: npt.NDArray[np.float64 | np.bool_], weights: FloatArray) -> FloatArray:
    """Weighted means of one value a row.

    Accuracy, log-loss and the Brier score are such means: of :func:`row_log_loss` for example.

    Parameters
    ----------
    values:
        Shape (n,), float or bool.
    weights:
        Shape (B, n).

    Returns
    -------
    Shape (B,); NaN where all weights are zero.
    """
    return ratio(weights @ values.astype(np.float64), weights.sum(axis=1))


def macro(values: FloatArray) -> FloatArray:
    """The mean over classes, shape (B, C) → (B,), of those that are defined; NaN where none is."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))


def row_log_loss(truth: IntArray, probabilities: FloatArray) -> FloatArray:
    """The log-loss of each row in nats, shape (n,): minus the log of the true class's probability.

    Probabilities are clipped to [2.2e-16, 1 − 2.2e-16], so that one certain mistake costs 36 and not infinity. They
    are taken as they are, not made to sum to one.
    """
    chosen = probabilities[np.arange(len(truth)), truth]
    return -np.log(np.clip(chosen, _EPSILON, 1 - _EPSILON))


def row_brier(truth: IntArray, probabilities: FloatArray) -> FloatArray:
    """The Brier score of each row, shape (n,), in [0, 2]: the squared distance to the one-hot truth.

    This is the original form (Brier 1950), summed over classes: for two classes it is twice the binary one.
    """
    chosen = probabilities[np.arange(len(truth)), truth]
    return np.asarray((probabilities**2).sum(axis=1) - 2 * chosen + 1)


def row_label_log_loss(truth: BoolArray, probabilities: FloatArray) -> FloatArray:
    """The binary log-loss of each row in nats, shape (n,), averaged over its labels; clipped as single-label's is."""
    chosen = np.where(truth, probabilities, 1 - probabilities)
    return np.asarray(-np.log(np.clip(chosen, _EPSILON, 1 - _EPSILON)).mean(axis=1))


def row_label_brier(truth: BoolArray, probabilities: FloatArray) -> FloatArray:
    """The squared error of each row's probabilities, shape (n,), in [0, 1], averaged over its labels."""
    return np.asarray(((probabilities - truth) ** 2).mean(axis=1))


@dataclass(frozen=True)
class Tally:
    """Weighted counts of decisions, from which precision, recall and F1 follow.

    Parameters
    ----------
    support, predicted, hits:
        Shape (B, C): the weight of the rows whose truth is the class, that were decided as the class, and both.
    total:
        Shape (B, 1): the weight of all rows.
    """

    support: FloatArray
    predicted: FloatArray
    hits: FloatArray
    total: FloatArray

    @property
    def precision(self) -> FloatArray:
        """Shape (B, C): the share of decisions for a class that are right; NaN for a class never decided."""
        return ratio(self.hits, self.predicted)

    @property
    def recall(self) -> FloatArray:
        """Shape (B, C): the share of a class's rows that were found; NaN for a class without rows."""
        return ratio(self.hits, self.support)

    @property
    def specificity(self) -> FloatArray:
        """Shape (B, C): the share of the other rows that were left alone; NaN where there are no others."""
        return ratio(self.total - self.support - self.predicted + self.hits, self.total - self.support)

    @property
    def f1(self) -> FloatArray:
        """Shape (B, C): 2 hits / (support + predicted); NaN only for a class neither present nor decided."""
        return ratio(2 * self.hits, self.support + self.predicted)

    @property
    def micro_f1(self) -> FloatArray:
        """Shape (B,): F1 of all decisions pooled over the classes."""
        return ratio(2 * self.hits.sum(axis=1), (self.support + self.predicted).sum(axis=1))


def tally_classes(truth: IntArray, decided: IntArray, classes: int, weights: FloatArray) -> Tally:
    """Count single-label decisions.

    Parameters
    ----------
    truth, decided:
        Class indices in [0, classes), shape (n,).
    weights:
        Shape (B, n).
    """
    right = truth == decided
    return Tally(
        support=_sums_by_class(truth, classes, weights),
        predicted=_sums_by_class(decided, classes, weights),
        hits=_sums_by_class(truth[right], classes, weights[:, right]),
        total=weights.sum(axis=1, keepdims=True),
    )


def tally_labels(truth: BoolArray, decided: BoolArray, weights: FloatArray) -> Tally:
    """Count multi-label decisions: ``truth`` and ``decided`` are bool of shape (n, C), weights of shape (B, n)."""
    return Tally(
        support=weights @ truth.astype(np.float64),
        predicted=weights @ decided.astype(np.float64),
        hits=weights @ (truth & decided).astype(np.float64),
        total=weights.sum(axis=1, keepdims=True),
    )


def confusion(truth: IntArray, decided: IntArray, classes: int) -> IntArray:
    """Counts of shape (C, C): rows are the true classes, columns the decided ones."""
    return np.bincount(truth * classes + decided, minlength=classes * classes).reshape(classes, classes)


def _sums_by_class(index: IntArray, classes: int, weights: FloatArray) -> FloatArray:
    """Sum weights over the rows of each class, (B, n) → (B, C).

    Sorting and summing runs costs n · B whatever the number of classes; a product with a one-hot matrix would not.
    """
    sums = np.zeros((classes, len(weights)))
    if len(index):
        order = np.argsort(index, kind="stable")
        present, starts = np.unique(index[order], return_index=True)
        sums[present] = np.add.reduceat(weights.T[order], starts, axis=0)
    return sums.T
