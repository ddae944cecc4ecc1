"""Calibrated probabilities of judged rows use only what other rows tell."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.evaluation.calibration import fit_temperature, probabilities
from headstart.evaluation.scores import row_log_loss
from headstart.tasks import TASKS, Task
from headstart.training import calibrate as module
from headstart.training.calibrate import calibrate

SINGLE, MULTI = TASKS["classification"], TASKS["multilabel"]


def _case(task: Task, rows: int = 200, sure: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(rows, 3)) * sure
    if task.kind == "sigmoid":
        return logits, rng.random((rows, 3)) < probabilities(logits, 3.0, "sigmoid")
    return logits, (logits / 3 + rng.gumbel(size=logits.shape)).argmax(1)


@pytest.mark.parametrize("task", [SINGLE, MULTI])
def test_a_rows_probabilities_do_not_depend_on_its_own_label(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the folds held still, since stratifying them may read every label."""
    logits, targets = _case(task)
    parts = np.arange(200) % 5
    fixed = [(np.flatnonzero(parts != part), np.flatnonzero(parts == part)) for part in range(5)]
    monkeypatch.setattr(module, "folds", lambda *_: fixed)
    before = calibrate(logits, targets, np.arange(200), task, 0)
    changed = targets.copy()
    changed[fixed[2][1]] = ~changed[fixed[2][1]] if task is MULTI else (changed[fixed[2][1]] + 1) % 3
    after = calibrate(logits, changed, np.arange(200), task, 0)
    np.testing.assert_array_equal(after.probabilities[fixed[2][1]], before.probabilities[fixed[2][1]])
    assert (after.probabilities[fixed[1][1]] != before.probabilities[fixed[1][1]]).all()


@pytest.mark.parametrize("task", [SINGLE, MULTI])
def test_the_temperature_that_is_kept_is_fitted_on_all_rows(task: Task) -> None:
    logits, targets = _case(task)
    found = calibrate(logits, targets, np.arange(200), task, 0)
    assert found.temperature == fit_temperature(logits, targets, task.kind)
    assert found.temperature == pytest.approx(3, rel=0.3)
    assert found.probabilities.shape == logits.shape
    assert np.abs(found.probabilities - probabilities(logits, found.temperature, task.kind)).max() < 0.1


def test_logits_that_know_nothing_are_not_called_better_than_chance() -> None:
    logits, _ = _case(SINGLE)
    losses = []
    for seed in range(20):
        targets = np.random.default_rng(seed).integers(0, 3, 200)
        found = calibrate(logits, targets, np.arange(200), SINGLE, seed)
        losses.append(row_log_loss(targets, found.probabilities).mean())
    assert np.mean(losses) > np.log(3) - 0.002


def test_rows_of_one_group_share_a_temperature() -> None:
    logits, targets = _case(SINGLE)
    groups = np.arange(200) // 10
    found = calibrate(logits, targets, groups, SINGLE, 0).probabilities
    used = (logits[:, 0] - logits[:, 1]) / (np.log(found[:, 0]) - np.log(found[:, 1]))
    for group in range(20):
        np.testing.assert_allclose(used[groups == group], used[groups == group][0], rtol=1e-5)
    assert len(np.unique(used.round(6))) == 5


def test_thresholds_belong_to_labels_that_do_not_exclude_each_other() -> None:
    assert calibrate(*_case(SINGLE), np.arange(200), SINGLE, 0).thresholds is None
    thresholds = calibrate(*_case(MULTI), np.arange(200), MULTI, 0).thresholds
    assert thresholds is not None
    assert thresholds.shape == (3,)
    assert ((thresholds >= 0) & (thresholds <= 1)).all()


def test_two_rows_are_enough() -> None:
    found = calibrate(np.array([[3.0, 0.0], [0.0, 3.0]]), np.array([0, 1]), np.arange(2), SINGLE, 0)
    assert np.isfinite(found.probabilities).all()
    assert np.isfinite(found.temperature)
