"""``plan.json``: what will be done and why, one reason a decision; people may edit it, and ``fit --plan`` reads it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from headstart.backbones.bundled import BUNDLED
from headstart.backbones.names import SHORT, unknown_backbone
from headstart.errors import HeadstartError, OptionError, RecordError
from headstart.evaluation.metrics import find_metric
from headstart.planning.forecast import AccuracyForecast
from headstart.planning.layer_map import LayerMap
from headstart.planning.limits import Limits
from headstart.planning.rule_table import FIRST, Quality
from headstart.records import from_json
from headstart.runs.budget import Budget
from headstart.training.finetuning.defaults import MOST_EPOCHS
from headstart.training.finetuning.presets import find_preset
from headstart.training.finetuning.setting import find_setting
from headstart.training.strategies import FINE_TUNED, STRATEGIES

SCHEMA = 1
FILE = "plan.json"
Kind = Literal["fixed", "fingerprint", "empirical"]

_MOST_PIXELS = 4096
_PROVIDERS = ("timm", "torchvision", "open_clip", "transformers", "file")


@dataclass(frozen=True)
class DataIdentity:
    """Which images a plan was made for.

    Attributes
    ----------
    rows, classes:
        How many, of all splits together.
    digest:
        SHA-256 of the images' hashes, labels, groups and splits as they were given, in any order.
    images:
        How many each class has.
    """

    name: str
    rows: int
    classes: int
    digest: str
    images: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """One thing that was decided.

    Attributes
    ----------
    key:
        What, for example ``crop`` or ``rungs.cut 4.epochs``.
    kind:
        ``fixed`` rules hold for all data; ``fingerprint`` ones follow from what the data is; ``empirical`` ones from
        what was measured here.
    value:
        In a word.
    reason:
        In a sentence.
    numbers:
        What it rests on.
    by_clock:
        Whether it depends on how fast this machine was.
    """

    key: str
    kind: Kind
    value: str
    reason: str
    numbers: dict[str, float] = field(default_factory=dict)
    by_clock: bool = False


@dataclass(frozen=True)
class ExpectedGain:
    """What the prior expects of a rung over the probe, in points, with its standard deviation."""

    points: float
    sd: float


@dataclass(frozen=True)
class PlannedRung:
    """One rung to try.

    Attributes
    ----------
    strategy:
        A name of :data:`FINE_TUNED`; those that train no stage race in any case.
    cut:
        Stages that stay frozen.
    epochs, rate, augment:
        Of fine-tuning, so never ``None``.
    views:
        How many augmented views of an image are in use at a time; ``None`` at cut 0, where every view is new.
    seconds:
        Forecast; ``None`` where it was not made.
    gain:
        Expected; ``None`` where nothing is known.
    precision:
        How its network computes, by a name of :data:`headstart.training.finetuning.setting.SETTINGS`; ``None`` takes
        the fastest of a measurement before it is trained, which is then kept here so that a run can be repeated.
    """

    strategy: str
    cut: int
    views: int | None = None
    epochs: int | None = None
    rate: float | None = None
    augment: str | None = None
    seconds: float | None = None
    gain: ExpectedGain | None = None
    precision: str | None = None

    @property
    def name(self) -> str:
        """What tables and reasons call it."""
        return f"{self.strategy} above cut {self.cut}" if self.strategy == "partial" else self.strategy

    @property
    def stays_at_its_cut(self) -> bool:
        """Whether it is one training above one cut, which has a speed and a precision."""
        return self.strategy in ("partial", "full")


@dataclass(frozen=True)
class Validation:
    """What rungs are judged on.

    Attributes
    ----------
    method:
        ``split``: the user's validation split; ``folds``: stratified folds; ``repeated_folds``: those several times.
    folds, repeats:
        1 for a split.
    grouped:
        Whether rows of a group stay together, and count once.
    """

    method: Literal["split", "folds", "repeated_folds"]
    folds: int
    repeats: int
    grouped: bool


@dataclass(frozen=True)
class Considered:
    """A backbone at an image size that was looked at: what its probe reaches, and what it costs.

    Attributes
    ----------
    accuracy, log_loss:
        Of the probe, out of fold.
    size, latency:
        Bytes, and seconds for one image here; ``None`` where not measured.
    chosen:
        Whether the plan uses it.
    """

    backbone: str
    image_size: int
    accuracy: float
    log_loss: float
    size: int
    latency: float | None
    chosen: bool


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes
    ----------
    stages:
        Of the backbone: cuts go from 0 to this.
    crop:
        How images that are not square become square.
    metric:
        What governs every choice.
    first:
        The rung that is fitted first, and that all others start from: the linear probe.
    rungs:
        What is tried after it, in this order, as long as more is expected.
    budget, max_size, max_latency:
        As on the command line.
    forecast:
        What more data would bring; compared with what happens.
    layers:
        Where features stop transferring.
    """

    schema: int
    data: DataIdentity
    backbone: str
    stages: int
    image_size: int
    crop: Literal["crop", "squash"]
    metric: str
    first: str
    rungs: tuple[PlannedRung, ...]
    validation: Validation
    budget: str
    quality: Quality
    max_size: str | None
    max_latency: str | None
    seed: int
    decisions: tuple[Decision, ...]
    considered: tuple[Considered, ...] = ()
    forecast: AccuracyForecast | None = None
    layers: LayerMap | None = None

    @property
    def limits(self) -> Limits:
        """The limits as numbers."""
        return Limits.parse(self.max_size, self.max_latency)

    def deciding(self, decision: Decision) -> Plan:
        """The plan with one more decision, in the place of one about the same."""
        others = tuple(one for one in self.decisions if one.key != decision.key)
        return dataclasses.replace(self, decisions=(*others, decision))


