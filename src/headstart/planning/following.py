"""What counts where a run follows a plan: a person's wishes before the plan's, and what its numbers rest on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from headstart.backbones.names import full_name
from headstart.errors import OptionError
from headstart.features.engine import Say
from headstart.planning.entrants import Entrants
from headstart.planning.options import Options
from headstart.planning.plan import Decision, Plan, PlannedRung, read_plan

# A person's to choose at any time: the command line's where given, else the plan's.
_WISHES = ("budget", "quality", "max_size", "max_latency")
# What the plan's rungs and numbers rest on: the plan's, which the command line must not contradict.
_BASIS = ("metric", "seed", "backbone", "image_size")
_WAYS = {"crop": "cut to their middle", "squash": "squashed"}


def followed(options: Options, plan: Plan | None = None) -> tuple[Options, Plan | None]:
    """The options as they count, checked, and the plan as this run follows it; ``None`` where none is given.

    Done twice, it changes nothing more. An option that has its default says nothing, so the plan's value counts.

    Parameters
    ----------
    plan:
        By default read from the file that the options name.

    Raises
    ------
    OptionError
        If an option can't be, or contradicts the plan.
    RecordError
        If the plan can't be.
    """
    options.check()
    if plan is None and options.plan is not None:
        plan = read_plan(Path(options.plan))
    if plan is None:
        return options, None
    for name in _BASIS:
        _require_agreement(name, getattr(options, name), getattr(plan, name))
    wishes = {name: getattr(options, name) or getattr(plan, name) for name in _WISHES}
    basis = {name: getattr(plan, name) for name in _BASIS}
    options = dataclasses.replace(options, **wishes, **basis)
    options.check()
    return options, dataclasses.replace(
        plan, **wishes, rungs=tuple(map(_untimed, plan.rungs)), decisions=_still_true(plan)
    )


def as_planned(entrants: Entrants, plan: Plan, say: Say) -> Entrants:
    """The plan's backbone, taking images that are not square as the plan says; what it rests on is said.

    Raises
    ------
    OptionError
        If the plan's cuts were made for another backbone than it names.
    """
    (backbone,) = entrants.backbones
    stages, aspect = len(backbone.stages), backbone.preprocessing.aspect
    if plan.stages != stages:
        raise OptionError(
            f"the plan cuts a backbone of {plan.stages} stages, and {plan.backbone} has {stages}: plan again for it"
        )
    say(f"as the plan says: {plan.backbone} at {plan.image_size} pixels, judged by {plan.metric}, seed {plan.seed}")
    if plan.crop != aspect:
        say(f"as the plan says, images that are not square are {_WAYS[plan.crop]}, not {_WAYS[aspect]}")
        backbone = backbone.taking(plan.crop)
    return dataclasses.replace(entrants, backbones=(backbone,), planned=True)


def _require_agreement(name: str, asked: Any, planned: Any) -> None:
    silent = asked == getattr(Options(), name)
    if not silent and full_name(str(asked)) != full_name(str(planned)):
        flag, basis = f"--{name.replace('_', '-')}", f"whose numbers rest on {planned}"
        raise OptionError(f"{flag} {asked} contradicts the plan, {basis}: leave the option out, or plan again with it")


def _still_true(plan: Plan) -> tuple[Decision, ...]:
    """The decisions that hold for who follows the plan: which rungs there are it says itself, and times count anew."""
    names = ", ".join(rung.name for rung in plan.rungs) or "none"
    given = Decision("rungs", "fixed", names, "as the plan that is followed has them")
    return (*(one for one in plan.decisions if one.key != "rungs" and not one.key.endswith(".epochs")), given)


def _untimed(rung: PlannedRung) -> PlannedRung:
    """The rung to be timed here: the plan may come from another machine, or may have been edited since."""
    return dataclasses.replace(rung, seconds=None) if rung.stays_at_its_cut else rung
