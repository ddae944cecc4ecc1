"""How alike rows of a group are agrees with SciPy's beta-binomial, and finds what was put in."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose
from scipy import stats

from headstart.evaluation.clustering import LIKENESSES, effective_rows, likeness


def test_the_likelihood_is_that_of_the_beta_binomial():
    hits, sizes = np.array([0, 3, 5, 1, 300, 2]), np.array([4, 3, 5, 2, 700, 2])
    shares = np.sin(np.pi / 2 * (np.arange(40) + 0.5) / 40) ** 2
    logs = np.zeros((40, 16))
    for i, share in enumerate(shares):
        for j, alike in enumerate(LIKENESSES):
            strength = (1 - alike) / alike
            found = stats.betabinom.logpmf(hits, sizes, share * strength, (1 - share) * strength)
            logs[i, j] = found.sum()
    expected = np.exp(logs - logs.max()).sum(axis=0)
    assert_allclose(likeness(hits, sizes), expected / expected.sum(), rtol=1e-6, atol=1e-12)


def test_it_finds_how_alike_the_rows_are():
    generator = np.random.default_rng(0)
    for alike in (0.1, 0.5, 0.9):
        rates = generator.beta(0.8 * (1 - alike) / alike, 0.2 * (1 - alike) / alike, 2000)
        sizes = generator.integers(1, 12, 2000)
        found = likeness(generator.binomial(sizes, rates), sizes)
        assert abs(found @ LIKENESSES - alike) < 0.06


def test_rows_by_themselves_say_nothing_of_likeness_and_count_in_full():
    assert_allclose(likeness([1, 0, 1, 1], [1, 1, 1, 1]), np.full(16, 1 / 16), atol=1e-12)
    assert_allclose(effective_rows([1] * 50), np.full(16, 50.0))
    found = effective_rows([10] * 5)
    assert (np.diff(found) < 0).all()
    assert 5 < found[-1] < 5.3
    assert 35 < found[0] < 50
