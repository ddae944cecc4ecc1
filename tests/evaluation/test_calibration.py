"""Temperatures are the best ones and never run away; thresholds maximise F1; probabilities are stable."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar

from headstart.errors import DataError
from headstart.evaluation.calibration import (
    fit_temperature,
    fit_thresholds,
    probabilities,
    reliability,
)
from headstart.evaluation.scores import row_label_log_loss, row_log_loss


def softmax_data(n=4000, seed=0):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, 4)) * 2
    chances = probabilities(logits)
    return logits, (chances.cumsum(axis=1) > generator.random((n, 1))).argmax(axis=1)


def sigmoid_data(n=2000, seed=0):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, 3)) * 2
    return logits, generator.random((n, 3)) < probabilities(logits, kind="sigmoid")


def test_probabilities_are_stable_and_in_range():
    extreme = np.array([[1e6, -1e6, 0.0], [-800.0, -800.0, -801.0]])
    for kind in ("softmax", "sigmoid"):
        found = probabilities(extreme.astype(np.float32), 0.05, kind)
        assert found.dtype == np.float64
        assert np.isfinite(found).all()
        assert ((found >= 0) & (found <= 1)).all()
    assert_allclose(probabilities(extreme).sum(axis=1), 1.0)
    assert_allclose(probabilities([[2.0]], 2.0, "sigmoid"), 1 / (1 + math.exp(-1)))


@pytest.mark.parametrize("factor", [0.2, 1.0, 4.0])
def test_the_temperature_undoes_a_factor(factor):
    logits, truth = softmax_data()
    assert_allclose(fit_temperature(logits * factor, truth, "softmax"), factor, rtol=0.08)
    logits, truth = sigmoid_data()
    assert_allclose(fit_temperature(logits * factor, truth, "sigmoid"), factor, rtol=0.08)


def test_the_temperature_minimises_the_log_loss():
    logits, truth = softmax_data(4000)
    found = fit_temperature(logits * 3, truth, "softmax")
    best = minimize_scalar(
        lambda t: row_log_loss(truth, probabilities(logits * 3, t)).mean(), bounds=(0.05, 20), method="bounded"
    ).x
    assert_allclose(found, best, rtol=5e-3)  # what smoothing by one row in 4000 moves
    logits, truth = sigmoid_data()
    found = fit_temperature(logits * 3, truth, "sigmoid")
    best = minimize_scalar(
        lambda t: row_label_log_loss(truth, probabilities(logits * 3, t, "sigmoid")).mean(),
        bounds=(0.05, 20),
        method="bounded",
    ).x
    assert_allclose(found, best, rtol=5e-3)


def test_weights_count_as_repeated_rows_do():
    logits, truth = softmax_data(500)
    counts = np.random.default_rng(0).integers(1, 4, 500)
    repeated = fit_temperature(np.repeat(logits, counts, axis=0), np.repeat(truth, counts), "softmax")
    assert_allclose(fit_temperature(logits, truth, "softmax", counts), repeated, rtol=0.02)


def test_separable_logits_are_not_called_infinitely_sure():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(40, 3))
    truth = logits.argmax(axis=1)
    sure = probabilities(logits, fit_temperature(logits, truth, "softmax")).max(axis=1)
    assert 0.8 < sure.mean() < 0.97
    many = generator.normal(size=(4000, 3))
    surer = probabilities(many, fit_temperature(many, many.argmax(axis=1), "softmax")).max(axis=1)
    assert surer.mean() > sure.mean()


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_hopeless_logits_give_a_bounded_temperature(kind):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(50, 3))
    classes = logits.argmin(axis=1)
    wrong = classes if kind == "softmax" else logits < 0
    assert fit_temperature(logits, wrong, kind) == 20.0
    right = logits.argmax(axis=1) if kind == "softmax" else logits > 0
    assert fit_temperature(logits * 1e-3, right, kind) == 0.05
    assert 0.05 <= fit_temperature(logits * 1e6, right, kind) <= 20.0
    assert fit_temperature(np.zeros((50, 3)), right, kind) == 1.0
    one_row = fit_temperature(logits[:1], right[:1], kind)
    assert 0.05 <= one_row <= 20.0


def test_logits_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="finite"):
        fit_temperature([[math.nan, 0.0]], [0], "softmax")


def best_f1(truth, scores):
    def f1(threshold):
        decided = scores >= threshold
        return 2 * (truth & decided).sum() / (truth.sum() + decided.sum())

    return f1, max(f1(t) for t in np.unique(scores))


@pytest.mark.parametrize("decimals", [6, 1])
def test_thresholds_reach_the_best_f1(decimals):
    generator = np.random.default_rng(decimals)
    truth = generator.random((200, 4)) < [0.5, 0.1, 0.02, 0.95]
    scores = np.round(np.clip(0.4 * truth + 0.6 * generator.random((200, 4)), 0, 1), decimals)
    thresholds = fit_thresholds(truth, scores)
    assert ((thresholds >= 0) & (thresholds <= 1)).all()
    for k, threshold in enumerate(thresholds):
        f1, best = best_f1(truth[:, k], scores[:, k])
        assert_allclose(f1(threshold), best, atol=1e-12)


def test_thresholds_lie_midway_and_fall_back():
    truth = np.array([[1, 0, 1], [1, 0, 1], [0, 0, 1]])
    scores = np.array([[0.9, 0.2, 0.4], [0.6, 0.9, 0.6], [0.2, 0.4, 0.8]])
    assert_allclose(fit_thresholds(truth, scores), [0.4, 0.5, 0.2])


def test_adjacent_numbers_are_still_parted():
    low = 0.3
    high = np.nextafter(low, 1)
    threshold = fit_thresholds([[1], [0]], [[high], [low]])
    assert threshold[0] == high


def test_equal_f1_takes_the_cut_nearest_a_half():
    truth = np.array([1, 0, 0, 1])[:, None]  # taking one row and taking all four both give F1 = 2/3
    assert_allclose(fit_thresholds(truth, np.array([0.9, 0.8, 0.7, 0.6])[:, None]), [0.3])
    assert_allclose(fit_thresholds(truth, np.array([0.6, 0.3, 0.2, 0.1])[:, None]), [0.45])


def test_reliability_covers_all_rows_in_rising_order():
    logits, truth = softmax_data(1000)
    table = reliability(truth, probabilities(logits), bins=10)
    assert [row.count for row in table] == [100] * 10
    assert [row.confidence for row in table] == sorted(row.confidence for row in table)
    assert all(low <= row.accuracy <= high for row in table for low, high in [row.accuracy_ci95])
    assert sum(low <= row.confidence <= high for row in table for low, high in [row.accuracy_ci95]) >= 8


def test_reliability_of_labels_pools_them():
    logits, truth = sigmoid_data(100)
    table = reliability(truth, probabilities(logits, kind="sigmoid"))
    assert sum(row.count for row in table) == 300
    assert table[0].accuracy < 0.2 < 0.8 < table[-1].accuracy
