"""How far a score measured on n rows can be trusted: exact bounds for counts, the bootstrap for everything else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError
from headstart.evaluation.clustering import effective_rows, likeness
from headstart.evaluation.scores import FloatArray, IntArray

Interval = tuple[float, float]

# Elements of one chunk of weights: 2 MB, so that the passes over it stay in the processor's cache.
_CHUNK = 2**18
# Halvings of [0, 1] that find an end of an interval to 1e-7.
_HALVINGS = 23
# The farthest that a logit or logarithm is carried: beyond it the ends are those of the scale.
_FARTHEST = 700.0


def wilson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Wilson's score interval for a share.

    Parameters
    ----------
    successes, n:
        ``0 <= successes <= n``; need not be whole. With ``n`` = 0 nothing is known: (0, 1).
    level:
        The wished coverage, in (0, 1).

    Returns
    -------
    The lower and upper end, within [0, 1]. Its coverage stays near the level down to about ten rows, and it never
    shrinks to a point, not even where every row is right (Wilson 1927; Brown, Cai and DasGupta 2001).
    """
    if n <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if successes <= 0 else max(0.0, float(centre - spread) / scale)
    high = 1.0 if successes >= n else min(1.0, float(centre + spread) / scale)
    return low, high


def clopper_pearson_upper(errors: npt.ArrayLike, n: npt.ArrayLike, level: float = 0.95) -> FloatArray:
    """The exact one-sided upper bound of an error rate: a rate above it would show so few errors in 1 − level of cases.

    Parameters
    ----------
    errors, n:
        Whole numbers with ``0 <= errors <= n``, scalars or arrays that broadcast.
    level:
        The confidence of the bound, in (0, 1).

    Returns
    -------
    Bounds in [0, 1], of the broadcast shape; 1 where ``errors == n``, ``n`` = 0 included (Clopper and Pearson 1934).
    """
    from scipy.special import betaincinv

    wrong, rows = np.broadcast_arrays(np.asarray(errors, np.float64), np.asarray(n, np.float64))
    right = rows - wrong
    bound: FloatArray = betaincinv(wrong + 1, np.maximum(right, 1), level)
    return np.where(right > 0, bound, 1.0)


def resampling_units(groups: Sequence[Any] | npt.NDArray[Any] | None, n: int) -> tuple[IntArray, int]:
    """Number the units that a bootstrap draws: rows, or whole groups.

    Parameters
    ----------
    groups:
        One name a row, or ``None`` for no groups at all. A row whose own name is missing (``None`` or NaN) is a unit
        by itself.
    n:
        The number of rows.

    Returns
    -------
    The unit of each row, shape (n,), and the number of units.

    Raises
    ------
    DataError
        If there is not one name a row.
    """
    if groups is None:
        return np.arange(n), n
    if len(groups) != n:
        raise DataError(f"there are {len(groups)} groups for {n} rows: give one a row")
    if isinstance(groups, np.ndarray) and groups.dtype.kind in "iu":
        _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[inverse], len(first)
    numbers: dict[Any, int] = {}
    units = np.empty(n, np.intp)
    for row, name in enumerate(groups):
        missing = name is None or name != name
        units[row] = numbers.setdefault(("row", row) if missing else ("group", name), len(numbers))
    return units, len(numbers)


