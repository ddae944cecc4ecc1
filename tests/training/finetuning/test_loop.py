"""The loop: exact resume, a start that is the probe, a best point that is restored, and one loss on many processes."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from headstart.errors import EngineError
from headstart.evaluation.calibration import fit_temperature, probabilities
from headstart.evaluation.scores import row_label_log_loss, row_log_loss
from headstart.training.finetuning.imbalance import METHODS, balance_by
from headstart.training.finetuning.loop import Interrupted
from headstart.training.finetuning.outcome import Trained
from headstart.training.finetuning.view_policy import Policy, view_number

pytestmark = pytest.mark.usefixtures("one_thread")
TIMES = ("seconds", "images_per_second", "seconds_left")


def lines(trained: Trained) -> list[dict[str, Any]]:
    """The history as values that can be compared: without times, and NaN as a word."""
    rows = [dataclasses.asdict(row) for row in trained.history]
    return [{key: str(value) for key, value in row.items() if key not in TIMES} for row in rows]


def same(found: Trained, wanted: Trained) -> None:
    """Bit for bit, but for times."""
    assert lines(found) == lines(wanted)
    assert (found.best_epoch, found.coefficient, found.notes) == (wanted.best_epoch, wanted.coefficient, wanted.notes)
    np.testing.assert_array_equal(found.losses, wanted.losses)
    assert set(found.weights.tensors) == set(wanted.weights.tensors)
    for name, values in wanted.weights.tensors.items():
        np.testing.assert_array_equal(found.weights.tensors[name], values, err_msg=name)
    np.testing.assert_array_equal(found.weights.head.weights, wanted.weights.head.weights)
    np.testing.assert_array_equal(found.weights.head.bias, wanted.weights.head.bias)


def run_apart(tiny: ModuleType, *arguments: object) -> None:
    """The tiny training as a program."""
    command = [sys.executable, "-W", "ignore", str(tiny.__file__), *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- the start ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize("method", METHODS)
def test_the_start_is_judged_as_the_probe_whatever_balances_the_training(
    tiny: ModuleType, kind: str, method: str
) -> None:
    problem = tiny.Problem(kind=kind)
    _, labels = problem.draw(problem.rows, 0)
    counts = problem.encoded(labels).sum(0).astype(int).tolist()
    problem = problem.changed(balance=balance_by(method, counts, kind, rows=problem.rows), epochs=1, rate=1e-12)
    held, truth = problem.draw(30, 1)
    logits, targets = problem.probe().logits(problem.embedding(held)), problem.targets(truth)
    found = probabilities(logits, fit_temperature(logits, targets, kind), kind)
    wanted = row_log_loss(targets, found) if kind == "softmax" else row_label_log_loss(targets, found)

    trained = problem.training().run()
    assert trained.history[0].val_loss == pytest.approx(wanted.mean(), rel=1e-5)
    assert math.isnan(trained.history[0].train_loss)
    np.testing.assert_allclose(trained.weights.head.bias, problem.probe().bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(trained.weights.head.weights, problem.probe().weights, rtol=1e-5, atol=1e-6)


def test_where_no_epoch_is_better_the_start_is_kept_and_that_is_said(tiny: ModuleType) -> None:
    problem = tiny.Problem(informative=False).changed(rate=0.3, epochs=2)
    trained = problem.training(cut=5).run()
    assert all(row.val_loss > trained.history[0].val_loss for row in trained.history[1:])
    assert trained.best_epoch == 0
    assert "no epoch above cut 5 did better" in trained.notes[-1]
    before = tiny.suffix(problem.drop).tensors()
    assert all(np.array_equal(trained.weights.tensors[name], values) for name, values in before.items())
    np.testing.assert_array_equal(trained.weights.head.weights, problem.probe().weights.astype(np.float32))


def test_the_best_epoch_is_given_back_with_the_losses_it_was_judged_by(tiny: ModuleType) -> None:
    problem = tiny.Problem().changed(epochs=6)
    learner = problem.learner()
    trained = problem.training(learner).run()
    best = trained.history[trained.best_epoch]
    assert best.val_loss < trained.history[0].val_loss
    held, truth = problem.draw(30, 1)
    with torch.inference_mode():
        logits = learner.eval()(torch.from_numpy(held)).double().numpy()
    found = probabilities(logits, fit_temperature(logits, truth, "softmax"), "softmax")
    np.testing.assert_allclose(trained.losses, row_log_loss(truth, found), rtol=1e-4, atol=1e-6)
    if trained.coefficient == 1:
        assert trained.losses.mean() == pytest.approx(trained.history[trained.best_epoch].val_loss)


def test_statistics_stay_as_they_were(tiny: ModuleType) -> None:
    trained = tiny.Problem().training().run()
    before = tiny.suffix(0.0).tensors()
    kept = [name for name in before if "running_" in name]
    assert len(kept) == 4
    assert all(np.array_equal(trained.weights.tensors[name], before[name]) for name in kept)
    assert not np.array_equal(trained.weights.tensors["conv.weight"], before["conv.weight"])


# ---- resume -------------------------------------------------------------------------------------------------------


def test_interrupted_after_any_step_or_epoch_and_resumed_equals_undisturbed(tiny: ModuleType, tmp_path: Path) -> None:
    problem = tiny.Problem()
    wanted = problem.training().run()
    polls = 3 * (1 + math.ceil(problem.rows / problem.recipe.batch_size))
    for poll in range(polls):
        folder = tmp_path / str(poll)
        folder.mkdir()
        with pytest.raises(Interrupted):
            problem.training(checkpoints=tiny.checkpoints(folder), stop=tiny.after(poll)).run()
        torch.manual_seed(poll)  # whatever the new process has drawn before
        same(problem.training(checkpoints=tiny.checkpoints(folder)).run(), wanted)
    with pytest.raises(AssertionError):
        same(problem.changed(seed=1).training().run(), wanted)


@pytest.mark.parametrize("ends", ["with its epochs", "early"])
def test_interrupted_again_and_again(tiny: ModuleType, tmp_path: Path, ends: str) -> None:
    if ends == "early":
        problem = tiny.Problem(informative=False).changed(epochs=20, patience=2)
    else:
        problem = tiny.Problem().changed(balance=balance_by("logit_adjustment", [22, 15, 7], "softmax", rows=44))
    wanted = problem.training().run()
    for _ in range(100):
        try:
            # Every attempt is asked once before its epoch, and gets one or two steps on.
            found = problem.training(checkpoints=tiny.checkpoints(tmp_path), stop=tiny.after(2)).run()
            break
        except Interrupted:
            pass
    same(found, wanted)
    assert lines(problem.training(checkpoints=tiny.checkpoints(tmp_path)).run()) == lines(wanted)  # once it is done


def test_a_new_process_goes_on_to_the_same_end(tiny: ModuleType, tmp_path: Path) -> None:
    problem = tiny.Problem()
    with pytest.raises(Interrupted):
        problem.training(checkpoints=tiny.checkpoints(tmp_path), stop=tiny.after(10)).run()
    run_apart(tiny, "resume", tmp_path)
    wanted = problem.training().run()
    found = np.load(tmp_path / "trained.npz")
    for name, values in wanted.weights.tensors.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    np.testing.assert_array_equal(found["head.bias"], wanted.weights.head.bias)
    assert found["history"].tolist() == [row.val_loss for row in wanted.history]
    assert found["best"] == wanted.best_epoch


@pytest.mark.parametrize("threads", [1, 2])
def test_equal_seeds_give_equal_results_whatever_was_drawn_before(
    tiny: ModuleType, threads: int, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(threads)
    torch.manual_seed(5)
    first = tiny.Problem().training().run()
    torch.manual_seed(6)
    same(tiny.Problem().training().run(), first)


def test_epochs_see_the_views_of_the_policy(tiny: ModuleType) -> None:
    policy = Policy("rolling", 2)
    training = tiny.Problem().changed(epochs=6, policy=policy).training()
    training.run()
    assert training._rows.views.asked == [view_number(policy, epoch) for epoch in range(6)]


# ---- what goes wrong ----------------------------------------------------------------------------------------------


def test_a_poisoned_row_ends_the_training_at_its_best_point(tiny: ModuleType, tmp_path: Path) -> None:
    """View 1 of row 3 is no number: it comes in the second epoch."""
    problem = tiny.Problem(poisoned=(1, 3)).changed(epochs=5, mixup=0.0)
    trained = problem.training(checkpoints=tiny.checkpoints(tmp_path)).run()
    (note,) = [note for note in trained.notes if "no number" in note]
    assert "of epoch 2" in note
    assert "--lr 0.0005" in note
    step = int(note.partition("at step ")[2].split()[0])
    assert 6 < step <= 12  # of six steps an epoch
    assert [row.epoch for row in trained.history] == [0, 1]
    assert trained.best_epoch in (0, 1)
    assert all(np.isfinite(values).all() for values in trained.weights.tensors.values())
    again = problem.training(checkpoints=tiny.checkpoints(tmp_path)).run()
    same(again, trained)


@pytest.mark.parametrize(("polls", "epochs"), [(0, 0), (8, 1), (7, 1)])
def test_where_the_time_ends_the_best_epoch_until_then_is_kept(tiny: ModuleType, polls: int, epochs: int) -> None:
    """Of six steps an epoch: in the first one, in the second one, and between them."""
    problem = tiny.Problem().changed(epochs=5)
    over = tiny.after(polls)
    trained = problem.training(ends=lambda seconds: over()).run()
    assert trained.out_of_time
    assert trained.notes[0] == f"the time ended after epoch {epochs} of 5"
    assert [row.epoch for row in trained.history] == list(range(epochs + 1))
    assert trained.best_epoch <= epochs
    assert not problem.training().run().out_of_time


@pytest.mark.parametrize("batch", [8, 44])
def test_an_absurd_rate_leaves_a_usable_model(tiny: ModuleType, batch: int) -> None:
    """Weights of about 1e30 overflow: at a later step of the epoch, or only when the validation rows are judged."""
    training = tiny.Problem().changed(epochs=4, ema=0.0, batch_size=batch).training()
    training._base_rates = [1e30 for _ in training._base_rates]
    trained = training.run()
    assert trained.best_epoch == 0
    assert any("no number at step" in note for note in trained.notes)
    assert np.isfinite(trained.losses).all()
    assert all(np.isfinite(values).all() for values in trained.weights.tensors.values())


@pytest.mark.parametrize("error", [MemoryError, torch.cuda.OutOfMemoryError])
def test_out_of_memory_halves_the_parts_and_changes_no_weight(
    tiny: ModuleType, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = tiny.Problem(drop=0.0).changed(stages_anchor=0.1)
    wanted = problem.training().run()
    learner, sizes = problem.learner(), []
    forward = learner.forward

    def small(value: torch.Tensor) -> torch.Tensor:
        if learner.training:
            sizes.append(len(value))
            if len(value) > 3:
                raise error("out of memory")
        return forward(value)

    monkeypatch.setattr(learner, "forward", small)
    trained = problem.training(learner).run()
    assert sizes[:3] == [8, 4, 2]
    assert max(sizes[3:]) == 2
    assert sum("memory ran out" in note for note in trained.notes) == 2
    for name, values in wanted.weights.tensors.items():
        np.testing.assert_allclose(trained.weights.tensors[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def test_where_not_even_one_row_fits_the_way_out_is_named(tiny: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = tiny.Problem().learner()
    forward = learner.forward

    def never(value: torch.Tensor) -> torch.Tensor:
        if learner.training:
            raise MemoryError
        return forward(value)

    monkeypatch.setattr(learner, "forward", never)
    with pytest.raises(EngineError, match="--image-size"):
        tiny.Problem().training(learner).run()


def test_patience_ends_a_training_that_does_not_gain(tiny: ModuleType) -> None:
    trained = tiny.Problem(informative=False).changed(epochs=20, patience=2).training().run()
    assert len(trained.history) == 3


# ---- several processes --------------------------------------------------------------------------------------------


def test_two_processes_give_the_losses_and_weights_of_one(tiny: ModuleType, tmp_path: Path) -> None:
    """Each has half of every batch, and a penalty whose gradient must count once, not twice."""
    run_apart(tiny, "several", tmp_path, 2)
    training = tiny.ALIKE.training()
    losses = tiny.steps_of(training)
    wanted = training.run()
    found = [np.load(tmp_path / f"trained-{rank}.npz") for rank in range(2)]
    assert len(losses) >= 20
    for each in found:
        np.testing.assert_allclose(each["losses"], losses, rtol=1e-4)
        np.testing.assert_allclose(each["history"], [row.val_loss for row in wanted.history], rtol=1e-4)
        assert each["best"] == wanted.best_epoch
        for name, values in wanted.weights.tensors.items():
            np.testing.assert_allclose(each[name], values, rtol=1e-3, atol=1e-5, err_msg=name)


def test_the_curve_would_show_a_penalty_counted_otherwise(tiny: ModuleType) -> None:
    """What the test above rests on: twice the penalty is no longer the same curve."""
    training = tiny.ALIKE.training()
    losses = tiny.steps_of(training)
    training.run()
    other = tiny.ALIKE.changed(stages_anchor=0.2, head_anchor=0.6).training()
    found = tiny.steps_of(other)
    other.run()
    assert not np.allclose(found, losses, rtol=1e-4)
