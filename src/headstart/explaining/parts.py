"""A linear head taken apart by the features that it reads, so that each part can be laid out over the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.training.linear import LinearModel

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeadParts:
    """What a head adds up to a logit.

    Attributes
    ----------
    weights:
        For each output of the trunk that the head reads, float64 (D, C).
    bias:
        float64 (C,).
    """

    weights: Mapping[str, Floats]
    bias: Floats

    @classmethod
    def of(cls, head: LinearModel, outputs: Sequence[str], widths: Mapping[str, int]) -> HeadParts:
        """Take a head apart; of exclusive classes, each against the mean of all.

        What all logits of exclusive classes share changes no probability, and so is no evidence for any of them. An
        L2-penalised probe has nothing of the kind; prototypes of unequal classes and fine-tuned heads may.

        Parameters
        ----------
        outputs:
            The outputs that the head reads, in its order.
        widths:
            The number of features of each.
        """
        weights, bias = head.weights, head.bias
        if head.kind == "softmax":
            weights, bias = weights - weights.mean(axis=1, keepdims=True), bias - bias.mean()
        ends = np.cumsum([widths[name] for name in outputs])[:-1]
        return cls(dict(zip(outputs, np.split(weights, ends), strict=True)), bias)
