"""The climb goes on while more is expected, believes what it measures, and keeps the best when it is interrupted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from headstart.planning.climbing import AGAIN, Climb, Ladder, Time, tuned_scores
from headstart.planning.empirical_rules import Timing
from headstart.planning.judging import Judged
from headstart.planning.ladder import Climbed, Rung, candidates, climb
from headstart.planning.limits import Cost
from headstart.planning.plan import DataIdentity, Plan, PlannedRung, Validation
from headstart.planning.rule_table import FIRST
from headstart.planning.situation import ProbeScore, Situation
from headstart.planning.time_forecast import Rates, Work
from headstart.runs.budget import Budget, Countdown
from headstart.training.calibrate import calibrate
from headstart.training.examples import Examples
from headstart.training.finetuning.setting import PrecisionChoice

MakeExamples = Callable[..., Examples]
RUNGS = (PlannedRung("partial", 7, 4, 12, 1e-3, "medium", 10.0), PlannedRung("full", 0, None, 12, 1e-3, "medium", 60.0))
TOP, FULL = (rung.name for rung in RUNGS)


def _plan(**values: Any) -> Plan:
    plan = Plan(
        schema=1,
        data=DataIdentity("clouds", 360, 3, "0" * 64),
        backbone="bundled/tf_efficientnet_lite0",
        stages=9,
        image_size=224,
        crop="crop",
        metric="accuracy",
        first=FIRST,
        rungs=RUNGS,
        validation=Validation("folds", 5, 1, False),
        budget="none",
        quality="balanced",
        max_size=None,
        max_latency=None,
        seed=0,
        decisions=(),
    )
    return dataclasses.replace(plan, **values)


def _situation(examples: Examples, climbed: Climbed) -> Situation:
    scores = climbed.scores[FIRST]
    accuracy, loss = float(scores.correct.mean()), float(scores.losses.mean())
    probe = ProbeScore(accuracy, loss, len(examples), 1 / 3, math.log(3), 0.03, accuracy)
    return Situation("classification", 360, 3, 120, 120.0, 120, 360, 0, None, probe, 0.25, 9, 224, "crop", True)


class Trainings:
    """In the place of fine-tuning: predictions of the held-out rows that are right with a given chance."""

    def __init__(self, examples: Examples, right: dict[tuple[int, float], float]) -> None:
        self.examples, self.right = examples, right
        self.tried: list[tuple[int, float | None]] = []

    def __call__(self, rung: PlannedRung) -> Any:
        self.tried.append((rung.cut, rung.rate))
        held = self.examples.folds[0][1]
        rng = np.random.default_rng(0)
        truth, classes = self.examples.targets[held], self.examples.classes
        wrong = rng.random(len(held)) >= self.right.get((rung.cut, rung.rate or 0.0), 0.5)
        found = np.where(wrong, (truth + 1) % classes, truth)
        probabilities = np.full((len(held), classes), 0.1 / (classes - 1))
        probabilities[np.arange(len(held)), found] = 0.9
        judged = Judged("val", held, truth, None, probabilities, None, "held_out_fold", {})
        record = SimpleNamespace(rungs=(Rung("x", rung.cut, 5.0, 0.5, 0.5, None, "kept", ""),))
        precision = PrecisionChoice("bf16-mixed", True, False, {"float32": 9.0, "bf16 channels-last": 12.5}, "fastest")
        tuned = SimpleNamespace(notes=(f"cut {rung.cut}",), out_of_time=False, precision=precision)
        return SimpleNamespace(validation=judged, record=record, tuned=tuned, kept_its_start=False)


def _half_a_minute(rung: PlannedRung) -> Timing:
    """Two seconds an epoch of a hundred rows, six to start."""
    return Timing(Rates(6.0, 1e9, 50.0, 1e9, 1e9), Work(100, 20, 0, 0, rung.epochs or 12, 0))


def _climb(
    examples: Examples,
    tune: Any,
    *,
    countdown: Countdown | None = None,
    time: Time = _half_a_minute,
    say: Callable[[str], None] = lambda line: None,
    **values: Any,
) -> Climb:
    climbed = climb(candidates("auto", examples, "accuracy"), examples, metric="accuracy", cut=9, seed=0)
    ladder = Ladder(
        _plan(**values),
        climbed,
        examples,
        _situation(examples, climbed),
        time=time,
        tune=tune,
        countdown=countdown or Countdown.from_now(Budget(None)),
        cost=Cost(20_000_000),
        say=say,
    )
    return ladder.climb()


@pytest.fixture
def examples(make_examples: MakeExamples) -> Examples:
    """Three hundred and sixty rows that the probe is right on two times of three."""
    return make_examples([120, 120, 120], top=0.25, stage=0.1)


def test_a_rung_that_gains_is_kept_and_the_reason_has_the_numbers(examples: Examples) -> None:
    tune = Trainings(examples, {(7, 1e-3): 0.95, (0, 1e-3): 0.96})
    found = _climb(examples, tune)
    assert tune.tried[0] == (7, 1e-3)
    assert found.record.chosen in (TOP, FULL)
    assert found.chosen is not None
    rung = next(rung for rung in found.record.rungs if rung.strategy == TOP)
    assert rung.gain is not None
    assert rung.gain.mean > 5
    assert rung.expected_gain is not None
    assert "points" in found.record.reason
    assert found.record.notes[-1].startswith("cut ")


def test_the_precision_that_was_measured_is_kept_in_the_plan(examples: Examples) -> None:
    given = dataclasses.replace(RUNGS[1], precision="float32")
    tune = Trainings(examples, {(7, 1e-3): 0.8, (0, 1e-3): 0.96})
    plan = _climb(examples, tune, rungs=(RUNGS[0], given), quality="best").plan
    assert tune.tried == [(7, 1e-3), (0, 1e-3)]
    assert plan is not None
    assert [rung.precision for rung in plan.rungs] == ["bf16 channels-last", "float32"]
    (decision,) = [one for one in plan.decisions if one.key.endswith(".precision")]
    assert (decision.key, decision.value, decision.by_clock) == (f"{TOP}.precision", "bf16 channels-last", True)
    assert decision.numbers == {"float32": 9.0, "bf16 channels-last": 12.5}


def test_a_collapse_is_tried_again_and_does_not_end_the_climb(examples: Examples) -> None:
    tune = Trainings(examples, {(7, 1e-3): 0.34, (7, 1e-4): 0.5, (0, 1e-3): 0.97})
    found = _climb(examples, tune)
    assert tune.tried == [(7, 1e-3), (7, 1e-4), (0, 1e-3)]
    assert found.record.chosen == FULL
    assert [rung.strategy for rung in found.record.rungs][-3:] == [TOP, TOP + AGAIN, FULL]


def test_where_rungs_lose_the_probe_stays(examples: Examples) -> None:
    losing = {(cut, rate): 0.34 for cut in (7, 0) for rate in (1e-3, 1e-4)}
    found = _climb(examples, Trainings(examples, losing))
    assert found.chosen is None
    assert found.record.chosen == found.probes.best.strategy.title


def test_shuffled_labels_are_not_climbed(make_examples: MakeExamples) -> None:
    examples = make_examples([120, 120, 120], shuffled=True)
    found = _climb(examples, lambda rung: pytest.fail("nothing can be gained"), quality="best")
    assert "too small" in found.record.steps[-1]


def test_without_time_the_probe_is_what_there_is(examples: Examples) -> None:
    late = Countdown(Budget(60.0), 0.0, 3.0, lambda: 59.0)
    found = _climb(examples, lambda rung: pytest.fail("there is no time"), countdown=late)
    assert found.chosen is None
    assert "the time is too short" in found.record.steps[-1]


def test_an_interrupted_climb_keeps_the_best(examples: Examples) -> None:
    tune = Trainings(examples, {(7, 1e-3): 0.95})

    def interrupted(rung: PlannedRung) -> Any:
        if rung.cut == 0:
            raise KeyboardInterrupt
        return tune(rung)

    found = _climb(examples, interrupted, quality="best")
    assert found.record.chosen == TOP
    assert "interrupted" in found.record.steps[-1] or "too small" in found.record.steps[-1]


def test_seconds_are_forecast_only_of_rungs_that_are_worth_a_try(examples: Examples) -> None:
    untimed = tuple(dataclasses.replace(rung, seconds=None) for rung in RUNGS)
    tune = Trainings(examples, {(7, 1e-3): 0.95, (4, 1e-3): 0.95, (0, 1e-3): 0.95})
    found = _climb(examples, tune, rungs=untimed)
    assert found.plan is not None
    tried = {cut for cut, _ in tune.tried}
    assert {rung.cut for rung in found.plan.rungs if round(rung.seconds or 0) == 30} == tried
    assert len([one for one in found.plan.decisions if one.key.endswith(".epochs")]) == len(tried) > 0
    assert not found.record.by_clock
    said: list[str] = []
    late = _climb(examples, tune, rungs=untimed, countdown=Countdown.from_now(Budget(15.0)), say=said.append)
    assert late.chosen is None
    assert late.plan is not None
    assert late.plan.rungs == untimed, "who follows the plan with more time can try them"
    assert [(one.key, one.value, one.by_clock) for one in late.plan.decisions] == [
        (f"{TOP}.epochs", "0", True),
        (f"{FULL}.epochs", "0", True),
    ]
    assert late.record.steps[1] == f"{FULL}: left out: it takes longer than {TOP}"
    assert late.record.steps[2] == "no rung of the plan is left to try"
    assert late.record.by_clock
    assert tuple(said) == late.record.steps, "a person hears why nothing was tried"
    assert any("left out: " in line for line in said)


class _Clock:
    """Stands still unless it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_measuring_takes_is_taken_from_the_rung_and_no_rung_of_unknown_length_slips_in(examples: Examples) -> None:
    clock = _Clock()
    untimed = tuple(dataclasses.replace(rung, seconds=None) for rung in RUNGS)

    def slowly(rung: PlannedRung) -> Timing:
        clock.now += 20
        return _half_a_minute(rung)

    tune = Trainings(examples, {(7, 1e-3): 0.95, (0, 1e-3): 0.95})
    countdown = Countdown(Budget(50.0), 0.0, 0.0, clock)
    found = _climb(examples, tune, rungs=untimed, countdown=countdown, time=slowly, quality="best")
    assert found.plan is not None
    assert [(rung.cut, rung.epochs) for rung in found.plan.rungs][:1] == [(7, 8)], "what 30 s hold, with a margin"
    assert tune.tried[0] == (7, 1e-3)
    assert found.record.by_clock
    again = Trainings(examples, {})
    clock.now = 20.0
    known = (dataclasses.replace(RUNGS[0], seconds=40.0), untimed[1])
    late = _climb(examples, again, rungs=known, countdown=countdown, time=slowly, quality="best")
    assert again.tried == []
    assert "left out" in "".join(late.record.steps)
    assert "too short" in late.record.steps[-1]


