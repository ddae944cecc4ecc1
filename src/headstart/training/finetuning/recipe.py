"""Everything that shapes one training, as a record: equal recipes on equal data give equal results."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from headstart.errors import OptionError
from headstart.training.finetuning.defaults import (
    BATCH_SIZE,
    EMA_SHARE,
    EPOCHS,
    HEAD_ANCHOR_STRENGTH,
    MOST_EPOCHS,
    PATIENCE,
    PATIENCE_SHARE,
    STAGE_DECAY,
    STAGE_RATE,
    WARMUP_SHARE,
    WEIGHT_DECAY,
)
from headstart.training.finetuning.imbalance import Balance, balance_by
from headstart.training.finetuning.setting import PrecisionChoice
from headstart.training.finetuning.view_policy import Policy


@dataclass(frozen=True)
class Recipe:
    """How the stages above a cut, and the head, are trained.

    Attributes
    ----------
    epochs, batch_size:
        Passes over the training rows, and rows a step.
    rate:
        Of the highest stage; each stage below has ``stage_decay`` times the rate of the one above it.
    head_factor:
        The head's rate over the highest stage's.
    weight_decay, stages_anchor, head_anchor:
        Decay of weights towards zero, and strengths of the penalties that pull the stages towards where the
        training starts and the head towards its start. An anchored head has no decay.
    warmup, ema:
        Shares of the steps; ``ema`` 0 trains without an average of weights.
    smoothing, mixup, cutmix:
        Label smoothing in 0…1, and the alphas of both mixings, 0 for none. cutmix acts on images only.
    policy:
        Which views the epochs see.
    patience:
        Epochs without a gain beyond noise before training stops; by default :data:`PATIENCE`, and in trainings of more
        epochs :data:`PATIENCE_SHARE` of them.

    Raises
    ------
    OptionError
        If a value lies outside its range.
    """

    epochs: int = EPOCHS
    batch_size: int = BATCH_SIZE
    rate: float = STAGE_RATE
    stage_decay: float = STAGE_DECAY
    head_factor: float = 1.0
    weight_decay: float = WEIGHT_DECAY
    stages_anchor: float = 0.0
    head_anchor: float = HEAD_ANCHOR_STRENGTH
    warmup: float = WARMUP_SHARE
    ema: float = EMA_SHARE
    smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    policy: Policy = field(default_factory=lambda: Policy("rolling", 4))
    patience: int | None = None
    balance: Balance | None = None
    precision: PrecisionChoice = field(default_factory=lambda: PrecisionChoice("32-true", False))
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise OptionError(f"{self.epochs} epochs train nothing: give 1 or more")
        if self.epochs > MOST_EPOCHS:
            raise OptionError(f"{self.epochs} epochs are more than any training needs: give {MOST_EPOCHS} or fewer")
        if self.batch_size < 1:
            raise OptionError(f"a batch of {self.batch_size} images holds nothing: give 1 or more")
        if not 0 < self.rate < 1 or not math.isfinite(self.rate):
            raise OptionError(f"a learning rate of {self.rate:g} can't train: give a number above 0 and below 1")
        if self.patience is not None and self.patience < 1:
            raise OptionError(f"a patience of {self.patience} epochs ends every training: give 1 or more")
        if self.seed < 0:
            raise OptionError(f"seed {self.seed} is negative: give 0 or more")
        for name in ("weight_decay", "stages_anchor", "head_anchor", "mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise OptionError(f"{name} {getattr(self, name)} is not a number of 0 or more")
        if not 0 <= self.ema <= 1:
            raise OptionError(f"ema {self.ema} is no share of the steps: give a number from 0 to 1")
        for name in ("smoothing", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(f"{name} {getattr(self, name)} is no share: give a number from 0 to below 1")
        if not 0 < self.stage_decay <= 1:
            raise OptionError(f"stage_decay {self.stage_decay} is no factor above 0 and at most 1")
        if not 0 < self.head_factor < math.inf:
            raise OptionError(f"head_factor {self.head_factor} is not a number above 0")

    @property
    def waits(self) -> int:
        """The patience in epochs."""
        return self.patience or max(PATIENCE, math.ceil(PATIENCE_SHARE * self.epochs))

    def balance_for(self, counts: tuple[int, ...], kind: Literal["softmax", "sigmoid"], rows: int) -> Balance:
        """The balance, or that of no balancing."""
        return self.balance or balance_by("none", counts, kind, rows=rows)
