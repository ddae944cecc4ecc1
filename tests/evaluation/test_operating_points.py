"""Thresholds and what follows from them, against scikit-learn; and on rows of one kind, two rows, all right."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import metrics as reference

from headstart.errors import OptionError
from headstart.evaluation.intervals import share_interval, wilson
from headstart.evaluation.metrics import check_metric, evaluate, find_metric, point_of, score
from headstart.evaluation.operating_points import (
    TARGETS,
    THRESHOLDS,
    apply_points,
    best_at,
    decide,
    decision_shares,
    fit_points,
    threshold_at,
    threshold_table,
)
from headstart.evaluation.ranking import rank

NAMES = ("benign", "malignant")


def binary(n=300, seed=0, steps=None):
    generator = np.random.default_rng(seed)
    truth = generator.random(n) < 0.3
    scores = 1 / (1 + np.exp(-generator.normal(2 * truth - 1.5, 1.2)))
    return truth, scores if steps is None else np.round(scores * steps) / steps


def test_the_table_is_scikit_learns():
    truth, scores = binary()
    for row in threshold_table(truth, scores):
        decided, shares = scores >= row.threshold, row.shares
        pairs = (
            (shares.precision, reference.precision_score),
            (shares.recall, reference.recall_score),
            (shares.f1, reference.f1_score),
        )
        for share, function in pairs:
            if share.value is not None:
                assert_allclose(share.value, function(truth, decided))
        assert_allclose(shares.specificity.value, reference.recall_score(~truth, ~decided))
        assert shares.recall.ci95 == wilson((truth & decided).sum(), truth.sum())
        assert shares.recall.rows == truth.sum()


def test_the_interval_of_f1_covers():
    hits, repeats = 0, 400
    for seed in range(repeats):
        truth, scores = binary(100, seed)
        low, high = decision_shares(truth, scores >= 0.5).f1.ci95
        hits += low <= TRUE_F1 <= high
    assert 0.92 <= hits / repeats <= 0.985


TRUE_F1 = reference.f1_score(*(part >= 0.5 for part in binary(400_000, 1)))


@pytest.mark.parametrize("steps", [None, 8])
@pytest.mark.parametrize("target", TARGETS)
def test_a_threshold_holds_what_it_was_chosen_for_and_gives_the_most_of_the_other(steps, target):
    truth, scores = binary(steps=steps)
    false_alarms, sensitivity, _ = reference.roc_curve(truth, scores, drop_intermediate=False)
    decided = scores >= threshold_at(truth, scores, "specificity", target)
    assert (~decided[~truth]).mean() >= target
    assert_allclose(decided[truth].mean(), sensitivity[1 - false_alarms >= target].max())
    decided = scores >= threshold_at(truth, scores, "sensitivity", target)
    assert decided[truth].mean() >= target
    assert_allclose((~decided[~truth]).mean(), (1 - false_alarms)[sensitivity >= target].max())


@pytest.mark.parametrize("scores", [[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0] * 4, [1.0, 1.0, 0.0, 0.0]])
def test_certain_and_equal_scores_still_get_a_threshold_that_holds(scores):
    truth, chances = np.array([False, False, True, True]), np.array(scores)
    for target in TARGETS:
        assert (chances[~truth] < threshold_at(truth, chances, "specificity", target)).all()
        assert (chances[truth] >= threshold_at(truth, chances, "sensitivity", target)).all()


@pytest.mark.parametrize("steps", [None, 10])
@pytest.mark.parametrize(("fixed", "target"), [("specificity", 0.9), ("specificity", 0.99), ("sensitivity", 0.95)])
def test_the_best_at_a_point_is_read_off_scikit_learns_curve_under_every_weighting(steps, fixed, target):
    truth, scores = binary(120, steps=steps)
    weights = np.random.default_rng(1).multinomial(120, np.full(120, 1 / 120), 20).astype(float)
    found = best_at(rank(truth, scores), weights, fixed, target)
    for row, value in zip(weights, found, strict=True):
        false_alarms, sensitivity, _ = reference.roc_curve(truth, scores, sample_weight=row, drop_intermediate=False)
        held, other = (1 - false_alarms, sensitivity) if fixed == "specificity" else (sensitivity, 1 - false_alarms)
        assert_allclose(value, other[held >= target - 1e-9].max(), atol=1e-9)


def test_a_metric_at_a_point_is_found_and_scored_for_two_classes():
    truth, scores = binary()
    chances = np.column_stack([1 - scores, scores])
    name = "sensitivity@specificity=0.9"
    assert point_of(name) == ("specificity", 0.9)
    assert find_metric(name).higher_is_better
    false_alarms, sensitivity, _ = reference.roc_curve(truth, scores, drop_intermediate=False)
    expected = sensitivity[1 - false_alarms >= 0.9].max()
    assert_allclose(score(name, "classification", truth.astype(int), chances), expected)
    found = evaluate("classification", truth.astype(int), chances, NAMES, metric=name, draws=200)
    assert_allclose(found[name], expected)
    low, high = found[f"{name}_ci95"]
    assert low < expected < high
    assert np.isnan(score(name, "classification", np.zeros(5, int), chances[:5]))


@pytest.mark.parametrize(
    "name", ["sensitivity@specificity=1.5", "sensitivity@specificity=0.0", "sensitivity@sensitivity=0.9", "f1@recall=1"]
)
def test_points_that_make_no_sense_are_refused(name):
    with pytest.raises(OptionError, match=r"unknown metric .*sensitivity@specificity=0\.95"):
        find_metric(name)


@pytest.mark.parametrize(
    ("task", "classes", "words"), [("classification", 3, "3 classes"), ("multilabel", 2, "several")]
)
def test_a_point_needs_two_classes(task, classes, words):
    with pytest.raises(OptionError, match=words):
        check_metric("specificity@sensitivity=0.95", task, classes)


def test_points_are_chosen_on_some_rows_and_applied_to_others():
    (seen, chances), (held, others) = binary(500, 1), binary(400, 2)
    truth = np.column_stack([~seen, seen])
    points = fit_points(truth, np.column_stack([1 - chances, chances]), NAMES)
    assert len(points) == 2 * 2 * len(TARGETS)
    assert {point.rows for point in points if point.positive == "malignant" and point.fixed == "sensitivity"} == {
        int(seen.sum())
    }
    table = np.column_stack([1 - others, others])
    applied = apply_points(points, decide(points, table, NAMES), np.column_stack([~held, held]), NAMES)
    for one in applied:
        positive = held if one.point.positive == "malignant" else ~held
        decided = table[:, NAMES.index(one.point.positive)] >= one.point.threshold
        assert one.sensitivity.value == decided[positive].mean()
        assert one.specificity.value == (~decided[~positive]).mean()
        assert one.sensitivity.ci95 == share_interval(decided[positive])
    held_at = [one for one in applied if one.point.fixed == "specificity" and one.point.target == 0.95]
    assert all(abs(one.specificity.value - 0.95) < 0.05 for one in held_at)


def test_one_class_only_and_two_rows():
    truth, scores = np.array([True, True]), np.array([0.2, 0.9])
    assert fit_points(np.column_stack([~truth, truth]), np.column_stack([1 - scores, scores]), NAMES) == ()
    assert decide((), np.column_stack([1 - scores, scores]), NAMES).shape == (2, 0)
    rows = threshold_table(truth, scores)
    assert [row.threshold for row in rows] == list(THRESHOLDS)
    assert all(row.shares.specificity.value is None and row.shares.specificity.ci95 is None for row in rows)
    assert rows[0].shares.recall.value == 1.0
    assert rows[0].shares.recall.ci95[0] < 0.4
    nothing = threshold_table(~truth, scores)[-1].shares
    assert (nothing.precision.value, nothing.recall.value, nothing.f1.value) == (None, None, None)
