"""The rate over the steps: shape, ends and refusals."""

from __future__ import annotations

import math

import pytest

from headstart.errors import OptionError
from headstart.training.finetuning.schedules import epochs_a_cut, rate_factor


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (1, 0.9), (2, 0.5), (7, 0.99), (100, 0.05), (1000, 0.0)])
def test_the_rate_rises_to_one_and_falls_to_the_floor(steps: int, warmup: float) -> None:
    factors = [rate_factor(step, steps, warmup, floor=0.01) for step in range(steps)]
    top = factors.index(max(factors))
    assert max(factors) == 1.0
    assert top == min(round(warmup * steps), steps - 1)
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert min(factors) > 0
    if top < steps - 1:
        assert factors[-1] == pytest.approx(0.01)


def test_the_cosine_is_half_way_in_the_middle() -> None:
    assert rate_factor(50, 101, 0.0, floor=0.2) == pytest.approx(0.6)
    assert rate_factor(25, 101, 0.0, floor=0.0) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


@pytest.mark.parametrize(
    ("step", "steps", "warmup", "floor"),
    [(-1, 10, 0, 0), (10, 10, 0, 0), (0, 0, 0, 0), (0, 10, 1, 0), (0, 10, -0.1, 0), (0, 10, 0, 2), (0, 9, math.nan, 0)],
)
def test_what_is_out_of_range_is_refused(step: int, steps: int, warmup: float, floor: float) -> None:
    with pytest.raises(OptionError):
        rate_factor(step, steps, warmup, floor=floor)


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs"),
    [(10_000, 32, 4), (1536, 32, 4), (1000, 32, 6), (500, 32, 12), (225, 32, 12), (225, 225, 12), (20, 20, 12)],
)
def test_few_rows_get_more_epochs_a_cut_so_that_there_are_enough_steps(rows: int, batch_size: int, epochs: int) -> None:
    assert epochs_a_cut(rows, batch_size) == epochs
