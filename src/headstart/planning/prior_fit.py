"""Refit the prior's table to gains that were measured, and judge it on data sets that were left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError
from headstart.planning.prior import (
    ELICITED,
    Coefficient,
    Conditions,
    PriorTable,
    features_of,
    residual_covariance,
)
from headstart.planning.rule_table import LEAST_ERROR, SPREAD_COUNTS_FOR, Reach

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What one rung really gained on one data set.

    Attributes
    ----------
    dataset:
        All outcomes of one name are left out together.
    reach:
        How far down the rung trained.
    gain, gain_error:
        Over the probe on test rows, in points, and its standard error.
    """

    dataset: str
    conditions: Conditions
    reach: Reach
    gain: float
    gain_error: float


@dataclass(frozen=True)
class Refit:
    """A refitted table, and what it is worth.

    Attributes
    ----------
    uses_gap:
        Whether the domain gap predicts gains of data sets that were left out better than size and probe alone. Where it
        doesn't, it is without effect in the table.
    error_with_gap, error_without_gap, error_before:
        Mean absolute error of predicted gains in points, each data set predicted by a table that was fitted to the
        others, and of the table as it was; data sets count alike.
    """

    table: PriorTable
    uses_gap: bool
    error_with_gap: float
    error_without_gap: float
    error_before: float


def refit(
    outcomes: Sequence[Outcome], table: PriorTable = ELICITED, *, spread_counts_for: float = SPREAD_COUNTS_FOR
) -> Refit:
    """Update a table by outcomes: Bayesian linear regression with the table as its prior.

    Outcomes of one data set share what is particular to it, so many rungs on few data sets are not taken for more than
    they are. Of the coefficients' posterior the means and standard deviations are kept, not the correlations.

    Parameters
    ----------
    spread_counts_for:
        As :data:`SPREAD_COUNTS_FOR`.

    Raises
    ------
    DataError
        If there are fewer than two data sets on which a probe left an error of :data:`LEAST_ERROR` points.
    """
    kept = _judgeable(outcomes)
    names = sorted({outcome.dataset for outcome in kept})
    if len(names) < 2:
        raise DataError(f"outcomes of {len(names)} data sets can't be judged by leaving one out: give at least two")
    blind = without(table, "gap")
    seeing, blindly = _left_out(kept, table), _left_out(kept, blind)
    with_gap, without_gap = _mean_error(kept, seeing), _mean_error(kept, blindly)
    uses_gap = with_gap < without_gap
    fitted = _updated(kept, table if uses_gap else blind)
    return Refit(
        _with_spread(fitted, kept, seeing if uses_gap else blindly, spread_counts_for),
        uses_gap,
        with_gap,
        without_gap,
        _mean_error(kept, _residuals(kept, table)),
    )


def without(table: PriorTable, name: str) -> PriorTable:
    """The table without an effect of one of its coefficients."""
    none = Coefficient(0.0, 0.0, "predicts no better than size and probe")
    return dataclasses.replace(table, coefficients=MappingProxyType({**table.coefficients, name: none}))


def left_out_error(outcomes: Sequence[Outcome], table: PriorTable = ELICITED) -> float:
    """Mean absolute error of predicted gains in points, as :class:`Refit` has them, of a refit of some table."""
    kept = _judgeable(outcomes)
    return _mean_error(kept, _left_out(kept, table))


def left_out_log_likelihood(outcomes: Sequence[Outcome], spread_counts_for: float = SPREAD_COUNTS_FOR) -> float:
    """Log-likelihood of all gains in points, those of each data set under a table that was refitted to the others.

    Raises
    ------
    DataError
        If there are fewer than three data sets on which a probe left an error of :data:`LEAST_ERROR` points.
    """
    total = 0.0
    for mine, others in _by_data_set(_judgeable(outcomes)):
        table = refit(others, spread_counts_for=spread_counts_for).table
        residuals, covariance = _residuals(mine, table), _covariance(mine, table)
        surprise = residuals @ np.linalg.solve(covariance, residuals) + np.linalg.slogdet(2 * np.pi * covariance)[1]
        total -= surprise / 2 + sum(np.log(outcome.conditions.error) for outcome in mine)
    return float(total)


