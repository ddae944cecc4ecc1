"""The truth and a model's probabilities side by side, checked once, with what the scores need of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError, OptionError
from headstart.evaluation.calibration import name_classes
from headstart.evaluation.calibration_error import CalibrationBins, bin_claims
from headstart.evaluation.ranking import Ranking, areas, rank
from headstart.evaluation.scores import (
    BoolArray,
    FloatArray,
    IntArray,
    Tally,
    macro,
    row_brier,
    row_label_brier,
    row_label_log_loss,
    row_log_loss,
    tally_classes,
    tally_labels,
)

Task = Literal["classification", "multilabel"]


@dataclass(frozen=True)
class ClassEvidence:
    """Single-label evidence: ``truth`` holds class indices (n,), ``probabilities`` is (n, C).

    ``thresholds`` (C,), costs (C, C), or ``None`` decide which class is named: see
    :func:`headstart.evaluation.calibration.name_classes`. Everything else is worked out at its first use.
    """

    truth: IntArray
    probabilities: FloatArray
    thresholds: FloatArray | None = None

    @cached_property
    def decided(self) -> IntArray:
        return name_classes(self.probabilities, self.thresholds)

    @cached_property
    def correct(self) -> BoolArray:
        return np.equal(self.truth, self.decided)

    @cached_property
    def confidence(self) -> FloatArray:
        """The probability of the decided class."""
        return np.asarray(np.take_along_axis(self.probabilities, self.decided[:, None], axis=1)[:, 0])

    @cached_property
    def log_loss(self) -> FloatArray:
        return row_log_loss(self.truth, self.probabilities)

    @cached_property
    def brier(self) -> FloatArray:
        return row_brier(self.truth, self.probabilities)

    @cached_property
    def claims(self) -> CalibrationBins:
        """One claim a row: that the decided class is the true one."""
        return bin_claims(self.confidence[:, None], self.correct[:, None])

    @cached_property
    def rankings(self) -> tuple[Ranking, ...]:
        """One a class, against all others."""
        return tuple(rank(self.truth == k, scores) for k, scores in enumerate(self.probabilities.T))

    def tally(self, weights: FloatArray) -> Tally:
        return tally_classes(self.truth, self.decided, self.probabilities.shape[1], weights)

    def of_class(self, index: int) -> tuple[BoolArray, BoolArray]:
        """Which rows (n,) have a class, and which are decided for it."""
        return self.truth == index, self.decided == index

    def balanced_accuracy(self, tally: Tally) -> FloatArray:
        """The mean recall of the classes that are present, shape (B,)."""
        return macro(tally.recall)


@dataclass(frozen=True)
class LabelEvidence:
    """Multi-label evidence: ``truth`` is bool (n, C), ``probabilities`` (n, C), ``thresholds`` (C,).

    A label is decided where its probability reaches its threshold. Everything else is worked out at its first use.
    """

    truth: BoolArray
    probabilities: FloatArray
    thresholds: FloatArray

    @cached_property
    def decided(self) -> BoolArray:
        return self.probabilities >= self.thresholds

    @cached_property
    def correct(self) -> BoolArray:
        """Which rows have all labels right."""
        return np.asarray((self.truth == self.decided).all(axis=1))

    @cached_property
    def confidence(self) -> FloatArray:
        """The probability that the whole set of labels is right, were they independent."""
        return np.asarray(np.where(self.decided, self.probabilities, 1 - self.probabilities).prod(axis=1))

    @cached_property
    def log_loss(self) -> FloatArray:
        return row_label_log_loss(self.truth, self.probabilities)

    @cached_property
    def brier(self) -> FloatArray:
        return row_label_brier(self.truth, self.probabilities)

    @cached_property
    def claims(self) -> CalibrationBins:
        """One claim a label: that the row has it."""
        return bin_claims(self.probabilities, self.truth)

    @cached_property
    def rankings(self) -> tuple[Ranking, ...]:
        return tuple(rank(*column) for column in zip(self.truth.T, self.probabilities.T, strict=True))

    def tally(self, weights: FloatArray) -> Tally:
        return tally_labels(self.truth, self.decided, weights)

    def of_class(self, index: int) -> tuple[BoolArray, BoolArray]:
        """Which rows (n,) have a label, and which are given it."""
        return self.truth[:, index], self.decided[:, index]

    def balanced_accuracy(self, tally: Tally) -> FloatArray:
        """The mean over labels of (recall + specificity) / 2, of those with rows of both kinds, shape (B,)."""
        return macro((tally.recall + tally.specificity) / 2)


@dataclass(frozen=True)
class Weighing:
    """Evidence under a matrix of weights (B, n), so that several scores share one count and one ranking."""

    evidence: ClassEvidence | LabelEvidence
    weights: FloatArray

    @cached_property
    def tally(self) -> Tally:
        return self.evidence.tally(self.weights)

    @cached_property
    def auroc(self) -> FloatArray:
        """Shape (B, C)."""
        return self._areas[0]

    @cached_property
    def average_precision(self) -> FloatArray:
        """Shape (B, C)."""
        return self._areas[1]

    @cached_property
    def _areas(self) -> tuple[FloatArray, FloatArray]:
        found = [areas(ranking, self.weights) for ranking in self.evidence.rankings]
        return np.stack([a.auroc for a in found], axis=1), np.stack([a.average_precision for a in found], axis=1)


def gather_evidence(
    task: Task,
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    thresholds: Sequence[float] | npt.NDArray[Any] | None = None,
) -> ClassEvidence | LabelEvidence:
    """Check arrays and put them side by side.

    Parameters
    ----------
    task:
        ``"classification"`` or ``"multilabel"``.
    truth:
        Class indices (n,), or for multi-label a 0/1 matrix (n, C).
    probabilities:
        Shape (n, C), in [0, 1].
    thresholds:
        One a class. Multi-label: the probability from which each label is decided, 0.5 where ``None``. Single-label:
        positive; the class of the largest probability over threshold is decided, the most probable where ``None``. Or,
        for single-label, costs (C, C): see :func:`headstart.evaluation.calibration.name_classes`.

    Raises
    ------
    DataError
        If there are no rows, shapes don't fit, or a value is not finite or out of range.
    OptionError
        If the task is unknown.
    """
    if task not in ("classification", "multilabel"):
        raise OptionError(f"unknown task {task!r}: known are classification, multilabel")
    chances = np.asarray(probabilities, np.float64)
    found = np.asarray(truth)
    _check_probabilities(chances)
    shape = chances.shape if task == "multilabel" else chances.shape[:1]
    if found.shape != shape:
        raise DataError(
            f"the truth's shape is {found.shape}, where probabilities of shape {chances.shape} need {shape}"
        )
    columns = chances.shape[1]
    limits = _decision(thresholds, task, columns)
    if task == "multilabel":
        halves = np.full(columns, 0.5)
        return LabelEvidence(found.astype(np.bool_), chances, halves if limits is None else limits)
    if found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= columns:
        raise DataError(f"the truth holds {found.min()} to {found.max()}: give class indices in 0..{columns - 1}")
    return ClassEvidence(found.astype(np.intp), chances, limits)


def _decision(thresholds: Sequence[float] | npt.NDArray[Any] | None, task: Task, columns: int) -> FloatArray | None:
    """Thresholds (C,) or costs (C, C) as an array, checked."""
    if thresholds is None:
        return None
    limits = np.asarray(thresholds, np.float64)
    single = task == "classification"
    costs = single and limits.shape == (columns, columns)
    if not costs and (limits.shape != (columns,) or np.isnan(limits).any()):
        raise DataError(f"the thresholds' shape is {limits.shape}: give one number for each of {columns} classes")
    if single and not (np.isfinite(limits).all() and (costs or (limits > 0).all())):
        what = "costs" if costs else "thresholds"
        raise DataError(f"{what} go from {limits.min()} to {limits.max()}: those of exclusive classes are positive")
    return limits


def _check_probabilities(chances: FloatArray) -> None:
    if chances.ndim != 2 or not chances.size:
        raise DataError(
            f"probabilities of shape {chances.shape} can't be scored: give rows x classes, at least one row"
        )
    low, high = chances.min(), chances.max()
    if not (low >= 0 and high <= 1 + 1e-6):  # also true of NaN
        raise DataError(f"probabilities go from {low} to {high}: give finite values in [0, 1]")
