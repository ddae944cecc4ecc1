"""What is tried out on a network before it is trained: the precision that is fastest, and the rate that it can bear."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from headstart.training.finetuning.learner import Learner, groups_of
from headstart.training.finetuning.losses import training_loss
from headstart.training.finetuning.precision import PrecisionChoice, choose_precision, lay_out
from headstart.training.finetuning.range_test import RangeTest, range_test
from headstart.training.finetuning.recipe import Recipe
from headstart.training.finetuning.sampling import batches, epoch_order
from headstart.training.finetuning.views import Views

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Trial:
    """A network and its training rows, of which copies and the first view are tried; both stay as they are.

    Attributes
    ----------
    targets:
        Of zeros and ones, float64 (n, C).
    """

    learner: Learner
    views: Views
    targets: npt.NDArray[np.float64]
    recipe: Recipe

    def precision(self) -> PrecisionChoice:
        """The fastest precision and memory format; see :func:`choose_precision`."""
        batch = self._batches(np.arange(min(self.recipe.batch_size, len(self.targets))))[0]
        return choose_precision(self._copy(), batch, self._loss, device=self._device)

    def rate(self) -> RangeTest:
        """The learning-rate range test in the recipe's precision; see :func:`range_test`."""
        order = epoch_order(len(self.targets), seed=self.recipe.seed, epoch=0)
        return range_test(
            self._copy(),
            self._loss_in_precision,
            self._batches(order),
            lambda learner: groups_of(learner, self.recipe),
        )

    def _copy(self) -> Learner:
        """The learner as it will be trained: where, in which layout, and in training mode."""
        copied = copy.deepcopy(self.learner).to(self._device).train()
        return copied.to(memory_format=torch.channels_last) if self.recipe.precision.channels_last else copied

    @property
    def _device(self) -> str:
        return "cuda" if torch.cuda.is_available() else "cpu"

    def _batches(self, order: npt.NDArray[np.int64]) -> list[Pair]:
        """The first view of some rows, in the recipe's batches."""
        size = self.recipe.batch_size
        self.views.start_epoch(0, order, size)
        targets = torch.from_numpy(self.targets.astype(np.float32))
        return [(torch.from_numpy(self.views.batch(rows, 0)), targets[rows]) for rows in batches(order, size)]

    def _loss(self, model: nn.Module, pair: Pair) -> Tensor:
        loss = training_loss(
            self.learner.kind,
            self.recipe.balance_for(tuple(self.targets.sum(0).astype(int)), self.learner.kind, len(self.targets)),
            self.recipe.smoothing,
        )
        return loss(model(pair[0]), pair[1])

    def _loss_in_precision(self, model: nn.Module, pair: Any) -> Tensor:
        """As the loop computes it."""
        precision = self.recipe.precision
        inputs, targets = lay_out(pair[0].to(self._device), channels_last=precision.channels_last), pair[1]
        with torch.autocast(self._device, torch.bfloat16, enabled=precision.precision == "bf16-mixed"):
            return self._loss(model, (inputs, targets.to(self._device)))
