"""The validation rows of a training, and what they say of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.evaluation.calibration import fit_temperature, probabilities
from headstart.evaluation.scores import row_label_log_loss, row_log_loss
from headstart.training.linear import Kind

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judged:
    """What the validation rows say of the learner as it is."""

    losses: Floats
    score: float

    @property
    def loss(self) -> float:
        """Mean of the rows' losses."""
        return float(self.losses.mean())


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The validation rows, which judge every epoch and are never trained on.

    Attributes
    ----------
    batches:
        Gives their clean views in order: boundary rows or images, a batch at a time.
    targets, groups:
        As :class:`headstart.training.examples.Examples` has them.
    score:
        The governing metric of calibrated probabilities (n, C).
    """

    batches: Callable[[], Iterator[npt.NDArray[Any]]]
    targets: npt.NDArray[np.generic]
    groups: npt.NDArray[np.int64]
    score: Callable[[Floats], float]

    def judge(self, logits: Floats, kind: Kind) -> Judged:
        """At the temperature that suits the logits (n, C); a loss is infinite where they are not all finite."""
        if not np.isfinite(logits).all():
            return Judged(np.full(len(logits), np.inf), math.nan)
        found = probabilities(logits, fit_temperature(logits, self.targets, kind), kind)
        targets: Any = self.targets
        losses = row_log_loss(targets, found) if kind == "softmax" else row_label_log_loss(targets.astype(bool), found)
        return Judged(losses, float(self.score(found)))
