"""Paired differences see what separate intervals can't, respect groups, and cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from headstart.errors import DataError
from headstart.evaluation.comparison import paired_difference


def test_pairing_sees_a_small_steady_difference():
    generator = np.random.default_rng(0)
    difficulty = generator.exponential(1.0, 200)
    a = difficulty + generator.normal(0, 0.05, 200)
    found = paired_difference(a, difficulty + 0.05)
    assert_allclose(found.mean, (a - difficulty - 0.05).mean())
    assert found.ci95 is not None
    assert found.ci95[0] < found.mean < found.ci95[1] < 0
    assert found.wins > 0.99


def test_swapping_the_models_mirrors_the_result():
    generator = np.random.default_rng(1)
    a, b = generator.random(80), generator.random(80)
    forth, back = paired_difference(a, b, seed=3), paired_difference(b, a, seed=3)
    assert_allclose(forth.mean, -back.mean)
    assert_allclose(forth.wins, 1 - back.wins)
    assert forth == paired_difference(a, b, seed=3)
    assert forth != paired_difference(a, b, seed=4)


def test_equal_models_tie():
    found = paired_difference(np.arange(5.0), np.arange(5.0))
    assert (found.mean, found.ci95, found.wins) == (0.0, None, 0.5)


def test_groups_widen_the_interval_and_one_group_tells_nothing():
    generator = np.random.default_rng(2)
    shift = np.repeat(generator.normal(size=12), 20)
    rows, grouped = paired_difference(shift, 0 * shift), paired_difference(shift, 0 * shift, np.arange(240) // 20)
    assert rows.ci95 is not None
    assert grouped.ci95 is not None
    assert grouped.ci95[1] - grouped.ci95[0] > 3 * (rows.ci95[1] - rows.ci95[0])
    assert paired_difference(shift, 0 * shift, ["one"] * 240).ci95 is None


def test_the_interval_covers_the_true_difference():
    generator = np.random.default_rng(5)
    hits = 0
    for seed in range(500):
        skewed = generator.exponential(1.0, 60) - generator.exponential(0.8, 60) - 0.2
        interval = paired_difference(skewed, np.zeros(60), seed=seed).ci95
        assert interval is not None
        hits += interval[0] <= 0 <= interval[1]
    assert 0.91 <= hits / 500 <= 0.98


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0, 2.0]), ([], []), ([np.nan], [0.0])])
def test_losses_that_do_not_pair_are_refused(a, b):
    with pytest.raises(DataError, match="paired"):
        paired_difference(a, b)
