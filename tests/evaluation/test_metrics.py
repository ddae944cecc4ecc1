"""The whole evaluation: keys, agreement with scikit-learn, undefined values, intervals, determinism, bad input."""

from __future__ import annotations

import json
import math
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import metrics as reference

from headstart.errors import DataError, OptionError
from headstart.evaluation.intervals import wilson
from headstart.evaluation.metrics import METRICS, better, evaluate, score

NAMES = ["ants", "bees", "wasps"]
SCORES = [
    "accuracy",
    "balanced_accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "log_loss",
    "brier",
    "ece",
    "auroc",
    "map",
]


def single_label(n=150, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, n)
    logits = generator.normal(size=(n, 3)) + 2 * np.eye(3)[truth]
    powers = np.exp(logits)
    return truth, powers / powers.sum(axis=1, keepdims=True)


def multi_label(n=150, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.random((n, 3)) < [0.5, 0.2, 0.1]
    return truth, np.clip(0.3 * truth + 0.7 * generator.random((n, 3)), 0, 1)


def test_single_label_equals_the_reference():
    truth, probabilities = single_label()
    found = evaluate("classification", truth, probabilities, NAMES, draws=50)
    decided = probabilities.argmax(axis=1)
    expected = {
        "accuracy": reference.accuracy_score(truth, decided),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, decided),
        "macro_f1": reference.f1_score(truth, decided, average="macro"),
        "macro_precision": reference.precision_score(truth, decided, average="macro"),
        "macro_recall": reference.recall_score(truth, decided, average="macro"),
        "auroc": reference.roc_auc_score(truth, probabilities, multi_class="ovr"),
        "map": reference.average_precision_score(np.eye(3)[truth], probabilities),
        "log_loss": reference.log_loss(truth, probabilities),
    }
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=0, atol=1e-9, err_msg=name)
    assert found["confusion"] == reference.confusion_matrix(truth, decided).tolist()
    assert found["per_class"]["bees"]["support"] == int((truth == 1).sum())
    auroc = reference.roc_auc_score(truth == 1, probabilities[:, 1])
    assert_allclose(found["per_class"]["bees"]["auroc"], auroc, atol=1e-9)


def test_exclusive_classes_are_decided_by_probability_over_threshold():
    truth, probabilities = single_label(400)
    thresholds = np.array([2.0, 0.9, 0.1])
    found = evaluate("classification", truth, probabilities, NAMES, thresholds=thresholds, draws=50)
    plain = evaluate("classification", truth, probabilities, NAMES, draws=50)
    decided = (probabilities / thresholds).argmax(axis=1)
    expected = {
        "accuracy": reference.accuracy_score(truth, decided),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, decided),
        "macro_f1": reference.f1_score(truth, decided, average="macro"),
        "macro_precision": reference.precision_score(truth, decided, average="macro"),
    }
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=0, atol=1e-9, err_msg=name)
        assert found[name] != plain[name]
    assert found["confusion"] == reference.confusion_matrix(truth, decided).tolist()
    for name in ("log_loss", "brier", "auroc", "map"):  # of probabilities, whatever is decided
        assert found[name] == plain[name]
    assert score("macro_f1", "classification", truth, probabilities, thresholds) == found["macro_f1"]
    scaled = evaluate("classification", truth, probabilities, NAMES, thresholds=thresholds / 3, draws=50)
    assert scaled["confusion"] == found["confusion"]


def test_the_calibration_error_judges_the_probability_of_the_class_that_is_named():
    probabilities = np.tile([0.8, 0.2], (200, 1))
    truth = (np.arange(200) % 5 == 0).astype(int)  # the second class as often as its probability says
    found = evaluate("classification", truth, probabilities, NAMES[:2], thresholds=[1.0, 0.1], draws=0)
    assert found["accuracy"] == 0.2
    assert found["ece"] == pytest.approx(0.0, abs=1e-9)


def test_multi_label_equals_the_reference():
    truth, probabilities = multi_label()
    thresholds = [0.5, 0.4, 0.6]
    found = evaluate("multilabel", truth, probabilities, NAMES, thresholds=thresholds, draws=50)
    decided = probabilities >= thresholds
    expected = {
        "accuracy": reference.accuracy_score(truth, decided),
        "macro_f1": reference.f1_score(truth, decided, average="macro"),
        "micro_f1": reference.f1_score(truth, decided, average="micro"),
        "auroc": reference.roc_auc_score(truth, probabilities),
        "map": reference.average_precision_score(truth, probabilities),
    }
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=0, atol=1e-9, err_msg=name)
    assert found["per_class"]["wasps"]["threshold"] == 0.6
    assert "confusion" not in found


@pytest.mark.parametrize(("task", "make"), [("classification", single_label), ("multilabel", multi_label)])
def test_every_score_has_an_interval_around_it_and_all_is_json(task, make):
    found = evaluate(task, *make(), NAMES, draws=300)
    for name in SCORES:
        low, high = found[f"{name}_ci95"]
        assert low <= found[name] <= high, name
        assert type(low) is float
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["n"] == 150
    assert found["groups"] is None


@pytest.mark.parametrize(("task", "make"), [("classification", single_label), ("multilabel", multi_label)])
@pytest.mark.parametrize("metric", METRICS)
def test_score_is_the_number_that_evaluate_gives(task, make, metric):
    truth, probabilities = make()
    assert score(metric, task, truth, probabilities) == evaluate(task, truth, probabilities, NAMES, draws=0)[metric]


