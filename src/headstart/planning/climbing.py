"""The climb above the probes: one fine-tuned rung after the other, while more is expected and the time allows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.evaluation.calibration import fit_thresholds
from headstart.evaluation.metrics import point_of
from headstart.features.engine import Say
from headstart.planning.averaging import Average, average_rungs
from headstart.planning.choice import (
    Candidate,
    Waiting,
    choose,
    continue_climbing,
    has_failed,
    is_held,
    least_gain,
    retry_rate,
    with_average,
)
from headstart.planning.empirical_rules import Timing, fit_to_time, left_out, takes_longer
from headstart.planning.judging import Judged
from headstart.planning.ladder import Climbed, LadderRecord, Rung, row_scores, row_weights
from headstart.planning.limits import Cost
from headstart.planning.plan import Decision, Plan, PlannedRung
from headstart.planning.posterior import Gain, Posterior, RowScores, observe, update
from headstart.planning.prior import RungKind, conditions_of, prior_of, reach_of
from headstart.planning.rule_table import FIRST, Measure
from headstart.planning.situation import Situation
from headstart.planning.tuning import TunedRung
from headstart.runs.budget import Countdown
from headstart.training.calibrate import calibrate
from headstart.training.examples import Examples
from headstart.training.finetuning.setting import PrecisionChoice

Tune = Callable[[PlannedRung], TunedRung]
Time = Callable[[PlannedRung], Timing]
# What a second try is called.
AGAIN = " at a tenth of its rate"
# Metrics that a probability alone can move are compared in nats; those that count rows, in points.
_IN_NATS = ("log_loss", "auroc", "map")


def measure_of(metric: str) -> Measure:
    """What rungs are compared in under a governing metric: nats of log-loss, or points of accuracy."""
    return "nats" if metric in _IN_NATS or point_of(metric) is not None else "points"


@dataclass(frozen=True, eq=False)
class Averaged:
    """An average of rungs that is kept.

    Attributes
    ----------
    weights:
        Name of each member → its weight; they sum to 1.
    tuned:
        Those of the members that are fine-tuned.
    validation:
        The rows that judged it, each with weights that were fitted without it.
    thresholds:
        How its probabilities become decisions.
    """

    weights: Mapping[str, float]
    tuned: Mapping[str, TunedRung]
    validation: Judged
    thresholds: npt.NDArray[np.float64] | None


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
    plan:
        With the forecasts, and what they decided, of the rungs that were worth one; ``None`` where it was not made.
    average:
        Of several rungs, where that is kept in place of a single one.
    """

    chosen: TunedRung | None
    probes: Climbed
    record: LadderRecord
    plan: Plan | None
    average: Averaged | None = None

    def leaves(self, start: Climbed) -> bool:
        """Whether something else is kept than the best probe of the race that it began with."""
        return self.average is not None or self.chosen is not None or self.probes.best is not start.best


