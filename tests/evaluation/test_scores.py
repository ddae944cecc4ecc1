"""Scores equal scikit-learn's under unit and sample weights, and are NaN where they are undefined."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import metrics as reference

from headstart.evaluation.scores import (
    confusion,
    macro,
    row_brier,
    row_label_brier,
    row_label_log_loss,
    row_log_loss,
    row_mean,
    tally_classes,
    tally_labels,
    unit_weights,
)

EXACT = {"rtol": 0, "atol": 1e-9}


def single_label(n=211, classes=5, seed=0):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(classes, 0.6), n)
    truth = generator.integers(0, classes - 1, n)  # the last class has no rows
    probabilities[truth == 1, 1] = 0.0  # and the second is never decided where it is true
    return truth, probabilities / probabilities.sum(axis=1, keepdims=True)


def multi_label(n=173, labels=4, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.random((n, labels)) < [0.5, 0.2, 0.05, 0.9]
    return truth, np.clip(truth * 0.3 + generator.random((n, labels)) * 0.7, 0, 1)


def several_weights(n, seed=1):
    generator = np.random.default_rng(seed)
    return np.concatenate([np.ones((1, n)), generator.random((2, n)), generator.poisson(1, (2, n))])


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("row", range(5))
def test_single_label_scores_equal_the_reference(row):
    truth, probabilities = single_label()
    decided = probabilities.argmax(axis=1)
    weights = several_weights(len(truth))
    tally, w = tally_classes(truth, decided, 5, weights), weights[row]
    per_class = reference.precision_recall_fscore_support(
        truth, decided, labels=range(5), sample_weight=w, zero_division=np.nan
    )
    for ours, theirs in zip((tally.precision, tally.recall, tally.f1, tally.support), per_class, strict=True):
        assert_allclose(ours[row], theirs, **EXACT)
    accuracy = row_mean(truth == decided, weights)[row]
    assert_allclose(accuracy, reference.accuracy_score(truth, decided, sample_weight=w), **EXACT)
    kept = w > 0
    balanced = reference.balanced_accuracy_score(truth[kept], decided[kept], sample_weight=w[kept])
    assert_allclose(macro(tally.recall)[row], balanced, **EXACT)
    assert_allclose(
        macro(tally.f1)[row],
        reference.f1_score(truth, decided, labels=range(5), average="macro", sample_weight=w, zero_division=np.nan),
        **EXACT,
    )
    assert_allclose(
        row_mean(row_log_loss(truth, probabilities), weights)[row],
        reference.log_loss(truth, probabilities, sample_weight=w, labels=range(5)),
        **EXACT,
    )
    one_hot = np.eye(5)[truth]
    brier = np.average(((probabilities - one_hot) ** 2).sum(axis=1), weights=w)
    assert_allclose(row_mean(row_brier(truth, probabilities), weights)[row], brier, **EXACT)


@pytest.mark.parametrize("row", range(5))
def test_multi_label_scores_equal_the_reference(row):
    truth, probabilities = multi_label()
    decided = probabilities >= [0.5, 0.4, 0.3, 0.6]
    weights = several_weights(len(truth))
    tally, w = tally_labels(truth, decided, weights), weights[row]
    per_label = reference.precision_recall_fscore_support(truth, decided, sample_weight=w, zero_division=np.nan)
    for ours, theirs in zip((tally.precision, tally.recall, tally.f1), per_label, strict=False):
        assert_allclose(ours[row], theirs, **EXACT)
    micro = reference.f1_score(truth, decided, average="micro", sample_weight=w)
    assert_allclose(tally.micro_f1[row], micro, **EXACT)
    subset = reference.accuracy_score(truth, decided, sample_weight=w)
    assert_allclose(row_mean((truth == decided).all(axis=1), weights)[row], subset, **EXACT)
    columns = range(truth.shape[1])
    balanced = [reference.balanced_accuracy_score(truth[:, k], decided[:, k], sample_weight=w) for k in columns]
    assert_allclose(((tally.recall + tally.specificity) / 2)[row], balanced, **EXACT)
    losses = [reference.log_loss(truth[:, k], probabilities[:, k], sample_weight=w) for k in columns]
    assert_allclose(row_mean(row_label_log_loss(truth, probabilities), weights)[row], np.mean(losses), **EXACT)
    briers = [reference.brier_score_loss(truth[:, k], probabilities[:, k], sample_weight=w) for k in columns]
    assert_allclose(row_mean(row_label_brier(truth, probabilities), weights)[row], np.mean(briers), **EXACT)


def test_undefined_is_nan_and_zero_is_zero():
    truth, decided = np.array([0, 0, 1]), np.array([0, 2, 0])
    tally = tally_classes(truth, decided, 4, unit_weights(3))
    assert_allclose(tally.precision[0], [0.5, np.nan, 0.0, np.nan])
    assert_allclose(tally.recall[0], [0.5, 0.0, np.nan, np.nan])
    assert_allclose(tally.f1[0], [0.5, 0.0, 0.0, np.nan])
    assert np.isnan(row_mean(truth == decided, np.zeros((1, 3))))
    assert np.isnan(macro(np.full((1, 3), np.nan)))


def test_a_certain_mistake_costs_much_but_not_infinity():
    loss = row_log_loss(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert 36 < loss[0] < 37
    assert 0 <= loss[1] < 1e-15


def test_confusion_has_the_truth_in_rows():
    truth, decided = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0])
    assert confusion(truth, decided, 3).tolist() == reference.confusion_matrix(truth, decided).tolist()
