"""How well features suit labels, by the published scores that train nothing: LogME, H-score, LEEP and NLEEP."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Singular values below this share of the largest are rounding noise of float64 (NumPy's rule for ranks, epsilon times
# the larger side, with a few thousand put in).
RANK_TOLERANCE = 1e-12
# LogME searches the ratio alpha / beta within these shares of the largest squared singular value: beyond them the
# features are either not shrunk at all or left out.
RATIO_RANGE = (1e-10, 1e10)
# Grid points a decade before the golden section; the evidence is smooth in the ratio's logarithm.
RATIO_POINTS = 6
# Golden sections after the grid: they narrow a third of a decade to 1e-9 of it.
SECTIONS = 44
# NLEEP: Li et al. 2021 keep the directions with 80 % of the variance, and give a mixture a few components a class.
NLEEP_VARIANCE = 0.8
NLEEP_COMPONENTS = 5
# A component needs some rows to have a variance of its own: with many classes and few rows there are fewer of them.
NLEEP_LEAST_ROWS = 4
# Added to the mixture's variances, as a share of the mean variance of the kept directions.
NLEEP_FLOOR = 1e-3


def logme(features: npt.NDArray[Any], targets: npt.NDArray[Any]) -> float:
    """Log of the maximum evidence of a Bayesian linear regression on the features, a row and label (You et al. 2021).

    For each class the 0/1 column of its rows is regressed on the features as they are; the evidence is maximised over
    the precisions alpha of the weights and beta of the noise, divided by the number of rows, and the mean is taken over
    the classes that have rows. Only the ratio alpha / beta is searched, since the best beta follows from it: on a grid
    and then by golden section, which finds the maximum where the paper's fixed-point iteration crawls or stops early.

    Parameters
    ----------
    features:
        (n, d) floats, finite; any n and d, of any rank.
    targets:
        Class numbers (n,); or bool (n, C), a column a label.

    Returns
    -------
    Nats a row; higher is better. Multiplying or rotating the features changes nothing.
    """
    columns = _one_hot(targets)
    left, singular, _ = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    kept = singular > RANK_TOLERANCE * max(float(singular[0]), np.finfo(np.float64).tiny)
    variances = singular[kept] ** 2
    explained = (left[:, kept].T @ columns) ** 2
    left_over = np.maximum((columns**2).sum(axis=0) - explained.sum(axis=0), 0.0)
    if not len(variances):
        variances, explained = np.ones(1), np.zeros((1, columns.shape[1]))
    best = _best_ratios(variances, explained, left_over, len(features))
    return float(_evidence(best, variances, explained, left_over, len(features)).mean())


def h_score(features: npt.NDArray[Any], targets: npt.NDArray[Any]) -> float:
    """Trace of the inverse covariance of the features times the covariance of their class means (Bao et al. 2019).

    It lies between 0 and the smaller of the features' rank and the number of classes less one. Directions without
    variance are left out (the pseudo-inverse). With no more rows than columns it says little, see
    :func:`h_score_shrunk`.

    Parameters
    ----------
    features:
        (n, d) floats, finite.
    targets:
        Class numbers (n,).
    """
    left, _ = _centred_basis(features)
    return float(_class_shares(left, targets).sum())


def h_score_shrunk(features: npt.NDArray[Any], targets: npt.NDArray[Any]) -> float:
    """The H-score with the covariances shrunk by Ledoit and Wolf's share (Ibrahim, Ponomareva and Mazumder 2022).

    The covariance of the features becomes ``(1 - s) * covariance + s * mean variance * identity``, that of the class
    means is multiplied by ``1 - s``. All covariances are divided by n. Arguments are those of :func:`h_score`.
    """
    left, singular = _centred_basis(features)
    if not len(singular):
        return 0.0
    count, columns = features.shape
    variances = singular**2 / count
    rows = np.square(left * singular).sum(axis=1)
    share, mean = _ledoit_wolf(variances, rows, columns)
    kept = (1 - share) * variances
    return float((_class_shares(left, targets) * kept / (kept + share * mean)).sum())


def leep(source: npt.NDArray[Any], targets: npt.NDArray[Any]) -> float:
    """Mean log-likelihood of the labels, predicted through the source classes alone (Nguyen et al. 2020).

    The empirical conditional distribution of a label given a source class comes from the joint distribution of the
    source probabilities and the labels.

    Parameters
    ----------
    source:
        (n, Z) probabilities of the source head, not negative, rows summing to 1. A source class that no row has any
        probability of plays no part.
    targets:
        Class numbers (n,).

    Returns
    -------
    Nats a row, at most 0; higher is better.
    """
    chance = source.astype(np.float64)
    joint = _one_hot(targets).T @ chance
    total = joint.sum(axis=0)
    conditional = np.divide(joint, total, out=np.zeros_like(joint), where=total > 0)
    numbers = np.unique(targets, return_inverse=True)[1].ravel()
    likelihood = (conditional[numbers] * chance).sum(axis=1)
    return float(np.log(np.maximum(likelihood, np.finfo(np.float64).tiny)).mean())


def nleep(features: npt.NDArray[Any], targets: npt.NDArray[Any], *, seed: int = 0) -> float:
    """LEEP with the components of a Gaussian mixture in the place of source classes (Li et al. 2021).

    The mixture, of diagonal covariances, is fitted to the principal directions that hold
    :data:`NLEEP_VARIANCE` of the variance, with :data:`NLEEP_COMPONENTS` components a class.

    Parameters
    ----------
    features:
        (n, d) floats, finite.
    targets:
        Class numbers (n,).
    seed:
        Of the mixture's start.
    """
    left, singular = _centred_basis(features)
    if not len(singular):
        return leep(np.ones((len(targets), 1)), targets)
    share = np.cumsum(singular**2) / np.sum(singular**2)
    used = int(np.searchsorted(share, NLEEP_VARIANCE)) + 1
    rows = left[:, :used] * singular[:used]
    rows = rows / rows.std()
    wanted = NLEEP_COMPONENTS * len(np.unique(targets))
    return leep(_memberships(rows, max(1, min(wanted, len(rows) // NLEEP_LEAST_ROWS)), seed), targets)


def _memberships(rows: Floats, components: int, seed: int) -> Floats:
    """(n, components) probabilities that a row of standard size comes from each component of a mixture."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(components, covariance_type="diag", reg_covar=NLEEP_FLOOR, random_state=seed)
    with warnings.catch_warnings():  # what it has after a hundred steps, or with fewer distinct rows, serves as well
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(mixture.fit(rows).predict_proba(rows), np.float64)


