"""How long a training is, and the learning rate over its steps, as pure functions."""

from __future__ import annotations

import math

from headstart.errors import OptionError
from headstart.training.finetuning.defaults import EPOCHS, EPOCHS_A_CUT, RATE_FLOOR, STEPS_A_CUT, WARMUP_SHARE


def epochs_a_cut(rows: int, batch_size: int) -> int:
    """Epochs of progressive unfreezing at each cut: a few, but where rows are scarce enough for some steps."""
    steps = math.ceil(rows / batch_size)
    return min(max(EPOCHS_A_CUT, math.ceil(STEPS_A_CUT / steps)), EPOCHS)


def rate_factor(step: int, steps: int, warmup: float = WARMUP_SHARE, *, floor: float = RATE_FLOOR) -> float:
    """What every group's own base rate is multiplied by at one step.

    It rises linearly through the warm-up's W steps, ``(step + 1) / (W + 1)``, is 1 at step W and then falls along half
    a cosine (Loshchilov and Hutter 2017) to ``floor`` at the last step. The first step is not lost to a rate of zero.

    Parameters
    ----------
    step:
        0 to ``steps`` − 1.
    steps:
        How many optimizer steps there are in all, at least 1.
    warmup:
        The share of the steps that warms up, in [0, 1); rounded to whole steps, and at least one step is left after.
    floor:
        In [0, 1].

    Returns
    -------
    A factor in (0, 1], or 0 at the last step where ``floor`` is 0.

    Raises
    ------
    OptionError
        If an argument lies outside its range.
    """
    if steps < 1 or not 0 <= step < steps:
        raise OptionError(
            f"step {step} of {steps} does not exist: steps are numbered from 0, and there is at least one"
        )
    if not 0 <= warmup < 1:
        raise OptionError(f"the warm-up is a share of the steps from 0 up to, not including, 1; {warmup} is not")
    if not 0 <= floor <= 1:
        raise OptionError(f"the floor of the rate is a share of the base rate from 0 to 1; {floor} is not")
    rising = min(round(warmup * steps), steps - 1)
    if step < rising:
        return (step + 1) / (rising + 1)
    falling = steps - 1 - rising
    progress = (step - rising) / falling if falling else 0.0
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