def read_plan(path: Path) -> Plan:
    """Read a plan, which a person may have edited.

    Raises
    ------
    RecordError
        If it is no plan, has unknown keys, or a value that can't be; the key is named.
    OptionError
        If there is no such file.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise OptionError(f"the plan {path} can't be read ({error.strerror}): headstart plan writes one") from error
    plan = from_json(Plan, text, where=str(path))
    for key, problem in _problems(plan):
        raise RecordError(f"{path}: {key}: {problem}")
    return plan


def check_plan(plan: Plan) -> None:
    """Raise :class:`RecordError` for the first value that can't be."""
    for key, problem in _problems(plan):
        raise RecordError(f"{FILE}: {key}: {problem}")


def _problems(plan: Plan) -> Iterator[tuple[str, str]]:
    """Keys with what is wrong with their values."""
    if plan.schema != SCHEMA:
        yield "schema", f"{plan.schema} is not {SCHEMA}, the only one that is known"
    if problem := _problem_of_backbone(plan.backbone):
        yield "backbone", problem
    if plan.stages < 1:
        yield "stages", f"{plan.stages} is no number of stages"
    if not 1 <= plan.image_size <= _MOST_PIXELS:
        yield "image_size", f"{plan.image_size} is no side of an image from 1 to {_MOST_PIXELS} pixels"
    try:
        find_metric(plan.metric)
    except OptionError as error:
        yield "metric", str(error)
    if plan.first != FIRST:
        yield "first", f"{plan.first!r} can't be: every other rung starts from {FIRST}"
    if plan.seed < 0:
        yield "seed", f"{plan.seed} is negative"
    yield from _refused("budget", lambda: Budget.parse(plan.budget))
    yield from _refused("max_size", lambda: Limits.parse(plan.max_size, None))
    yield from _refused("max_latency", lambda: Limits.parse(None, plan.max_latency))
    yield from _problems_of_validation(plan.validation)
    for number, rung in enumerate(plan.rungs):
        yield from ((f"rungs[{number}].{key}", problem) for key, problem in _problems_of_rung(rung, plan.stages))
    if plan.layers is not None:
        yield from _problems_of_layers(plan.layers, plan.stages)
    names = [rung.name for rung in plan.rungs]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield f"rungs[{number}]", f"{name} is in the plan already"