class Ladder:
    """The rungs of a plan, tried one after the other.

    Parameters
    ----------
    probes:
        The race of the strategies that train no stage, on the folds of ``examples``.
    situation:
        With the probe's score in it.
    time:
        Measures how fast a rung trains here, where it has no forecast of its seconds.
    tune:
        Trains and judges a planned rung; like ``time``, it may raise ``KeyboardInterrupt`` to end the climb, which
        keeps the best.
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
        time: Time,
        tune: Tune,
        countdown: Countdown,
        cost: Cost,
        say: Say,
    ) -> None:
        self._plan, self._probes, self._examples = plan, probes, examples
        self._time, self._tune, self._countdown, self._cost, self._say = time, tune, countdown, cost, say
        self._measure: Measure = measure_of(plan.metric)
        self._weights = np.ones(len(examples))
        self._weights[examples.judged] = row_weights(examples, plan.metric)
        self._units = len(np.unique(examples.groups[examples.folds[0][1]]))
        self._scores = dict(probes.scores)
        self._tuned: dict[str, TunedRung] = {}
        kinds = [RungKind(title, "head") for title in probes.tried if title != FIRST]
        for rung in plan.rungs:
            reach = reach_of(rung.cut, plan.stages)
            kinds += [RungKind(rung.name, reach), RungKind(rung.name + AGAIN, reach, again=rung.name)]
        self._prior = prior_of(conditions_of(situation), kinds, probe=FIRST)
        self._rungs: list[Rung] = list(probes.record.rungs)
        self._steps = list(probes.record.steps)
        self._under_way = "the climb"
        self._by_clock = probes.record.by_clock

    def climb(self) -> Climb:
        """Try rungs as long as that is worth it, then choose."""
        try:
            self._try_all()
        except KeyboardInterrupt:
            self._note(f"{self._under_way} was interrupted: the best before it is kept")
        return self._chosen(self._posterior())

    def _try_all(self) -> None:
        """Every rung that is worth it, one after the other."""
        waiting = {rung.name: rung for rung in self._plan.rungs}
        while True:
            posterior = self._posterior()
            waiting, left = self._timed(waiting, posterior)
            step = continue_climbing(
                [Waiting(name, rung.seconds) for name, rung in waiting.items()],
                list(self._scores),
                posterior,
                self._plan.quality,
                left,
                units=self._units,
                measure=self._measure,
            )
            self._note(step.reason)
            self._by_clock |= step.by_clock
            if step.name is None:
                return
            rung, self._under_way = waiting.pop(step.name), step.name
            failed = self._try(step.name, rung, posterior)
            self._under_way = "the climb"
            if failed and rung.rate and not step.name.endswith(AGAIN):
                second = dataclasses.replace(rung, rate=retry_rate(rung.rate))
                waiting = {step.name + AGAIN: second, **waiting}

    def _timed(self, waiting: dict[str, PlannedRung], posterior: Posterior) -> tuple[dict[str, PlannedRung], float]:
        """The same rungs and the seconds left, with a forecast of the first that is worth a try and that time holds.

        Those before it that time does not hold any more, however short, are left out.
        """
        best, least = posterior.best(list(self._scores), self._measure), least_gain(self._plan.quality, self._measure)
        kept, left = dict(waiting), self._countdown.remaining()
        for name, rung in waiting.items():
            gain = posterior.expected_further_gain(name, best, self._measure, units=self._units)
            if name not in kept or gain < least:
                continue
            if rung.seconds is None and rung.stays_at_its_cut:
                timing = self._time(rung)
                left = self._countdown.remaining()
                timed, decision = fit_to_time(rung, timing, left)
                if timed is None:
                    self._leave_out(name, decision, kept)
                    for deeper in [other for other in kept if takes_longer(kept[other], rung)]:
                        self._leave_out(deeper, left_out(deeper, f"it takes longer than {name}"), kept)
                    continue
                self._plan = _with_timing(self._plan, rung, timed, decision)
                self._by_clock |= decision.by_clock
                kept[name] = timed
            if is_held(kept[name].seconds, left):
                break
        return kept, left

    def _try(self, name: str, rung: PlannedRung, before: Posterior) -> bool:
        """Train, judge and record a rung; whether it is worse than the one before it."""
        predecessor = [FIRST, *self._tuned][-1]
        rival = before.best(list(self._scores), self._measure)
        expected = before.expected_further_gain(name, rival, self._measure, units=self._units)
        tuned = self._tune(rung)
        self._plan = _with_precision(self._plan, rung, tuned.tuned.precision)
        self._by_clock |= tuned.tuned.out_of_time
        self._tuned[name], self._scores[name] = (
            tuned,
            tuned_scores(tuned, self._probes, self._examples, self._plan.seed),
        )
        posterior = self._posterior()
        failed = tuned.kept_its_start or has_failed(name, predecessor, posterior, measure=self._measure)
        gain = posterior.gain(name, measure=self._measure)
        best = posterior.best(list(self._scores), self._measure) == name
        self._rungs.append(
            dataclasses.replace(
                tuned.record.rungs[-1],
                strategy=name,
                decision="kept" if best else "dropped",
                expected_gain=expected,
                gain=gain,
                reason=_outcome(tuned, gain, expected, self._measure),
            )
        )
        return failed

    def _leave_out(self, name: str, decision: Decision, waiting: dict[str, PlannedRung]) -> None:
        """Wait no more for a rung that time does not hold; it stays in the plan, for who follows that with more."""
        self._plan, self._by_clock = self._plan.deciding(decision), True
        self._note(f"{name}: {decision.reason}")
        del waiting[name]

    def _note(self, step: str) -> None:
        """Keep why something was done or left, and say it."""
        self._steps.append(step)
        self._say(step)

    def _posterior(self) -> Posterior:
        others = {name: scores for name, scores in self._scores.items() if name != FIRST}
        unchanged = [name for name, rung in self._tuned.items() if rung.kept_its_start]
        probe, groups = self._scores[FIRST], self._examples.groups
        return update(self._prior, observe(probe, others, groups, self._weights, unchanged))

    def _chosen(self, posterior: Posterior) -> Climb:
        seconds = {rung.strategy: rung.seconds for rung in self._rungs}
        candidates = [Candidate(name, seconds[name], self._cost) for name in self._scores]
        choice = choose(candidates, posterior, self._plan.quality, self._plan.limits, measure=self._measure)
        average = self._average(choice.name) if self._plan.quality == "best" and self._tuned else None
        if average is not None:
            members = len(average.names)
            latency = None if self._cost.latency is None else members * self._cost.latency
            choice = with_average(choice, average, Cost(members * self._cost.size, latency), self._plan.limits)
        kept, probes = self._tuned.get(choice.name), self._probes
        if kept is None:
            probes = probes.choosing(choice.name)
        notes = probes.record.notes + (() if kept is None else kept.tuned.notes)
        name = average.said if average is not None and choice.average else choice.name
        record = LadderRecord(
            self._plan.metric, name, tuple(self._rungs), notes, tuple(self._steps), choice.reason, self._by_clock
        )
        averaged = self._kept_average(average) if average is not None and choice.average else None
        return Climb(kept, probes, record, self._plan, averaged)

    def _average(self, single: str) -> Average:
        """Of all rungs, on the rows that judged the fine-tuned ones."""
        judge = next(iter(self._tuned.values())).validation
        judged = np.searchsorted(self._examples.judged, self._held)
        found = {name: calibration.probabilities[judged] for name, (_, calibration) in self._probes.tried.items()}
        found |= {name: rung.validation.probabilities for name, rung in self._tuned.items()}
        groups = self._examples.groups[self._held]
        return average_rungs(found, single, judge.targets, groups, self._examples.task, thresholds=judge.thresholds)

    def _kept_average(self, average: Average) -> Averaged:
        judge = next(iter(self._tuned.values())).validation
        thresholds = judge.thresholds
        if self._examples.task.kind == "sigmoid":
            thresholds = fit_thresholds(judge.targets.astype(bool), average.probabilities)
        validation = dataclasses.replace(judge, probabilities=average.probabilities, thresholds=thresholds)
        weights = dict(zip(average.names, average.weights, strict=True))
        tuned = {name: rung for name, rung in self._tuned.items() if name in weights}
        return Averaged(weights, tuned, validation, thresholds)

    @property
    def _held(self) -> npt.NDArray[np.int64]:
        """The rows that judge fine-tuned rungs."""
        return self._examples.folds[0][1]


def _with_timing(plan: Plan, rung: PlannedRung, timed: PlannedRung, decision: Decision) -> Plan:
    """The plan with what was forecast of a rung."""
    rungs = tuple(timed if found is rung else found for found in plan.rungs)
    return dataclasses.replace(plan, rungs=rungs).deciding(decision)


def _with_precision(plan: Plan, rung: PlannedRung, found: PrecisionChoice) -> Plan:
    """The plan with the precision that was measured for a rung, so that whoever follows it computes alike."""
    if rung.precision is not None or not rung.stays_at_its_cut or rung not in plan.rungs:
        return plan  # it was given, there are several, or this was a second try
    settled = dataclasses.replace(rung, precision=found.name)
    rungs = tuple(settled if one is rung else one for one in plan.rungs)
    key, speeds = f"{rung.name}.precision", found.images_per_second
    decision = Decision(key, "empirical", found.name, found.reason, dict(speeds), by_clock=True)
    return dataclasses.replace(plan, rungs=rungs).deciding(decision)


def tuned_scores(rung: TunedRung, probes: Climbed, examples: Examples, seed: int) -> RowScores:
    """What a fine-tuned rung did on the rows that it was held back from, as if it had run on every deal of the folds.

    It is compared with the probe of the very rows that it trained on, calibrated alike; what it did better or worse is
    added to what the probe does over all deals. Otherwise a lucky fold would be taken for a gain. Where the rung's
    classes were balanced, so are the probe's; thresholds of labels are each model's own.
    """
    held = examples.folds[0][1]
    own = row_scores(examples, held, rung.validation.probabilities, rung.validation.thresholds)
    logits, part = probes.tried[FIRST][0].logits[held], examples.subset(held, ())
    calibration = calibrate(logits, part.targets, part.groups, part.task, seed)
    balanced = examples.task.kind == "softmax" and rung.validation.thresholds is not None
    thresholds = rung.validation.thresholds if balanced else calibration.thresholds
    start = row_scores(examples, held, calibration.probabilities, thresholds)
    usual = probes.scores[FIRST]
    return RowScores(usual.losses + own.losses - start.losses, usual.correct + own.correct - start.correct)


def _outcome(tuned: TunedRung, gain: Gain, expected: float, measure: Measure) -> str:
    hoped = f"{expected:.2g} above the best were expected"
    if tuned.kept_its_start:
        return f"no epoch was better than the probe it started from, which it gave back; {hoped}"
    return f"{_said(gain, measure)} over {FIRST}; {hoped}"


def _said(gain: Gain, measure: Measure) -> str:
    digits, unit = (1, "points") if measure == "points" else (4, "nats")
    low, high = gain.ci95
    return f"{gain.mean:+.{digits}f} {unit} ({low:+.{digits}f} to {high:+.{digits}f})"