def _one_hot(targets: npt.NDArray[Any]) -> Floats:
    """(n, classes with rows) zeros and ones."""
    if targets.ndim == 2:
        columns = targets.astype(np.float64)
        return columns[:, columns.any(axis=0)]
    numbers = np.unique(targets, return_inverse=True)[1].ravel()
    return np.eye(int(numbers.max()) + 1)[numbers]


def _centred_basis(features: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Left singular vectors (n, r) and singular values (r,) of the centred features, noise left out."""
    rows = features.astype(np.float64)
    size = float(np.abs(rows).max(initial=0.0)) * np.sqrt(rows.size)
    left, singular, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    kept = singular > RANK_TOLERANCE * size
    return left[:, kept], singular[kept]


def _class_shares(left: Floats, targets: npt.NDArray[Any]) -> Floats:
    """(r,) the share of the variance along each direction that lies between the class means, each in 0..1."""
    columns = _one_hot(targets)
    sums = columns.T @ left
    return np.asarray((sums**2 / columns.sum(axis=0)[:, None]).sum(axis=0))


def _ledoit_wolf(variances: Floats, rows: Floats, columns: int) -> tuple[float, float]:
    """Share of shrinkage and mean variance, from the (r,) variances and the (n,) squared lengths of centred rows.

    Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", lemma 3.2 on.
    """
    mean = float(variances.sum()) / columns
    squares = float((variances**2).sum())
    spread = squares / columns - mean**2
    noise = (float((rows**2).mean()) - squares) / (columns * len(rows))
    return (min(max(noise, 0.0), spread) / spread if spread > 0 else 1.0), mean


def _evidence(ratios: Floats, variances: Floats, explained: Floats, left_over: Floats, count: int) -> Floats:
    """(C,) evidence in nats a row, one ratio alpha / beta a class, at the best beta.

    With the ratio t, targets are normal with the covariance (I + F F' / t) / beta; the best beta is n over the targets'
    quadratic form with the inverse of I + F F' / t.
    """
    shrunk = ratios / (ratios + variances[:, None])
    form = np.maximum((explained * shrunk).sum(axis=0) + left_over, np.finfo(np.float64).tiny)
    determinant = -np.log(shrunk).sum(axis=0)
    return np.asarray(-0.5 * (np.log(2 * np.pi * form / count) + 1 + determinant / count))


def _best_ratios(variances: Floats, explained: Floats, left_over: Floats, count: int) -> Floats:
    """(C,) the ratio of the largest evidence for each class: by a grid, then by golden section between neighbours."""
    low, high = np.log(np.asarray(RATIO_RANGE) * variances.max())
    points = round((high - low) / np.log(10.0) * RATIO_POINTS) + 1
    grid = np.linspace(low, high, points)
    classes = explained.shape[1]

    def evidence(logarithms: Floats) -> Floats:
        return _evidence(np.exp(logarithms), variances, explained, left_over, count)

    best = np.argmax([evidence(np.full(classes, point)) for point in grid], axis=0)
    left, right = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, points - 1)]
    golden = (np.sqrt(5.0) - 1) / 2
    for _ in range(SECTIONS):
        inner, outer = right - golden * (right - left), left + golden * (right - left)
        lower = evidence(inner) < evidence(outer)
        left, right = np.where(lower, inner, left), np.where(lower, right, outer)
    return np.asarray(np.exp((left + right) / 2))
