"""What each rung gains over the probe, now that some have been judged: the prior updated by paired rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError
from headstart.evaluation.intervals import resampling_units
from headstart.planning.prior import Prior
from headstart.planning.rule_table import (
    CONFLICT,
    FLOOR_NATS,
    FLOOR_POINTS,
    SHARED_NOISE,
    TYPICAL_COUNTS_FOR,
    TYPICAL_NATS,
    TYPICAL_POINTS,
    Measure,
)

Floats = npt.NDArray[np.float64]

_NORMAL = NormalDist()
_REACH = _NORMAL.inv_cdf(0.975)


@dataclass(frozen=True, eq=False)
class RowScores:
    """What a rung did on each judged row of the data.

    Attributes
    ----------
    losses:
        float64 (n,): log-loss in nats; NaN where the rung has seen the row, or never predicted it.
    correct:
        float64 (n,): 1 where the row is predicted wholly right, else 0; NaN where the loss is. Where several models
        predicted the row, the share of them that did so rightly, and the mean of their losses.
    """

    losses: Floats
    correct: Floats


@dataclass(frozen=True, eq=False)
class Observed:
    """Gains over the probe as they were measured.

    Attributes
    ----------
    names:
        M rungs.
    mean:
        float64 (2M,): gains in points, then in nats.
    noise:
        float64 (2M, 2M): the covariance of that mean, as the rows are a sample.
    rows, units:
        On how many rows each rung was compared, and how many independent groups they make.
    """

    names: tuple[str, ...]
    mean: Floats
    noise: Floats
    rows: tuple[int, ...]
    units: tuple[int, ...]


@dataclass(frozen=True)
class Gain:
    """By how much one rung is better than another.

    Attributes
    ----------
    mean, sd, ci95:
        In points or nats.
    better:
        The probability that it is above 0.
    """

    mean: float
    sd: float
    ci95: tuple[float, float]
    better: float


@dataclass(frozen=True, eq=False)
class Posterior:
    """Gains of all rungs over the probe, tried or not; laid out as :class:`headstart.planning.prior.Prior`."""

    names: tuple[str, ...]
    mean: Floats
    covariance: Floats
    room: tuple[float, float]

    def gain(self, name: str, over: str | None = None, measure: Measure = "points") -> Gain:
        """The gain of a rung over another, by default over the probe."""
        offset = len(self.names) * (measure == "nats")
        pick = np.zeros(len(self.mean))
        pick[self.names.index(name) + offset] += 1
        pick[self.names.index(self.names[0] if over is None else over) + offset] -= 1
        mean, sd = float(pick @ self.mean), math.sqrt(max(float(pick @ self.covariance @ pick), 0.0))
        better = _NORMAL.cdf(mean / sd) if sd > 0 else 0.5 + 0.5 * float(np.sign(mean))
        return Gain(mean, sd, (mean - _REACH * sd, mean + _REACH * sd), better)

    def best(self, tried: Sequence[str], measure: Measure = "points") -> str:
        """Of some rungs the one with the highest mean, of equals the first."""
        return max(tried, key=lambda name: self.gain(name, measure=measure).mean)

    def expected_further_gain(self, name: str, best: str, measure: Measure = "points", *, units: int) -> float:
        """What trying one more rung would add to the best so far, on average over what its judging may show.

        The rung is taken only where it then looks better, so this is above 0 even where its mean is not. What counts
        is how far the judging can move the belief, not how unsure the belief is: on few rows a gain could not be told
        from luck, and a try is worth little (the knowledge gradient, Frazier, Powell and Dayanik 2008). It never
        exceeds what the best leaves to be gained.

        Parameters
        ----------
        units:
            Independent rows that will judge the rung, at least 1.
        """
        mean, sd = self.gain(name, best, measure).mean, self._shift(name, best, measure, units)
        left = self.room[measure == "nats"] - self.gain(best, measure=measure).mean
        if sd <= 0:
            return min(max(mean, 0.0), max(left, 0.0))
        z = mean / sd
        expected = sd * _NORMAL.pdf(z) + mean * _NORMAL.cdf(z)
        return min(max(expected, 0.0), max(left, 0.0))

    def _shift(self, name: str, over: str, measure: Measure, units: int) -> float:
        """The standard deviation of what the mean gain over a rung will be, once ``name`` was judged on some rows."""
        count = len(self.names)
        place, other = self.names.index(name), self.names.index(over)
        offset = count * (measure == "nats")
        pick = np.zeros(2 * count)
        pick[place + offset] += 1
        pick[other + offset] -= 1
        judged = [place, place + count]
        noise = np.diag([TYPICAL_POINTS**2, TYPICAL_NATS**2]) / units
        along = self.covariance[judged] @ pick
        told = along @ np.linalg.solve(self.covariance[np.ix_(judged, judged)] + noise, along)
        return math.sqrt(max(float(told), 0.0))


def observe(
    probe: RowScores,
    rungs: Mapping[str, RowScores],
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
    weights: Floats | None = None,
    unchanged: Collection[str] = (),
) -> Observed:
    """Compare rungs with the probe, each on the rows that neither has seen.

    Pairing takes the rows' own difficulty out. Rows of a group count as one observation. The spread of few rows is not
    taken at its word: it is joined with what is typical (a scaled inverse chi-squared prior), and the mean's variance
    is that of Student's distribution that follows.

    Parameters
    ----------
    groups:
        One a row, ``None`` for a row of its own.
    weights:
        (n,), of mean 1: where classes count alike, a row weighs as much as its class is rare.
    unchanged:
        Rungs whose training never beat the probe that it started from, and gave it back: they gain nothing, which is
        known however few rows say so.

    Raises
    ------
    DataError
        If rows differ in number, or a rung shares none with the probe.
    """
    names, count = tuple(rungs), len(probe.losses)
    codes = resampling_units(groups, count)[0]
    weighed = np.ones(count) if weights is None else weights
    for name, rung in rungs.items():
        if not rung.losses.shape == rung.correct.shape == probe.losses.shape == weighed.shape:
            raise DataError(
                f"{name} was judged on {len(rung.losses)} rows and the probe on {count}: give the same ones"
            )
    points = [100 * (rung.correct - probe.correct) * weighed for rung in rungs.values()]
    nats = [(probe.losses - rung.losses) * weighed for rung in rungs.values()]
    differences = np.array([*points, *nats]).reshape(2 * len(names), count)
    judged = np.isfinite(differences)
    for name, rows in zip(names, judged, strict=False):
        if not rows.any():
            raise DataError(f"{name} and the probe share no row that neither has seen: nothing says which is better")
    filled = np.where(judged, differences, 0.0)
    mean = filled.sum(axis=1) / judged.sum(axis=1)
    sums = _sums(np.where(judged, differences - mean[:, None], 0.0), codes)
    sizes = _sums(judged.astype(np.float64), codes)
    units = (sizes > 0).sum(axis=1)
    rows_of = judged.sum(axis=1)
    half = slice(len(names))
    noise = _noise(sums / rows_of[:, None], sizes / rows_of[:, None], units)
    for place in [place for place, name in enumerate(names) if name in unchanged]:
        for number, floor in ((place, FLOOR_POINTS), (place + len(names), FLOOR_NATS)):
            mean[number], noise[number], noise[:, number] = 0.0, 0.0, 0.0
            noise[number, number] = floor**2
    return Observed(
        names,
        mean,
        noise,
        tuple(rows_of[half].tolist()),
        tuple(units[half].tolist()),
    )


def update(prior: Prior, observed: Observed) -> Posterior:
    """The posterior of all rungs of the prior, those that were not observed included.

    A rung that contradicts the prior has its own part of it widened, so that a collapse is believed.

    Raises
    ------
    ValueError
        If a rung was observed that the prior does not know.
    """
    unknown = set(observed.names) - set(prior.names)
    if unknown:
        raise ValueError(f"the prior knows nothing of {', '.join(sorted(unknown))}")
    if not observed.names:
        return Posterior(prior.names, prior.mean, prior.covariance, prior.room)
    first = [prior.names.index(name) for name in observed.names]
    places = np.array([*first, *(place + len(prior.names) for place in first)])
    surprise = observed.mean - prior.mean[places]
    covariance = prior.covariance.copy()
    expected = np.diag(covariance)[places] + np.diag(observed.noise)
    covariance[places, places] += np.maximum(0.0, (surprise / CONFLICT) ** 2 - expected)
    total = covariance[np.ix_(places, places)] + observed.noise
    weights = np.linalg.solve(total, covariance[places]).T
    mean = prior.mean + weights @ surprise
    narrowed = covariance - weights @ covariance[places]
    return Posterior(prior.names, mean, (narrowed + narrowed.T) / 2, prior.room)


def _sums(values: Floats, codes: npt.NDArray[np.intp]) -> Floats:
    """(M, n) → (M, U): sums over the rows of each unit."""
    units = int(codes.max()) + 1 if len(codes) else 0
    return np.stack([np.bincount(codes, weights=row, minlength=units) for row in values]) if len(values) else values


def _noise(sums: Floats, sizes: Floats, units: npt.NDArray[np.int64]) -> Floats:
    """The covariance of means, (M, M), from each unit's share in them and in their rows, (M, U)."""
    known = units - 1.0
    seen = np.sqrt(known / (TYPICAL_COUNTS_FOR + known) * units / np.maximum(known, 1))
    half = len(sums) // 2
    typical = np.repeat([TYPICAL_POINTS, TYPICAL_NATS], half) * np.sqrt((sizes**2).sum(axis=1))
    typical *= np.sqrt(TYPICAL_COUNTS_FOR / (TYPICAL_COUNTS_FOR + known))
    shared = np.kron(np.eye(2), np.full((half, half), SHARED_NOISE)) + (1 - SHARED_NOISE) * np.eye(2 * half)
    degrees = TYPICAL_COUNTS_FOR + known
    student = np.sqrt(degrees / (degrees - 2))
    scaled = seen[:, None] * sums
    noise = scaled @ scaled.T + shared * np.outer(typical, typical)
    return np.asarray(noise * np.outer(student, student))
