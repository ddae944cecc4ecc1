"""A fit within a budget: look at the data, draft the plan, climb as far as the time and the gains allow."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping

from headstart import records
from headstart.backbones.backbone import Backbone
from headstart.data import Dataset
from headstart.features.engine import CompiledTrunk, Say
from headstart.features.latency import latency
from headstart.planning.backbone_choice import BackboneChoice
from headstart.planning.choice import Step
from headstart.planning.climbing import Climb, Ladder
from headstart.planning.drafting import Wanted, draft_plan
from headstart.planning.empirical_rules import Timing
from headstart.planning.entrants import weight_of
from headstart.planning.fine_tuning import Site, fine_tune_rung, in_planned
from headstart.planning.fingerprint import Fingerprint, fingerprint
from headstart.planning.ladder import Climbed
from headstart.planning.limits import Cost
from headstart.planning.options import USUAL_QUALITY, Options
from headstart.planning.outlook import look_ahead
from headstart.planning.plan import FILE, Plan, PlannedRung
from headstart.planning.rule_table import FINGERPRINTED, LEAST_CLIMB, TIME_SAFETY
from headstart.planning.same_data import identity_of
from headstart.planning.situation import Situation
from headstart.planning.surveying import situation_of, timing_of
from headstart.planning.tuning import TunedRung
from headstart.runs import Progress
from headstart.runs.budget import Budget, Countdown
from headstart.training.examples import Examples
from headstart.training.finetuning.setting import PrecisionChoice

# Why a fit on so few images ends at its probes.
TOO_FEW = "too few images to hold any out as a test, so only probes are compared; --test 0.2 lets rungs be tried"


def climb_within(
    site: Site,
    choice: BackboneChoice,
    plan: Plan | None,
    options: Options,
    compiled: CompiledTrunk,
    countdown: Countdown,
) -> Climb:
    """Write ``fingerprint.json`` and ``plan.json``, and climb.

    Parameters
    ----------
    choice:
        Why the site's backbone is the one.
    plan:
        To be followed; ``None`` drafts one.
    compiled:
        The trunk that the probes were fitted on.

    An interruption (Ctrl-C) ends the climb with the best that there is.
    """
    try:
        ladder = _ladder(site, choice, plan, options, compiled, countdown)
    except KeyboardInterrupt:
        reason = f"interrupted before the first rung: {site.climbed.record.chosen} is kept"
        site.say(reason)
        steps = (*site.climbed.record.steps, reason)
        return Climb(None, site.climbed, dataclasses.replace(site.climbed.record, steps=steps), None)
    climb = ladder.climb()
    if climb.plan is not None:
        site.run.write(FILE, climb.plan)
    return climb


def why_not_climb(countdown: Countdown, *, nested: bool) -> Step | None:
    """Why a fit ends at its probes, whatever the data is; ``None`` where it may go on.

    Parameters
    ----------
    nested:
        Whether the images are too few to hold any out as a test.
    """
    if not can_train():
        reason = 'only probes are fitted: pip install "headstart[train]" lets a fit try more, within its --budget'
    elif nested:
        reason = TOO_FEW
    elif not countdown.holds(LEAST_CLIMB):
        left = f"{countdown.remaining():.0f} s of the budget of {countdown.budget} are left"
        reason = f"only probes are fitted: {left}, too little to train more; allow more with --budget"
        return Step(None, 0.0, by_clock=True, reason=reason)
    else:
        return None
    return Step(None, 0.0, by_clock=False, reason=reason)


def _ladder(
    site: Site,
    choice: BackboneChoice,
    plan: Plan | None,
    options: Options,
    compiled: CompiledTrunk,
    countdown: Countdown,
) -> Ladder:
    """Survey, plan, and set up the climb."""
    situation = situation_of(
        _fingerprint(site, options),
        site.examples,
        site.climbed,
        site.backbone,
        given=site.given,
        trainable=can_train(),
    )
    if plan is None:
        spare = countdown.remaining()
        plan = draft(
            site.examples,
            site.climbed,
            choice,
            situation,
            {},
            options,
            countdown.budget,
            spare=spare,
            left=countdown.remaining,
        )
        for decision in plan.decisions:
            if decision.key in ("tuning", "rungs"):
                site.say(decision.reason)
    plan = dataclasses.replace(plan, budget=str(countdown.budget))
    site.run.write(FILE, plan)
    trainer = _Trainer(site, options, compiled, countdown)
    return Ladder(
        plan,
        site.climbed,
        site.examples,
        situation,
        time=trainer.time,
        tune=trainer.tune,
        countdown=countdown,
        cost=Cost(weight_of(site.backbone), latency(compiled)),
        say=site.say,
    )


def can_train() -> bool:
    """Whether what fine-tuning needs is installed."""
    return importlib.util.find_spec("lightning_fabric") is not None


def look(
    dataset: Dataset, examples: Examples, backbone: Backbone, options: Options, progress: Progress, say: Say
) -> Fingerprint:
    """The fingerprint of the development rows."""
    return fingerprint(
        dataset.select(examples.places),
        preprocessing=backbone.preprocessing,
        channels=options.channels,
        at_most=FINGERPRINTED,
        seed=options.seed,
        progress=progress,
        say=say,
    )


def draft(
    examples: Examples,
    climbed: Climbed,
    choice: BackboneChoice,
    situation: Situation,
    timings: Mapping[int, Timing],
    options: Options,
    budget: Budget,
    *,
    spare: float,
    left: Callable[[], float],
    kept_back: str = "",
) -> Plan:
    """Look ahead, and let the rules draft a plan for what is left of the budget.

    Parameters
    ----------
    spare:
        Seconds that looking ahead may take from the rungs; infinite where none will be trained.
    left:
        Seconds that the rungs have, asked when looking ahead is done.
    kept_back:
        Why no rung is tried, whatever the rules say; empty where they decide.
    """
    backbone = choice.backbone
    wanted = Wanted(
        backbone.name,
        options.metric,
        budget,
        options.quality or USUAL_QUALITY,
        options.max_size,
        options.max_latency,
        options.seed,
    )
    names = [stage.name for stage in backbone.stages]
    outlook = look_ahead(examples, climbed, names, seconds=spare, seed=options.seed)
    data = identity_of(choice.dataset)
    plan = draft_plan(wanted, data, situation, timings, left(), outlook=outlook, kept_back=kept_back)
    return choice.told(plan)


def _fingerprint(site: Site, options: Options) -> Fingerprint:
    """The fingerprint; what an interrupted run had found is taken over."""
    path = site.run.path("fingerprint.json")
    if path.is_file():
        return records.from_json(Fingerprint, path.read_bytes(), where=str(path))
    found = look(site.dataset, site.examples, site.backbone, options, site.progress, site.say)
    site.run.write("fingerprint.json", found)
    return found


class _Trainer:
    """Trains the rungs of one ladder, and forecasts what that takes."""

    def __init__(self, site: Site, options: Options, compiled: CompiledTrunk, countdown: Countdown) -> None:
        self._site = dataclasses.replace(
            site,
            ends=lambda seconds: countdown.remaining() <= TIME_SAFETY * seconds,
        )
        self._options, self._compiled = options, compiled
        self._precisions: dict[int, PrecisionChoice] = {}  # by the cut

    def time(self, rung: PlannedRung) -> Timing:
        """How fast the rung trains here, and what it has to do."""
        site, first = self._site, not self._precisions
        return timing_of(rung, site.dataset, site.examples, site.backbone, self._compiled, first=first)

    def tune(self, rung: PlannedRung) -> TunedRung:
        """One rung, which ends with the time, at the best of its epochs: after one, if another would not fit."""
        rate = f"-{rung.rate:g}" if rung.rate else ""
        folder = self._site.run.path(f"rungs/{rung.strategy}-{rung.cut}{rate}")
        options = in_planned(self._options, rung)
        planned = None if rung.precision is None else PrecisionChoice.given(rung.precision)
        found = fine_tune_rung(self._site, options, folder, planned or self._precisions.get(rung.cut))
        self._precisions[rung.cut] = found.tuned.precision
        return found