def test_a_rung_whose_seconds_nobody_can_tell_is_tried_without_a_promise(examples: Examples) -> None:
    tune = Trainings(examples, {})
    scratch = PlannedRung("progressive", 0, 4, 12, 1e-3, "medium")
    countdown = Countdown(Budget(50.0), 0.0, 0.0, lambda: 1.0)
    found = _climb(examples, tune, rungs=(scratch,), countdown=countdown, time=lambda rung: pytest.fail("can't"))
    assert tune.tried
    assert "in a time that nobody knows of the 49 s that are left" in found.record.steps[0]


def test_an_interruption_while_measuring_keeps_what_was_trained(examples: Examples) -> None:
    def interrupted(rung: PlannedRung) -> Timing:
        raise KeyboardInterrupt

    tune = Trainings(examples, {(7, 1e-3): 0.8})
    rungs = (RUNGS[0], dataclasses.replace(RUNGS[1], seconds=None))
    found = _climb(examples, tune, rungs=rungs, time=interrupted)
    assert found.record.chosen == TOP
    assert found.record.steps[-1] == "the climb was interrupted: the best before it is kept"
    assert not found.record.by_clock


def test_a_training_with_fewer_epochs_than_planned_is_recorded(examples: Examples) -> None:
    tune = Trainings(examples, {(7, 1e-3): 0.95})

    def shortened(rung: PlannedRung) -> Any:
        found = tune(rung)
        found.tuned.out_of_time = True
        return found

    assert _climb(examples, shortened, rungs=RUNGS[:1]).record.by_clock
    assert not _climb(examples, tune, rungs=RUNGS[:1]).record.by_clock


