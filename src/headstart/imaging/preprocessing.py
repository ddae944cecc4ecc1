"""The record of how a set of weights wants its images: size, crop, interpolation, mean and deviation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from headstart.errors import OptionError


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

    def __post_init__(self) -> None:
        if self.size < 1:
            raise OptionError(f"preprocessing: size {self.size} is not a number of pixels (1 or more)")
        if not 0 < self.crop <= 1:
            raise OptionError(f"preprocessing: crop {self.crop} is not a fraction above 0 and up to 1")
        if min(self.std) <= 0:
            raise OptionError(f"preprocessing: std {self.std} has a value that is not above 0")

    @property
    def shorter_side(self) -> int:
        """The length that the shorter side is resized to before the centre crop, rounded down as timm does."""
        return math.floor(self.size / self.crop)
