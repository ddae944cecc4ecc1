"""The random numbers of a training view, which nothing but the seed, the image and the view's number shapes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Chances:
    """The random numbers of one view, each uniform in [0, 1).

    All are drawn, whichever are used: leaving a transform out doesn't change what the others do.
    """

    area: float
    ratio: float
    top: float
    left: float
    rotated: float
    angle: float
    brightness: float
    contrast: float
    saturation: float
    tinted: float
    hue: float
    grey: float
    erased: float
    erased_area: float
    erased_ratio: float
    erased_top: float
    erased_left: float


def draw(seed: int, digest: str, number: int) -> Chances:
    """The random numbers of view ``number`` of an image with the SHA-256 ``digest``; no other generator is touched."""
    generator = np.random.default_rng((seed, int(digest, 16), number))
    return Chances(*generator.random(len(fields(Chances))).tolist())
