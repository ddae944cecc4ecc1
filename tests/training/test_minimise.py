"""The minimiser reaches known minima and says when it does not."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.training import minimise as module
from headstart.training.minimise import Floats, minimise


def quadratic(point: Floats) -> tuple[float, Floats]:
    """A bowl with curvatures from 1e-4 to 1e4 and its minimum, 0, at 1."""
    curvature = np.logspace(-4, 4, len(point))
    return float(0.5 * np.sum(curvature * (point - 1) ** 2)), curvature * (point - 1)


def test_with_exact_curvature_one_step_suffices() -> None:
    calls = []

    def counted(point: Floats) -> tuple[float, Floats]:
        calls.append(1)
        return quadratic(point)

    point, converged = minimise(counted, np.zeros(9), np.logspace(-4, 4, 9), tolerance=1e-20, noise=1e-16)
    assert converged
    assert len(calls) <= 3
    np.testing.assert_allclose(point, 1.0, atol=1e-6)


def test_with_wrong_curvature_it_still_arrives() -> None:
    curvature = np.logspace(-4, 4, 9) * np.random.default_rng(0).uniform(0.02, 50, 9)
    point, converged = minimise(quadratic, np.zeros(9), curvature, tolerance=1e-14, noise=1e-16)
    assert converged
    assert quadratic(point)[0] < 1e-10


def test_steps_that_overshoot_are_shortened() -> None:
    def steep(point: Floats) -> tuple[float, Floats]:
        return float(np.sum(np.cosh(point))), np.sinh(point)

    point, converged = minimise(steep, np.full(3, 3.0), np.ones(3), tolerance=1e-12, noise=1e-16)
    assert converged
    np.testing.assert_allclose(point, 0.0, atol=1e-5)


def test_running_out_of_iterations_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ITERATIONS", 2)
    assert not minimise(quadratic, np.zeros(9), np.ones(9) * 1e4, tolerance=1e-14, noise=1e-16)[1]


def test_once_the_time_is_over_nearly_there_is_enough() -> None:
    curvature = np.logspace(-4, 4, 9) * np.random.default_rng(0).uniform(0.02, 50, 9)
    calls = {0.0: 0, np.inf: 0}

    def minimised(left: float) -> tuple[Floats, bool]:
        def counted(point: Floats) -> tuple[float, Floats]:
            calls[left] += 1
            return quadratic(point)

        return minimise(counted, np.zeros(9), curvature, tolerance=1e-14, noise=1e-16, left=lambda: left)

    point, converged = minimised(0.0)
    assert not converged
    assert quadratic(point)[0] < 1e-2, "a first estimate of the distance, which curvatures known badly blur"
    assert minimised(np.inf)[1]
    assert calls[0.0] < calls[np.inf]
