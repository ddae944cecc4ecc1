"""The convex fit: L2-penalised logistic regression on standardised features, along a path of penalties."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.evaluation.calibration import probabilities
from headstart.runs.budget import Left, no_end
from headstart.training.minimise import minimise

Features = NDArray[np.float16] | NDArray[np.float32] | NDArray[np.float64]
Floats = NDArray[np.float64]
Kind = Literal["softmax", "sigmoid"]
Precision = Literal["float32", "float64"]

# A column whose deviation lies below this share of the median column's is divided by the share instead of by its own
# deviation: else a channel that never moved in training (dead, or moved by rounding only) would explode on a new image.
DEVIATION_FLOOR = 1e-3
# An event never seen in n rows counts as half a row, the usual (Jeffreys, Krichevsky-Trofimov) estimate.
UNSEEN_COUNT = 0.5
# Rows converted to floats at once, so that a large float16 matrix is never held twice.
CHUNK_ROWS = 4096
# Directions of the row space whose variance is below this share of the largest one are rounding noise of float64.
RANK_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A linear classifier on raw features; standardisation is folded in.

    Attributes
    ----------
    weights:
        (D, C) float64.
    bias:
        (C,) float64, always finite.
    kind:
        ``"softmax"``: the classes exclude each other; ``"sigmoid"``: every label is decided for itself.
    converged:
        False if the fit ended by its limit of iterations; what comes from a closed form is always converged.
    """

    weights: Floats
    bias: Floats
    kind: Kind
    converged: bool = True

    def logits(self, features: Features) -> Floats:
        """(n, D) features of any float type to (n, C) float64 logits, in chunks of rows."""
        out = np.empty((len(features), len(self.bias)))
        for start in range(0, len(features), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            out[rows] = features[rows].astype(np.float64, copy=False) @ self.weights + self.bias
        return out


@dataclass(frozen=True, eq=False)
class ColumnScale:
    """Mean and floored standard deviation of every column: two (D,) float64 arrays, the second positive."""

    mean: Floats
    deviation: Floats

    def standardise(self, features: Features) -> Floats:
        """(n, D) raw features to (n, D) float64 of mean 0 and deviation 1 (0 where a column is constant)."""
        return (features.astype(np.float64, copy=False) - self.mean) / self.deviation

    def fold(self, weights: Floats, bias: Floats, kind: Kind, *, converged: bool = True) -> LinearModel:
        """The model on raw features that equals (D, C) ``weights`` and (C,) ``bias`` on standardised ones."""
        raw = weights / self.deviation[:, None]
        return LinearModel(raw, bias - self.mean @ raw, kind, converged)


@dataclass(frozen=True, eq=False)
class _Rotated:
    """Standardised rows in the basis of their principal directions, where the loss is close to separable.

    ``rows`` is (n, r), ``directions`` (D, r) with orthonormal columns, ``variances`` (r,) the mean squares of ``rows``.
    """

    rows: NDArray[Any]
    directions: Floats
    variances: Floats


@dataclass(frozen=True, eq=False)
class _Labels:
    """What is left to fit: (n, k) ``targets`` of the ``fitted`` classes, under the loss ``kind``."""

    targets: Floats
    fitted: NDArray[np.intp]
    kind: Kind


def fit_path(
    features: Features,
    targets: Floats,
    penalties: Iterable[float],
    *,
    kind: Kind,
    row_weights: Floats | None = None,
    tolerance: float = 1e-10,
    precision: Precision = "float64",
    left: Left = no_end,
) -> list[LinearModel]:
    """Fit one model for every penalty; the arguments and the objective are those of :func:`walk_path`."""
    steps = walk_path(
        features,
        targets,
        penalties,
        kind=kind,
        row_weights=row_weights,
        tolerance=tolerance,
        precision=precision,
        left=left,
    )
    return list(steps)


def walk_path(
    features: Features,
    targets: Floats,
    penalties: Iterable[float],
    *,
    kind: Kind,
    row_weights: Floats | None = None,
    tolerance: float = 1e-10,
    precision: Precision = "float64",
    left: Left = no_end,
) -> Iterator[LinearModel]:
    """Fit one model after the other, each starting from the one before, as they are asked for.

    The objective is the weighted mean over rows of the cross-entropy (softmax), or of the sum over labels of the binary
    cross-entropy (sigmoid, so that every label is fitted for itself), plus ``penalty / 2`` times the sum of squares of
    the weights on *standardised* features. The intercept is free. With two exclusive classes one logit is fitted and
    split evenly between them, as scikit-learn does: its penalty weighs twice as much as that of two free columns would.
    The optimum is that of ``LogisticRegression(C=1 / (penalty * sum of row weights))`` on standardised features.

    A penalised solution is a combination of the rows (the representer theorem, Kimeldorf and Wahba 1971), so with fewer
    rows than columns the fit runs in the rows' own space and ends at exactly the same optimum.

    Parameters
    ----------
    features:
        (n, D) floats, finite.
    targets:
        (n, C) in 0..1, one-hot (or soft, rows summing to 1) for softmax, multi-hot for sigmoid. A class without a row
        gets zero weights and a bias that makes its mean probability about 0.5 / n; so does, mirrored, a label that
        every row has.
    penalties:
        Positive; descending is fastest, because strong penalties converge in few steps and start the weaker ones.
    row_weights:
        (n,) not negative; only their ratios matter. None weighs all rows alike.
    tolerance:
        A fit ends when the objective is estimated (Newton decrement with the diagonal of the curvature) to lie this
        many nats above its minimum. At 1e-10, probabilities at the chosen penalty were within 3e-4 of the exact ones
        on four real sets.
    precision:
        Of the matrix products; float32 halves the time of large fits and is exact enough to compare penalties.
    left:
        Tells the seconds that are left; see :func:`headstart.training.minimise.minimise`.

    Raises
    ------
    DataError
        If features are not finite.
    ValueError
        If shapes, targets, weights or a penalty are not as described.
    """
    _check(features, targets, row_weights, kind)
    weights = np.full(len(features), 1.0) if row_weights is None else row_weights.astype(np.float64)
    weights = weights / weights.sum()
    scale = column_scale(features)
    rotated = _rotate(features, scale, precision)
    labels = _reduce(targets, weights, kind)
    parameters = _start(labels, weights, len(rotated.variances))
    for penalty in penalties:
        parameters, converged = _fit_one(rotated, labels, weights, penalty, parameters, tolerance, left)
        slopes = rotated.directions @ parameters[1:]
        logits = rotated.rows @ parameters[1:].astype(rotated.rows.dtype) + parameters[0]
        unseen = _unseen_logits(targets, weights, labels, logits, kind)
        yield scale.fold(*_expand(slopes, parameters[0], labels, unseen, kind), kind, converged=converged)


def row_losses(logits: Floats, targets: Floats, kind: Kind) -> Floats:
    """(n,) cross-entropies in nats of (n, C) logits against (n, C) targets; for sigmoid the sum over labels."""
    if kind == "sigmoid":
        return np.asarray((np.logaddexp(0.0, logits) - targets * logits).sum(axis=1))
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - (targets * shifted).sum(axis=1))