def test_best_keeps_an_average_where_two_rungs_err_on_different_rows(make_examples: MakeExamples) -> None:
    """A fine-tuned rung as good as the probe, and wrong elsewhere: together they are surer, and only `best` asks."""
    examples = make_examples([400, 400, 400], top=0.35, stage=0.3)
    found = _climb(examples, Trainings(examples, {(0, 1e-3): 0.85}), quality="best", rungs=RUNGS[-1:])
    assert found.average is not None
    assert sum(found.average.weights.values()) == pytest.approx(1)
    assert FULL in found.average.tuned
    assert len(found.average.weights) >= 2
    assert " + " in found.record.chosen
    held = examples.folds[0][1]
    np.testing.assert_array_equal(found.average.validation.targets, examples.targets[held])
    assert found.average.validation.probabilities.sum(1) == pytest.approx(np.ones(len(held)))
    single = _climb(examples, Trainings(examples, {(0, 1e-3): 0.85}), quality="balanced", rungs=RUNGS[-1:])
    assert single.average is None


def test_a_rung_that_gave_its_start_back_gains_nothing_and_tells_of_the_others(examples: Examples) -> None:
    """However few rows judged it: a training that never beat the probe is no doubtful gain."""
    lucky = Trainings(examples, {(7, 1e-3): 0.9})

    def gave_back(rung: PlannedRung) -> Any:
        found = lucky(rung)
        found.kept_its_start = True
        return found

    found = _climb(examples, gave_back, rungs=RUNGS[:1])
    first = next(rung for rung in found.record.rungs if rung.strategy == TOP)
    assert first.gain is not None
    assert abs(first.gain.mean) < 0.1
    assert "gave back" in first.reason
    assert found.chosen is None
    assert (7, 1e-4) in lucky.tried or "too small" in found.record.steps[-1]