def test_thresholds_reach_the_score():
    truth, probabilities = multi_label()
    assert score("macro_f1", "multilabel", truth, probabilities, [0.9, 0.9, 0.9]) != score(
        "macro_f1", "multilabel", truth, probabilities
    )


def test_accuracy_has_wilsons_interval_without_groups():
    truth, probabilities = single_label()
    found = evaluate("classification", truth, probabilities, NAMES)
    right = int((probabilities.argmax(axis=1) == truth).sum())
    assert found["accuracy_ci95"] == list(wilson(right, 150))


def test_groups_widen_the_interval_when_their_rows_agree():
    truth, probabilities = single_label(30)
    copies = np.repeat(np.arange(30), 10)
    alone = evaluate("classification", truth[copies], probabilities[copies], NAMES)
    grouped = evaluate("classification", truth[copies], probabilities[copies], NAMES, groups=copies)
    assert grouped["groups"] == 30
    for name in ("accuracy", "macro_f1", "log_loss", "auroc"):
        (a, b), (c, d) = alone[f"{name}_ci95"], grouped[f"{name}_ci95"]
        assert d - c > 2 * (b - a), name


def test_a_perfect_score_claims_no_certainty():
    truth = np.arange(30) % 3
    found = evaluate("classification", truth, np.eye(3)[truth], NAMES)
    assert found["accuracy_ci95"] == list(wilson(30, 30))
    assert found["balanced_accuracy"] == 1.0
    assert found["balanced_accuracy_ci95"] is None
    grouped = evaluate("classification", truth, np.eye(3)[truth], NAMES, groups=truth)
    low, high = grouped["accuracy_ci95"]
    assert wilson(3, 3)[0] < low < wilson(8, 8)[0], "three groups that agree are worth more than three rows, but not 30"
    assert high == 1.0


def test_undefined_values_are_none():
    truth, probabilities = np.zeros(10, int), np.tile([0.6, 0.3, 0.1], (10, 1))
    found = evaluate("classification", truth, probabilities, NAMES)
    assert found["auroc"] is None
    assert found["auroc_ci95"] is None
    absent = found["per_class"]["wasps"]
    assert absent["support"] == 0
    assert [absent[k] for k in ("precision", "recall", "f1", "auroc", "average_precision")] == [None] * 5
    assert math.isnan(score("auroc", "classification", truth, probabilities))


def test_one_row_is_enough():
    found = evaluate("classification", [1], [[0.2, 0.5, 0.3]], NAMES)
    assert found["accuracy"] == 1.0
    assert found["accuracy_ci95"][0] < 0.3


def test_the_same_seed_gives_the_same_numbers():
    truth, probabilities = single_label()
    first = evaluate("classification", truth, probabilities, NAMES, seed=4)
    assert first == evaluate("classification", truth, probabilities, NAMES, seed=4)
    assert first["auroc_ci95"] != evaluate("classification", truth, probabilities, NAMES, seed=5)["auroc_ci95"]


def test_many_rows_take_little_memory():
    truth, probabilities = single_label(30_000)
    tracemalloc.start()
    found = evaluate("classification", truth, probabilities, NAMES, draws=120)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    low, high = found["auroc_ci95"]
    assert 0 < high - low < 0.02


def test_better_knows_the_direction_and_nan():
    assert better("accuracy", 0.9, 0.8)
    assert not better("accuracy", 0.8, 0.8)
    assert better("log_loss", 0.1, 0.2)
    assert better("auroc", 0.1, math.nan)
    assert not better("auroc", math.nan, 0.1)
    assert not better("auroc", math.nan, math.nan)
    assert better("auroc", -1.0, math.nan)


@pytest.mark.parametrize(
    ("truth", "probabilities", "words"),
    [
        ([], np.empty((0, 2)), "at least one row"),
        ([0, 1], [[0.5, 0.5]], "shape"),
        ([2], [[0.5, 0.5]], "0..1"),
        ([0.0], [[0.5, 0.5]], "class indices"),
        ([0], [[math.nan, 0.5]], "finite"),
        ([0], [[1.5, 0.5]], "1.5"),
    ],
)
def test_bad_arrays_are_named(truth, probabilities, words):
    with pytest.raises(DataError, match=words):
        evaluate("classification", truth, probabilities, ["a", "b"])


def test_bad_options_are_named():
    truth, probabilities = single_label(10)
    with pytest.raises(OptionError, match="accuracy, balanced_accuracy"):
        score("f1", "classification", truth, probabilities)
    with pytest.raises(OptionError, match="accuracy, balanced_accuracy"):
        better("f1", 0.0, math.nan)
    with pytest.raises(OptionError, match="classification, multilabel"):
        evaluate("regression", truth, probabilities, NAMES)
    with pytest.raises(DataError, match="2 class names for 3"):
        evaluate("classification", truth, probabilities, NAMES[:2])
    with pytest.raises(DataError, match="3 classes"):
        evaluate("multilabel", *multi_label(10), NAMES, thresholds=[0.5])
    with pytest.raises(DataError, match="thresholds"):
        evaluate("classification", *single_label(10), NAMES, thresholds=[0.5])
    for refused in (0.0, -1.0, math.inf):
        with pytest.raises(DataError, match="are positive"):
            evaluate("classification", *single_label(10), NAMES, thresholds=[1.0, 1.0, refused])
