"""The record of how a set of weights wants its images: size, crop, interpolation, mean, deviation and channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from headstart.errors import OptionError

MAX_CHANNELS = 64
"""The most channels that an image may have: hyperspectral cubes have hundreds and want a network of their own."""

# No weights are near these limits; beyond them a view shows less than a pixel, or a float32 overflows.
_LEAST_CROP = 0.05
_FARTHEST = 1000.0


@dataclass(frozen=True)
class Preprocessing:
    """What a network was trained to see; it travels with the weights and is not a user's choice.

    Parameters
    ----------
    size:
        Side of the square input, in pixels; at least 1.
    crop:
        The share of the resized shorter side that the centre crop keeps, 0.05 to 1 (timm's ``crop_pct``).
    interpolation:
        The antialiased filter of the resize.
    mean, std:
        Per-channel mean and standard deviation (R, G, B), in units where black is 0 and white is 1; at most 1000, and
        the deviation at least 0.001.
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
        if not _LEAST_CROP <= self.crop <= 1:
            raise OptionError(f"preprocessing: crop {self.crop} is not a fraction from {_LEAST_CROP} to 1")
        if not all(abs(value) <= _FARTHEST for value in self.mean):
            raise OptionError(f"preprocessing: mean {self.mean} is not that of pixels between 0 and 1")
        if not all(1 / _FARTHEST <= value <= _FARTHEST for value in self.std):
            raise OptionError(f"preprocessing: std {self.std} is not that of pixels between 0 and 1 (above 0)")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise OptionError(f"preprocessing: {self.channels} channels are not 1 to {MAX_CHANNELS}")

    @property
    def shorter_side(self) -> int:
        """The length that the shorter side is resized to before the centre crop, rounded down as timm does."""
        return math.floor(self.size / self.crop)