def bootstrap_weights(
    n: int, groups: Sequence[Any] | npt.NDArray[Any] | None, draws: int, seed: int
) -> Iterator[FloatArray]:
    """Yield, chunk by chunk, how often each bootstrap draw takes each row.

    Rows are drawn with replacement, or whole groups where there are groups, as rows of one patient or video are not
    independent (Field and Welsh 2007).

    Parameters
    ----------
    n:
        The number of rows, at least 1.
    groups:
        As in :func:`resampling_units`.
    draws:
        The number of draws over all chunks.
    seed:
        The same seed gives the same draws.

    Yields
    ------
    Counts as float64 of shape (b, n), 2 MB each (one draw, where a draw is larger). In memory a row's draws lie side
    by side, which is what the scores want.
    """
    unit_of_row, units = resampling_units(groups, n)
    generator = np.random.default_rng(seed)
    size = max(1, _CHUNK // n)
    for start in range(0, draws, size):
        width = min(size, draws - start)
        cells = generator.integers(0, units, size=(units, width)) * width + np.arange(width)
        counts = np.bincount(cells.ravel(), minlength=units * width).reshape(units, width)
        yield counts[unit_of_row].astype(np.float64).T


def percentile_interval(values: FloatArray, units: int, level: float = 0.95) -> Interval | None:
    """The interval between two percentiles of bootstrap values, widened for few units.

    The plain percentile interval is too narrow for small samples; here the percentiles are moved outwards to those
    that make it as wide as Student's t would for a mean (Hesterberg 2015, "What Teachers Should Know About the
    Bootstrap", section 5.3).

    Parameters
    ----------
    values:
        Shape (B,): a score in each draw, NaN where the draw left it undefined.
    units:
        The number of rows or groups that were drawn from.
    level:
        The wished coverage, in (0, 1).

    Returns
    -------
    The lower and upper end, or ``None`` where resampling can't tell: fewer than two units, a score undefined in half
    of the draws, or equal in all of them (as when every row is right: certainty would be a false claim).
    """
    from scipy.special import ndtr, stdtrit

    defined = values[~np.isnan(values)]
    if units < 2 or 2 * len(defined) < len(values) or not len(defined) or np.ptp(defined) < 1e-12:
        return None
    reach = math.sqrt(units / (units - 1)) * float(stdtrit(units - 1, (1 + level) / 2))
    low, high = np.quantile(defined, [float(ndtr(-reach)), float(ndtr(reach))])
    return float(low), float(high)


def scaled_interval(
    value: float, draws: FloatArray, units: int, scale: Literal["logit", "log"], level: float = 0.95
) -> Interval | None:
    """Student's interval with the bootstrap's standard error, on a scale that has no end near the value.

    Where a score is near its best, percentiles of its draws lean to the wrong side and cover the true value too seldom;
    for the AUROC the logit is recommended by Pepe (2003). How often this covers is measured by ``bench/coverage.py``.

    Parameters
    ----------
    value:
        The score itself.
    draws:
        Shape (B,): the score in each bootstrap draw, NaN where the draw left it undefined.
    units:
        The number of rows or groups that were drawn from.
    scale:
        ``"logit"`` for scores in [0, 1], ``"log"`` for those in [0, ∞).
    level:
        The wished coverage, in (0, 1).

    Returns
    -------
    The lower and upper end, around the value, or ``None`` where resampling can't tell: see
    :func:`percentile_interval`. Nor can it tell where the value is 0, or on the logit's scale 1.
    """
    from scipy.special import stdtrit

    defined = draws[~np.isnan(draws)]
    if units < 2 or 2 * len(defined) < len(draws) or not len(defined) or np.ptp(defined) < 1e-12:
        return None
    slope = value * (1 - value) if scale == "logit" else value
    if not slope > 0:
        return None
    error = float(defined.std()) * math.sqrt(units / (units - 1)) / slope
    reach = min(float(stdtrit(units - 1, (1 + level) / 2)) * error, _FARTHEST)
    if scale == "log":
        return value * math.exp(-reach), value * math.exp(reach)
    odds = value / (1 - value)
    low, high = odds * math.exp(-reach), odds * math.exp(reach)
    return low / (1 + low), high / (1 + high)


def share_interval(
    right: npt.ArrayLike, groups: Sequence[Any] | npt.NDArray[Any] | None = None, level: float = 0.95
) -> Interval:
    """The interval of a share of rows: an accuracy, a recall, a precision.

    Without groups it is Wilson's. With groups it is Wilson's over as many rows as the grouped ones are worth, averaged
    over what the groups say of how alike their rows are (:func:`headstart.evaluation.clustering.likeness`). Resampling
    groups would do for many of them; with sixty groups of five on average it covers the true share in as few as 84 % of
    cases (``bench/coverage.py``), and where every row is right it says nothing.

    Parameters
    ----------
    right:
        Shape (n,): whether each row counts, or in which share of several trials. With n = 0 nothing is known: (0, 1).
    groups:
        As in :func:`resampling_units`.
    level:
        The wished coverage, in (0, 1).
    """
    counted = np.asarray(right, np.float64)
    if not len(counted):
        return 0.0, 1.0
    unit_of_row, units = resampling_units(groups, len(counted))
    share = float(counted.mean())
    if units in (1, len(counted)):  # one group says nothing of how alike groups are, and counts as one row
        return wilson(share * units, units, level)
    sizes = np.bincount(unit_of_row, minlength=units)
    chances = likeness(np.bincount(unit_of_row, counted, units), sizes)
    return _averaged_wilson(share, effective_rows(sizes), chances, level)


def _averaged_wilson(share: float, rows: FloatArray, chances: FloatArray, level: float) -> Interval:
    """Wilson's interval where the number of rows is uncertain: ``rows`` (K,) with probabilities ``chances`` (K,)."""
    from scipy.special import ndtr

    wished = np.array([(1 - level) / 2, (1 + level) / 2])
    low, high = np.zeros(2), np.ones(2)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        distance = (middle - share) / np.sqrt(middle * (1 - middle))
        below = ndtr(distance[:, None] * np.sqrt(rows)) @ chances < wished
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    ends = (low + high) / 2
    return (0.0 if share <= 0 else float(ends[0])), (1.0 if share >= 1 else float(ends[1]))
