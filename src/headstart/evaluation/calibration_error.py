"""The expected calibration error, freed of most of the bias that small bins give it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.evaluation.scores import BoolArray, FloatArray, IntArray, ratio

# Fifteen bins are the field's habit (Guo et al. 2017); under twenty claims a bin noise outweighs what bins resolve.
_BINS = 15
_CLAIMS_A_BIN = 20


@dataclass(frozen=True)
class CalibrationBins:
    """What each row claims in each bin of confidence; made by :func:`bin_claims`.

    Parameters
    ----------
    claims, confidence, hits:
        Shape (n, K): the number of a row's claims that fall into each bin, the sum of their confidences, and how many
        of them are true. A row of a single-label task makes one claim, of a multi-label task one per label.
    """

    claims: FloatArray
    confidence: FloatArray
    hits: FloatArray


def equal_mass_bins(confidence: FloatArray, bins: int) -> IntArray:
    """Number the bin of each confidence, shape (n,), so that bins hold about equally many.

    Equal confidences share a bin, so the result doesn't depend on the rows' order, and there may be fewer bins.
    """
    ordered = np.sort(confidence)
    edges = np.unique(ordered[np.arange(1, bins) * len(ordered) // bins])
    return np.unique(np.searchsorted(edges, confidence, side="right"), return_inverse=True)[1]


def bin_claims(confidence: FloatArray, true: BoolArray) -> CalibrationBins:
    """Sort claims into at most 15 bins of equal mass, with 20 claims a bin or more where there are that many.

    Parameters
    ----------
    confidence:
        Shape (n, L), in [0, 1]: what each of a row's L claims says its probability of being true is.
    true:
        Shape (n, L): which claims are true.
    """
    rows, claims = confidence.shape
    index = equal_mass_bins(confidence.ravel(), min(_BINS, max(1, confidence.size // _CLAIMS_A_BIN)))
    bins = int(index.max()) + 1
    cell = np.repeat(np.arange(rows), claims) * bins + index

    def per_row(values: npt.NDArray[np.float64 | np.bool_]) -> FloatArray:
        sums = np.bincount(cell, weights=values.ravel(), minlength=rows * bins)
        return sums.astype(np.float64, copy=False).reshape(rows, bins)

    return CalibrationBins(per_row(np.ones_like(confidence)), per_row(confidence), per_row(true))


def expected_calibration_error(bins: CalibrationBins, weights: FloatArray) -> FloatArray:
    """The mean distance between confidence and accuracy over bins, debiased (Kumar, Liang and Ma 2019).

    With m the distance in a bin and s its standard error, chance alone makes |m| larger than the true distance by
    about E|N(m, s²)| − |m|, which is taken off: the ℓ1 form of "Verified Uncertainty Calibration", with its
    resampled normals in closed form. For a perfectly calibrated model that leaves about half of the bias, so the
    paper's unbiased estimate of the squared distance, the mean of m² − s², decides first: where it is not above zero
    nothing speaks against calibration, and the result is 0. Standard errors use the effective number of claims,
    (Σw)² / Σw² (Kish), so that bootstrap draws are corrected for their own noise as well. By simulation the bootstrap's
    95 % interval then covers the true value in 97 % of cases or more, perfectly calibrated models included.

    Parameters
    ----------
    bins:
        Rows sorted into bins of equal mass.
    weights:
        Shape (B, n).

    Returns
    -------
    Shape (B,), in [0, 1]. NaN where all weights are zero.
    """
    mass = weights @ bins.claims
    accuracy = ratio(weights @ bins.hits, mass)
    distance = np.abs(accuracy - ratio(weights @ bins.confidence, mass))
    variance = np.clip(accuracy * (1 - accuracy), 0.0, None)
    effective = ratio(mass**2, weights**2 @ bins.claims)
    squared = distance**2 - variance / np.maximum(effective - 1, 1)
    plain = 2 * distance - _mean_distance(distance, np.sqrt(variance / effective))
    miscalibrated = _mean_over_bins(squared, mass) > 0
    return np.clip(_mean_over_bins(plain, mass), 0.0, np.where(miscalibrated, 1.0, 0.0))


def _mean_over_bins(values: FloatArray, mass: FloatArray) -> FloatArray:
    return ratio(np.where(mass > 0, mass * values, 0.0).sum(axis=1), mass.sum(axis=1))


def _mean_distance(mean: FloatArray, error: FloatArray) -> FloatArray:
    """E|N(mean, error²)| for ``mean`` ≥ 0, the folded normal's mean; ``mean`` itself where ``error`` is zero."""
    from scipy.special import ndtr

    z = np.divide(mean, error, out=np.full_like(mean, np.inf), where=error > 0)
    folded: FloatArray = error * np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2) + mean * (1 - 2 * ndtr(-z))
    return folded
