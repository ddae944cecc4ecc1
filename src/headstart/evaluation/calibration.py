"""From logits to honest probabilities and decisions: temperature, thresholds, and a table to check them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError
from headstart.evaluation.calibration_error import equal_mass_bins
from headstart.evaluation.intervals import Interval, wilson
from headstart.evaluation.scores import BoolArray, FloatArray, IntArray

Link = Literal["softmax", "sigmoid"]

COLDEST, HOTTEST = 0.05, 20.0
"""The bounds of a fitted temperature."""

# Expected costs that differ by less, as a share of the largest cost, are equal.
_ROUNDING = 1e-12


def probabilities(logits: npt.ArrayLike, temperature: float = 1.0, kind: Link = "softmax") -> FloatArray:
    """Turn logits into probabilities, without overflow.

    Parameters
    ----------
    logits:
        Shape (n, C), finite.
    temperature:
        What logits are divided by; above 1 makes probabilities more modest.
    kind:
        ``"softmax"`` for single-label, ``"sigmoid"`` for multi-label tasks.

    Returns
    -------
    float64 of shape (n, C), in [0, 1]; rows of a softmax sum to one.
    """
    scaled = np.asarray(logits, np.float64) / temperature
    if kind == "sigmoid":
        small = np.exp(-np.abs(scaled))
        return np.asarray(np.where(scaled >= 0, 1.0, small) / (1 + small))
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(
    logits: npt.ArrayLike, truth: npt.ArrayLike, kind: Link, weights: npt.ArrayLike | None = None
) -> float:
    """The temperature that minimises the log-loss of rows that the model had not seen (Guo et al. 2017).

    Targets are smoothed by one pseudo-error: the truth gets 1 − 1 / (n + 2) and the rest is shared by the other
    classes, n rows (Platt 1999). Without it, logits that happen to separate a small set would be called infinitely
    sure; with it, sureness ends at what n rows can tell.

    Parameters
    ----------
    logits:
        Shape (n, C), finite: out-of-fold, or of a validation split. n ≥ 1.
    truth:
        Class indices (n,) for ``"softmax"``, a 0/1 matrix (n, C) for ``"sigmoid"``.
    kind:
        The link, as in :func:`probabilities`.
    weights:
        Shape (n,), non-negative; all one where ``None``.

    Returns
    -------
    A number in [0.05, 20], never NaN; 1 where no temperature changes the loss (all logits of a row equal).

    Raises
    ------
    DataError
        If logits are not finite or there are none.
    """
    z = np.asarray(logits, np.float64)
    if not z.size or not np.isfinite(z).all():
        raise DataError("the logits to fit a temperature on are empty or not finite: look at the features and the fit")
    if kind == "softmax":
        z = z - z.mean(axis=1, keepdims=True)
    shares = np.ones(len(z)) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum()
    wished = float(shares @ (_smoothed_targets(np.asarray(truth), z.shape, kind) * z).sum(axis=1))
    return 1 / _steepness(z, wished, shares, kind)


def _smoothed_targets(truth: npt.NDArray[np.generic], shape: tuple[int, ...], kind: Link) -> FloatArray:
    doubt = 1 / (shape[0] + 2)
    if kind == "sigmoid":
        return np.where(truth.astype(np.bool_), 1 - doubt, doubt)
    targets = np.full(shape, doubt / max(1, shape[1] - 1))
    targets[np.arange(len(truth)), truth.astype(np.intp)] = 1 - doubt
    return targets


def _steepness(z: FloatArray, wished: float, shares: FloatArray, kind: Link) -> float:
    """The inverse temperature at which the expected logit equals the wished one.

    The loss is convex in the inverse temperature, with this difference as its slope: Newton's steps, and bisection of
    the bracket on a logarithmic scale where a step would leave it.
    """
    low, high = 1 / HOTTEST, 1 / COLDEST
    if not z.any():
        return 1.0
    if _slope(z, low, wished, shares, kind)[0] >= 0:
        return low
    if _slope(z, high, wished, shares, kind)[0] <= 0:
        return high
    steepness = 1.0
    for _ in range(60):
        slope, curvature = _slope(z, steepness, wished, shares, kind)
        low, high = (steepness, high) if slope < 0 else (low, steepness)
        step = steepness - slope / curvature if curvature > 0 else 0.0
        following = step if low < step < high else float(np.sqrt(low * high))
        if abs(following - steepness) <= 1e-10 * steepness:
            return following
        steepness = following
    return steepness


def _slope(z: FloatArray, steepness: float, wished: float, shares: FloatArray, kind: Link) -> tuple[float, float]:
    """The first two derivatives of the log-loss by the inverse temperature."""
    chances = probabilities(z, 1 / steepness, kind)
    mean = (chances * z).sum(axis=1, keepdims=True)
    spread = chances * (1 - chances) * z**2 if kind == "sigmoid" else chances * (z - mean) ** 2
    return float(shares @ mean[:, 0]) - wished, float(shares @ spread.sum(axis=1))


def name_classes(probabilities: npt.ArrayLike, thresholds: npt.ArrayLike | None = None) -> IntArray:
    """The class that each row is decided for, where classes exclude each other.

    Parameters
    ----------
    probabilities:
        Shape (n, C), in [0, 1].
    thresholds:
        (C,), positive: the class of the largest probability over threshold is decided. Only their ratios count. With
        the classes' shares among the training rows the mean recall is the best that these probabilities allow. The
        most probable class is decided where ``None``. Or (C, C), costs of deciding each class (column) where each is
        true (row): the class of the least expected cost is decided. Thresholds are the costs 1 / threshold of missing
        a class, whatever it is taken for.

    Returns
    -------
    Class indices (n,); of equal classes the first.
    """
    chances = np.asarray(probabilities, np.float64)
    rule = None if thresholds is None else np.asarray(thresholds, np.float64)
    if rule is not None and rule.ndim == 2:
        expected = chances @ rule
        least = expected.min(axis=1, keepdims=True)
        equal = expected <= least + _ROUNDING * np.abs(rule).max()  # of equally cheap classes the most probable
        return np.asarray(np.where(equal, chances, -1.0).argmax(axis=1))
    return np.asarray((chances if rule is None else chances / rule).argmax(axis=1))


def fit_thresholds(truth: npt.ArrayLike, probabilities: npt.ArrayLike) -> FloatArray:
    """For each label the threshold with the best F1, on rows that the model had not seen.

    Parameters
    ----------
    truth:
        A 0/1 matrix of shape (n, C).
    probabilities:
        Shape (n, C), in [0, 1].

    Returns
    -------
    float64 of shape (C,), in [0, 1]: a label is decided where its probability reaches the threshold. It lies midway
    between the last probability taken and the next below (0 where all are taken). Of cuts with equal F1 the one
    nearest 0.5 is used. A label without positive rows keeps 0.5.
    """
    columns = zip(np.asarray(truth).astype(np.bool_).T, np.asarray(probabilities, np.float64).T, strict=True)
    return np.array([_best_threshold(positive, scores) for positive, scores in columns])


def _best_threshold(positive: BoolArray, scores: FloatArray) -> float:
    if not positive.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    taken = np.flatnonzero(np.diff(ordered, append=-1.0)) + 1  # rows taken by a cut between distinct probabilities
    f1 = 2 * np.cumsum(positive[order])[taken - 1] / (taken + positive.sum())
    above, below = ordered[taken - 1], np.append(ordered, 0.0)[taken]
    middle = (above + below) / 2
    cuts = np.where(middle > below, middle, above)[f1 >= f1.max() - 1e-12]
    return float(cuts[np.abs(cuts - 0.5).argmin()])


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of a reliability diagram: what the model claimed there, and what came true.

    ``confidence`` and ``accuracy`` are means over ``count`` claims, ``accuracy_ci95`` is Wilson's interval.
    """

    confidence: float
    accuracy: float
    accuracy_ci95: Interval
    count: int


def reliability(truth: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = 15) -> tuple[ReliabilityBin, ...]:
    """The table of a reliability diagram, in bins that hold about equally many claims.

    Parameters
    ----------
    truth:
        Class indices (n,): a row claims that its most probable class is the true one. Or a 0/1 matrix (n, C): a row
        makes one claim a label, that it has it.
    probabilities:
        Shape (n, C), in [0, 1]. n ≥ 1.
    bins:
        The most bins, at least 1. Equal confidences share a bin, so there may be fewer.

    Returns
    -------
    The bins by rising confidence.
    """
    found, chances = np.asarray(truth), np.asarray(probabilities, np.float64)
    if found.ndim == 1:
        confidence, true = chances.max(axis=1), found == chances.argmax(axis=1)
    else:
        confidence, true = chances.ravel(), found.astype(np.bool_).ravel()
    index = equal_mass_bins(confidence, bins)
    counts = np.bincount(index)
    confidences = np.bincount(index, weights=confidence) / counts
    hits = np.bincount(index, weights=true)
    table = zip(counts.tolist(), confidences.tolist(), hits.tolist(), strict=True)
    return tuple(ReliabilityBin(mean, right / n, wilson(right, n), n) for n, mean, right in table)
