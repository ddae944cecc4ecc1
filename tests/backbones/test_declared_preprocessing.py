"""What weights declare about their images, checked."""

from __future__ import annotations

from typing import Any

import pytest

from headstart.backbones.declared_preprocessing import declared, kept_share
from headstart.errors import BackboneError, OptionError
from headstart.imaging.preprocessing import Preprocessing

GOOD = {"side": [64, 64], "share": 0.9, "interpolation": "bicubic", "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}


def test_a_declaration_becomes_a_record() -> None:
    assert declared("x", **GOOD) == Preprocessing(64, 0.9, "bicubic", (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    assert declared("x", **GOOD, size=96).size == 96
    assert declared("x", **{**GOOD, "share": 1.15}).crop == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"side": [64, 48]},
        {"side": "64"},
        {"side": [64.5, 64.5]},
        {"interpolation": "nearest"},
        {"side": [100_000, 100_000]},
        {"share": 0},
        {"share": 1e-9},
        {"share": "all"},
        {"mean": [0.5]},
        {"mean": None},
        {"mean": [1e308] * 3},
        {"std": [1e-300] * 3},
        {"std": [0.5, 0.5, "x"]},
        {"std": [0.5, 0.5, 0]},
        {"std": [0.5, 0.5, float("nan")]},
    ],
)
def test_what_the_record_cannot_say_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BackboneError, match=r"weights\.json"):
        declared("weights.json", **{**GOOD, **wrong})


@pytest.mark.parametrize("size", [0, -1, 5000])
def test_a_size_out_of_range_is_the_users(size: int) -> None:
    with pytest.raises(OptionError, match=str(size)):
        declared("x", **GOOD, size=size)


def test_the_resized_side_comes_back_exactly() -> None:
    for resized in range(200, 600):
        for cropped in range(190, resized + 1, 7):
            assert int(cropped / kept_share(resized, cropped)) == resized
