"""The same fit with other seeds and splits: the mean of each score, and how much of it is luck."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headstart.data import Source
from headstart.errors import OptionError, RunError
from headstart.features.engine import Say
from headstart.planning.following import followed
from headstart.planning.options import Options
from headstart.planning.plan import Plan
from headstart.records import from_json
from headstart.runs import Progress, Run
from headstart.runs.budget import Budget, Countdown
from headstart.runs.record import FILE as RUN_FILE
from headstart.runs.record import RunRecord, read_record
from headstart.workflow import fit

FILE = "repeats.json"
SCHEMA = 1
# Scores that may exceed 1; none is below 0.
_UNBOUNDED = ("log_loss", "brier")
# The least share of a budget, in seconds: one that is spent already still lets the cheapest fit run.
_LEAST_SHARE = 0.1
# Sections of a fit that end with its budget, or cost nothing the second time.
_CUT_SHORT = ("backbones", "climb", "features")
_COVERS = {
    "given": "The same images test every time, so the intervals cover the luck of training and of what validation held "
    "out, but not which images test: for that see the intervals of the run itself.",
    "nested": "Every image is judged every time, so the intervals cover the luck of folds and of training, but not "
    "which images there are: for that see the intervals of the run itself.",
    "held_out": "Other images are held out as the test each time, so the intervals cover the luck of that split and of "
    "training, widened as the training images overlap (Nadeau and Bengio 2003).",
}

_LOG = logging.getLogger("headstart")


@dataclass(frozen=True)
class Repeat:
    """One fit.

    Attributes
    ----------
    folder:
        Within the run folder; ``.`` is the run itself.
    chosen:
        The rung that was chosen, as ``ladder.json`` names it.
    seconds:
        Of the whole fit.
    scores:
        Of the test rows, or of the nested estimate that replaces them; ``None`` where one is undefined on these rows.
    """

    seed: int
    folder: str
    chosen: str
    seconds: float
    scores: dict[str, float | None]


@dataclass(frozen=True)
class Spread:
    """How a score varies between fits.

    Attributes
    ----------
    repeats:
        In how many of them it is defined.
    mean, lowest, highest:
        Over these.
    sd:
        The standard deviation between them (n - 1); ``None`` for a single one, as is the interval.
    ci95:
        95 % interval of the mean; :func:`spread_of` says how it is found, :attr:`RepeatsRecord.covers` what it covers.
        ``None`` where all are equal: few fits that happen to agree don't show that others would.
    """

    repeats: int
    mean: float
    sd: float | None
    ci95: tuple[float, float] | None
    lowest: float
    highest: float


@dataclass(frozen=True)
class RepeatsRecord:
    """``repeats.json``: the fits of one command, and how each score varies between them.

    Attributes
    ----------
    asked:
        How many fits were asked for; fewer are listed where the time was too short, or until all are done.
    metric:
        What governed every choice.
    test:
        Where the rows that test come from, as in ``metrics.json``.
    test_to_train:
        Rows that test for each that trains, where they are drawn anew; 0 where the same ones test every time.
    covers:
        What the intervals cover, in a sentence.
    """

    schema: int
    asked: int
    metric: str
    test: Literal["given", "held_out", "nested"]
    test_to_train: float
    covers: str
    repeats: tuple[Repeat, ...]
    scores: dict[str, Spread]
    notes: tuple[str, ...] = ()


def read_repeats(path: Path) -> RepeatsRecord:
    """Read ``repeats.json``; raises :class:`headstart.errors.RecordError` if it is damaged."""
    return from_json(RepeatsRecord, path.read_bytes(), where=str(path))


def fit_repeatedly(
    source: Source,
    options: Options | None = None,
    repeats: int = 1,
    *,
    plan: Plan | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    say: Say = _LOG.warning,
    deliver: Callable[[Run], None] = lambda run: None,
    stop: Callable[[], bool] = lambda: False,
    countdown: Countdown | None = None,
) -> Run:
    """Fit as :func:`headstart.workflow.fit` does, then as often again with other seeds, and say how the scores vary.

    The first fit is the run itself, and its model the one that is kept. The others have the seeds that follow its own,
    and with them other folds, other splits where headstart draws them, and other training; they lie in
    ``repeats/seed-<seed>`` of the run folder and read features from the same store. ``repeats.json`` has the outcome.

    A budget is shared: each fit gets an equal part of what the ones before it have left. A fit that would not end in
    time is left out, and that is said.

    Parameters
    ----------
    repeats:
        How many fits, the first included; with 1 this is :func:`headstart.workflow.fit`.
    deliver:
        Called once, when all fits are written, and before the run counts as finished.
    stop:
        As for a single fit; between fits it ends the command, and the same call goes on from there.
    source, options, plan, out, progress, say, countdown:
        As for a single fit; of a plan, the fits after the first take another seed.

    Notes
    -----
    A call that was interrupted goes on in the same folder: of the fits after the first, those that are finished are not
    run again. The data must not have changed since.

    Raises
    ------
    headstart.errors.OptionError
        If ``repeats`` is below 1.
    headstart.errors.HeadstartError
        As a single fit does.
    """
    if repeats < 1:
        raise OptionError(f"{repeats} repeats are no fit: give 1 or more")
    options, plan = followed(options or Options(), plan)
    if options.strategy == "auto":
        countdown = countdown or Countdown.from_now(options.time())
    series = _Series(source, options, plan, repeats, progress, say, stop, countdown)

    def follow(run: Run) -> None:
        if repeats > 1:
            series.follow(run)
        deliver(run)

    share = countdown
    if countdown is not None and repeats > 1:
        waiting = repeats if out is None else sum(not done for done in series.finished_in(Path(out)))
        share = _share(countdown, waiting)
    return fit(
        source, options, plan=plan, out=out, progress=progress, say=say, deliver=follow, stop=stop, countdown=share
    )


@dataclass(frozen=True, eq=False)
class _Series:
    """The fits of one command."""

    source: Source
    options: Options
    plan: Plan | None
    repeats: int
    progress: Progress | None
    say: Say
    stop: Callable[[], bool]
    countdown: Countdown | None

    @property
    def seeds(self) -> range:
        return range(self.options.seed, self.options.seed + self.repeats)

    def finished_in(self, run: Path) -> list[bool]:
        """Which fits need not be run, by the states of their folders; the first one always is."""
        return [seed != self.options.seed and _is_finished(_folder(run, seed)) for seed in self.seeds]

    def follow(self, run: Run) -> None:
        """Run what is not finished yet, and write the record after each."""
        done = [_read(run.folder, run.folder, self.options.seed)]
        finished = self.finished_in(run.folder)
        left_out = 0
        for number, seed in enumerate(self.seeds[1:], start=1):
            folder = _folder(run.folder, seed)
            if finished[number]:
                _require_same_request(folder, run.record, seed)
            elif self._holds([run.folder / one.folder for one in done]):
                self._fit(seed, folder, number + 1, waiting=sum(not one for one in finished[number:]))
            else:
                left_out += 1
                continue
            done.append(_read(folder, run.folder, seed))
            run.write(FILE, summarise(run.folder, self.repeats, done))
        notes = tuple(self._notes(run.folder, done, left_out))
        for note in notes:
            self.say(note)
        run.write(FILE, summarise(run.folder, self.repeats, done, notes))

    def _notes(self, run: Path, done: Sequence[Repeat], left_out: int) -> Iterator[str]:
        """What the time did to the fits."""
        if left_out:
            yield f"{left_out} of {self.repeats} fits were left out: too little time was left; see --budget"
        if late := sum(_json(run / one.folder / "ladder.json").get("by_clock", False) for one in done):
            yield (
                f"{late} of {len(done)} fits had no time for all that they would have tried, so that they may differ "
                "by that alone; allow more with --budget"
            )

    def _fit(self, seed: int, folder: Path, number: int, *, waiting: int) -> None:
        """One fit, with its share of the time for as many as are waiting."""
        if self.stop():  # nobody asks any more
            raise KeyboardInterrupt
        name = f"fit {number} of {self.repeats}, seed {seed}"
        self.say(f"{name}, begins")
        fit(
            self.source,
            dataclasses.replace(self.options, seed=seed),
            plan=None if self.plan is None else dataclasses.replace(self.plan, seed=seed),
            out=folder,
            progress=self.progress,
            say=lambda line: self.say(f"{name}: {line}"),
            stop=self.stop,
            countdown=None if self.countdown is None else _share(self.countdown, waiting),
        )

    def _holds(self, done: Sequence[Path]) -> bool:
        """Whether a fit that ends at its probes would be over in time, by what those before it took for that."""
        return self.countdown is None or max(map(_least_seconds, done)) <= self.countdown.until_end()


def summarise(run: Path, asked: int, done: Sequence[Repeat], notes: tuple[str, ...] = ()) -> RepeatsRecord:
    """The record of some finished fits, the first of which lies in the folder ``run`` itself."""
    metrics, images = _json(run / "metrics.json"), _json(run / "audit.json")["images"]
    test, tests = metrics["protocol"]["test"], metrics["splits"]["test"]["n"]
    ratio = tests / (images - tests) if test == "held_out" else 0.0
    spreads = {}
    for name in done[0].scores:
        values = [value for one in done if (value := one.scores.get(name)) is not None]
        if values:
            most = math.inf if name in _UNBOUNDED else 1.0
            spreads[name] = spread_of(values, test_to_train=ratio, most=most)
    return RepeatsRecord(SCHEMA, asked, metrics["metric"], test, ratio, _COVERS[test], tuple(done), spreads, notes)


def spread_of(values: Sequence[float], *, test_to_train: float, most: float = 1.0) -> Spread:
    """How a score varies between fits.

    Parameters
    ----------
    values:
        At least one, finite.
    test_to_train:
        Rows that test for each that trains, where both are drawn anew for every fit; 0 where the same rows test.
    most:
        The largest possible value; the least is 0. The interval ends there.

    Notes
    -----
    The interval of the mean is Student's, over J fits: mean ± t · sd · √(1/J + r). Where the same rows test every time,
    r is 0: the fits differ by seeds alone, and are independent given the rows. So the interval tells how the mean of
    many seeds would come out on these very rows, and nothing of other rows. Where rows are drawn anew, fits share most
    of their training rows, so the plain interval (r = 0) is far too narrow; r is then ``test_to_train``, the correction
    for resampled scores of Nadeau and Bengio (2003, Inference for the generalization error, Machine Learning 52). It
    takes two fits' scores to correlate as test rows are to all rows: a rough rule, and rather too wide than too narrow.
    """
    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Spread(count, mean, None, None, mean, mean)
    from scipy.special import stdtrit

    sd = float(np.std(values, ddof=1))
    if min(values) == max(values):
        return Spread(count, mean, 0.0, None, mean, mean)
    reach = float(stdtrit(count - 1, 0.975)) * sd * math.sqrt(1 / count + test_to_train)
    return Spread(count, mean, sd, (max(0.0, mean - reach), min(most, mean + reach)), min(values), max(values))


def _share(countdown: Countdown, parts: int) -> Countdown:
    """One of so many equal parts of what is left, from now on; without a limit none has one."""
    left = countdown.until_end()
    if math.isinf(left):
        return Countdown.from_now(Budget(None), countdown.clock)
    tenths = math.floor(10 * left / parts) / 10  # so that it reads well where a budget is named
    return Countdown.from_now(Budget(max(_LEAST_SHARE, tenths)), countdown.clock)


def _folder(run: Path, seed: int) -> Path:
    return run / "repeats" / f"seed-{seed}"


def _is_finished(folder: Path) -> bool:
    """Whether a finished fit lies there; what else may lie there, the fit itself finds."""
    return (folder / RUN_FILE).is_file() and read_record(folder).state == "finished"


def _require_same_request(folder: Path, record: RunRecord, seed: int) -> None:
    """Raise :class:`RunError` if a finished fit is not the one that would be run."""
    if read_record(folder).request != {**record.request, "seed": seed}:
        raise RunError(f"{folder} holds a fit of another request: remove it, or begin in another folder with --out")


def _read(folder: Path, run: Path, seed: int) -> Repeat:
    """What a fit has found, whose files are all written."""
    metrics = _json(folder / "metrics.json")
    test = metrics["splits"]["test"]
    scores = {name: test[name] for name in test if f"{name}_ci95" in test}
    where = folder.relative_to(run).as_posix()
    return Repeat(seed, where, _json(folder / "ladder.json")["chosen"], metrics["seconds"]["total"], scores)


def _least_seconds(folder: Path) -> float:
    """What a fit took but for what a smaller budget cuts short, and for features that are stored since."""
    seconds: dict[str, float] = _json(folder / "metrics.json")["seconds"]
    return seconds["total"] - sum(seconds.get(section, 0.0) for section in _CUT_SHORT)


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
