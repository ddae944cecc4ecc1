"""What is trained: the stages above the cut and a linear head, which starts at the probe's optimum or at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from headstart.backbones.pytorch.folding import unfold
from headstart.backbones.pytorch.groups import parameter_groups
from headstart.backbones.pytorch.suffix import TrainableSuffix
from headstart.training.finetuning.defaults import RANDOM_HEAD_DEVIATION, TOKEN_DEVIATION
from headstart.training.finetuning.recipe import Recipe
from headstart.training.linear import Kind, LinearModel

Tensors = dict[str, npt.NDArray[np.float32]]


class Learner(nn.Module):
    """A suffix with a head on its embedding: boundary rows, or uint8 images, to logits (N, C).

    Parameters
    ----------
    suffix:
        The stages above the cut.
    head:
        What the head starts as: the probe (LP-FT, Kumar et al. 2022), so that at step 0 the outputs on clean views are
        the probe's.
    """

    def __init__(self, suffix: TrainableSuffix, head: LinearModel) -> None:
        super().__init__()
        self.suffix = suffix
        width, classes = head.weights.shape
        self.head = nn.Linear(width, classes)
        self.kind: Kind = head.kind
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(head.weights.T.astype(np.float32)))
            self.head.bias.copy_(torch.from_numpy(head.bias.astype(np.float32)))

    def forward(self, value: Tensor) -> Tensor:
        """Logits in float32: the head's few products are worth no rounding, whatever the stages compute in."""
        embedding = self.suffix(value)
        with torch.autocast(embedding.device.type, enabled=False):
            return cast("Tensor", self.head(embedding.float()))

    @torch.no_grad()
    def shift(self, offsets: npt.NDArray[np.float64]) -> None:
        """Add to the head's bias."""
        self.head.bias += torch.as_tensor(offsets, dtype=self.head.bias.dtype, device=self.head.bias.device)

    def linear_head(self) -> LinearModel:
        """The head as it is now."""
        weights = self.head.weight.detach().double().cpu().numpy().T
        return LinearModel(np.ascontiguousarray(weights), self.head.bias.detach().double().cpu().numpy(), self.kind)


@dataclass(frozen=True, eq=False)
class Weights:
    """What a learner has learnt, free of PyTorch: tensors by the network's names, and the head."""

    tensors: Tensors
    head: LinearModel

    @classmethod
    def of(cls, learner: Learner) -> Weights:
        """A copy of the learner's weights."""
        return cls(learner.suffix.tensors(), learner.linear_head())


def groups_of(learner: Learner, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameter groups: the stages with falling rates towards the input, and the head with its own."""
    stages = parameter_groups(
        learner.suffix.named_stages,
        rate=recipe.rate,
        decay_per_stage=recipe.stage_decay,
        weight_decay=recipe.weight_decay,
    )
    decay = 0.0 if recipe.head_anchor else recipe.weight_decay
    head = parameter_groups(
        [("head", learner.head)], rate=recipe.rate * recipe.head_factor, decay_per_stage=1.0, weight_decay=decay
    )
    return [*stages, *head]


def random_head(width: int, classes: int, kind: Kind, seed: int) -> LinearModel:
    """A head that knows nothing: weights of deviation 0.01, no bias."""
    weights = np.random.default_rng(seed).normal(0, RANDOM_HEAD_DEVIATION, (width, classes))
    return LinearModel(weights, np.zeros(classes), kind)


def load_tensors(suffix: TrainableSuffix, tensors: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Take over the weights of those stages that are in ``tensors``, as another suffix gave them."""
    for stage in suffix.stages:
        own = stage.state_dict()
        stage.load_state_dict({key: torch.from_numpy(tensors[key]) for key in own if key in tensors}, strict=False)


def start_from_scratch(suffix: TrainableSuffix, seed: int) -> None:
    """Forget the pretrained weights: every layer gets its own default initialisation, and BatchNorm learns statistics.

    Tokens and positions, which belong to no layer, are drawn with a deviation of 0.02 (ViT, Dosovitskiy et al. 2021);
    biases become 0, and scales of residual branches 1.
    """
    unfold(suffix)
    suffix.statistics_learn = True
    drawn: set[int] = set()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in suffix.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                drawn.update(id(parameter) for parameter in module.parameters(recurse=False))
        for name, parameter in suffix.named_parameters():
            if id(parameter) in drawn:
                continue
            if name.endswith("bias"):
                parameter.zero_()
            elif sum(side > 1 for side in parameter.shape) > 1:
                parameter.normal_(0, TOKEN_DEVIATION)
            else:
                parameter.fill_(1)
