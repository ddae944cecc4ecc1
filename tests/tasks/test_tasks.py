"""Both tasks: what is encoded can be named again, and confidence is the probability of what is predicted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from headstart.tasks import TASKS, Task

CLASSES = ("ant", "bee", "cat")
SINGLE, MULTI = TASKS["classification"], TASKS["multilabel"]


def _single(rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 3, rows), rng.dirichlet(np.ones(3), rows)


def _multi(rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.random((rows, 3)) < 0.4, rng.random((rows, 3))


def test_names_and_kinds() -> None:
    assert {name: task.name for name, task in TASKS.items()} == {name: name for name in TASKS}
    assert (SINGLE.kind, MULTI.kind) == ("softmax", "sigmoid")


@pytest.mark.parametrize(("task", "data"), [(SINGLE, _single()), (MULTI, _multi())])
def test_encoded_targets_are_predicted_as_themselves(task: Task, data: tuple[np.ndarray, np.ndarray]) -> None:
    targets = data[0]
    encoded = task.encode(targets, 3)
    assert encoded.dtype == np.float64
    assert encoded.shape == (len(targets), 3)
    assert task.labels(encoded, CLASSES, None) == task.names(targets, CLASSES)
    assert task.correct(targets, encoded, None).all()
    np.testing.assert_array_equal(task.confidence(encoded, None), 1.0)


@pytest.mark.parametrize(("task", "data"), [(SINGLE, _single()), (MULTI, _multi())])
def test_a_row_is_right_where_its_names_are(task: Task, data: tuple[np.ndarray, np.ndarray]) -> None:
    targets, probabilities = data
    predicted, truth = task.labels(probabilities, CLASSES, None), task.names(targets, CLASSES)
    right = [one == other for one, other in zip(predicted, truth, strict=True)]
    assert task.correct(targets, probabilities, None).tolist() == right
    assert 0 < sum(right) < len(right)


def test_a_class_without_rows_keeps_its_column() -> None:
    assert SINGLE.encode(np.array([0, 0]), 3).tolist() == [[1, 0, 0], [1, 0, 0]]


def test_of_exclusive_classes_the_largest_probability_over_threshold_is_named() -> None:
    probabilities, thresholds = np.array([[0.7, 0.2, 0.1], [0.9, 0.06, 0.04]]), np.array([2.4, 0.5, 0.1])
    assert SINGLE.labels(probabilities, CLASSES, thresholds) == ["cat", "cat"]
    assert SINGLE.labels(probabilities, CLASSES, None) == ["ant", "ant"]
    assert SINGLE.confidence(probabilities, thresholds).tolist() == [0.1, 0.04]
    assert SINGLE.correct(np.array([2, 0]), probabilities, thresholds).tolist() == [True, False]
    np.testing.assert_array_equal(SINGLE.confidence(probabilities, np.full(3, 0.3)), probabilities.max(1))


def test_labels_are_given_from_their_thresholds_on() -> None:
    probabilities = np.array([[0.2, 0.5, 0.9], [0.19, 0.51, 0.91]])
    assert MULTI.labels(probabilities, CLASSES, None) == [["bee", "cat"], ["bee", "cat"]]
    assert MULTI.labels(probabilities, CLASSES, np.array([0.2, 0.51, 0.91])) == [["ant"], ["bee", "cat"]]
    assert MULTI.labels(np.zeros((1, 3)), CLASSES, None) == [[]]


def test_the_confidence_of_a_set_is_one_share_of_a_distribution_over_all_sets() -> None:
    """Over all choices of thresholds that give another set, confidences add up to one."""
    probabilities = _multi(1)[1]
    total = 0.0
    for chosen in itertools.product((True, False), repeat=3):
        thresholds = np.where(chosen, 0.0, 1.1)
        confidence = MULTI.confidence(probabilities, thresholds)
        assert 0 <= confidence[0] <= 1
        total += float(confidence[0])
    assert total == pytest.approx(1)
