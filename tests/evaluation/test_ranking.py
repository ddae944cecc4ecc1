"""Areas under curves equal scikit-learn's with ties and weights, and are NaN without rows of both kinds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import average_precision_score, roc_auc_score

from headstart.evaluation.ranking import areas, rank


@pytest.mark.parametrize("decimals", [8, 2, 1, 0])
@pytest.mark.parametrize("positives", [1, 12, 119])
def test_areas_equal_the_reference(decimals, positives):
    generator = np.random.default_rng(positives)
    positive = generator.permutation(np.arange(120) < positives)
    scores = np.round(0.5 * generator.random(120) + 0.4 * positive, decimals)
    counts = generator.poisson(1, (3, 120)).astype(float)
    counts[:, [positive.argmax(), positive.argmin()]] += 1  # each draw has both kinds
    weights = np.concatenate([np.ones((1, 120)), generator.random((3, 120)), counts])
    found = areas(rank(positive, scores), weights)
    for row, w in enumerate(weights):
        assert_allclose(found.auroc[row], roc_auc_score(positive, scores, sample_weight=w), rtol=0, atol=1e-9)
        expected = average_precision_score(positive, scores, sample_weight=w)
        assert_allclose(found.average_precision[row], expected, rtol=0, atol=1e-9)


def test_weights_count_rows_as_repeating_them_would():
    generator = np.random.default_rng(3)
    positive, scores = generator.random(60) < 0.3, generator.integers(0, 9, 60) / 9
    counts = generator.integers(0, 4, 60)
    weighted = areas(rank(positive, scores), counts[None].astype(float))
    repeated = areas(rank(np.repeat(positive, counts), np.repeat(scores, counts)), np.ones((1, counts.sum())))
    assert_allclose(weighted.auroc, repeated.auroc, atol=1e-12)
    assert_allclose(weighted.average_precision, repeated.average_precision, atol=1e-12)


def test_without_both_kinds_the_areas_are_undefined():
    scores = np.array([0.1, 0.5, 0.9])
    nobody = areas(rank(np.zeros(3, bool), scores), np.ones((2, 3)))
    assert np.isnan(nobody.auroc).all()
    assert np.isnan(nobody.average_precision).all()
    everybody = areas(rank(np.ones(3, bool), scores), np.ones((2, 3)))
    assert np.isnan(everybody.auroc).all()
    assert_allclose(everybody.average_precision, 1.0)
    drawn_away = areas(rank(np.array([True, False, False]), scores), np.array([[0.0, 1, 2], [0.3, 0, 0]]))
    assert np.isnan(drawn_away.auroc).all()
    assert np.isnan(drawn_away.average_precision[0])


def test_equal_scores_are_worth_half():
    found = areas(rank(np.array([True, False, True, False]), np.full(4, 0.7)), np.ones((1, 4)))
    assert found.auroc[0] == 0.5
    assert found.average_precision[0] == 0.5
