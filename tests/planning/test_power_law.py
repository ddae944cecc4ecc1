"""The power law finds the curve that points were drawn from, and leans on what is usual where they say little."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.planning.power_law import PRIOR, PowerLaw, Prior, fit_power_law, fit_power_laws

SIZES = 400 / np.sqrt(2) ** np.arange(8)[::-1]
OPEN = Prior(exponent=0.4, exponent_sd=10.0, floor_sd=10.0, noise=0.05)


def _errors(exponent: float, floor: float = 0.0, level: float = 0.2) -> np.ndarray:
    return floor + (level - floor) * (SIZES / 400) ** -exponent


@pytest.mark.parametrize(("exponent", "floor"), [(0.3, 0.0), (0.5, 0.0), (0.6, 0.1), (0.8, 0.05)])
def test_a_curve_without_noise_is_found_again(exponent: float, floor: float) -> None:
    law = fit_power_law(SIZES, _errors(exponent, floor), 10**7, prior=OPEN)
    assert law.size == 400
    assert law.level == pytest.approx(0.2, rel=1e-3)
    assert law.exponent == pytest.approx(exponent, abs=0.021)
    assert law.floor == pytest.approx(floor, abs=0.011)
    assert law.error(1600) == pytest.approx(floor + (0.2 - floor) * 4**-exponent, rel=0.01)


def test_the_law_is_constrained_to_errors_that_do_not_rise() -> None:
    law = fit_power_law(SIZES, _errors(-0.4), 1000, prior=OPEN)  # errors that rise with the size
    assert law.exponent == 0
    for exponent in (0.0, 0.2, 0.9):
        law = fit_power_law(SIZES, _errors(exponent), 1000)
        assert 0 <= law.floor <= law.level
        assert law.error(400) == pytest.approx(law.level)
        assert law.floor <= law.error(1600) <= law.error(800) <= law.error(400)


def test_flat_points_outweigh_the_prior() -> None:
    law = fit_power_law(SIZES, np.full(8, 0.3), 1000)
    assert law.error(800) > 0.96 * law.level


def test_one_wild_point_moves_the_forecast_little() -> None:
    calm, wild = _errors(0.35), _errors(0.35)
    wild[2] *= 2.5
    expected = fit_power_law(SIZES, calm, 1000).error(800)
    assert fit_power_law(SIZES, wild, 1000).error(800) == pytest.approx(expected, rel=0.06)


def test_two_points_lean_on_the_prior() -> None:
    law = fit_power_law(SIZES[-2:], np.array([0.21, 0.2]), 1000)
    assert law.exponent == pytest.approx(PRIOR.exponent, abs=0.03)


def test_curves_fitted_together_equal_curves_fitted_alone() -> None:
    noisy = _errors(0.4) * np.exp(0.1 * np.random.default_rng(0).normal(size=(20, 8)))
    together = fit_power_laws(SIZES, noisy, 500)
    for one, errors in zip(together, noisy, strict=True):
        alone = fit_power_law(SIZES, errors, 500)
        assert (one.floor, one.exponent) == pytest.approx((alone.floor, alone.exponent))
        assert one.level == pytest.approx(alone.level, rel=1e-12)


def test_no_mistake_at_all_is_no_infinite_promise() -> None:
    law = fit_power_law(SIZES, np.zeros(8), 100)
    assert 0 < law.error(800) < 0.006


def test_the_unit_of_sizes_does_not_matter() -> None:
    one, other = (fit_power_law(SIZES * unit, _errors(0.4, 0.05), 500) for unit in (1.0, 1000.0))
    assert isinstance(one, PowerLaw)
    assert one.error(800) == pytest.approx(other.error(800_000))
