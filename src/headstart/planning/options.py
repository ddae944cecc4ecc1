"""What a run is asked for, and what is refused at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from headstart.backbones.licences import Allowed, check_allowed
from headstart.errors import OptionError
from headstart.evaluation.costs import read_costs
from headstart.evaluation.metrics import find_metric
from headstart.features.engine import EngineName
from headstart.planning.entrants import read_names
from headstart.planning.limits import Limits
from headstart.planning.rule_table import Quality
from headstart.runs.budget import Budget
from headstart.training.finetuning.presets import find_preset
from headstart.training.strategies import FINE_TUNED, STRATEGIES

if TYPE_CHECKING:
    from headstart.training.finetuning.wish import Wish

# Where neither the options nor a plan say how much a gain must be.
USUAL_QUALITY: Quality = "balanced"


@dataclass(frozen=True)
class Options:
    """What a run is asked for. The same options on the same data give the same metrics.

    Attributes
    ----------
    backbone:
        A name that :func:`headstart.backbones.catalogue.find_backbone` takes; by default the plan's, or the usual one,
        or where the budget leaves the time the best of a few (:func:`headstart.planning.entrants.usual_names`).
    backbones:
        Several, with commas between them, each with an image size of its own if it has ``@288`` behind it: the one
        whose linear probe loses least is taken. Some images are then always held out as a test.
    max_size, max_latency:
        Of the backbone that may be taken: ``10MB`` of weights, and ``20ms`` for one decoded image here; by default
        what the plan says.
    strategy:
        ``auto`` races all strategies; or the name of one.
    test:
        The name of a split to test on, or a fraction to hold out; ``None`` lets the data decide
        (:func:`headstart.data.resolve`).
    metric:
        What governs every choice between strategies: see :func:`headstart.evaluation.metrics.find_metric`.
    seed:
        Of splits, folds and bootstraps.
    engine:
        ``auto``, ``openvino`` or ``torch``.
    root:
        What the paths in a table are relative to; by default the table's folder.
    offline:
        Open no socket, as with ``HEADSTART_OFFLINE=1``.
    licence:
        ``permissive`` refuses weights that are known to be for non-commercial use only; ``any`` takes them.
    image_size:
        Side of the square input, in pixels; by default the one the weights were made for.
    channels:
        Channels of the images: 3 is RGB, 1 grey, other numbers need NumPy arrays or multi-band TIFFs.
    budget:
        With the strategy ``auto``: climb beyond the probes for so long (``30s``, ``5m``, ``1h``, ``none``); by default
        what the plan says, or :meth:`headstart.runs.budget.Budget.usual`.
    quality:
        ``fast``, ``balanced`` or ``best``: how much a further gain must be, and which rung is kept; by default what the
        plan says, or ``balanced``.
    plan:
        A plan that a person may have edited, instead of the one that would be drafted. What it rests on, its metric,
        seed, backbone and image size, counts where the options have their defaults, and must not be contradicted
        (:func:`headstart.planning.following.followed`).
    costs:
        A CSV file with what each mistake costs (:func:`headstart.evaluation.costs.read_costs`): the decisions of least
        expected cost are taken, in place of the most probable class. Choices follow the metric all the same.
    corrections:
        A CSV file of corrections of labels (:func:`headstart.data.corrections.correct`), applied while loading.
    group_by:
        A regular expression that finds in each file's name what group it belongs to
        (:func:`headstart.data.grouping.group_by_name`).
    allow_leaks, fix_leaks:
        Where copies of one picture lie in several of the user's splits: go on, or leave those out of training that
        have a copy in a split that judges them. By default such data are refused.
    cut:
        For ``partial``: the number of stages that stay frozen.
    epochs, rate, batch_size, views, augment:
        Of fine-tuning; :mod:`headstart.training.finetuning.defaults` has what counts where they are ``None``. The rate
        is the highest stage's. ``views`` is how many augmented views of an image are in use at a time.
    find_rate:
        Find the rate by a range test, instead of taking the usual one.
    auto:
        Where a fine-tuning learns its images by heart, train again with fewer stages and stronger augmentation.
    devices:
        How many processes train.
    tensorboard:
        Write the history for TensorBoard too.
    """

    backbone: str | None = None
    strategy: str = "auto"
    test: str | float | None = None
    metric: str = "accuracy"
    seed: int = 0
    engine: EngineName = "auto"
    root: str | None = None
    offline: bool = False
    licence: Allowed = "permissive"
    image_size: int | None = None
    channels: int = 3
    budget: str | None = None
    quality: Quality | None = None
    plan: str | None = None
    backbones: str | None = None
    max_size: str | None = None
    max_latency: str | None = None
    costs: str | None = None
    corrections: str | None = None
    group_by: str | None = None
    allow_leaks: bool = False
    fix_leaks: bool = False
    cut: int | None = None
    epochs: int | None = None
    rate: float | None = None
    views: int | None = None
    augment: str | None = None
    batch_size: int | None = None
    find_rate: bool = False
    auto: bool = False
    devices: int = 1
    tensorboard: bool = False

    def check(self) -> None:
        """Raise :class:`OptionError` for a value that is not known."""
        find_metric(self.metric)
        if self.costs is not None:
            read_costs(Path(self.costs))
        known = ("auto", *STRATEGIES, *FINE_TUNED)
        if self.strategy not in known:
            raise OptionError(f"unknown strategy {self.strategy!r}: choose one of {', '.join(known)}")
        asked = [field.name for field in _of_fine_tuning() if getattr(self, field.name) != field.default]
        if asked and self.strategy not in FINE_TUNED:
            raise OptionError(
                f"{', '.join(asked)} belong to fine-tuning: add --strategy partial, progressive, full or scratch"
            )
        if self.budget is not None:
            Budget.parse(self.budget)
        if (self.budget is not None or self.plan is not None) and self.strategy != "auto":
            raise OptionError(f"--budget and --plan choose the strategy: leave out --strategy {self.strategy}")
        if self.quality not in (None, "fast", "balanced", "best"):
            raise OptionError(f"unknown quality {self.quality!r}: choose fast, balanced or best")
        self._check_backbones()
        if self.find_rate and self.rate is not None:
            raise OptionError(f"--find-lr looks for a learning rate, and --lr {self.rate:g} gives one: leave one out")
        if self.allow_leaks and self.fix_leaks:
            raise OptionError("--allow-leaks keeps what --fix-leaks leaves out: give one of them")
        if self.augment is not None:
            find_preset(self.augment)
        if self.engine not in ("auto", "openvino", "torch"):
            raise OptionError(f"unknown engine {self.engine!r}: choose auto, openvino or torch")
        check_allowed(self.licence)

    def limits(self) -> Limits:
        """What the backbone may weigh, and how long it may take; raises :class:`OptionError` if that can't be read."""
        return Limits.parse(self.max_size, self.max_latency)

    def time(self) -> Budget:
        """How long a climb may take; raises :class:`OptionError` if that can't be read."""
        return Budget.usual() if self.budget is None else Budget.parse(self.budget)

    def wish(self, rows: int) -> Wish:
        """The fine-tuning that is asked for, of so many training rows: fewer than a usual batch make one batch.

        Raises :class:`OptionError` for a value out of its range.
        """
        from headstart.training.finetuning.defaults import AUGMENT, BATCH_SIZE
        from headstart.training.finetuning.recipe import Recipe
        from headstart.training.finetuning.schedules import epochs_a_cut
        from headstart.training.finetuning.view_policy import Policy
        from headstart.training.finetuning.wish import Wish

        policy = None if self.views is None else Policy("rolling", self.views)
        given = (("epochs", self.epochs), ("rate", self.rate), ("batch_size", self.batch_size), ("policy", policy))
        chosen: dict[str, Any] = {name: value for name, value in given if value is not None}
        recipe = dataclasses.replace(Recipe(seed=self.seed, batch_size=min(BATCH_SIZE, rows)), **chosen)
        if self.strategy == "progressive" and self.epochs is None:
            recipe = dataclasses.replace(recipe, epochs=epochs_a_cut(rows, recipe.batch_size))
        augment = self.augment or AUGMENT
        return Wish(
            cast("Any", self.strategy),
            self.cut,
            augment=augment,
            recipe=recipe,
            find_rate=self.find_rate,
            auto=self.auto,
            devices=self.devices,
        )

    def _check_backbones(self) -> None:
        self.limits()
        if self.backbones is None:
            return
        read_names(self.backbones)
        if self.backbone is not None or self.plan is not None:
            other = f"--backbone {self.backbone}" if self.backbone is not None else f"--plan {self.plan}"
            raise OptionError(f"--backbones compares several, and {other} has one: leave one of the options out")


def _of_fine_tuning() -> Sequence[dataclasses.Field[Any]]:
    """The options that only fine-tuning has: ``cut`` and what follows it."""
    every = dataclasses.fields(Options)
    return every[[field.name for field in every].index("cut") :]
