"""A recipe refuses what can't train, and is equal to another exactly when it gives equal results."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from headstart.errors import OptionError
from headstart.training.finetuning.imbalance import balance_by
from headstart.training.finetuning.recipe import Recipe


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"epochs": 0}, "0 epochs"),
        ({"epochs": -3}, "-3 epochs"),
        ({"batch_size": 0}, "batch of 0"),
        ({"rate": 0.0}, "rate of 0"),
        ({"rate": -1e-3}, "rate of -0.001"),
        ({"rate": 1.0}, "rate of 1"),
        ({"rate": math.nan}, "rate of nan"),
        ({"rate": math.inf}, "rate of inf"),
        ({"weight_decay": -0.1}, "weight_decay -0.1"),
        ({"stages_anchor": math.inf}, "stages_anchor inf"),
        ({"head_anchor": math.nan}, "head_anchor nan"),
        ({"mixup": -1.0}, "mixup -1"),
        ({"cutmix": math.nan}, "cutmix nan"),
        ({"ema": 1.5}, "ema 1.5"),
        ({"ema": math.nan}, "ema nan"),
        ({"smoothing": 1.0}, "smoothing 1"),
        ({"stage_decay": 0.0}, "stage_decay 0"),
        ({"stage_decay": 1.5}, "stage_decay 1.5"),
        ({"head_factor": 0.0}, "head_factor 0"),
        ({"head_factor": math.nan}, "head_factor nan"),
        ({"warmup": 1.0}, "warmup 1"),
        ({"warmup": -0.1}, "warmup -0.1"),
        ({"patience": 0}, "patience of 0"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_values_out_of_range_are_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named) as found:
        Recipe(**values)
    assert "\n" not in str(found.value)


def test_equal_recipes_are_equal_and_tell_every_difference() -> None:
    assert Recipe() == Recipe()
    assert repr(Recipe()) == repr(Recipe())
    assert Recipe(rate=2e-3) != Recipe()
    for field in dataclasses.fields(Recipe):
        assert f"{field.name}=" in repr(Recipe())


def test_without_a_balance_nothing_is_balanced() -> None:
    assert Recipe().balance_for((30, 3), "softmax", 33).method == "none"
    wanted = balance_by("weighted_loss", (30, 3), "softmax", rows=33)
    assert Recipe(balance=wanted).balance_for((30, 3), "softmax", 33) is wanted
