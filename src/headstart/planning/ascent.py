"""A fit within a budget: look at the data, draft the plan, climb as far as the time and the gains allow."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

from headstart import records
from headstart.backbones.backbone import Backbone
from headstart.data import Dataset
from headstart.features.engine import CompiledTrunk, Say
from headstart.planning.climbing import Climb, Ladder
from headstart.planning.drafting import Wanted, draft_plan
from headstart.planning.fine_tuning import Site, fine_tune_rung, in_planned
from headstart.planning.fingerprint import Fingerprint, fingerprint
from headstart.planning.limits import Cost
from headstart.planning.options import Options
from headstart.planning.plan import (
    FILE,
    DataIdentity,
    Plan,
    PlannedRung,
    identify,
    read_plan,
    require_backbone,
    require_same_data,
)
from headstart.planning.situation import Situation
from headstart.planning.surveying import situation_of, timings_of
from headstart.planning.tuning import TunedRung
from headstart.runs import Progress
from headstart.runs.budget import Countdown
from headstart.training.examples import Examples

# Images that are decoded for the fingerprint of a fit: their sizes and colours are known well enough from these.
_LOOKED_AT = 2000


def climb_within(site: Site, options: Options, compiled: CompiledTrunk, countdown: Countdown) -> Climb:
    """Write ``fingerprint.json`` and ``plan.json``, and climb.

    Parameters
    ----------
    compiled:
        The trunk that the probes were fitted on.

    Raises
    ------
    OptionError
        If the plan that is given was made for other data, or another backbone.
    """
    situation = situation_of(
        _fingerprint(site, options),
        site.examples,
        site.climbed,
        site.backbone,
        given=site.given,
        trainable=can_train(),
    )
    if options.plan is not None:
        plan = read_plan(Path(options.plan))
        require_same_data(plan, identity_of(site.dataset))
        require_backbone(plan, len(site.backbone.stages))
    else:
        plan = draft(site.dataset, site.examples, site.backbone, compiled, situation, options, countdown)
    site.run.write(FILE, plan)
    for decision in plan.decisions:
        if decision.key in ("tuning", "rungs"):
            site.say(decision.reason)
    parameters = sum(stage.parameters for stage in site.backbone.stages)
    ladder = Ladder(
        plan,
        site.climbed,
        site.examples,
        situation,
        tune=lambda rung: _tune(site, options, rung, countdown),
        countdown=countdown,
        cost=Cost(4 * parameters),
        say=site.say,
    )
    return ladder.climb()


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
        at_most=_LOOKED_AT,
        seed=options.seed,
        progress=progress,
        say=say,
    )


def draft(
    dataset: Dataset,
    examples: Examples,
    backbone: Backbone,
    compiled: CompiledTrunk,
    situation: Situation,
    options: Options,
    countdown: Countdown,
) -> Plan:
    """Time each cut, and let the rules draft a plan for what is left of the budget."""
    timings = timings_of(dataset, examples, backbone, compiled) if situation.trainable else {}
    wanted = Wanted(backbone.name, options.metric, countdown.budget, options.quality, None, None, options.seed)
    return draft_plan(wanted, identity_of(dataset), situation, timings, countdown.remaining())


def identity_of(dataset: Dataset) -> DataIdentity:
    """Which images a plan is for."""
    columns = [dataset.table.column(name).to_pylist() for name in ("hash", "label", "group")]
    return identify(dataset.name, dataset.classes, *columns)


def _fingerprint(site: Site, options: Options) -> Fingerprint:
    """The fingerprint; what an interrupted run had found is taken over."""
    path = site.run.path("fingerprint.json")
    if path.is_file():
        return records.from_json(Fingerprint, path.read_bytes(), where=str(path))
    found = look(site.dataset, site.examples, site.backbone, options, site.progress, site.say)
    site.run.write("fingerprint.json", found)
    return found


def _tune(site: Site, options: Options, rung: PlannedRung, countdown: Countdown) -> TunedRung:
    """One rung, which ends with the time."""
    timed = dataclasses.replace(site, stop=lambda: site.stop() or not countdown.holds(0.0))
    rate = f"-{rung.rate:g}" if rung.rate else ""
    return fine_tune_rung(timed, in_planned(options, rung), site.run.path(f"rungs/{rung.strategy}-{rung.cut}{rate}"))