def column_scale(features: Features) -> ColumnScale:
    """Mean and deviation of every column of (n, D) features, deviations floored by :data:`DEVIATION_FLOOR`.

    Raises :class:`DataError` if a feature is not finite.
    """
    starts = range(0, len(features), CHUNK_ROWS)
    mean = np.asarray(features.sum(axis=0, dtype=np.float64) / len(features))
    if not np.isfinite(mean).all():
        row = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        raise DataError(f"the features of row {row} are not finite; leave this image out or compute its features anew")
    squares = np.zeros_like(mean)
    for start in starts:
        squares += np.square(features[start : start + CHUNK_ROWS].astype(np.float64) - mean).sum(axis=0)
    deviation = np.sqrt(squares / len(features))
    # A constant column's deviation is rounding error of its mean, not always zero.
    moving = deviation > 1e-9 * np.abs(mean)
    floor = DEVIATION_FLOOR * float(np.median(deviation[moving])) if moving.any() else 1.0
    return ColumnScale(mean, np.maximum(deviation, floor))


def unseen_log_odds(rows: int) -> float:
    """The log-odds, about log(0.5 / n), given to a class that none of ``rows`` rows has."""
    return float(np.log(UNSEEN_COUNT / (rows + UNSEEN_COUNT)))


def _check(features: Features, targets: Floats, row_weights: Floats | None, kind: Kind) -> None:
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets) or len(features) == 0:
        raise ValueError(f"features (n, D) and targets (n, C) don't fit: {features.shape} and {targets.shape}")
    if not np.all((targets >= 0) & (targets <= 1)):
        raise ValueError("targets must lie in 0..1")
    if kind == "softmax" and not np.allclose(targets.sum(axis=1), 1.0):
        raise ValueError("targets of exclusive classes must sum to 1 in every row")
    if row_weights is None:
        return
    if row_weights.shape != (len(features),) or not np.all(row_weights >= 0) or not 0 < row_weights.sum() < np.inf:
        raise ValueError("row weights must be (n,), finite, not negative and not all zero")


def _rotate(features: Features, scale: ColumnScale, precision: Precision) -> _Rotated:
    if len(features) <= features.shape[1]:
        return _rotate_wide(scale.standardise(features), precision)
    return _rotate_tall(features, scale, precision)


def _rotate_wide(rows: Floats, precision: Precision) -> _Rotated:
    """No more rows than columns: an (n, n) problem, from the eigenvectors of the Gram matrix."""
    squares, vectors = np.linalg.eigh(rows @ rows.T)
    kept = squares > RANK_TOLERANCE * squares[-1]
    lengths = np.sqrt(squares[kept])
    directions = rows.T @ (vectors[:, kept] / lengths)
    return _Rotated((vectors[:, kept] * lengths).astype(precision), directions, squares[kept] / len(rows))


