"""A fit within a budget: look at the data, draft the plan, climb as far as the time and the gains allow."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

from headstart import records
from headstart.features.engine import CompiledTrunk
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
from headstart.runs.budget import Countdown

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
    found = _look(site, options)
    trainable = importlib.util.find_spec("lightning") is not None
    situation = situation_of(found, site.examples, site.climbed, site.backbone, given=site.given, trainable=trainable)
    plan = _plan(site, options, situation, compiled, countdown)
    site.run.write(FILE, plan)
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


def _look(site: Site, options: Options) -> Fingerprint:
    """The fingerprint of the development rows; what an interrupted run had found is taken over."""
    path = site.run.path("fingerprint.json")
    if path.is_file():
        return records.from_json(Fingerprint, path.read_bytes(), where=str(path))
    found = fingerprint(
        site.dataset.select(site.examples.places),
        preprocessing=site.backbone.preprocessing,
        channels=options.channels,
        at_most=_LOOKED_AT,
        seed=options.seed,
        progress=site.progress,
        say=site.say,
    )
    site.run.write("fingerprint.json", found)
    return found


def _plan(site: Site, options: Options, situation: Situation, compiled: CompiledTrunk, countdown: Countdown) -> Plan:
    """The plan that is given, if it is one for these data and this backbone; else the one that the rules draft."""
    if options.plan is not None:
        plan = read_plan(Path(options.plan))
        require_same_data(plan, _identity(site))
        require_backbone(plan, len(site.backbone.stages))
        return plan
    timings = timings_of(site.dataset, site.examples, site.backbone, compiled) if situation.trainable else {}
    wanted = Wanted(site.backbone.name, options.metric, countdown.budget, options.quality, None, None, options.seed)
    return draft_plan(wanted, _identity(site), situation, timings, countdown.remaining())


def _identity(site: Site) -> DataIdentity:
    dataset = site.dataset
    columns = [dataset.table.column(name).to_pylist() for name in ("hash", "label", "group")]
    return identify(dataset.name, dataset.classes, *columns)


def _tune(site: Site, options: Options, rung: PlannedRung, countdown: Countdown) -> TunedRung:
    """One rung, which ends with the time."""
    timed = dataclasses.replace(site, stop=lambda: site.stop() or not countdown.holds(0.0))
    rate = f"-{rung.rate:g}" if rung.rate else ""
    return fine_tune_rung(timed, in_planned(options, rung), site.run.path(f"rungs/{rung.strategy}-{rung.cut}{rate}"))
