"""What is tried out on a network before it is trained: the precision that is fastest, and the rate that it can bear."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from headstart.features.torch_engine import has_cuda
from headstart.training.finetuning.defaults import RANGE_STEPS
from headstart.training.finetuning.imbalance import Balance
from headstart.training.finetuning.learner import Learner, groups_of
from headstart.training.finetuning.losses import training_loss
from headstart.training.finetuning.precision import choose_precision, lay_out, prepare
from headstart.training.finetuning.range_test import RangeTest, range_test
from headstart.training.finetuning.recipe import Recipe
from headstart.training.finetuning.sampling import batches, epoch_order
from headstart.training.finetuning.setting import PrecisionChoice
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
        images = self.recipe.epochs * len(self.targets)
        try:
            return choose_precision(self._copy(), batch, self._loss, device=self._device, images=images)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return PrecisionChoice("32-true", False, reason="float32: memory ran out where others were to be timed")

    def rate(self) -> RangeTest:
        """The learning-rate range test in the recipe's precision; see :func:`range_test`."""
        order = epoch_order(len(self.targets), seed=self.recipe.seed, epoch=0)
        try:
            return self._climb(order)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return RangeTest((), (), (), None, "memory ran out in the range test: the usual rate is taken")

    def _climb(self, order: npt.NDArray[np.int64]) -> RangeTest:
        return range_test(
            self._copy(),
            self._loss_in_precision,
            self._batches(order[: RANGE_STEPS * self.recipe.batch_size]),
            lambda learner: groups_of(learner, self.recipe),
        )

    def _copy(self) -> Learner:
        """The learner as its training will begin: where, in which layout, in training mode and without the priors."""
        copied = copy.deepcopy(self.learner).to(self._device).train()
        copied.shift(-np.array(self._balance.prior_offsets))
        prepare(copied, self.recipe.precision)
        return copied

    @property
    def _device(self) -> str:
        return "cuda" if has_cuda() else "cpu"

    def _batches(self, order: npt.NDArray[np.int64]) -> list[Pair]:
        """The first view of some rows, in the recipe's batches."""
        size = self.recipe.batch_size
        self.views.start_epoch(0, order, size)
        targets = torch.from_numpy(self.targets.astype(np.float32))
        return [(torch.from_numpy(self.views.batch(rows, 0)), targets[rows]) for rows in batches(order, size)]

    def _loss(self, model: nn.Module, pair: Pair) -> Tensor:
        loss = training_loss(self.learner.kind, self._balance, self.recipe.smoothing)
        return loss(model(pair[0]), pair[1])

    @property
    def _balance(self) -> Balance:
        counts = tuple(int(count) for count in self.targets.sum(0))
        return self.recipe.balance_for(counts, self.learner.kind, len(self.targets))

    def _loss_in_precision(self, model: nn.Module, pair: Any) -> Tensor:
        """As the loop computes it."""
        precision = self.recipe.precision
        inputs, targets = lay_out(pair[0].to(self._device), channels_last=precision.channels_last), pair[1]
        with torch.autocast(self._device, torch.bfloat16, enabled=precision.is_bf16):
            return self._loss(model, (inputs, targets.to(self._device)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; on the CPU torch says so in words only."""
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)
