"""Intervals cover the truth as often as they say, agree with SciPy, and admit when they can't tell."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from headstart.errors import DataError
from headstart.evaluation.intervals import (
    bootstrap_weights,
    clopper_pearson_upper,
    percentile_interval,
    resampling_units,
    scaled_interval,
    share_interval,
    wilson,
)
from headstart.evaluation.scores import row_mean


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (146, 153), (1, 1)])
def test_wilson_equals_the_reference(successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert_allclose(wilson(successes, n), [expected.low, expected.high], atol=1e-12)


def test_wilson_of_no_rows_knows_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("n", [30, 100, 300, 1000])
@pytest.mark.parametrize("rate", [0.6, 0.8, 0.9, 0.95])
def test_wilson_covers(n, rate):
    ends = np.array([wilson(k, n) for k in range(n + 1)])
    covered = (ends[:, 0] <= rate) & (rate <= ends[:, 1])
    coverage = stats.binom.pmf(np.arange(n + 1), n, rate)[covered].sum()
    assert 0.92 <= coverage <= 0.98


def test_the_exact_bound_is_exact():
    errors, n = np.array([0, 0, 1, 7, 40]), np.array([1, 59, 93, 100, 40])
    bounds = clopper_pearson_upper(errors, n, 0.95)
    for k, m, bound in zip(errors, n, bounds, strict=True):
        expected = stats.binomtest(int(k), int(m), alternative="less").proportion_ci(0.95, method="exact").high
        assert_allclose(bound, expected, atol=1e-9)
    assert clopper_pearson_upper(0, 0) == 1.0


def test_bootstrap_rows_sum_to_n_and_repeat_with_the_seed():
    chunks = list(bootstrap_weights(700, None, 1000, seed=3))
    weights = np.concatenate(chunks)
    assert weights.shape == (1000, 700)
    assert len(chunks) > 1
    assert (weights.sum(axis=1) == 700).all()
    assert_allclose(weights.mean(), 1.0)
    assert_allclose(weights.var(), 1.0, atol=0.01)
    assert (weights == np.concatenate(list(bootstrap_weights(700, None, 1000, seed=3)))).all()
    assert (weights != np.concatenate(list(bootstrap_weights(700, None, 1000, seed=4)))).any()


def test_groups_are_drawn_whole():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    weights = np.concatenate(list(bootstrap_weights(6, groups, 200, seed=0)))
    for name in "abc":
        members = weights[:, groups == name]
        assert (members == members[:, :1]).all()
    firsts = weights[:, [0, 1, 3]]
    assert (firsts.sum(axis=1) == 3).all()


def test_rows_without_a_group_stand_alone():
    units, count = resampling_units(["x", None, "x", float("nan"), None, 0], 6)
    assert count == 5
    assert units[0] == units[2]
    assert len(set(units.tolist())) == 5
    assert resampling_units(None, 4)[1] == 4


def test_the_wrong_number_of_groups_is_named():
    with pytest.raises(DataError, match="3 groups for 5 rows"):
        resampling_units(["a", "b", "c"], 5)


def test_percentiles_widen_for_few_units_and_approach_the_plain_ones():
    values = np.random.default_rng(0).normal(size=100_000)
    few, many = percentile_interval(values, 8), percentile_interval(values, 100_000)
    assert few is not None
    assert many is not None
    assert_allclose(many, np.quantile(values, [0.025, 0.975]), atol=0.01)
    assert_allclose(few, np.array([-1, 1]) * stats.t.ppf(0.975, 7) * np.sqrt(8 / 7), atol=0.05)


@pytest.mark.parametrize(
    ("values", "units"),
    [([0.5, 0.6, 0.7], 1), ([1.0, 1.0, 1.0], 50), ([np.nan, np.nan, 0.3], 50), ([np.nan] * 3, 50), ([], 50)],
)
def test_an_interval_that_resampling_cannot_give_is_none(values, units):
    assert percentile_interval(np.array(values), units) is None


def test_undefined_draws_are_left_out():
    assert percentile_interval(np.array([np.nan, 0.2, 0.4, 0.3]), 1000) is not None


def test_the_grouped_bootstrap_covers_where_rows_of_a_group_agree():
    generator = np.random.default_rng(11)
    hits, naive, repeats = 0, 0, 400
    groups = np.repeat(np.arange(30), 10)
    for seed in range(repeats):
        rate = generator.beta(8, 2, 30)  # mean 0.8
        correct = generator.random(300) < rate[groups]
        draws = [row_mean(correct, w) for w in bootstrap_weights(300, groups, 300, seed)]
        interval = percentile_interval(np.concatenate(draws), 30)
        assert interval is not None
        hits += interval[0] <= 0.8 <= interval[1]
        low, high = wilson(correct.sum(), 300)
        naive += low <= 0.8 <= high
    assert 0.92 <= hits / repeats <= 0.98
    assert naive / repeats < 0.9  # which is why groups matter


def test_the_interval_of_a_share_is_wilsons_and_wider_over_groups_that_agree() -> None:
    correct = np.repeat([True, True, True, False], 25)
    rows = share_interval(correct, np.arange(100))
    assert rows == wilson(75, 100) == share_interval(correct) == share_interval(correct.astype(float))
    low, high = share_interval(correct, np.arange(100) // 5)
    assert low < rows[0] < rows[1] < high
    assert_allclose((low, high), wilson(15, 20), atol=0.04)  # groups that wholly agree are little more than a row each
    assert share_interval(correct, np.zeros(100)) == wilson(0.75, 1), "one group is one trial"
    assert share_interval(np.empty(0)) == (0.0, 1.0)


@pytest.mark.parametrize("right", [True, False])
def test_a_perfect_share_of_groups_claims_no_certainty(right: bool) -> None:
    low, high = share_interval(np.full(40, right), np.arange(40) // 4)
    rows, groups = wilson(40 * right, 40), wilson(10 * right, 10)
    assert (high == 1.0) if right else (low == 0.0)
    assert rows[1] - rows[0] < high - low < groups[1] - groups[0] + 0.02


def test_groups_whose_rows_are_as_strangers_widen_little() -> None:
    correct = np.random.default_rng(5).random(1000) < 0.9
    low, high = share_interval(correct, np.arange(1000) // 5)
    alone = wilson(correct.sum(), 1000)
    assert 1.0 <= (high - low) / (alone[1] - alone[0]) < 1.15


def test_names_and_numbers_of_groups_mean_the_same() -> None:
    correct = np.random.default_rng(6).random(60) < 0.8
    numbers = np.random.default_rng(7).integers(0, 9, 60)
    assert share_interval(correct, numbers) == share_interval(correct, [f"patient {number}" for number in numbers])


@pytest.mark.parametrize(("groups", "likeness"), [(60, 0.3), (200, 0.1), (30, 0.6)])
def test_the_interval_of_a_grouped_share_covers(groups: int, likeness: float) -> None:
    generator, hits, repeats = np.random.default_rng(groups), 0, 400
    a, b = 0.9 * (1 - likeness) / likeness, 0.1 * (1 - likeness) / likeness
    for _ in range(repeats):
        owners = np.repeat(np.arange(groups), generator.geometric(0.2, groups))
        low, high = share_interval(generator.random(len(owners)) < generator.beta(a, b, groups)[owners], owners)
        hits += low <= 0.9 <= high
    assert 0.925 <= hits / repeats <= 0.985


@pytest.mark.parametrize(("scale", "value", "sd"), [("logit", 0.97, 0.01), ("log", 0.2, 0.03), ("logit", 0.5, 0.02)])
def test_a_scaled_interval_is_students_on_its_scale(scale, value: float, sd: float) -> None:
    draws = np.random.default_rng(0).normal(value, sd, 20_000)
    found = scaled_interval(value, draws, 40, scale)
    assert found is not None
    there = (lambda x: np.log(x / (1 - x))) if scale == "logit" else np.log
    slope = value * (1 - value) if scale == "logit" else value
    reach = stats.t.ppf(0.975, 39) * np.sqrt(40 / 39) * sd / slope
    assert_allclose(there(np.array(found)), there(value) + np.array([-reach, reach]), atol=0.02 * reach)


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_a_scaled_interval_that_resampling_cannot_give_is_none(value: float) -> None:
    assert scaled_interval(value, np.array([0.5, 0.6, 0.7]), 50, "logit") is None
    assert scaled_interval(0.6, np.array([0.6, 0.6, 0.6]), 50, "log") is None
    assert scaled_interval(0.6, np.array([0.5, 0.6, 0.7]), 1, "log") is None