def _rotate_tall(features: Features, scale: ColumnScale, precision: Precision) -> _Rotated:
    """More rows than columns: all D directions stay, so the rotation changes nothing but the speed of convergence."""
    count, columns = features.shape
    starts = range(0, count, CHUNK_ROWS)
    covariance = np.zeros((columns, columns))
    for start in starts:
        chunk = scale.standardise(features[start : start + CHUNK_ROWS]).astype(precision)
        covariance += chunk.T @ chunk
    squares, directions = np.linalg.eigh(covariance / count)
    rows = np.empty((count, columns), dtype=precision)
    for start in starts:
        chunk = scale.standardise(features[start : start + CHUNK_ROWS]).astype(precision)
        rows[start : start + CHUNK_ROWS] = chunk @ directions.astype(precision)
    return _Rotated(rows, directions, np.maximum(squares, 0.0))


def _reduce(targets: Floats, weights: Floats, kind: Kind) -> _Labels:
    """Leave out the classes that can't be fitted, and turn two exclusive classes into one logit."""
    share = weights @ targets
    if kind == "sigmoid":
        fitted = np.flatnonzero((share > 0) & (weights @ (1.0 - targets) > 0))
        return _Labels(targets[:, fitted].astype(np.float64), fitted, "sigmoid")
    fitted = np.flatnonzero(share > 0)
    if len(fitted) == 2:
        return _Labels(targets[:, fitted[1:]].astype(np.float64), fitted, "sigmoid")
    return _Labels(targets[:, fitted].astype(np.float64), fitted, "softmax")


def _start(labels: _Labels, weights: Floats, directions: int) -> Floats:
    """Zero weights and the intercepts that give every class its share: the solution of an infinite penalty."""
    share = weights @ labels.targets
    parameters = np.zeros((directions + 1, labels.targets.shape[1]))
    parameters[0] = np.log(share) if labels.kind == "softmax" else np.log(share) - np.log1p(-share)
    return parameters


def _fit_one(
    rotated: _Rotated, labels: _Labels, weights: Floats, penalty: float, start: Floats, tolerance: float, left: Left
) -> tuple[Floats, bool]:
    """Minimise at one penalty; parameters are (1 + r, k), the intercepts first."""
    if not 0 < penalty < np.inf:
        raise ValueError(f"a penalty must be positive and finite, not {penalty}")
    rows = rotated.rows

    def predict(parameters: Floats) -> Floats:
        return np.asarray(rows @ parameters[1:].astype(rows.dtype) + parameters[0])

    def objective(parameters: Floats) -> tuple[float, Floats]:
        logits, slopes = predict(parameters), parameters[1:]
        residual = (probabilities(logits, kind=labels.kind) - labels.targets) * weights[:, None]
        value = weights @ row_losses(logits, labels.targets, labels.kind) + penalty / 2 * np.vdot(slopes, slopes)
        gradient = np.vstack([residual.sum(axis=0), rows.T @ residual.astype(rows.dtype) + penalty * slopes])
        return float(value), gradient

    # Along a principal direction the loss curves by about its variance times the mean p (1 - p) of the class.
    chance = probabilities(predict(start), kind=labels.kind)
    spread = np.maximum(weights @ (chance * (1.0 - chance)), 1e-12)
    curvature = np.vstack([spread, rotated.variances[:, None] * spread + penalty])
    noise = float(np.finfo(rows.dtype).eps)
    return minimise(objective, start, curvature, tolerance=tolerance, noise=noise, left=left)


def _unseen_logits(targets: Floats, weights: Floats, labels: _Labels, logits: Floats, kind: Kind) -> Floats:
    """(C,) logits of the classes that were not fitted, on the scale of the (n, k) ``logits`` of those that were."""
    rare = unseen_log_odds(len(targets))
    share = weights @ targets
    if kind == "sigmoid":
        return np.where(share > 0.5, -rare, rare)
    if len(labels.fitted) == 2:
        logits = np.hstack([-logits / 2, logits / 2])
    top = logits.max(axis=1)
    level = weights @ (top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))
    return np.full(targets.shape[1], rare + level)


def _expand(slopes: Floats, intercepts: Floats, labels: _Labels, unseen: Floats, kind: Kind) -> tuple[Floats, Floats]:
    """Weights and biases of all C classes from those of the k fitted logits."""
    weights = np.zeros((len(slopes), len(unseen)))
    bias = unseen.copy()
    if kind == "softmax" and labels.kind == "sigmoid":
        slopes, intercepts = np.hstack([-slopes / 2, slopes / 2]), np.hstack([-intercepts / 2, intercepts / 2])
    weights[:, labels.fitted] = slopes
    bias[labels.fitted] = intercepts
    return weights, bias
