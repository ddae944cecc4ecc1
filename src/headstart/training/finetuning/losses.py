"""What training minimises: one cross-entropy for both tasks, and the penalty that holds weights near their start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from headstart.errors import OptionError
from headstart.training.finetuning.imbalance import Balance

Kind = Literal["softmax", "sigmoid"]


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """The mean over rows of the cross-entropy in nats, computed in float32 whatever the network ran in.

    For exclusive classes it is that of a softmax; for labels the sum over them of the binary one. Without its options
    it equals :func:`headstart.training.linear.row_losses`, which the probe minimises; validation uses it so.

    Attributes
    ----------
    kind:
        ``"softmax"`` or ``"sigmoid"``.
    smoothing:
        In [0, 1): the share of each target that is spread over all classes, or over both answers of a label
        (Szegedy et al. 2016).
    offsets:
        Added to the logits first; C values, or empty.
    weights:
        What the terms of each class (softmax) or of each label's positives (sigmoid) are multiplied by; C positive
        values, or empty. The mean stays one over rows, so that it does not depend on how rows are batched.

    Raises
    ------
    OptionError
        If smoothing or a weight lies outside its range.
    """

    kind: Kind
    smoothing: float = 0.0
    offsets: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise OptionError(f"label smoothing is a share from 0 up to, not including, 1; {self.smoothing} is not")
        if not all(0 < weight < float("inf") for weight in self.weights):
            raise OptionError(f"weights of classes must be positive and finite, not {self.weights}")

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The scalar mean of :meth:`rows`."""
        return self.rows(logits, targets).mean()

    def rows(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """One loss a row, float32 (n,), of (n, C) logits and (n, C) targets in [0, 1], one-hot, multi-hot or soft."""
        with torch.autocast(logits.device.type, enabled=False):
            shifted = self._shifted(logits.float())
            wanted = self._smoothed(targets.to(shifted.device, torch.float32))
            weights = shifted.new_tensor(self.weights) if self.weights else None
            if self.kind == "softmax":
                terms = wanted * functional.log_softmax(shifted, dim=1)
                return -(terms if weights is None else terms * weights).sum(dim=1)
            terms = functional.binary_cross_entropy_with_logits(shifted, wanted, reduction="none", pos_weight=weights)
            return terms.sum(dim=1)

    def _shifted(self, logits: torch.Tensor) -> torch.Tensor:
        return logits + logits.new_tensor(self.offsets) if self.offsets else logits

    def _smoothed(self, targets: torch.Tensor) -> torch.Tensor:
        if not self.smoothing:
            return targets
        answers = targets.shape[1] if self.kind == "softmax" else 2
        return targets * (1 - self.smoothing) + self.smoothing / answers


def training_loss(kind: Kind, balance: Balance, smoothing: float = 0.0) -> CrossEntropy:
    """The loss of the training rows under a balance; raises :class:`OptionError` as :class:`CrossEntropy` does."""
    return CrossEntropy(kind, smoothing, balance.loss_offsets, balance.loss_weights)


class AnchorPenalty:
    """Half the squared distance of weights from their anchors, times a strength: L2-SP (Li et al. 2018).

    The anchors are the weights as they are when it is made, where the training starts: the pretrained ones and the
    probe's, or what an earlier training at a higher cut left. So the pull is towards what is known instead of towards
    zero. It is part of the loss, as in the paper; but there SGD takes the step, and here AdamW scales its gradient
    together with the loss's, so that a strength means less than it does there. Parameters that do not learn cost
    nothing.

    Parameters
    ----------
    stages, head:
        Parameters of the stages above the cut, and of the head. Norms and biases are left out by custom. Position
        embeddings and tokens, which weight decay spares since zero is nothing to them, may be held where they were.
    stages_strength, head_strength:
        Not negative; at 0 that part is not anchored.

    Raises
    ------
    OptionError
        If a strength is negative or not finite.
    """

    def __init__(
        self,
        stages: Iterable[nn.Parameter],
        head: Iterable[nn.Parameter],
        *,
        stages_strength: float,
        head_strength: float,
    ) -> None:
        if not all(0 <= strength < float("inf") for strength in (stages_strength, head_strength)):
            raise OptionError(f"anchors pull with strengths of 0 or more, not {stages_strength} and {head_strength}")
        parts = ((stages_strength, _learning(stages)), (head_strength, _learning(head)))
        self._parts = [
            (strength, weights, [weight.detach().clone() for weight in weights])
            for strength, weights in parts
            if strength and weights
        ]

    def __call__(self) -> torch.Tensor:
        """The penalty now: a float32 scalar with a gradient, to be added to the loss."""
        total = torch.zeros(())
        for strength, weights, anchors in self._parts:
            moved = torch._foreach_sub(weights, anchors)
            squares = [norm.float().square() for norm in torch._foreach_norm(moved)]
            total = total.to(squares[0].device) + strength / 2 * torch.stack(squares).sum()
        return total


def _learning(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.requires_grad]
