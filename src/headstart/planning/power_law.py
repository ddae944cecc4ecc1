"""How errors fall with the number of training rows: a power law with a floor, fitted to few noisy points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.planning.rule_table import CURVE_PRIOR

Floats = npt.NDArray[np.float64]

# Exponents that are tried: 0 is a flat curve; 1 is faster than any image classifier was seen to learn (Hestness et al.
# 2017 report 0.07 to 0.35 over many data sizes).
EXPONENTS = np.linspace(0.0, 1.0, 51)
# Floors that are tried, as shares of the error at the largest size.
FLOOR_SHARES = np.linspace(0.0, 0.95, 20)
# Later points say more of what comes next: their weight grows with this power of the size.
WEIGHT_POWER = 0.5
# A point further from the curve than this many times the noise pulls no harder than one at that distance (Huber 1964).
HUBER = 2.0


@dataclass(frozen=True)
class Prior:
    """What is known of learning curves before any point is seen.

    Attributes
    ----------
    exponent, exponent_sd:
        Of the power law, a normal distribution.
    floor_sd:
        The floor's share of the error at the largest size, half of a normal distribution around 0.
    noise:
        Standard deviation of a point's logarithm.
    """

    exponent: float
    exponent_sd: float
    floor_sd: float
    noise: float


PRIOR = Prior(**CURVE_PRIOR)


@dataclass(frozen=True)
class PowerLaw:
    """err(n) = floor + (level - floor) * (n / size) ** -exponent.

    Attributes
    ----------
    size, level:
        The largest number of rows that was fitted, and the error there.
    floor:
        What is left with any number of rows, from 0 to below ``level``.
    exponent:
        0 or more.
    """

    size: float
    level: float
    floor: float
    exponent: float

    def error(self, rows: float) -> float:
        """The error at a number of training rows."""
        return self.floor + (self.level - self.floor) * math.pow(rows / self.size, -self.exponent)


def fit_power_law(sizes: Floats, errors: Floats, judged: int, *, prior: Prior = PRIOR) -> PowerLaw:
    """Fit one curve; see :func:`fit_power_laws`."""
    return fit_power_laws(sizes, errors[None, :], judged, prior=prior)[0]


def fit_power_laws(sizes: Floats, errors: Floats, judged: int, *, prior: Prior = PRIOR) -> list[PowerLaw]:
    """Fit curves that share their sizes: the most probable ones under the prior, robust against single points.

    Exponent and floor are searched on a grid, the level follows; residuals are those of the errors' logarithms, so that
    a curve is as good where errors are small as where they are large. No point has an error below half a row's.

    Parameters
    ----------
    sizes:
        (S,) numbers of training rows, above 0.
    errors:
        (B, S) in 0..1, a curve a row.
    judged:
        Number of rows that the errors are shares of.
    """
    logarithms = np.log((errors * judged + 0.5) / (judged + 1))
    weights = (sizes / sizes.max()) ** WEIGHT_POWER * np.ones_like(logarithms)
    shapes = _shapes(sizes / sizes.max())
    levels, chosen = _search(shapes, logarithms, weights, prior)
    distance = np.abs(logarithms - levels[:, None] - shapes[chosen]) / (HUBER * prior.noise)
    levels, chosen = _search(shapes, logarithms, weights / np.maximum(distance, 1.0), prior)
    floors, exponents = np.divmod(chosen, len(EXPONENTS))
    return [
        PowerLaw(float(sizes.max()), float(level), float(level * FLOOR_SHARES[floor]), float(EXPONENTS[exponent]))
        for level, floor, exponent in zip(np.exp(levels), floors, exponents, strict=True)
    ]


def _shapes(shares: Floats) -> Floats:
    """(G, S) logarithms of curves whose level is 1, for all floors and exponents."""
    falling = shares[None, None, :] ** -EXPONENTS[None, :, None]
    floors = FLOOR_SHARES[:, None, None]
    return np.asarray(np.log(floors + (1 - floors) * falling).reshape(-1, len(shares)))


def _search(shapes: Floats, logarithms: Floats, weights: Floats, prior: Prior) -> tuple[Floats, npt.NDArray[np.intp]]:
    """(B,) logarithms of the levels, and (B,) numbers of the shapes, of the least sum of squares and prior."""
    total = weights.sum(axis=1, keepdims=True)
    mean = ((weights * logarithms).sum(axis=1, keepdims=True) - weights @ shapes.T) / total
    squares = (weights * logarithms**2).sum(axis=1, keepdims=True) + weights @ (shapes**2).T
    squares -= 2 * (weights * logarithms) @ shapes.T
    surprise = ((EXPONENTS - prior.exponent) / prior.exponent_sd) ** 2 + (FLOOR_SHARES[:, None] / prior.floor_sd) ** 2
    cost = (squares - total * mean**2) / prior.noise**2 + surprise.ravel()
    chosen = cost.argmin(axis=1)
    return np.take_along_axis(mean, chosen[:, None], axis=1)[:, 0], chosen
