"""The learning-rate range test: which rate a network can bear, tried on a copy that is thrown away."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from headstart.errors import OptionError
from headstart.training.finetuning.defaults import (
    RANGE_DIVERGED,
    RANGE_FEWEST_POINTS,
    RANGE_HIGHEST,
    RANGE_KERNEL_DECADES,
    RANGE_LEAST_FALL,
    RANGE_LOWEST,
    RANGE_MEMORY,
    RANGE_SAFETY,
    RANGE_STEPS,
)
from headstart.training.finetuning.random_state import kept_random_state

LossOf = Callable[[nn.Module, Any], torch.Tensor]
GroupsOf = Callable[[nn.Module], list[dict[str, Any]]]


@dataclass(frozen=True)
class RangeTest:
    """What the test saw.

    Attributes
    ----------
    rates:
        The rates that were tried, ascending: of the group with the highest base rate.
    losses:
        The training loss of each mini-batch, before the step at that rate.
    smoothed:
        The losses smoothed from both sides, so that they lag on neither.
    suggestion:
        The rate to train with, or ``None`` where the losses don't tell.
    reason:
        One sentence that says how the suggestion came about, or why there is none.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    reason: str


def range_test(
    model: nn.Module,
    loss_of: LossOf,
    batches: Iterable[Any],
    groups: GroupsOf,
    *,
    lowest: float = RANGE_LOWEST,
    highest: float = RANGE_HIGHEST,
    steps: int = RANGE_STEPS,
) -> RangeTest:
    """Train a deep copy with AdamW at a rate that grows by a constant factor a step (Smith 2017).

    The test ends when the running mean of the loss exceeds four times its best, or the loss is not finite. Neither the
    model nor any global random state is touched: the copy is dropped, and the sources go on as if nothing had been
    drawn.

    Parameters
    ----------
    model:
        Copied as it stands, in the mode it is in.
    loss_of:
        The mean loss (a scalar with a gradient) of a network on one batch; it may autocast.
    batches:
        Mini-batches; walked again from the start where there are fewer than ``steps``.
    groups:
        Builds the optimizer's parameter groups for the copy. Their ``lr`` stand in the proportion in which they are
        to be trained; the highest of them is what ``rates`` speak of.
    lowest, highest:
        The range of rates, positive and ascending.
    steps:
        How many rates, at least 2.

    Raises
    ------
    OptionError
        If an option lies outside its range, there is no batch, or no group has a positive rate.
    """
    if not 0 < lowest < highest < math.inf or steps < 2:
        raise OptionError(
            f"a range test goes up from a positive rate in 2 steps or more, not {lowest}..{highest}, {steps}"
        )
    rates = np.geomspace(lowest, highest, steps).tolist()
    with kept_random_state(), torch.enable_grad():
        trial = copy.deepcopy(model)
        losses = _climb(trial, loss_of, _endless(batches), groups(trial), rates)
    return read_rates(rates[: len(losses)], losses)


def read_rates(rates: Sequence[float], losses: Sequence[float]) -> RangeTest:
    """Read a rate off the losses of a range test.

    Two rules are usual: the rate at which the loss falls most steeply in the logarithm of the rate, and a tenth of the
    rate at which it is least. The lower of the two is suggested. A network that starts at an optimum (as one with the
    probe's head does) may show no fall at all; then nothing is suggested.

    Parameters
    ----------
    rates, losses:
        Of equal length; rates ascending. Losses that are not finite may stand at the end only.
    """
    finite = int(np.isfinite(losses).sum())
    logs, heights = np.log10(rates[:finite]), np.asarray(losses[:finite], np.float64)
    smoothed = _smooth(logs, heights)
    seen = (tuple(rates), tuple(float(loss) for loss in losses), tuple(smoothed.tolist()))
    if finite < RANGE_FEWEST_POINTS:
        return RangeTest(
            *seen, None, f"the loss was finite at {finite} rates only, which is too few to read a rate from"
        )
    least = int(smoothed.argmin())
    fall = 1 - smoothed[least] / smoothed[0] if smoothed[0] > 0 else 0.0
    if least == 0 or fall < RANGE_LEAST_FALL:
        return RangeTest(
            *seen, None, f"no rate from {rates[0]:.1g} to {rates[finite - 1]:.1g} lowered the loss clearly"
        )
    steepest = float(10 ** logs[int(np.gradient(smoothed[: least + 1], logs[: least + 1]).argmin())])
    safe = rates[least] / RANGE_SAFETY
    if steepest < safe:
        return RangeTest(*seen, steepest, f"the loss falls most steeply at a rate of {steepest:.1e}")
    return RangeTest(*seen, safe, f"a tenth of {rates[least]:.1e}, the rate at which the loss is least")


def _climb(
    trial: nn.Module, loss_of: LossOf, batches: Iterator[Any], groups: list[dict[str, Any]], rates: list[float]
) -> list[float]:
    """The loss before each step, up to and with the first that has diverged."""
    base = [float(group.get("lr", 0.0)) for group in groups]
    if not base or not max(base) > 0:
        raise OptionError("a range test needs parameter groups with an lr, at least one of them positive")
    optimizer = torch.optim.AdamW(groups)
    losses: list[float] = []
    mean = best = math.inf
    for rate in rates:
        for group, share in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = rate * share / max(base)
        optimizer.zero_grad()
        loss = loss_of(trial, next(batches))
        losses.append(float(loss.detach()))
        mean = losses[-1] if len(losses) == 1 else RANGE_MEMORY * mean + (1 - RANGE_MEMORY) * losses[-1]
        best = min(best, mean)
        if not mean <= RANGE_DIVERGED * best:  # so written that NaN ends the test as well
            break
        loss.backward()
        optimizer.step()
    return losses


def _endless(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        found = False
        for batch in batches:
            found = True
            yield batch
        if not found:
            raise OptionError("a range test needs at least one batch, and batches that can be walked again")


def _smooth(
    logs: np.ndarray[Any, np.dtype[np.float64]], heights: np.ndarray[Any, np.dtype[np.float64]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A kernel mean over rates that lie near in their logarithm."""
    kernel = np.exp(-0.5 * np.square((logs[:, None] - logs) / RANGE_KERNEL_DECADES))
    return np.asarray(kernel @ heights / kernel.sum(axis=1))
