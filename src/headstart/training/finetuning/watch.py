"""When to stop, and when to warn: pure states over the losses of the epochs so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError, OptionError
from headstart.evaluation.intervals import resampling_units
from headstart.training.finetuning.defaults import DIVERGING_EPOCHS, NOISE_ERRORS, PATIENCE


@dataclass(frozen=True)
class Improvement:
    """How a model compares with another on the same rows.

    Attributes
    ----------
    mean:
        The other's mean loss minus its own: above zero, it is better.
    standard_error:
        Of that mean, from the spread of the rows' differences (of the groups' sums, where there are groups).
    """

    mean: float
    standard_error: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the gain exceeds its standard error, :data:`NOISE_ERRORS` times."""
        return self.mean > NOISE_ERRORS * self.standard_error


def improvement(
    before: npt.ArrayLike, after: npt.ArrayLike, groups: Sequence[Any] | npt.NDArray[Any] | None = None
) -> Improvement:
    """Compare the losses of two models on the same rows; pairing takes the rows' own difficulty out.

    Parameters
    ----------
    before, after:
        Losses (n,), finite, lower is better; n ≥ 1.
    groups:
        One a row, ``None`` for a row of its own: rows of a group count as one observation.

    Returns
    -------
    The gain; its standard error is infinite where there is a single row or group, which can't tell.

    Raises
    ------
    DataError
        If the losses differ in length, are none, or are not finite.
    """
    old, new = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if old.shape != new.shape or old.ndim != 1 or not len(old) or not np.isfinite(old - new).all():
        raise DataError(
            f"losses of shapes {old.shape} and {new.shape} can't be paired: give one finite loss a row each"
        )
    gains = old - new
    codes, units = resampling_units(groups, len(gains))
    if units < 2:
        return Improvement(float(gains.mean()), math.inf)
    sums = np.bincount(codes, weights=gains - gains.mean(), minlength=units)
    spread = math.sqrt(float(np.square(sums).sum()) * units / (units - 1)) / len(gains)
    return Improvement(float(gains.mean()), spread)


@dataclass(frozen=True)
class EarlyStopping:
    """Keeps the best epoch, and stops when none was clearly better for a while.

    The best is the lowest value of all, however little lower: that point is restored. Patience runs from the
    *reference*, the last epoch that was lower than the reference before it by more than noise: small steps that add up
    start it anew, chance does not. A value that is not finite never improves.

    Attributes
    ----------
    patience:
        Epochs to go on without a clear improvement, at least 1.
    best, best_epoch:
        The lowest value so far and its epoch; ``None`` before the first.
    reference, reference_epoch:
        What the next values are compared with.
    waited:
        Epochs since the reference.

    Raises
    ------
    OptionError
        If patience is below 1.
    """

    patience: int = PATIENCE
    best: float | None = None
    best_epoch: int | None = None
    reference: float | None = None
    reference_epoch: int | None = None
    waited: int = 0

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise OptionError(f"a patience of {self.patience} epochs ends every training: give 1 or more")

    def after(self, epoch: int, value: float, noise: float = 0.0) -> EarlyStopping:
        """The state after one more epoch.

        Parameters
        ----------
        epoch:
            Its number; 0 is the start (the probe).
        value:
            Lower is better: the validation loss, or minus a score.
        noise:
            What chance alone may explain of the difference to the reference: :data:`NOISE_ERRORS` times the standard
            error that :func:`improvement` gives for the rows' losses at the reference epoch and now.
        """
        if not math.isfinite(value):
            return replace(self, waited=self.waited + 1)
        lower = self.best is None or value < self.best
        state = replace(self, best=value, best_epoch=epoch) if lower else self
        if self.reference is None or self.reference - value > noise:
            return replace(state, reference=value, reference_epoch=epoch, waited=0)
        return replace(state, waited=self.waited + 1)

    @property
    def stops(self) -> bool:
        """Whether training should end now."""
        return self.waited >= self.patience


@dataclass(frozen=True)
class EpochLosses:
    """The mean training and validation loss of one epoch, in nats.

    ``noise`` is what chance may explain of the difference between this validation loss and the least so far.
    """

    epoch: int
    train: float
    validation: float
    noise: float = 0.0


def diverging(history: Sequence[EpochLosses], epochs: int = DIVERGING_EPOCHS) -> str | None:
    """A plain warning when the training loss falls while the validation loss rises, else ``None``.

    Since the epoch of the least validation loss, at least ``epochs`` have passed; in each of the last ``epochs`` the
    validation loss lay above the least by more than noise, and it did not come down over them; and the training loss
    fell. The training loss may be of augmented or mixed rows: it is compared with itself only.

    Parameters
    ----------
    history:
        In order; the start (epoch 0), which has no training loss, may be left out or have NaN there.
    epochs:
        At least 2.

    Raises
    ------
    OptionError
        If ``epochs`` is below 2.
    """
    if epochs < 2:
        raise OptionError(f"a trend takes 2 epochs or more, not {epochs}")
    seen = [losses for losses in history if math.isfinite(losses.train) and math.isfinite(losses.validation)]
    if len(seen) <= epochs:
        return None
    best = min(seen, key=lambda losses: losses.validation)
    latest, last = seen[-epochs:], seen[-1]
    above = all(losses.validation > best.validation + losses.noise for losses in latest)
    if not above or last.validation < latest[0].validation or not last.train < best.train:
        return None
    return (
        f"since epoch {best.epoch} the training loss fell from {best.train:.3f} to {last.train:.3f} while the "
        f"validation loss rose from {best.validation:.3f} to {last.validation:.3f}: "
        "the network learns its images by heart"
    )