def test_a_lucky_fold_is_no_gain(make_examples: MakeExamples) -> None:
    """A rung that predicts as the probe of its own training rows does gains nothing, whatever other deals gave."""
    examples = make_examples([15, 15, 15], top=0.4, stage=0.1)
    climbed = climb(candidates("auto", examples, "accuracy"), examples, metric="accuracy", cut=9, seed=0)
    assert "dealt" in climbed.record.notes[0]
    held = examples.folds[0][1]
    logits, part = climbed.tried[FIRST][0].logits[held], examples.subset(held, ())
    chances = calibrate(logits, part.targets, part.groups, part.task, 0).probabilities
    judged = Judged("val", held, part.targets, None, chances, None, "held_out_fold", {})
    found = tuned_scores(SimpleNamespace(validation=judged), climbed, examples, 0)
    np.testing.assert_allclose(found.losses[held], climbed.scores[FIRST].losses[held])
    np.testing.assert_allclose(found.correct[held], climbed.scores[FIRST].correct[held])


def test_a_rung_of_labels_is_compared_at_the_thresholds_of_each(make_examples: MakeExamples) -> None:
    """The probe itself with its chances pressed down, and thresholds that go with them, gains nothing."""
    examples = make_examples([90, 90, 90], top=0.6, stage=0.1, task="multilabel")
    climbed = climb(candidates("auto", examples, "macro_f1"), examples, metric="macro_f1", cut=9, seed=0)
    held = examples.folds[0][1]
    logits, part = climbed.tried[FIRST][0].logits[held], examples.subset(held, ())
    found = calibrate(logits, part.targets, part.groups, part.task, 0)
    assert found.thresholds is not None
    judged = Judged("val", held, part.targets, None, found.probabilities / 4, found.thresholds / 4, "held_out_fold", {})
    scores = tuned_scores(SimpleNamespace(validation=judged), climbed, examples, 0)
    np.testing.assert_allclose(scores.correct[held], climbed.scores[FIRST].correct[held])