def _problem_of_backbone(name: str) -> str:
    """What is wrong with a name; whoever loads it says the rest, as folders and models of a hub are not listed."""
    provider, _, model = name.partition("/")
    known = name in SHORT or (model in BUNDLED if provider == "bundled" else bool(model) and provider in _PROVIDERS)
    return "" if known else unknown_backbone(name)


def _problems_of_validation(validation: Validation) -> Iterator[tuple[str, str]]:
    folds, repeats = validation.folds, validation.repeats
    if validation.method == "split":
        if (folds, repeats) != (1, 1):
            yield "validation.folds", f"a split has 1 fold and 1 repeat, not {folds} and {repeats}"
    elif folds < 2:
        yield "validation.folds", f"{folds} folds leave nothing to train on: give 2 or more"
    if repeats < 1 or (validation.method == "folds" and repeats != 1):
        wanted = "1 with the method folds" if validation.method == "folds" else "1 or more"
        yield "validation.repeats", f"{repeats} repeats can't be: give {wanted}"


def _problems_of_layers(layers: LayerMap, stages: int) -> Iterator[tuple[str, str]]:
    if [stage.number for stage in layers.stages] != list(range(1, stages + 1)):
        yield "layers.stages", f"they are not numbered 1 to {stages}, one a stage of the backbone"
    if not 0 <= layers.transfers_to <= stages:
        yield "layers.transfers_to", f"{layers.transfers_to} is no stage: give 1 to {stages}, or 0 for none"


def _problems_of_rung(rung: PlannedRung, stages: int) -> Iterator[tuple[str, str]]:
    if rung.strategy in STRATEGIES:
        yield "strategy", f"{rung.strategy} trains no stage and races in any case: leave this rung out"
    elif rung.strategy not in FINE_TUNED:
        yield "strategy", f"unknown strategy {rung.strategy!r}; there are {', '.join(FINE_TUNED)}"
    else:
        yield from _problems_of_training(rung, stages)
    if rung.seconds is not None and not 0 <= rung.seconds < math.inf:
        yield "seconds", f"{rung.seconds} is no time: give seconds, or null where it is not known"
    if rung.gain is not None and not (math.isfinite(rung.gain.points) and 0 <= rung.gain.sd < math.inf):
        yield "gain", "it has no finite mean and deviation: give both, or null where nothing is known"


def _problems_of_training(rung: PlannedRung, stages: int) -> Iterator[tuple[str, str]]:
    if rung.strategy != "partial" and rung.cut != 0:
        yield "cut", f"{rung.strategy} chooses its cuts itself: give 0, not {rung.cut}, or the strategy partial"
    elif not 0 <= rung.cut < stages:
        yield "cut", f"{rung.cut} is out of range: this backbone can be trained above cut 0 to {stages - 1}"
    if rung.epochs is None or rung.epochs < 1:
        yield "epochs", f"{'no' if rung.epochs is None else rung.epochs} epochs train nothing: give 1 or more"
    elif rung.epochs > MOST_EPOCHS:
        yield "epochs", f"{rung.epochs} epochs are more than any training needs: give {MOST_EPOCHS} or fewer"
    if rung.rate is None or not 0 < rung.rate < 1:
        yield "rate", f"a learning rate of {rung.rate} can't train: give a number above 0 and below 1"
    if rung.views is not None and rung.views < 1:
        yield "views", f"{rung.views} views are too few: give 1 or more, or null where every view is new"
    yield from _refused("augment", lambda: find_preset(rung.augment or ""))
    if rung.precision is not None:
        yield from _refused("precision", lambda: find_setting(rung.precision or ""))


def _refused(key: str, read: Any) -> Iterator[tuple[str, str]]:
    """The key with the message of an error that reading it raises."""
    try:
        read()
    except HeadstartError as error:
        yield key, str(error)
