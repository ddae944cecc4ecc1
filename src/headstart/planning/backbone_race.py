"""Backbones and image sizes raced at the linear probe before any cut, the better half of them on ever more images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart.backbones.backbone import Backbone
from headstart.data import Dataset
from headstart.errors import HeadstartError
from headstart.features.engine import CompiledTrunk, Say, cpu_count
from headstart.features.extract import extract
from headstart.features.latency import latency
from headstart.features.store import Store
from headstart.imaging import load_view
from headstart.planning.backbone_ranking import Evidence, Ranking, gather, rank, sample
from headstart.planning.entrants import label_of, weight_of, work_of
from headstart.planning.limits import NO_LIMITS, Cost, Limits, within
from headstart.planning.plan import Considered, Decision
from headstart.planning.rule_table import (
    FINALISTS,
    LEAST_RACE_ROWS,
    MOST_RACE_ROWS,
    PROBE_SECONDS,
    RACE_STARTUP,
    USUAL_CLASSES,
)
from headstart.runs import Progress
from headstart.runs.budget import Budget, Countdown
from headstart.training.examples import Examples

FILE = "backbones.json"
# Images that decoding is timed on.
_TIMED = 16


@dataclass(frozen=True)
class Round:
    """Who was compared on how many images; the better half went on."""

    images: int
    backbones: tuple[str, ...]


@dataclass(frozen=True)
class BackboneRace:
    """``backbones.json``: what was compared, how, and what came out.

    Attributes
    ----------
    backbone, image_size:
        The winner, and the side of its input in pixels.
    considered:
        All that were probed, those that went furthest first. Each has the scores of the last round that it was in, so
        that those of the last round alone are scores on the same images.
    ranking:
        Of the last round.
    rounds:
        All of them; in the first one also backbones that are beyond the limits, and were only looked at.
    left_out:
        What was not compared, a sentence each.
    by_clock:
        Whether a faster machine, or more time, would have compared more.
    """

    backbone: str
    image_size: int
    considered: tuple[Considered, ...]
    ranking: Ranking
    rounds: tuple[Round, ...]
    left_out: tuple[str, ...]
    by_clock: bool

    @property
    def label(self) -> str:
        """The winner as :func:`headstart.planning.entrants.label_of` has it."""
        return f"{self.backbone}@{self.image_size}"

    def decision(self) -> Decision:
        """What a plan says of it."""
        first = self.ranking.backbones[0]
        numbers = {"log_loss": first.log_loss, "accuracy": first.accuracy, "images": float(self.ranking.rows)}
        if first.best is not None:
            numbers["best"] = first.best
        reason = "; ".join((self.ranking.sentence, *self.left_out))
        return Decision("backbone", "empirical", self.label, reason, numbers, self.by_clock)


@dataclass(frozen=True, eq=False)
class Course:
    """Where backbones race.

    Attributes
    ----------
    dataset:
        All images; only those of ``examples`` are read.
    examples:
        The development rows with their folds. Whose features they have plays no part.
    compile:
        Makes a trunk with the output ``features`` run.
    """

    dataset: Dataset
    examples: Examples
    compile: Callable[[Backbone], CompiledTrunk]
    progress: Progress
    say: Say
    seed: int


@dataclass(frozen=True)
class Pace:
    """Seconds of one core for an image: to decode it, and to run the network."""

    decoding: float
    running: float

    @property
    def seconds(self) -> float:
        """For one image of many, which all cores share."""
        return (self.decoding + self.running) / cpu_count()

    def times(self, factor: float) -> Pace:
        """Of a network with so many times the work."""
        return Pace(self.decoding, self.running * factor)


def race(
    entrants: Sequence[Backbone],
    course: Course,
    *,
    limits: Limits = NO_LIMITS,
    seconds: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> BackboneRace:
    """Find the backbone whose linear probe loses least on rows that it has not seen.

    By successive halving (Jamieson and Talwalkar 2016): all are compared on some development rows, the better half on
    about twice as many that contain these, and so on, until the last :data:`FINALISTS` meet on at most
    :data:`MOST_RACE_ROWS`. A round is decided as :func:`rank` decides: by losses, and by other scores where these are
    tied.

    Parameters
    ----------
    entrants:
        In any order. The one with the least work that is within the limit of size runs whatever the time.
    limits:
        What is beyond them takes part in the first round, to be seen, and is never chosen.
    seconds:
        What the race may take, and after it the features of all images. A backbone for which that is too short is left
        out; so is a round that does not fit, and the one before it decides.
    clock:
        Seconds from any fixed moment on.

    Raises
    ------
    OptionError
        If no backbone is within the limits.
    HeadstartError
        If none can be compiled, or run.
    """
    found = _Race(course, seconds, clock)
    nested = nested_samples(course.examples, round_sizes(len(entrants), len(course.examples)), course.seed)
    found.line_up(sorted(entrants, key=lambda one: (_is_too_large(one, limits), work_of(one))), len(nested[0]))
    field = list(within(limits, {name: runner.cost for name, runner in found.runners.items()}))
    found.leave_out_beyond(limits, field)
    found.run([*field, *(name for name in found.runners if name not in field)], nested[0])
    field = [name for name in field if name in found.runners]
    for examples in nested[1:]:
        better = [one.name for one in found.ranking(field).backbones[: _half(len(field))]]
        if len(better) < FINALISTS or not found.has_time(better, examples):
            break
        found.run(better, examples)
        field = [name for name in better if name in found.runners]
    return found.record(field)


def round_sizes(entrants: int, rows: int) -> tuple[int, ...]:
    """How many images each round has, ascending: at most :data:`MOST_RACE_ROWS`, and each about half of the next.

    Parameters
    ----------
    entrants:
        How many there are: halved from round to round, they are :data:`FINALISTS` or fewer in the last.
    rows:
        How many images there are.
    """
    rounds, left = 1, entrants
    while left > FINALISTS:
        rounds, left = rounds + 1, _half(left)
    wished = (max(LEAST_RACE_ROWS, MOST_RACE_ROWS >> later) for later in reversed(range(rounds)))
    return tuple(dict.fromkeys(min(rows, size) for size in wished))


def nested_samples(examples: Examples, sizes: Sequence[int], seed: int) -> list[Examples]:
    """Samples of about these sizes, ascending; each contains the ones before it, and no two are equal."""
    found: list[Examples] = []
    for size in reversed(sizes):
        examples = sample(examples, size, seed=seed)
        if not found or len(examples) < len(found[-1]):
            found.append(examples)
    return found[::-1]


def forecast(entrants: Sequence[Backbone], pace: Pace, rows: int, classes: int) -> float:
    """Seconds that a race takes at most, the features of the entrant with the least work being there already.

    Parameters
    ----------
    pace:
        Of that one, as :func:`pace_of` measured it here.
    rows, classes:
        How many development images there are, and of how many classes.
    """
    ordered = sorted(entrants, key=work_of)
    paces = [pace.times(work_of(one) / work_of(ordered[0])) for one in ordered[1:]]
    seconds, left, done = RACE_STARTUP * len(paces), len(entrants), 0
    for images in round_sizes(len(entrants), rows):
        seconds += sum(slow.seconds for slow in paces[-left:]) * (images - done) + probe_seconds(images, classes) * left
        left, done = _half(left), images
    return seconds


def pace_of(course: Course, compiled: CompiledTrunk, running: float) -> Pace:
    """How fast a backbone is here, from decoding a few development images.

    Parameters
    ----------
    running:
        Seconds of the network for one image; see :func:`headstart.features.latency.latency`.
    """
    some = course.dataset.select(course.examples.places[:_TIMED])
    started = time.perf_counter()
    for row, name in enumerate(some.files):
        load_view(some.read(row), compiled.trunk.backbone.preprocessing, name)
    return Pace((time.perf_counter() - started) / len(some), running)


@dataclass(frozen=True, eq=False)
class _Runner:
    """A backbone that can run."""

    backbone: Backbone
    compiled: CompiledTrunk
    cost: Cost
    pace: Pace


class _Race:
    """What has happened so far: who runs, what they showed last, and what was left out."""

    def __init__(self, course: Course, seconds: float, clock: Callable[[], float]) -> None:
        self.runners: dict[str, _Runner] = {}
        self.evidence: dict[str, Evidence] = {}
        self._rounds: list[Round] = []
        self._left_out: list[str] = []
        self._by_clock = False
        self._course, self._seconds = course, seconds
        budget = Budget(None if math.isinf(seconds) else max(seconds, 1e-3))
        self._countdown = Countdown(budget, clock(), 0.0, clock)

    def line_up(self, ordered: Sequence[Backbone], rows: int) -> None:
        """Compile and time all that can run and have the time for a round of so many images, in this order."""
        promised, failure = 0.0, None
        for backbone in ordered:
            name = label_of(backbone)
            if self.runners and not self._countdown.holds(promised + RACE_STARTUP):
                self._leave_out(f"{name} is left out: the time for the comparison is over", by_clock=True)
                continue
            try:
                runner = self._runner(backbone)
            except HeadstartError as error:
                failure = error
                self._leave_out(f"{name} is left out: {error}")
                continue
            alone, whole = self._seconds_of(runner, rows, rows), runner.pace.seconds * len(self._course.dataset)
            left = max(0.0, self._countdown.remaining() - promised)
            if self.runners and (whole > self._seconds or alone > left):
                takes = f"about {alone:.0f} s for {rows} images and {whole:.0f} s for all"
                given = f"{left:.0f} of {self._seconds:.0f} s are left"
                self._leave_out(f"{name} is left out as too slow: it takes {takes}, and {given}", by_clock=True)
                continue
            promised += alone
            self.runners[name] = runner
        if not self.runners and failure is not None:
            raise failure

    def leave_out_beyond(self, limits: Limits, allowed: Sequence[str]) -> None:
        """Say which of them will only be looked at."""
        for name, runner in self.runners.items():
            if name not in allowed:
                self._leave_out(f"{name} takes {runner.cost}, beyond {limits}")

    def run(self, names: Sequence[str], examples: Examples) -> None:
        """One round; who fails in it is left out. Raises the last failure if nobody is left."""
        failure = None
        for name in names:
            try:
                self.evidence[name] = self._probed(name, examples)
            except HeadstartError as error:
                failure = error
                self._leave_out(f"{name} is left out: {error}")
                del self.runners[name]
                self.evidence.pop(name, None)
        if failure is not None and not any(name in self.runners for name in names):
            raise failure
        self._rounds.append(Round(len(examples), tuple(names)))

    def has_time(self, names: Sequence[str], examples: Examples) -> bool:
        """Whether a next round of these fits; where it does not, that is kept as a reason."""
        done, images = self._rounds[-1].images, len(examples)
        needed = sum(self._seconds_of(self.runners[name], images - done, images) for name in names)
        if self._countdown.holds(needed):
            return True
        self._leave_out(f"a round of {images} images would take about {needed:.0f} s more, too long", by_clock=True)
        return False

    def ranking(self, names: Sequence[str]) -> Ranking:
        """The order of some of them, by what they showed last."""
        return rank([self.evidence[name] for name in names], seed=self._course.seed)

    def record(self, field: Sequence[str]) -> BackboneRace:
        """What came out; the field met in the last round."""
        ranking = self.ranking(field)
        self._course.say(ranking.sentence)
        names = [one.name for one in ranking.backbones]
        others = [name for name in self.evidence if name not in names]
        others.sort(key=lambda name: (-len(self.evidence[name].rows), float(self.evidence[name].losses.mean())))
        preprocessing = self.runners[names[0]].backbone.preprocessing
        return BackboneRace(
            self.runners[names[0]].backbone.name,
            preprocessing.size,
            tuple(self._considered(name, chosen=name == names[0]) for name in (*names, *others)),
            ranking,
            tuple(self._rounds),
            tuple(self._left_out),
            self._by_clock,
        )

    def _runner(self, backbone: Backbone) -> _Runner:
        compiled = self._course.compile(backbone)
        running = latency(compiled)
        cost = Cost(weight_of(backbone), running)
        return _Runner(backbone, compiled, cost, pace_of(self._course, compiled, running))

    def _probed(self, name: str, examples: Examples) -> Evidence:
        course, compiled = self._course, self.runners[name].compiled
        some = course.dataset.select(examples.places)
        with Store.default(course.say) as store:
            extraction = extract(some.read, some.files, some.hashes, compiled, store, course.progress)
        columns, places = compiled.trunk.columns, np.arange(len(examples))
        own = replace(examples, table=extraction.whole(), places=places, columns=columns)
        return gather(name, own, seed=course.seed)

    def _considered(self, name: str, *, chosen: bool) -> Considered:
        runner, shown = self.runners[name], self.evidence[name]
        return Considered(
            runner.backbone.name,
            runner.backbone.preprocessing.size,
            float(shown.correct.mean()),
            float(shown.losses.mean()),
            runner.cost.size,
            runner.cost.latency,
            chosen,
        )

    def _seconds_of(self, runner: _Runner, new: int, images: int) -> float:
        """Seconds of a round of so many images, of which some are new to it."""
        return runner.pace.seconds * new + probe_seconds(images, self._course.examples.classes)

    def _leave_out(self, reason: str, *, by_clock: bool = False) -> None:
        self._left_out.append(reason)
        self._by_clock |= by_clock
        self._course.say(reason)


def probe_seconds(images: int, classes: int) -> float:
    """About what a probe of so many images takes, once their features are there."""
    return PROBE_SECONDS * images * max(1.0, classes / USUAL_CLASSES)


def _half(entrants: int) -> int:
    """How many of so many go on."""
    return min(entrants, max(FINALISTS, math.ceil(entrants / 2)))


def _is_too_large(backbone: Backbone, limits: Limits) -> bool:
    return limits.size is not None and weight_of(backbone) > limits.size
