"""The backbone of a run: the one that is asked for or planned, or the winner of a race where there are several."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from headstart import records
from headstart.backbones.backbone import Backbone
from headstart.backbones.catalogue import DEFAULT_BACKBONE, find_backbone
from headstart.backbones.entries import listed_licence
from headstart.backbones.licences import require_licence
from headstart.data import Dataset, Protocol
from headstart.errors import HeadstartError, RunError
from headstart.features.compiling import compile_trunk
from headstart.features.engine import CompiledTrunk, Say
from headstart.features.extract import probe_trunk
from headstart.features.latency import latency
from headstart.planning.backbone_race import FILE, BackboneRace, Course, forecast, pace_of, race
from headstart.planning.entrants import (
    Entrants,
    Named,
    label_of,
    open_each,
    read_names,
    usual_names,
    weight_of,
    work_of,
)
from headstart.planning.limits import Cost, Limits, within
from headstart.planning.long_images import squash_rule, typical_loss
from headstart.planning.options import Options
from headstart.planning.plan import Decision, Plan
from headstart.planning.rule_table import ASKED_SHARE, LEAST_RACE, USUAL_SHARE
from headstart.runs import Progress, Run, Stopwatch
from headstart.runs.budget import Countdown
from headstart.training.gathering import examples_of, extract_all


@dataclass(frozen=True, eq=False)
class BackboneChoice:
    """What a run goes on with.

    Attributes
    ----------
    dataset:
        As it came, or without the images that a race found to be undecodable.
    race:
        ``None`` where there was none.
    decisions:
        What a plan says of it; empty where nobody had to choose.
    """

    backbone: Backbone
    dataset: Dataset
    race: BackboneRace | None = None
    decisions: tuple[Decision, ...] = ()

    def told(self, plan: Plan) -> Plan:
        """The plan with what was considered, and why this backbone at this image size, and with this view of images."""
        settled = {decision.key for decision in self.decisions}
        if self.race is not None:
            plan = replace(plan, considered=self.race.considered)
            settled.add("image_size")  # it was raced
        rest = (decision for decision in plan.decisions if decision.key not in settled)
        return replace(plan, decisions=(*self.decisions, *rest))


@dataclass(frozen=True, eq=False)
class Chooser:
    """What choosing needs of a run.

    Attributes
    ----------
    protocol_of:
        Gives each image that can be decoded its part; those that test are never looked at here.
    run:
        Where the record of a race is kept, and taken over after an interruption; ``None`` keeps none.
    countdown:
        ``None`` gives all the time.
    """

    options: Options
    protocol_of: Callable[[Dataset, Options], tuple[Dataset, Protocol]]
    run: Run | None
    countdown: Countdown | None
    clock: Stopwatch
    progress: Progress
    say: Say

    def choose(self, dataset: Dataset, entrants: Entrants) -> BackboneChoice:
        """The only entrant, or the winner of a race; either is within the limits, and long images are squashed for it.

        The usual backbones race only where data and time allow it: of a test by nested folds every image has a part in
        every choice, so there nothing can be chosen by labels beforehand.

        Raises
        ------
        OptionError
            If no entrant is within the limits.
        """
        entrants, decisions = self._for_long_images(dataset, entrants)
        choice = self._chosen(dataset, entrants)
        return replace(choice, decisions=(*choice.decisions, *decisions))

    def _for_long_images(self, dataset: Dataset, entrants: Entrants) -> tuple[Entrants, tuple[Decision, ...]]:
        """The entrants, squashing images where these are long, and that decision; a plan that is given has decided."""
        if entrants.planned or all(one.preprocessing.aspect == "squash" for one in entrants.backbones):
            return entrants, ()
        decision = squash_rule(typical_loss(dataset, seed=self.options.seed))
        if decision is None:
            return entrants, ()
        self.say(decision.reason)
        return replace(entrants, backbones=tuple(one.taking("squash") for one in entrants.backbones)), (decision,)

    def _chosen(self, dataset: Dataset, entrants: Entrants) -> BackboneChoice:
        light = Limits(size=self._limits.size)  # known at once, as latencies are not
        within(light, {label_of(one): Cost(weight_of(one)) for one in entrants.backbones})
        if len(entrants.backbones) == 1:
            return self._alone(dataset, entrants.backbones[0])
        if self.run is not None and self.run.path(FILE).is_file():
            return self._taken_over(dataset, entrants, self.run.path(FILE))
        asked = self.options.backbones is not None
        if not asked and self.run is not None and self.run.resumed and self.run.path("model").exists():
            return self._alone(dataset, entrants.backbones[0])  # the interrupted run went on without a race
        with self.clock.section("backbones"):
            return self._raced(dataset, entrants, asked=asked)

    def _raced(self, dataset: Dataset, entrants: Entrants, *, asked: bool) -> BackboneChoice:
        ordered: Sequence[Backbone] = sorted(entrants.backbones, key=work_of)
        compiled = self._first_that_runs(ordered)
        dataset, table = extract_all(dataset, compiled, self.progress, self.say)
        split, protocol = self.protocol_of(dataset, self.options)
        if protocol.test == "nested":
            return self._alone(dataset, entrants.backbones[0])
        seed, columns = self.options.seed, compiled.trunk.columns
        examples = examples_of(split, table, columns, protocol, seed)
        course = Course(split, examples, self._compiled, self.progress, self.say, seed)
        seconds, racing = self._seconds(asked), ordered
        slow: tuple[str, ...] = ()
        if not asked:
            racing, slow, needed = _affordable(ordered, course, compiled, seconds)
            if len(racing) == 1:
                return self._without_time(dataset, entrants.backbones[0], needed, seconds)
        found = race(racing, course, limits=self._limits, seconds=seconds)
        left_out = (*entrants.left_out, *slow, *found.left_out)
        found = replace(found, left_out=left_out, by_clock=found.by_clock or bool(slow))
        if self.run is not None:
            self.run.write(FILE, found)
        return _won(dataset, entrants, found)

    def _alone(self, dataset: Dataset, backbone: Backbone) -> BackboneChoice:
        if self._limits.latency is not None:
            cost = Cost(weight_of(backbone), latency(self._compiled(backbone)))
            within(self._limits, {label_of(backbone): cost})
        return BackboneChoice(backbone, dataset)

    def _taken_over(self, dataset: Dataset, entrants: Entrants, path: Path) -> BackboneChoice:
        """What the race of an interrupted run has found, if its winner can still be loaded."""
        found = records.from_json(BackboneRace, path.read_bytes(), where=str(path))
        return _won(dataset, entrants, found)

    def _without_time(self, dataset: Dataset, usual: Backbone, needed: float, seconds: float) -> BackboneChoice:
        reason = (
            f"the usual one: a comparison would take about {needed:.0f} s, and {seconds:.0f} s of the time are for it"
        )
        numbers = {"seconds": needed, "seconds_given": seconds}
        decision = Decision("backbone", "empirical", label_of(usual), reason, numbers, by_clock=True)
        return replace(self._alone(dataset, usual), decisions=(decision,))

    def _first_that_runs(self, ordered: Sequence[Backbone]) -> CompiledTrunk:
        """The compiled trunk of the one with the least work: it finds out which images can be decoded."""
        for backbone in ordered[:-1]:
            with contextlib.suppress(HeadstartError):  # the race says why
                return self._compiled(backbone)
        return self._compiled(ordered[-1])

    def _seconds(self, asked: bool) -> float:
        share = ASKED_SHARE if asked else USUAL_SHARE
        return math.inf if self.countdown is None else self.countdown.left_for(share)

    @property
    def _limits(self) -> Limits:
        return self.options.limits()

    @functools.cached_property
    def _compiled(self) -> Callable[[Backbone], CompiledTrunk]:
        """Compiles each backbone once."""
        return functools.cache(
            lambda backbone: compile_trunk(probe_trunk(backbone), engine=self.options.engine, say=self.say)
        )


def entrants_of(options: Options, countdown: Countdown | None, say: Say) -> Entrants:
    """The backbones that a run may use.

    Those that are named; or the one that is asked for or planned; or, where nothing is said and a budget leaves the
    time to compare them, the usual ones, the default first.

    Parameters
    ----------
    countdown:
        Of the budget; ``None`` where nothing climbs.

    Raises
    ------
    HeadstartError
        If none can be loaded, or may be used.
    """
    open_one = partial(_licensed, options, say)
    if options.backbones is not None:
        return open_each(read_names(options.backbones, options.image_size), open_one, say)
    unsaid = options.backbone is None and options.image_size is None
    if unsaid and countdown is not None and countdown.left_for(USUAL_SHARE) >= LEAST_RACE:
        return open_each(usual_names(), open_one, say)
    return open_each([Named(options.backbone or DEFAULT_BACKBONE, options.image_size)], open_one, say)


def _licensed(options: Options, say: Say, name: str, size: int | None) -> Backbone:
    """The backbone, if its licence is allowed; one that the catalogue lists is refused before anything is fetched."""
    if listed := listed_licence(name):
        require_licence(name, listed, options.licence)
    backbone = find_backbone(name, size=size, channels=options.channels)
    if terms := require_licence(backbone.name, backbone.licence, options.licence):
        say(terms)
    return backbone


def _won(dataset: Dataset, entrants: Entrants, found: BackboneRace) -> BackboneChoice:
    winner = next((one for one in entrants.backbones if label_of(one) == found.label), None)
    if winner is None:
        raise RunError(f"the run that was interrupted chose {found.label}, which can't be loaded any more: begin anew")
    return BackboneChoice(winner, dataset, found, (found.decision(),))


def _affordable(
    ordered: Sequence[Backbone], course: Course, compiled: CompiledTrunk, seconds: float
) -> tuple[Sequence[Backbone], tuple[str, ...], float]:
    """As many of two or more backbones as the time holds; a sentence on the others; and what two would take.

    Parameters
    ----------
    ordered:
        Least work first; always one of them is given back.
    compiled:
        The trunk of the first.
    """
    pace, rows, classes = pace_of(course, compiled, latency(compiled)), len(course.examples), course.examples.classes
    needed = {count: forecast(ordered[:count], pace, rows, classes) for count in range(2, len(ordered) + 1)}
    most = max((count for count, needs in needed.items() if needs <= seconds), default=1)
    others = ", ".join(label_of(one) for one in ordered[most:])
    said = f"{others}: left out, since with them a comparison would take about {needed[len(ordered)]:.0f} s"
    return ordered[:most], (f"{said}, and {seconds:.0f} s are for it",) if others else (), needed[2]
