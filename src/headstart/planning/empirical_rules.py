"""Decisions that follow from what was measured here: which rungs are tried, for how long, and what they may gain."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headstart.planning.plan import Decision, ExpectedGain, PlannedRung
from headstart.planning.prior import TABLE, PriorTable, RungKind, conditions_of, prior_of, reach_of
from headstart.planning.rule_table import FIRST, LEAST_EPOCHS, TIME_SAFETY, VIEWS
from headstart.planning.situation import Situation
from headstart.planning.time_forecast import Rates, Work, epochs_within, forecast_seconds
from headstart.training.finetuning.defaults import AUGMENT, EPOCHS, STAGE_RATE


@dataclass(frozen=True)
class Timing:
    """How fast a cut trains here, and what a whole fine-tuning of :data:`EPOCHS` there has to do."""

    rates: Rates
    work: Work


def cuts_of(stages: int) -> tuple[int, ...]:
    """The cuts that are raced, cheap first: two stages below the top, about half, and none frozen."""
    wanted = (stages - 2, stages // 2, 0)
    return tuple(cut for cut in dict.fromkeys(wanted) if 0 <= cut < stages)


def rungs_rule(
    situation: Situation, timings: Mapping[int, Timing], seconds: float, *, table: PriorTable = TABLE
) -> tuple[tuple[PlannedRung, ...], tuple[Decision, ...]]:
    """The fine-tuned rungs to try, each with as many epochs as the time after the rungs before it allows.

    Parameters
    ----------
    timings:
        Of cuts; a cut without one is planned in full, without a forecast.
    seconds:
        What is left for them all; may be infinite.
    """
    gains = expected_gains(situation, cuts_of(situation.stages), table=table)
    rungs, decisions, left = [], [], seconds
    for cut in cuts_of(situation.stages):
        rung = rung_in_full(cut)
        if cut in timings:
            fitted, decision = fit_to_time(rung, timings[cut], left)
            decisions.append(decision)
            if fitted is None:
                continue
            rung = fitted
            left -= TIME_SAFETY * (rung.seconds or 0.0)
        rungs.append(dataclasses.replace(rung, gain=gains.get(cut)))
    return tuple(rungs), (_summary(rungs, decisions), *decisions)


def expected_gains(situation: Situation, cuts: Sequence[int], *, table: PriorTable = TABLE) -> dict[int, ExpectedGain]:
    """What the prior expects of training above some cuts; nothing before the probe has run."""
    if situation.probe is None:
        return {}
    kinds = [RungKind(str(cut), reach_of(cut, situation.stages)) for cut in cuts]
    prior = prior_of(conditions_of(situation), kinds, probe=FIRST, table=table)
    places = range(1, len(cuts) + 1)
    return {
        cut: ExpectedGain(float(prior.mean[place]), math.sqrt(float(prior.covariance[place, place])))
        for cut, place in zip(cuts, places, strict=True)
    }


def rung_in_full(cut: int) -> PlannedRung:
    """The usual fine-tuning above a cut."""
    return PlannedRung("partial" if cut else "full", cut, VIEWS if cut else None, EPOCHS, STAGE_RATE, AUGMENT)


def fit_to_time(rung: PlannedRung, timing: Timing, left: float) -> tuple[PlannedRung | None, Decision]:
    """A rung with the epochs that fit into the seconds left, or none where they are too few."""
    wanted = timing.work.epochs
    epochs = wanted if math.isinf(left) else epochs_within(max(left, 0.0) / TIME_SAFETY, timing.rates, timing.work)
    shown = max(epochs, min(wanted, LEAST_EPOCHS))
    others = max(0, timing.work.judgings - wanted)
    whole = dataclasses.replace(timing.work, epochs=shown, judgings=others + shown)
    seconds = forecast_seconds(timing.rates, whole).seconds
    numbers = {"seconds": seconds, "epochs": float(epochs), "images_a_second": timing.rates.step}
    if not math.isinf(left):
        numbers["seconds_left"] = max(left, 0.0)
    key, some = f"{rung.name}.epochs", f"{shown} epochs take about {seconds:.0f} s"
    if epochs < shown:
        reason = f"{some}, with a margin {TIME_SAFETY * seconds:.0f}, and {max(left, 0.0):.0f} s are left"
        return None, left_out(rung.name, reason, numbers)
    reason = some if epochs == wanted else f"{some}, which the time left holds; {wanted} would be usual"
    decision = Decision(key, "empirical", f"{epochs}", reason, numbers, by_clock=epochs < wanted)
    return dataclasses.replace(rung, epochs=epochs, seconds=seconds), decision


def left_out(name: str, reason: str, numbers: Mapping[str, float] | None = None) -> Decision:
    """That a rung is not tried, as time does not hold it."""
    return Decision(f"{name}.epochs", "empirical", "0", f"left out: {reason}", dict(numbers or {}), by_clock=True)


def takes_longer(rung: PlannedRung, than: PlannedRung) -> bool:
    """Whether the least that a rung may train takes longer than that of another one, as it trains more stages."""
    least, other = (min(one.epochs or EPOCHS, LEAST_EPOCHS) for one in (rung, than))
    return rung.stays_at_its_cut and rung.cut < than.cut and least >= other


def _summary(rungs: Sequence[PlannedRung], fits: Sequence[Decision]) -> Decision:
    if not rungs:
        wanted = [TIME_SAFETY * found.numbers["seconds"] - found.numbers["seconds_left"] for found in fits]
        least = math.ceil(min(wanted, default=0))
        more = f"; --budget with about {least} s more would let the shortest be tried" if wanted else ""
        reason = f"the time holds no fine-tuning: the probe is what there is{more}"
        return Decision("rungs", "empirical", "none", reason)
    said = ", ".join(
        rung.name + (f" ({rung.gain.points:+.1f} ± {rung.gain.sd:.1f} points)" if rung.gain else "") for rung in rungs
    )
    numbers = {f"{rung.name}.gain": rung.gain.points for rung in rungs if rung.gain}
    reason = f"after the probe, cheap first and only while more is expected: {said}"
    return Decision("rungs", "empirical", ", ".join(rung.name for rung in rungs), reason, numbers)
