"""Accuracy by group and domain, the worst of them, and confusions, against plain counts."""

from __future__ import annotations

import numpy as np
from sklearn import metrics as reference

from headstart.evaluation.breakdown import break_down, confused_pairs
from headstart.evaluation.details import Rows, detail
from headstart.evaluation.evidence import gather_evidence
from headstart.evaluation.intervals import wilson
from headstart.records import to_json

NAMES = ("ants", "bees", "wasps")


def test_each_part_has_its_own_accuracy_and_rows_without_a_name_have_none():
    names = ["a"] * 20 + ["b"] * 10 + [None] * 5
    correct = np.array([True] * 18 + [False] * 2 + [True] * 4 + [False] * 6 + [False] * 5)
    found = break_down(correct, names)
    assert [(part.name, part.rows, part.accuracy) for part in found.parts] == [("b", 10, 0.4), ("a", 20, 0.9)]
    assert found.parts[0].accuracy_ci95 == wilson(4, 10)
    assert found.total == 2
    assert found.worst.name == "b"
    assert found.worst.ci95[0] < found.parts[0].accuracy_ci95[0]  # widened for having been picked
    assert found.worst.ci95[1] > found.parts[0].accuracy_ci95[1]


def test_the_worst_of_many_equal_parts_is_seldom_called_worse():
    generator, called, naive, repeats = np.random.default_rng(0), 0, 0, 300
    names = [f"site {row // 20}" for row in range(400)]
    for _ in range(repeats):
        correct = generator.random(400) < 0.8
        found = break_down(correct, names)
        called += found.worst.below
        naive += found.parts[0].accuracy_ci95[1] < correct.mean()
    assert called / repeats < 0.08
    assert naive / repeats > 0.2  # which is why its interval is widened
    truly = generator.random(400) < np.where(np.arange(400) < 20, 0.2, 0.9)
    assert break_down(truly, names).worst.below


def test_parts_of_few_rows_are_never_the_worst():
    found = break_down([False, False, True, True, True, True, True, True], ["tiny"] * 2 + ["rest"] * 6)
    assert found.worst is None
    assert found.parts[0].name == "tiny"
    assert break_down([True, False], ["a", "a"]).worst is None


def test_rows_of_a_domain_may_come_from_groups():
    owners = np.repeat(np.arange(20), 10)
    correct = (np.random.default_rng(0).random(20) < 0.8)[owners]
    names = ["north"] * 100 + ["south"] * 100
    alone, grouped = break_down(correct, names), break_down(correct, names, owners)
    assert (alone.parts[0].groups, grouped.parts[0].groups) == (None, 10)
    assert np.ptp(grouped.parts[0].accuracy_ci95) > 2 * np.ptp(alone.parts[0].accuracy_ci95)


def test_confusions_are_those_of_the_matrix():
    generator = np.random.default_rng(0)
    truth, chances = generator.integers(0, 3, 200), generator.dirichlet([1, 1, 1], 200)
    found = confused_pairs(gather_evidence("classification", truth, chances), NAMES)
    matrix = reference.confusion_matrix(truth, chances.argmax(axis=1))
    assert {(one.truth, one.decided): one.count for one in found} == {
        (NAMES[j], NAMES[k]): matrix[j, k] for j in range(3) for k in range(3) if j != k
    }
    assert [one.count for one in found] == sorted((one.count for one in found), reverse=True)
    assert all(one.share == one.count / matrix[NAMES.index(one.truth)].sum() for one in found)
    assert confused_pairs(gather_evidence("classification", truth, np.eye(3)[truth]), NAMES) == ()


def test_confused_labels_are_one_missed_and_one_given_wrongly():
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    decided = np.array([[0, 1, 0], [0, 1, 0], [0, 0, 1]], float)
    (only,) = confused_pairs(gather_evidence("multilabel", truth, decided), NAMES)
    assert (only.truth, only.decided, only.count, only.share) == ("ants", "bees", 1, 0.5)


def test_details_of_both_tasks_and_of_degenerate_rows_are_json():
    generator = np.random.default_rng(0)
    truth, chances = generator.integers(0, 3, 60), generator.dirichlet([1, 1, 1], 60)
    names = [f"patient {row // 4}" for row in range(60)]
    rows = Rows(truth, chances, None, np.arange(60) // 4, names, ["x"] * 30 + ["y"] * 30)
    found = detail(rows, "classification", NAMES)
    assert found.thresholds == {}  # three classes
    assert (found.groups.total, found.domains.total) == (15, 2)
    labels = detail(Rows(np.eye(3)[truth].astype(bool), chances, np.full(3, 0.3)), "multilabel", NAMES)
    assert set(labels.thresholds) == set(NAMES)
    assert labels.groups is labels.costs is None
    two = detail(Rows(np.zeros(2, int), np.array([[0.9, 0.1], [0.8, 0.2]]), None), "classification", ("a", "b"))
    assert two.confused_pairs == ()
    assert two.coverage_risk[-1].risk == 0.0
    for one in (found, labels, two):
        assert "NaN" not in to_json(one)