def _judgeable(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.conditions.error >= LEAST_ERROR]


def _updated(outcomes: Sequence[Outcome], table: PriorTable) -> PriorTable:
    """The coefficients' posterior under the outcomes."""
    means = np.array([coefficient.mean for coefficient in table.coefficients.values()])
    variances = np.array([coefficient.sd**2 for coefficient in table.coefficients.values()])
    felt = _features(outcomes) * variances
    weights = np.linalg.solve(_covariance(outcomes, table), felt).T
    found = means + weights @ _residuals(outcomes, table)
    spread = variances - np.einsum("ij,ji->i", weights, felt)
    names = len({outcome.dataset for outcome in outcomes})
    coefficients = {
        name: Coefficient(
            float(mean), float(np.sqrt(max(variance, 0.0))), f"{old.source}; refitted to {names} data sets"
        )
        for (name, old), mean, variance in zip(table.coefficients.items(), found, spread, strict=True)
    }
    return dataclasses.replace(table, coefficients=MappingProxyType(coefficients))


def _left_out(outcomes: Sequence[Outcome], table: PriorTable) -> Floats:
    """Residual shares, each of a table that was fitted without the outcome's data set."""
    residuals = np.empty(len(outcomes))
    for mine, others in _by_data_set(outcomes):
        own = [outcome.dataset == mine[0].dataset for outcome in outcomes]
        residuals[own] = _residuals(mine, _updated(others, table))
    return residuals


def _by_data_set(outcomes: Sequence[Outcome]) -> Iterator[tuple[list[Outcome], list[Outcome]]]:
    """The outcomes of each data set and all others, in their order."""
    for name in sorted({outcome.dataset for outcome in outcomes}):
        mine = [outcome for outcome in outcomes if outcome.dataset == name]
        yield mine, [outcome for outcome in outcomes if outcome.dataset != name]


def _residuals(outcomes: Sequence[Outcome], table: PriorTable) -> Floats:
    means = [coefficient.mean for coefficient in table.coefficients.values()]
    return _shares(outcomes) - _features(outcomes) @ means


def _features(outcomes: Sequence[Outcome]) -> Floats:
    return np.stack([features_of(outcome.conditions, outcome.reach) for outcome in outcomes])


def _covariance(outcomes: Sequence[Outcome], table: PriorTable) -> Floats:
    """Of the shares, the doubt about the coefficients included."""
    features = _features(outcomes)
    variances = [coefficient.sd**2 for coefficient in table.coefficients.values()]
    return np.asarray((features * variances) @ features.T + _scatter(outcomes, table))


def _mean_error(outcomes: Sequence[Outcome], residuals: Floats) -> float:
    """In points, data sets counting alike."""
    points = np.abs(residuals) * [outcome.conditions.error for outcome in outcomes]
    sets = np.array([outcome.dataset for outcome in outcomes])
    return float(np.mean([points[sets == name].mean() for name in np.unique(sets)]))


def _shares(outcomes: Sequence[Outcome]) -> Floats:
    return np.array([outcome.gain / outcome.conditions.error for outcome in outcomes])


def _scatter(outcomes: Sequence[Outcome], table: PriorTable) -> Floats:
    """Covariance of the shares around the table: data sets by themselves, and each measurement's own error."""
    sets = np.array([outcome.dataset for outcome in outcomes])
    scatter = residual_covariance([outcome.reach for outcome in outcomes], table) * (sets[:, None] == sets)
    noise = [outcome.gain_error / outcome.conditions.error for outcome in outcomes]
    return np.asarray(scatter + np.diag(np.square(noise)))


def _with_spread(table: PriorTable, outcomes: Sequence[Outcome], residuals: Floats, counts_for: float) -> PriorTable:
    """The table with the scatter of left-out data sets in it, the parts of tuned rungs widened or narrowed alike."""
    sets = len({outcome.dataset for outcome in outcomes})
    expected = np.diag(_scatter(outcomes, table))
    ratio = float(np.mean(residuals**2) / np.mean(expected))
    factor = float(np.sqrt((counts_for + sets * ratio) / (counts_for + sets)))
    spreads = {name: factor * getattr(table, name) for name in ("shared_sd", "own_sd")}
    return dataclasses.replace(table, **spreads)
