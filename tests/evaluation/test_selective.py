"""The coverage–risk curve against a plain count of every order, and its area against every weighting."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from headstart.errors import DataError
from headstart.evaluation.intervals import wilson
from headstart.evaluation.selective import COVERAGES, areas_under_risk, coverage_risk, least_area


def plain_area(confidence, correct):
    """The mean over k of the error among the k surest, averaged over all orders of ties."""
    areas = []
    for order in permutations(range(len(confidence))):
        if all(confidence[i] >= confidence[j] for i, j in pairwise(order)):
            wrong = ~np.asarray(correct)[list(order)]
            areas.append(np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1)))
    return np.mean(areas)


@pytest.mark.parametrize("confidence", [[0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0.9, 0.9, 0.7, 0.7, 0.7, 0.4], [0.5] * 6])
def test_the_area_is_the_mean_over_all_orders_of_equals(confidence):
    correct = np.array([True, False, True, True, False, False])
    found = areas_under_risk(np.array(confidence), correct, np.ones((1, 6)))
    assert_allclose(found, plain_area(confidence, correct), atol=1e-12)


def test_weights_count_as_repetitions():
    generator = np.random.default_rng(0)
    confidence, correct = generator.random(30).round(1), generator.random(30) < 0.7
    weights = generator.integers(0, 4, (5, 30)).astype(float)
    found = areas_under_risk(confidence, correct, weights)
    for row, value in zip(weights.astype(int), found, strict=True):
        copies = np.repeat(np.arange(30), row)
        assert_allclose(value, areas_under_risk(confidence[copies], correct[copies], np.ones((1, len(copies)))))
    assert np.isnan(areas_under_risk(confidence, correct, np.zeros((1, 30)))).all()


def test_confidence_that_tells_nothing_gives_the_error_rate_and_the_best_order_the_least():
    generator = np.random.default_rng(1)
    correct = generator.random(400) < 0.8
    error = 1 - correct.mean()
    assert_allclose(areas_under_risk(np.zeros(400), correct, np.ones((1, 400))), error)
    least = least_area(correct)
    assert_allclose(least, error + (1 - error) * np.log(1 - error), atol=2e-3)  # Geifman, Uziel and El-Yaniv 2019
    good = areas_under_risk(correct + generator.normal(0, 0.5, 400), correct, np.ones((1, 400)))[0]
    assert least < good < error


def test_the_curve_counts_errors_among_the_surest():
    generator = np.random.default_rng(2)
    confidence, correct = generator.permutation(100) / 100, generator.random(100) < 0.8
    points = coverage_risk(confidence, correct)
    assert [point.coverage for point in points] == list(COVERAGES)
    for point in points:
        accepted = confidence >= point.threshold
        assert accepted.sum() == round(100 * point.coverage)
        assert point.risk == (~correct[accepted]).mean()
        assert point.risk_ci95 == wilson((~correct[accepted]).sum(), accepted.sum())


def test_equally_sure_rows_are_accepted_together():
    points = coverage_risk([0.9, 0.5, 0.5, 0.5], [True, True, False, True])
    assert [(point.coverage, point.risk) for point in points] == [(0.25, 0.0), (1.0, 0.25)]
    (only,) = coverage_risk([0.5, 0.5], [True, True])
    assert (only.coverage, only.risk) == (1.0, 0.0)
    assert only.risk_ci95[1] > 0.5  # two rows prove little


def test_groups_widen_the_risk():
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(20), 10)
    correct = (generator.random(20) < 0.8)[groups]
    alone, grouped = coverage_risk(np.zeros(200), correct), coverage_risk(np.zeros(200), correct, groups)
    assert np.ptp(grouped[0].risk_ci95) > 2 * np.ptp(alone[0].risk_ci95)


@pytest.mark.parametrize(("confidence", "correct"), [([], []), ([0.5], [True, False]), ([np.nan], [True])])
def test_bad_arrays_are_named(confidence, correct):
    with pytest.raises(DataError, match="pair up"):
        coverage_risk(confidence, correct)
