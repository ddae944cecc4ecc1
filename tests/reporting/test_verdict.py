"""The verdict says what the numbers say, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from headstart.reporting.verdict import verdict


def metrics(accuracy: float | None, ci95: list[float] | None, n: int = 150, **changes: Any) -> dict[str, Any]:
    per_class = {"ants": {"support": 70}, "bees": {"support": 80}}
    test = {"n": n, "accuracy": accuracy, "accuracy_ci95": ci95, "per_class": per_class}
    baselines = {"majority": {"test_accuracy": 80 / 150}, "knn": {"test_accuracy": 0.9}}
    return {
        "task": "classification",
        "backbone": "bundled/tf_efficientnet_lite0",
        "strategy": "linear_probe",
        "metric": "accuracy",
        "splits": {"test": test},
        "baselines": baselines,
    } | changes


def test_a_clear_result_is_told_with_its_images_interval_and_baselines() -> None:
    assert verdict(metrics(0.98, [0.943, 0.993])) == (
        "A linear probe on features of bundled/tf_efficientnet_lite0 is right on 98.0% of 150 test images "
        "(95% interval 94.3 to 99.3%); always answering “bees” gives 53.3%, "
        "and k-nearest neighbours on the same features give 90.0%."
    )


def test_a_score_below_the_majority_is_called_no_better() -> None:
    said = verdict(metrics(0.5, [0.42, 0.58]))
    assert ", no better than always answering “bees” (53.3%)" in said
    assert "neighbours" not in said


def test_equal_to_the_majority_is_no_better_either() -> None:
    assert "no better than" in verdict(metrics(80 / 150, [0.45, 0.61]))


@pytest.mark.parametrize("ci95", [[0.5, 0.66], None])
def test_an_interval_that_reaches_the_majority_shows_no_advantage(ci95: list[float] | None) -> None:
    assert ", not surely better than always answering “bees” (53.3%)" in verdict(metrics(0.58, ci95))


def test_neighbours_within_the_interval_are_not_said_to_be_beaten() -> None:
    assert "(90.0%) that the interval can't tell the two apart" in verdict(metrics(0.94, [0.89, 0.97]))


def test_neighbours_that_do_as_well_are_named() -> None:
    assert "k-nearest neighbours on the same features do no worse (90.0%)" in verdict(metrics(0.9, [0.84, 0.94]))


def test_few_images_bring_a_caution_and_many_do_not() -> None:
    assert "with 40 images, trust the interval rather than the score" in verdict(metrics(0.98, [0.9, 1.0], n=40))
    assert "trust the interval" not in verdict(metrics(0.98, [0.9, 1.0], n=100))


def test_a_nested_estimate_is_not_called_a_test() -> None:
    found = metrics(0.98, [0.94, 0.99])
    found["splits"]["test"]["estimate"] = "nested_out_of_fold"
    said = verdict(found)
    assert said.startswith("By a nested out-of-fold estimate, as the images are too few for a test set, a linear probe")
    assert "test images" not in said


def test_log_loss_is_better_when_lower() -> None:
    found = metrics(0.98, None, metric="log_loss")
    found["splits"]["test"] |= {"log_loss": 0.2, "log_loss_ci95": [0.1, 0.3]}
    found["baselines"] = {"majority": {"test_log_loss": 0.69}, "knn": {"test_log_loss": 0.35}}
    said = verdict(found)
    assert "has a log-loss of 0.200 on 150 test images (95% interval 0.100 to 0.300)" in said
    assert "; knowing only how frequent each class is gives 0.690" in said
    found["splits"]["test"]["log_loss"] = 0.7
    assert "no better than knowing only how frequent each class is (0.690)" in verdict(found)


def test_an_undefined_governing_score_falls_back_to_accuracy() -> None:
    found = metrics(0.98, [0.943, 0.993], metric="auroc")
    found["splits"]["test"]["auroc"] = None
    assert "is right on 98.0% of 150 test images" in verdict(found)


def test_a_class_that_two_supports_fit_is_not_named() -> None:
    found = metrics(0.98, [0.943, 0.993])
    found["splits"]["test"]["per_class"]["wasps"] = {"support": 80}
    assert "always answering the most frequent class gives" in verdict(found)


def test_multilabel_accuracy_is_about_every_label() -> None:
    said = verdict(metrics(0.7, [0.62, 0.77], task="multilabel"))
    assert "has every label right on 70.0% of" in said
    assert "always answering" not in said


@pytest.mark.parametrize("found", [{}, metrics(None, None), {"splits": None}, {"splits": {"test": None}, "metric": 3}])
def test_without_a_score_nothing_is_claimed(found: dict[str, Any]) -> None:
    assert verdict(found).endswith("was fitted, but no test score could be measured, so nothing is known of its worth.")


def test_unknown_strategies_are_named_as_they_are() -> None:
    assert verdict(metrics(0.98, None, strategy="adapter_tuning")).startswith("An adapter tuning model on bundled/")
