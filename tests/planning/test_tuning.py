"""The fine-tuned rung is judged on its held-out rows beside the probe, calibrated there, and its history is written."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import balanced_accuracy_score

from headstart.backbones.bundled import BundledBackbone
from headstart.evaluation.metrics import score
from headstart.evaluation.scores import row_log_loss
from headstart.features.table import FeatureTable
from headstart.planning.ladder import LadderRecord, candidates, climb
from headstart.planning.tuning import TunedRung, history_csv, judge_tuned
from headstart.records import from_json, to_json
from headstart.training.examples import Examples
from headstart.training.finetuning.learner import Weights
from headstart.training.finetuning.outcome import EpochRow
from headstart.training.finetuning.setting import PrecisionChoice
from headstart.training.finetuning.wish import Tuned
from headstart.training.linear import LinearModel
from headstart.training.strategies import FINE_TUNED

WIDTH = 1280
HISTORY = (
    EpochRow(0, 6, math.nan, 0.5, 0.75, 1e-3, 0.0, 0.0),
    EpochRow(1, 6, 0.1234567, 0.4, 0.8, 1e-5, 312.0, 1.5),
    EpochRow(2, 6, 0.1, math.inf, math.nan, 1e-5, 312.0, 1.5),
)


class Compiled:
    """A trunk that is never run."""

    trunk = BundledBackbone("tf_efficientnet_lite0", size=64).trunk(9)


def _judge(
    examples: Examples,
    rows: npt.NDArray[np.float32],
    *,
    grouped: bool = False,
    given: bool = False,
    metric: str = "accuracy",
    thresholds: tuple[float, ...] | None = None,
) -> TunedRung:
    """A tuned network whose features are ``rows``, and whose head reads the first columns as logits."""
    classes = examples.classes
    weights = Weights({}, LinearModel(np.eye(WIDTH, classes), np.zeros(classes), examples.task.kind))
    tuned = Tuned(weights, 6, 1, 1.0, np.zeros(3), HISTORY, PrecisionChoice("32-true", False), frozenset(), ("heard",))
    tuned = dataclasses.replace(tuned, thresholds=thresholds)
    climbed = climb(candidates("partial", examples, metric), examples, metric=metric, cut=9, seed=0)
    return judge_tuned(
        tuned,
        FINE_TUNED["partial"],
        climbed,
        examples,
        Compiled(),  # type: ignore[arg-type]
        FeatureTable.from_array(rows),
        metric=metric,
        seed=0,
        grouped=grouped,
        given=given,
        augmentations=bytes,
        seconds=12.0,
    )


def _rows(examples: Examples, margin: float) -> npt.NDArray[np.float32]:
    """Features that say the truth ``margin`` times as loud as noise; the rows that trained are always right."""
    rows = np.random.default_rng(1).normal(size=(len(examples), WIDTH))
    rows[:, : examples.classes] += margin * np.eye(examples.classes)[examples.targets]
    trained = examples.folds[0][0]
    rows[trained, : examples.classes] = 50 * np.eye(examples.classes)[examples.targets[trained]]
    return rows.astype(np.float32)


@pytest.mark.parametrize(("margin", "word"), [(8.0, "lower"), (0.0, "higher")])
def test_only_the_held_out_rows_judge_and_the_probe_stands_beside(
    make_examples: Callable[..., Examples], margin: float, word: str
) -> None:
    examples = make_examples([40, 40, 40], top=0.4)
    found = _judge(examples, _rows(examples, margin))
    held = examples.folds[0][1]
    np.testing.assert_array_equal(found.validation.places, examples.places[held])
    np.testing.assert_array_equal(found.validation.targets, examples.targets[held])
    assert (found.validation.estimate, found.validation.groups) == ("held_out_fold", None)
    probe, tuned = found.record.rungs
    assert (tuned.strategy, tuned.cut, tuned.decision) == (found.record.chosen, 6, "kept")
    assert tuned.score == score("accuracy", "classification", examples.targets[held], found.validation.probabilities)
    losses = row_log_loss(examples.targets[held], found.validation.probabilities)
    assert tuned.log_loss == pytest.approx(losses.mean())
    assert f"log-loss {word} by" in tuned.reason
    assert f"on the {len(held)} rows held out" in tuned.reason
    assert (tuned.rows, probe.rows) == (len(held), len(examples))
    assert tuned.ci95 is not None
    assert tuned.ci95[0] <= tuned.score <= tuned.ci95[1]
    assert tuned.gain_ci95 is not None
    assert (tuned.gain_ci95[0] > 0) == (word == "lower")
    assert tuned.seconds >= 12.0
    assert "heard" in found.record.notes
    assert probe.strategy == "linear_probe"


def test_the_model_predicts_the_held_out_rows_as_they_were_judged(make_examples: Callable[..., Examples]) -> None:
    """But for the temperature, which is fitted on all of them for use and on four fifths to judge the rest."""
    examples = make_examples([40, 40, 40])
    found = _judge(examples, _rows(examples, 2.0), grouped=True, given=True)
    predicted = found.fitted.predict(found.examples, found.validation.places)
    np.testing.assert_allclose(predicted, found.validation.probabilities, atol=0.08)
    np.testing.assert_array_equal(predicted.argmax(1), found.validation.probabilities.argmax(1))
    assert found.validation.estimate == "held_out_rows"
    np.testing.assert_array_equal(found.validation.groups, examples.groups[examples.folds[0][1]])


def test_labels_get_thresholds(make_examples: Callable[..., Examples]) -> None:
    examples = make_examples([40, 40, 40], task="multilabel")
    rows = np.zeros((len(examples), WIDTH), np.float32)
    rows[:, :2] = 4.0 * examples.targets - 2 + np.random.default_rng(0).normal(size=(len(examples), 2))
    found = _judge(examples, rows)
    assert found.fitted.thresholds is not None
    assert found.fitted.thresholds.shape == (2,)
    assert found.record.rungs[-1].score > 0.8


def test_balanced_classes_are_judged_and_used_by_the_thresholds_of_their_training(
    make_examples: Callable[..., Examples],
) -> None:
    examples = make_examples([240, 40, 40])
    rows = _rows(examples, 1.5)
    rows[:, :3] = 1.5 * rows[:, :3] + np.log([0.75, 0.125, 0.125])  # the logits of normal classes of these shares
    found, plain = (
        _judge(examples, rows, metric="balanced_accuracy", thresholds=thresholds)
        for thresholds in ((2.25, 0.375, 0.375), None)
    )
    assert plain.fitted.thresholds is None
    for limits in (found.fitted.thresholds, found.validation.thresholds):
        np.testing.assert_array_equal(limits, [2.25, 0.375, 0.375])
    np.testing.assert_array_equal(found.validation.probabilities, plain.validation.probabilities)
    assert found.record.rungs[-1].score > plain.record.rungs[-1].score + 0.03
    decided = (found.validation.probabilities / np.array(found.validation.thresholds)).argmax(1)
    wanted = balanced_accuracy_score(found.validation.targets, decided)
    assert found.record.rungs[-1].score == pytest.approx(wanted)
    scores = found.validation.scores(examples.task, ("a", "b", "c"), 0)
    assert scores["balanced_accuracy"] == pytest.approx(wanted)


def test_the_record_can_be_read_back(make_examples: Callable[..., Examples]) -> None:
    examples = make_examples([30, 30])
    record = _judge(examples, _rows(examples, 3.0)).record
    assert from_json(LadderRecord, to_json(record)) == record


def test_the_history_has_a_line_an_epoch_that_reads_back() -> None:
    text = history_csv(HISTORY)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == [field.name for field in dataclasses.fields(EpochRow)]
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    for row, wanted in zip(rows, HISTORY, strict=True):
        values = [float(row[name]) for name in rows[0]]
        np.testing.assert_allclose(values, dataclasses.astuple(wanted), rtol=1e-5)
    assert "\r" not in text


def test_lines_for_a_person_say_cut_epoch_losses_score_and_rate() -> None:
    start, epoch = HISTORY[0].line(), HISTORY[1].line()
    assert start == "cut 6, start: validation loss 0.5000, score 0.7500"
    for part in ("cut 6, epoch 1", "validation loss 0.4000", "score 0.8000", "train loss 0.1235", "312 images/s"):
        assert part in epoch
