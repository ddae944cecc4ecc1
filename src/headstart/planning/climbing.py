"""The climb above the probes: one fine-tuned rung after the other, while more is expected and the time allows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.features.engine import Say
from headstart.planning.choice import Candidate, Waiting, choose, continue_climbing, has_failed, retry_rate
from headstart.planning.ladder import Climbed, LadderRecord, Rung, row_losses, row_weights
from headstart.planning.limits import Cost
from headstart.planning.plan import Plan, PlannedRung
from headstart.planning.posterior import Gain, Measure, Posterior, RowScores, observe, update
from headstart.planning.prior import RungKind, conditions_of, prior_of, reach_of
from headstart.planning.rule_table import FIRST
from headstart.planning.situation import Situation
from headstart.planning.tuning import TunedRung
from headstart.runs.budget import Countdown
from headstart.training.examples import Examples, Ints

Floats = npt.NDArray[np.float64]
Tune = Callable[[PlannedRung], TunedRung]
# What a second try is called.
AGAIN = " at a tenth of its rate"
# Metrics that a probability alone can move are compared in nats; those that count rows, in points.
_IN_NATS = ("log_loss", "auroc", "map")


@dataclass(frozen=True, eq=False)
class Climb:
    """Where the climb ended.

    Attributes
    ----------
    chosen:
        The fine-tuned rung that is kept; ``None`` where a probe is.
    probes:
        The race of the probes, its best the one that is kept, if one is.
    record:
        Every rung tried, every step considered, and the choice.
    """

    chosen: TunedRung | None
    probes: Climbed
    record: LadderRecord


class Ladder:
    """The rungs of a plan, tried one after the other.

    Parameters
    ----------
    probes:
        The race of the strategies that train no stage, on the folds of ``examples``.
    situation:
        With the probe's score in it.
    tune:
        Trains and judges a planned rung; it may raise ``KeyboardInterrupt`` to end the climb, which keeps the best.
    cost:
        What using any of them costs: all have the same backbone.
    """

    def __init__(
        self,
        plan: Plan,
        probes: Climbed,
        examples: Examples,
        situation: Situation,
        *,
        tune: Tune,
        countdown: Countdown,
        cost: Cost,
        say: Say,
    ) -> None:
        self._plan, self._probes, self._examples = plan, probes, examples
        self._tune, self._countdown, self._cost, self._say = tune, countdown, cost, say
        self._measure: Measure = "nats" if plan.metric in _IN_NATS else "points"
        self._weights = np.ones(len(examples))
        self._weights[examples.judged] = row_weights(examples, plan.metric)
        self._scores = {title: probe_scores(probes, title, examples) for title in probes.tried}
        self._tuned: dict[str, TunedRung] = {}
        kinds = [RungKind(title, "head") for title in probes.tried if title != FIRST]
        for rung in plan.rungs:
            reach = reach_of(rung.cut, plan.stages)
            kinds += [RungKind(rung.name, reach), RungKind(rung.name + AGAIN, reach)]
        self._prior = prior_of(conditions_of(situation), kinds, probe=FIRST)
        self._rungs: list[Rung] = list(probes.record.rungs)
        self._steps: list[str] = []

    def climb(self) -> Climb:
        """Try rungs as long as that is worth it, then choose."""
        waiting = {rung.name: rung for rung in self._plan.rungs}
        while True:
            posterior = self._posterior()
            step = continue_climbing(
                [Waiting(name, rung.seconds or 0.0) for name, rung in waiting.items()],
                list(self._scores),
                posterior,
                self._plan.quality,
                self._countdown.remaining(),
                measure=self._measure,
            )
            self._steps.append(step.reason)
            if step.name is None:
                return self._chosen(posterior)
            rung = waiting.pop(step.name)
            self._say(step.reason)
            try:
                failed = self._try(step.name, rung, posterior)
            except KeyboardInterrupt:
                self._steps.append(f"{step.name} was interrupted: the best before it is kept")
                return self._chosen(self._posterior())
            if failed and rung.rate and not step.name.endswith(AGAIN):
                second = dataclasses.replace(rung, rate=retry_rate(rung.rate))
                waiting = {step.name + AGAIN: second, **waiting}

    def _try(self, name: str, rung: PlannedRung, before: Posterior) -> bool:
        """Train, judge and record a rung; whether it is worse than the one before it."""
        predecessor = [FIRST, *self._tuned][-1]
        expected = before.expected_further_gain(name, before.best(list(self._scores), self._measure), self._measure)
        tuned = self._tune(rung)
        self._tuned[name], self._scores[name] = tuned, tuned_scores(tuned, self._examples)
        posterior = self._posterior()
        failed = has_failed(name, predecessor, posterior, measure=self._measure)
        gain = posterior.gain(name, measure=self._measure)
        best = posterior.best(list(self._scores), self._measure) == name
        self._rungs.append(
            dataclasses.replace(
                tuned.record.rungs[-1],
                strategy=name,
                decision="kept" if best else "dropped",
                expected_gain=expected,
                gain=gain,
                reason=f"{_said(gain, self._measure)} over {FIRST}; {expected:.2g} above the best were expected",
            )
        )
        return failed

    def _posterior(self) -> Posterior:
        others = {name: scores for name, scores in self._scores.items() if name != FIRST}
        return update(self._prior, observe(self._scores[FIRST], others, self._examples.groups, self._weights))

    def _chosen(self, posterior: Posterior) -> Climb:
        seconds = {rung.strategy: rung.seconds for rung in self._rungs}
        candidates = [Candidate(name, seconds[name], self._cost) for name in self._scores]
        choice = choose(candidates, posterior, self._plan.quality, self._plan.limits, measure=self._measure)
        kept, probes = self._tuned.get(choice.name), self._probes
        if kept is None:
            best, calibration = probes.tried[choice.name]
            probes = dataclasses.replace(probes, best=best, calibration=calibration)
        notes = probes.record.notes + (() if kept is None else kept.tuned.notes)
        record = LadderRecord(
            self._plan.metric, choice.name, tuple(self._rungs), notes, tuple(self._steps), choice.reason
        )
        return Climb(kept, probes, record)


def probe_scores(probes: Climbed, title: str, examples: Examples) -> RowScores:
    """What one of the probes did on each judged row, by models that had not seen it."""
    _, calibration = probes.tried[title]
    return _scores(examples, examples.judged, calibration.probabilities, calibration.thresholds)


def tuned_scores(rung: TunedRung, examples: Examples) -> RowScores:
    """What a fine-tuned rung did on the rows that it was held back from."""
    validation = rung.validation
    return _scores(examples, examples.folds[0][1], validation.probabilities, validation.thresholds)


def _scores(examples: Examples, rows: Ints, probabilities: Floats, thresholds: Floats | None) -> RowScores:
    truth = examples.targets[rows]
    losses, correct = np.full(len(examples), np.nan), np.full(len(examples), np.nan)
    losses[rows] = row_losses(examples, truth, probabilities)
    correct[rows] = examples.task.correct(truth, probabilities, thresholds)
    return RowScores(losses, correct)


def _said(gain: Gain, measure: Measure) -> str:
    digits, unit = (1, "points") if measure == "points" else (4, "nats")
    low, high = gain.ci95
    return f"{gain.mean:+.{digits}f} {unit} ({low:+.{digits}f} to {high:+.{digits}f})"
