"""Decisions of least expected cost, what they cost, and tables of costs that can't be meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from headstart.errors import DataError, OptionError
from headstart.evaluation.calibration import name_classes
from headstart.evaluation.costs import Costs, read_costs, report_costs
from headstart.evaluation.metrics import evaluate

NAMES = ("ants", "bees", "wasps")
COSTS = Costs(NAMES, ((0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (20.0, 5.0, 0.0)))


def rows(n=400, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.choice(3, n, p=[0.5, 0.3, 0.2])
    places = generator.normal(size=(n, 3)) + 1.5 * np.eye(3)[truth]
    powers = np.array([0.5, 0.3, 0.2]) * np.exp(1.5 * places)
    return truth, powers / powers.sum(axis=1, keepdims=True)


def test_the_decision_is_that_of_least_expected_cost():
    truth, chances = rows()
    matrix = np.array(COSTS.matrix)
    decided = name_classes(chances, matrix)
    for row, choice in zip(chances[:50], decided, strict=False):
        expected = [sum(row[j] * matrix[j][k] for j in range(3)) for k in range(3)]
        assert choice == int(np.argmin(expected))
    report = report_costs(truth, chances, COSTS, NAMES)
    assert_allclose(report.decided.mean, matrix[truth, decided].mean())
    assert_allclose(report.most_probable.mean, matrix[truth, chances.argmax(axis=1)].mean())
    assert_allclose(report.constant.mean, matrix[truth].mean(axis=0).min())
    assert report.constant_class == NAMES[matrix[truth].mean(axis=0).argmin()]
    assert_allclose(report.saved.mean, report.most_probable.mean - report.decided.mean)
    assert report.saved.ci95[0] > 0  # on calibrated probabilities it pays beyond doubt
    assert report.saved_constant.ci95[0] > 0
    low, high = report.decided.ci95
    assert low < report.decided.mean < high


def test_equal_costs_of_all_mistakes_change_nothing_and_thresholds_are_costs():
    _, chances = rows()
    chances[:3] = [[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.0, 0.5, 0.5]]
    assert (name_classes(chances, 1 - np.eye(3)) == name_classes(chances)).all()
    thresholds = np.array([0.5, 0.3, 0.2])
    as_costs = (1 - np.eye(3)) / thresholds[:, None]
    assert (name_classes(chances[3:], as_costs) == name_classes(chances[3:], thresholds)).all()


def test_the_scores_are_those_of_the_decisions():
    truth, chances = rows()
    found = evaluate("classification", truth, chances, NAMES, thresholds=np.array(COSTS.matrix), draws=50)
    decided = name_classes(chances, np.array(COSTS.matrix))
    assert_allclose(found["accuracy"], (decided == truth).mean())
    assert found["per_class"]["wasps"]["recall"] > 0.9
    with pytest.raises(DataError, match="costs go from"):
        evaluate("classification", truth, chances, NAMES, thresholds=np.full((3, 3), np.inf))


def test_two_rows_that_are_all_right():
    report = report_costs(
        np.array([0, 1]), np.array([[0.9, 0.1], [0.1, 0.9]]), Costs(("a", "b"), ((0, 1), (3, 0))), "ab"
    )
    assert (report.decided.mean, report.decided.ci95) == (0.0, None)
    assert report.constant_class == "b"
    with pytest.raises(DataError, match="don't fit"):
        report_costs(np.array([0]), np.empty((0, 2)), COSTS, NAMES)


def test_a_file_in_any_order_comes_back(tmp_path: Path):
    path = tmp_path / "costs.csv"
    path.write_text("\ufefftrue \\ decided, wasps ,ants,bees\nbees,1,1,0\n\nwasps,0,20,5\nants,1,0,1\n")
    found = read_costs(path)
    found.check(NAMES, "costs.csv")
    assert_allclose(found.among(NAMES), COSTS.matrix)
    assert_allclose(found.among(("wasps", "ants")), [[0, 20], [1, 0]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a line with the classes"),
        ("true,a,b\na,0,1\n", "a line with the classes"),
        ("true,a,b\na,0,1\nb,1\n", "line 3 has 2 cells"),
        ("true,a,b\na,0,1\nb,x,0\n", "deciding 'a' where 'b' is true is 'x'"),
        ("true,a,b\na,0,-1\nb,1,0\n", "is '-1'"),
        ("true,a,b\na,0,nan\nb,1,0\n", "is 'nan'"),
        ("true,a,b\na,0,1\na,1,0\n", "two rows for the class 'a'"),
        ("true,a,b\na,0,1\nc,1,0\n", "same classes"),
        ("true,a,a\na,0,1\nb,1,0\n", "same classes"),
        ("true,a,b\na,1,0\nb,0,1\n", "costs less than deciding right"),
        ("true,a,b\na,2,2\nb,2,2\n", "all costs are equal"),
    ],
)
def test_a_table_that_cannot_be_meant_is_named(tmp_path: Path, text: str, words: str):
    path = tmp_path / "costs.csv"
    path.write_text(text)
    with pytest.raises(OptionError, match=words):
        read_costs(path)


def test_files_that_are_no_tables(tmp_path: Path):
    with pytest.raises(OptionError, match="no such file"):
        read_costs(tmp_path / "none.csv")
    with pytest.raises(OptionError, match="can't be read"):
        read_costs(tmp_path)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OptionError, match="can't be read"):
        read_costs(tmp_path / "bytes.csv")
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(20_000_000)
    with pytest.raises(OptionError, match="16 MB"):
        read_costs(tmp_path / "huge.csv")


def test_costs_of_other_classes_are_named():
    with pytest.raises(OptionError, match=r"f\.csv: no costs for the class 'hornets'"):
        COSTS.check((*NAMES, "hornets"), "f.csv")
    with pytest.raises(OptionError, match=r"f\.csv: the class 'wasps' is none"):
        COSTS.check(NAMES[:2], "f.csv")
