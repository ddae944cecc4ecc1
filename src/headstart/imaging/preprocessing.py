"""The record of how a set of weights wants its images: size, crop, interpolation, mean, deviation and channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from headstart.errors import OptionError

MAX_CHANNELS = 64
"""The most channels that an image may have: hyperspectral cubes have hundreds and want a network of their own."""


@dataclass(frozen=True)
class Preprocessing:
    """What a network was trained to see; it travels with the weights and is not a user's choice.

    Parameters
    ----------
    size:
        Side of the square input, in pixels; at least 1.
    crop:
        The share of the resized shorter side that the centre crop keeps, in (0, 1] (timm's ``crop_pct``).
    interpolation:
        The antialiased filter of the resize.
    mean, std:
        Per-channel mean and standard deviation (R, G, B), in units where black is 0 and white is 1.
    channels:
        Of the decoded image, 1 to ``MAX_CHANNELS``: 1 is grey, 3 is RGB. Channel j of a network's input is normalised
        with the mean and deviation at j mod 3.

    aspect:
        How an image that is not square becomes square: its centre is cropped out, or its sides are resized to one
        length. The crop share is then kept along both.

    Raises
    ------
    OptionError
        If a value is out of its range.
    """

    size: int
    crop: float
    interpolation: Literal["bicubic", "bilinear"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: int = 3
    aspect: Literal["crop", "squash"] = "crop"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise OptionError(f"preprocessing: size {self.size} is not a number of pixels (1 or more)")
        if not 0 < self.crop <= 1:
            raise OptionError(f"preprocessing: crop {self.crop} is not a fraction above 0 and up to 1")
        if min(self.std) <= 0:
            raise OptionError(f"preprocessing: std {self.std} has a value that is not above 0")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise OptionError(f"preprocessing: {self.channels} channels are not 1 to {MAX_CHANNELS}")

    @property
    def shorter_side(self) -> int:
        """The length that the shorter side is resized to before the centre crop, rounded down as timm does."""
        return math.floor(self.size / self.crop)
