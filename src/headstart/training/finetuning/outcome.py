"""What a training tells of itself: the lines of its history, and its best point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.training.finetuning.learner import Weights

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EpochRow:
    """One line of ``history.csv``; epoch 0 is the start, before any step.

    Attributes
    ----------
    train_loss, val_loss:
        Means in nats; NaN for the training loss of the start.
    val_score:
        The governing metric.
    rate:
        Of the highest stage, at the epoch's last step.
    seconds_left:
        Until all epochs of this training are done, at the pace so far.
    """

    epoch: int
    cut: int
    train_loss: float
    val_loss: float
    val_score: float
    rate: float
    images_per_second: float
    seconds: float
    seconds_left: float = 0.0

    def line(self) -> str:
        """The same for a person who watches."""
        judged = f"validation loss {self.val_loss:.4f}, score {self.val_score:.4f}"
        if not self.epoch:
            return f"cut {self.cut}, start: {judged}"
        trained = f"train loss {self.train_loss:.4f}, {self.images_per_second:.0f} images/s, {self.seconds:.1f} s"
        left = f", {self.seconds_left:.0f} s left" if self.seconds_left else ""
        return f"cut {self.cut}, epoch {self.epoch}: {judged}; {trained}, rate {self.rate:.2g}{left}"


@dataclass(frozen=True, eq=False)
class Trained:
    """The best point of a training.

    Attributes
    ----------
    weights:
        Of the best epoch.
    best_epoch:
        The last of those that the epoch of the lowest loss does not beat by more than noise; 0 where none beat the
        start.
    coefficient:
        Where between the start (0) and the best epoch (1) the weights lie (WiSE-FT, Wortsman et al. 2022).
    losses:
        Log-loss of each validation row at the best epoch, at the temperature that suits them.
    history:
        From epoch 0 on.
    notes:
        What a person should hear: why it stopped early, that it diverged.
    overfitted:
        Whether the validation loss rose while the training loss fell.
    out_of_time:
        Whether it was ended before its last epoch because no time was left.
    """

    weights: Weights
    best_epoch: int
    coefficient: float
    losses: Floats
    history: tuple[EpochRow, ...]
    notes: tuple[str, ...]
    overfitted: bool = False
    out_of_time: bool = False
