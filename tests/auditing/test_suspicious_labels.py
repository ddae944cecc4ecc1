"""Suspicious labels: planted errors lead the list, what a model does not know is not accused, odd data do no harm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from headstart.auditing.cross_fit import cross_fitted
from headstart.auditing.suspicious_labels import (
    NEIGHBOURS,
    Neighbours,
    confident_errors,
    label_quality,
    neighbours_of,
    suspicions,
    suspicious_labels,
)
from headstart.training.examples import Examples

MakeExamples = Callable[..., Examples]


def _neighbours(examples: Examples) -> Neighbours:
    rows = examples.features(("features",))
    groups = examples.groups
    return neighbours_of(rows, rows, examples.encoded, owners=groups, reference_owners=groups)


def test_swapped_labels_lead_the_list(make_examples: MakeExamples) -> None:
    examples = make_examples([60, 60, 60], top=2.0, stage=2.0)
    planted = np.random.default_rng(0).choice(180, 9, replace=False)
    targets = examples.targets.copy()
    targets[planted] = (targets[planted] + 1) % 3
    examples = replace(examples, targets=targets)
    found = suspicions(examples.targets, cross_fitted(examples, seed=0), _neighbours(examples))
    assert {one.row for one in found[:9]} == set(planted.tolist())
    assert all(one.suggested == (one.label - 1) % 3 for one in found[:9])
    assert [one.quality for one in found] == sorted(one.quality for one in found)
    assert len(found) < 15


def test_clean_labels_are_left_alone(make_examples: MakeExamples) -> None:
    examples = make_examples([60, 60, 60], top=2.0, stage=2.0)
    assert len(suspicions(examples.targets, cross_fitted(examples, seed=0), _neighbours(examples))) <= 2


def test_labels_that_mean_nothing_accuse_nobody(make_examples: MakeExamples) -> None:
    examples = make_examples([40, 40], top=0.0, stage=0.0, shuffled=True)
    assert len(suspicions(examples.targets, cross_fitted(examples, seed=0), _neighbours(examples))) <= 4


def test_confident_learning_as_in_the_paper() -> None:
    """A class that the model is shy of has a low threshold, so that a modest probability reaches it."""
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.55, 0.45], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.95, 0.05]])
    targets = np.array([0, 0, 0, 0, 1, 1, 1])
    # The thresholds are 0.7375 and 0.25: row 2 reaches that of class 1 alone; row 6, labelled 1, that of class 0.
    assert confident_errors(np.eye(2)[targets], probabilities).tolist() == [
        False,
        True,
        True,
        False,
        False,
        False,
        True,
    ]


def test_a_class_that_the_model_does_not_know_is_left_out() -> None:
    """All of ten rows of a rare class look like another one: that is no evidence of ten wrong labels."""
    targets = np.repeat([0, 1], [90, 10])
    probabilities = np.tile([0.95, 0.05], (100, 1))
    assert suspicions(targets, probabilities) == ()
    probabilities[94:] = [0.2, 0.8]
    assert [one.row for one in suspicions(targets, probabilities)] == [90, 91, 92, 93]


def test_neighbours_break_ties_and_are_named() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9]])
    targets = np.array([0, 0, 1, 1, 1, 1])
    voters = Neighbours(np.array([[3.0, 1], [3, 1], [4, 0], [1, 3], [1, 3], [1, 3]]), np.full(6, 4.0))
    quality = label_quality(np.eye(2)[targets], probabilities, voters)
    assert quality[2] == pytest.approx(0.8 * 0.1)
    (found,) = suspicious_labels(list("abcdef"), ["ant", "bee"], targets, probabilities, voters)
    assert found.file == "c"
    assert found.kind == "suspicious_label"
    assert "labelled bee; a model that never saw it gives ant 90 % and bee 10 %" in found.evidence
    assert "of its 4 nearest images are 4 ant" in found.evidence
    assert "if it shows ant" in found.action
    assert found.score == pytest.approx(1 - 0.08)


def test_neighbours_are_never_of_the_same_group() -> None:
    rows = np.array([[1.0, 0], [1, 0.01], [1, 0.02], [0, 1]])
    groups = np.array([0, 0, 1, 2])
    found = neighbours_of(rows, rows, np.eye(4), owners=groups, reference_owners=groups)
    assert found.asked.tolist() == [2, 2, 3, 3]
    assert found.counts[0].tolist() == [0, 0, 1, 1]
    alone = neighbours_of(rows, rows, np.eye(4), owners=np.zeros(4, int), reference_owners=np.zeros(4, int))
    assert alone.asked.tolist() == [0] * 4
    assert np.isfinite(label_quality(np.eye(4), np.full((4, 4), 0.25), alone)).all()


def test_test_rows_ask_development_rows() -> None:
    rng = np.random.default_rng(0)
    development, test = rng.normal(size=(50, 5)), rng.normal(size=(7, 5))
    labels = np.eye(2)[np.arange(50) % 2]
    found = neighbours_of(test, development, labels, owners=100 + np.arange(7), reference_owners=np.arange(50))
    assert found.counts.shape == (7, 2)
    assert (found.counts.sum(1) == NEIGHBOURS).all()


def test_of_several_labels_each_is_judged(make_examples: MakeExamples) -> None:
    examples = make_examples([60, 60], top=2.0, stage=2.0, task="multilabel")
    targets = examples.targets.copy()
    targets[5] = [False, False]
    targets[100] = [True, True]
    examples = replace(examples, targets=targets)
    chances = cross_fitted(examples, seed=0)
    found = {(one.row, one.label, one.given) for one in suspicions(targets, chances, _neighbours(examples))}
    assert {(5, 0, False), (100, 0, True)} <= found
    assert len(found) <= 6
    findings = suspicious_labels([str(row) for row in range(120)], ["sea", "sand"], targets, chances)
    said = {finding.file: finding.evidence for finding in findings}
    assert "lacks sea, which a model that never saw it gives" in said["5"]
    assert "has sea" in said["100"]


def test_two_images_a_class(make_examples: MakeExamples) -> None:
    examples = make_examples([2, 2], top=3.0)
    chances = cross_fitted(examples, seed=0)
    assert suspicions(examples.targets, chances, _neighbours(examples)) == ()


def test_a_class_with_one_image_and_one_with_none(make_examples: MakeExamples) -> None:
    examples = replace(make_examples([20, 20, 1], top=2.0), classes=4)
    chances = cross_fitted(examples, seed=0)
    assert np.isnan(chances[40]).all()
    assert 40 not in {one.row for one in suspicions(examples.targets, chances, _neighbours(examples))}


def test_a_thousand_classes_of_three() -> None:
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(1000), 3)
    probabilities = rng.dirichlet(np.full(1000, 0.1), 3000)
    probabilities[np.arange(3000), targets] += 1.0
    probabilities /= probabilities.sum(1, keepdims=True)
    probabilities[7] = np.roll(probabilities[7], 5)
    features = rng.normal(size=(1000, 8))[targets] + 0.01 * rng.normal(size=(3000, 8))
    owners = np.arange(3000)
    voters = neighbours_of(features, features, np.eye(1000)[targets], owners=owners, reference_owners=owners)
    assert [one.row for one in suspicions(targets, probabilities, voters)] == [7]


def test_images_that_are_all_equal() -> None:
    rows, targets = np.ones((40, 6)), np.arange(40) % 2
    owners = np.arange(40)
    voters = neighbours_of(rows, rows, np.eye(2)[targets], owners=owners, reference_owners=owners)
    assert suspicions(targets, np.full((40, 2), 0.5), voters) == ()


def test_nothing_is_said_where_nothing_was_judged() -> None:
    assert suspicions(np.array([0, 1]), np.full((2, 2), np.nan)) == ()
