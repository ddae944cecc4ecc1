"""The sentence about a gap: names the layers, follows their sizes, and admits what few images leave open."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from headstart.planning.domain_gap import DomainGap, Estimate
from headstart.planning.gap_reading import level, read_gap
from headstart.planning.rule_table import FAR, FITS, LEAST_GAP_IMAGES, SOURCE_LIKE

UNIT = SOURCE_LIKE
SIZES = {"fits": UNIT, "partly": 6 * UNIT, "far": 20 * UNIT}


def _gap(early: float, middle: float, late: float, *, error: float = 0.001, against: str | None = None) -> DomainGap:
    parts = [Estimate(value, error) for value in ((early + middle + late) / 3, early, middle, late)]
    return DomainGap("new", against, *parts, images=64, against_images=32 if against else None)


def test_levels_are_steps_of_the_shift_and_so_squares_of_the_gap() -> None:
    assert level(-0.001) == level(0.0) == level(UNIT) == level(0.99 * FITS**2 * UNIT) == "fits"
    assert level(1.01 * FITS**2 * UNIT) == level(0.99 * FAR**2 * UNIT) == "partly"
    assert level(1.01 * FAR**2 * UNIT) == "far"


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        ("fits fits fits", "The layers fit from the first to the last: such images are what the network knows."),
        (
            "fits fits far",
            "The first and middle layers fit, the last do not fit: if you fine-tune, the top is what differs.",
        ),
        (
            "fits partly partly",
            "The first layers fit, the middle and last fit only in part: if you fine-tune, the top is what differs.",
        ),
        (
            "partly fits fits",
            "The first layers fit only in part, the middle and last fit: "
            "if you fine-tune, the first layers are what differs.",
        ),
        (
            "partly partly partly",
            "The layers fit only in part from the first to the last: "
            "if you fine-tune, layers differ from the first on.",
        ),
        (
            "far partly far",
            "The first layers do not fit, the middle fit only in part, the last do not fit: "
            "if you fine-tune, layers differ from the first on.",
        ),
    ],
)
def test_the_sentence_names_the_layers_and_promises_nothing(levels: str, sentence: str) -> None:
    assert read_gap(_gap(*(SIZES[name] for name in levels.split()))) == sentence


def test_every_pattern_gives_one_sentence() -> None:
    for sizes in itertools.product(SIZES.values(), repeat=3):
        said = read_gap(_gap(*sizes))
        assert said.count(".") == said.count(":") == 1
        assert said.startswith("The ")


@pytest.mark.parametrize("error", [0.2, math.nan])
def test_too_few_images_are_said_to_be_too_few(error: float) -> None:
    assert "64 images are too few" in read_gap(_gap(*3 * [6 * UNIT], error=error))
    assert "too few" in read_gap(_gap(*3 * [6 * UNIT], error=error, against="old"))


def test_a_handful_of_images_is_too_few_however_alike_they_are() -> None:
    for against in (None, "old"):
        gap = dataclasses.replace(_gap(*3 * [20 * UNIT], error=1e-4, against=against), images=LEAST_GAP_IMAGES - 1)
        assert f"{LEAST_GAP_IMAGES - 1} images" in read_gap(gap)
        assert "too few" in read_gap(gap)
        assert "too few" not in read_gap(dataclasses.replace(gap, images=LEAST_GAP_IMAGES))


def test_two_data_sets_are_compared_by_size_and_error() -> None:
    said = [read_gap(_gap(*3 * [size], against="old")) for size in (0.0005, *SIZES.values())]
    assert said[0] == "No difference shows between 64 images of new and 32 of old."
    assert [word in text for word, text in zip(("little", "clearly", "kinds"), said[1:], strict=True)] == 3 * [True]
    assert "No difference" in read_gap(_gap(*3 * [UNIT], error=UNIT, against="old"))
