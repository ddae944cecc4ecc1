"""The debiased calibration error is near zero for honest models and near the truth for others."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from headstart.evaluation.calibration_error import bin_claims, equal_mass_bins, expected_calibration_error
from headstart.evaluation.intervals import bootstrap_weights, percentile_interval


def claims(n, overconfidence, seed):
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(0.5, 1.0, n)
    return confidence, generator.random(n) < confidence - overconfidence


def debiased(confidence, true):
    bins = bin_claims(confidence[:, None], true[:, None])
    return expected_calibration_error(bins, np.ones((1, len(confidence))))[0]


def plain(confidence, true):
    index = equal_mass_bins(confidence, 15)
    parts = [abs((confidence - true)[index == k].sum()) for k in range(index.max() + 1)]
    return sum(parts) / len(confidence)


def test_an_honest_model_scores_far_below_the_plain_estimate():
    pairs = [claims(400, 0.0, seed) for seed in range(60)]
    found, naive = np.mean([debiased(*p) for p in pairs]), np.mean([plain(*p) for p in pairs])
    assert naive > 0.05
    assert found < 0.4 * naive


def test_a_dishonest_model_is_measured_without_bias():
    found = [debiased(*claims(600, 0.1, seed)) for seed in range(60)]
    assert_allclose(np.mean(found), 0.1, atol=0.008)


def test_many_rows_agree_with_the_plain_estimate():
    confidence, true = claims(200_000, 0.07, 0)
    assert_allclose(debiased(confidence, true), plain(confidence, true), atol=1e-3)


def test_the_bootstrap_interval_holds_the_truth():
    for overconfidence in (0.0, 0.1):
        hits = 0
        for seed in range(60):
            confidence, true = claims(300, overconfidence, seed)
            bins = bin_claims(confidence[:, None], true[:, None])
            draws = [expected_calibration_error(bins, w) for w in bootstrap_weights(300, None, 200, seed)]
            low, high = percentile_interval(np.concatenate(draws), 300) or (0.0, 0.0)
            hits += low <= overconfidence <= high
        assert hits >= 54


def test_the_order_of_rows_does_not_matter():
    confidence, true = claims(300, 0.1, 1)
    confidence = np.round(confidence, 1)  # ties
    order = np.random.default_rng(0).permutation(300)
    assert_allclose(debiased(confidence, true), debiased(confidence[order], true[order]), rtol=0, atol=1e-12)


def test_it_stays_in_range():
    assert debiased(np.ones(100), np.zeros(100, bool)) == 1.0
    assert debiased(np.ones(100), np.ones(100, bool)) == 0.0
    assert 0.0 <= debiased(np.array([0.7]), np.array([False])) <= 1.0
    bins = bin_claims(np.array([[0.5]]), np.array([[True]]))
    assert np.isnan(expected_calibration_error(bins, np.zeros((1, 1))))


def test_bins_hold_equally_many_and_never_part_equals():
    index = equal_mass_bins(np.linspace(0, 1, 150), 15)
    assert np.bincount(index).tolist() == [10] * 15
    tied = equal_mass_bins(np.array([0.2] * 90 + [0.9] * 10), 10)
    assert tied.tolist() == [0] * 90 + [1] * 10
