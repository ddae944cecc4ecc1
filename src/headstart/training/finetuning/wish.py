"""What a fine-tuning stands on, what is wanted of it, and what comes out of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from headstart.backbones.backbone import Backbone
from headstart.errors import OptionError
from headstart.features.engine import EngineName, Say
from headstart.runs.progress import Progress
from headstart.training.examples import Examples, Ints
from headstart.training.finetuning.defaults import AUGMENT, RANDOM_HEAD_FACTOR
from headstart.training.finetuning.devices import check_devices
from headstart.training.finetuning.learner import Weights
from headstart.training.finetuning.outcome import EpochRow
from headstart.training.finetuning.recipe import Recipe
from headstart.training.finetuning.setting import PrecisionChoice
from headstart.training.finetuning.views import TrainingImages

Floats = npt.NDArray[np.float64]
Strategy = Literal["partial", "progressive", "full", "scratch"]


@dataclass(frozen=True, eq=False)
class Ground:
    """What every fine-tuning of one data set shares.

    Attributes
    ----------
    backbone:
        As pretrained.
    images:
        Of the development rows, in the order of ``examples``.
    examples:
        The development rows with the features of the frozen backbone. Their first fold says which rows train, and
        which are held out to judge.
    metric, score:
        The governing metric's name, and the metric of (targets, calibrated probabilities, thresholds or ``None``).
    stop:
        Asked after each step whether to save the state and end.
    ends:
        Asked after each epoch with its seconds, whether there is no time for another one, and after each step with 0.
    """

    backbone: Backbone
    images: TrainingImages
    examples: Examples
    metric: str
    score: Callable[[npt.NDArray[np.generic], Floats, Floats | None], float]
    engine: EngineName
    progress: Progress
    say: Say
    folder: Path | None
    stop: Callable[[], bool] = lambda: False
    ends: Callable[[float], bool] = lambda seconds: False

    @property
    def fold(self) -> tuple[Ints, Ints]:
        """Numbers of the rows that train, and of those that judge."""
        return self.examples.folds[0]


@dataclass(frozen=True)
class Wish:
    """What is wanted of a fine-tuning; what is ``None`` is decided here.

    Attributes
    ----------
    find_rate:
        Take the rate that a range test finds at each cut, where it finds one.
    auto:
        Where the network learns its images by heart, train again, held back more, and keep the better of both.
    devices:
        How many processes train, each on a GPU of its own or, where there is none, on its share of the cores.
    """

    strategy: Strategy
    cut: int | None = None
    augment: str = AUGMENT
    head: Literal["probe", "random"] = "probe"
    recipe: Recipe = dataclasses.field(default_factory=Recipe)
    precision: PrecisionChoice | None = None
    find_rate: bool = False
    auto: bool = False
    devices: int = 1

    def head_recipe(self) -> Recipe:
        """The recipe; a head that knows nothing learns faster, and is not held to where it began."""
        if self.strategy != "scratch" and self.head == "probe":
            return self.recipe
        return dataclasses.replace(self.recipe, head_factor=RANDOM_HEAD_FACTOR, head_anchor=0.0)


@dataclass(frozen=True, eq=False)
class Tuned:
    """A fine-tuned network, free of PyTorch.

    Attributes
    ----------
    cut:
        The stages below it are as pretrained.
    history:
        Of all trainings, one after the other.
    without, augment:
        The augmentation, and the transforms of it that were left out.
    overfitted:
        Whether the validation loss rose while the training loss fell.
    out_of_time:
        Whether some training was ended before its last epoch because no time was left.
    thresholds:
        C positive numbers where exclusive classes were balanced: the class of the largest probability over threshold is
        the one to name.
    """

    weights: Weights
    cut: int
    best_epoch: int
    coefficient: float
    losses: npt.NDArray[np.float64]
    history: tuple[EpochRow, ...]
    precision: PrecisionChoice
    without: frozenset[str]
    notes: tuple[str, ...]
    augment: str = AUGMENT
    overfitted: bool = False
    out_of_time: bool = False
    thresholds: tuple[float, ...] | None = None


def check_wish(wish: Wish, *, stages: int, rows: int) -> int:
    """The cut that is wanted of a backbone of so many stages; a third of them train where nobody says.

    Raises
    ------
    OptionError
        If there is no such cut, the strategy takes none, the batch is larger than the training rows, or there are not
        so many devices.
    """
    if wish.recipe.batch_size > rows:
        raise OptionError(
            f"a batch of {wish.recipe.batch_size} is more than the {rows} training images: take a smaller --batch-size"
        )
    check_devices(wish.devices, batch_size=wish.recipe.batch_size)
    if wish.strategy != "partial":
        if wish.cut:
            raise OptionError(f"{wish.strategy} chooses its cuts itself: --cut {wish.cut} belongs to partial")
        return 0
    cut = wish.cut if wish.cut is not None else min(max(1, round(stages * 2 / 3)), stages - 1)
    if not 0 <= cut < stages:
        raise OptionError(
            f"this backbone has {stages} stages: it can be trained above cut 0 to {stages - 1}, not {cut}"
        )
    return cut
