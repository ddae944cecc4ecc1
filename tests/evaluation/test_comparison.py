"""Paired differences see what separate intervals can't, respect groups, and cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn import metrics as reference

from headstart.errors import DataError
from headstart.evaluation.comparison import Decided, mcnemar, paired_difference, paired_scores, sign_flip_test


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


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (0, 1), (3, 4), (12, 25), (0, 9), (200, 150)])
def test_mcnemar_is_the_exact_binomial_test(lost, won):
    expected = stats.binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert_allclose(mcnemar(lost, won), expected, rtol=1e-9)


@pytest.mark.parametrize(("lost", "won"), [(3, 4), (4, 14), (10, 24)])
def test_flipping_signs_of_rows_is_mcnemars_test(lost, won):
    difference = np.concatenate([np.full(lost, -1.0), np.full(won, 1.0), np.zeros(50)])
    assert_allclose(sign_flip_test(difference), mcnemar(lost, won), atol=0.015)


def test_rows_of_one_group_count_once_in_a_test_of_signs():
    difference = np.repeat([1.0, 1.0, 1.0, -1.0], 10)
    assert sign_flip_test(difference) < 0.01
    assert sign_flip_test(difference, np.repeat(np.arange(4), 10)) > 0.3
    assert sign_flip_test(np.zeros(5)) == 1.0


def test_a_test_of_signs_of_groups_keeps_its_level():
    generator, called = np.random.default_rng(0), 0
    groups = np.repeat(np.arange(25), 8)
    for seed in range(200):
        effects = generator.normal(0, 1, 25)[groups]
        called += sign_flip_test(effects + generator.normal(0, 0.2, 200), groups, seed) < 0.05
    assert called / 200 < 0.1


def test_paired_scores_are_differences_of_scikit_learns():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 200)
    found = {}
    for name, strength in (("a", 1.0), ("b", 2.0)):
        powers = np.exp(strength * np.eye(3)[truth] + generator.normal(size=(200, 3)))
        chances = powers / powers.sum(axis=1, keepdims=True)
        found[name] = Decided(chances.argmax(axis=1), chances)
    scores = paired_scores("classification", truth, found["a"], found["b"])
    functions = {
        "accuracy": lambda one: reference.accuracy_score(truth, one.decisions),
        "balanced_accuracy": lambda one: reference.balanced_accuracy_score(truth, one.decisions),
        "macro_f1": lambda one: reference.f1_score(truth, one.decisions, average="macro"),
        "log_loss": lambda one: reference.log_loss(truth, one.probabilities),
    }
    for name, function in functions.items():
        a, b = function(found["a"]), function(found["b"])
        assert_allclose([scores[name].a, scores[name].b, scores[name].difference], [a, b, b - a], atol=1e-12)
        low, high = scores[name].ci95
        assert low < b - a < high
        assert (low > 0) == (name != "log_loss")  # b is clearly better, and its loss lower


def test_paired_scores_of_labels_of_equal_models_and_of_two_rows():
    truth = np.array([[1, 0], [0, 1]], bool)
    one = Decided(truth, truth.astype(float))
    scores = paired_scores("multilabel", truth, one, one)
    assert scores["accuracy"].difference == 0.0
    assert scores["accuracy"].ci95 is None
