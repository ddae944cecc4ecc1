"""What goes wrong with pictures: twelve corruptions at three strengths, the same for the same image each time."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from headstart.errors import OptionError
from headstart.files import sha256

Pixels = NDArray[np.uint8]
_Corrupt = Callable[[Pixels, float, np.random.Generator], Pixels]

STRENGTHS = (1, 2, 3)
"""Mild, medium and strong."""

VERSION = 1
"""Raised whenever the same image is corrupted in another way."""


def corrupt(pixels: Pixels, corruption: str, strength: int, digest: str) -> Pixels:
    """A corrupted copy of an image, after Hendrycks and Dietterich (2019), "Benchmarking Neural Network Robustness".

    Noise, Gaussian blur, contrast and JPEG are theirs for ImageNet at severities 1, 3 and 5, brightness too but for its
    being added in RGB. The others, which photos that people take have as well, are headstart's own. Lengths grow with
    the image's side.

    Parameters
    ----------
    pixels:
        uint8 (height, width, channels): as the network would see it, after resizing and cropping.
    corruption:
        A name in :data:`CORRUPTIONS`.
    strength:
        1, 2 or 3.
    digest:
        The hash of the image's bytes: what is random follows from it, so that an image is always corrupted alike.

    Returns
    -------
    uint8 of the same shape.

    Raises
    ------
    OptionError
        If the corruption or the strength is unknown.
    """
    if corruption not in CORRUPTIONS or strength not in STRENGTHS:
        raise OptionError(
            f"no corruption {corruption!r} of strength {strength}: known are {', '.join(CORRUPTIONS)}, from 1 to 3"
        )
    function, amounts = CORRUPTIONS[corruption]
    seed = int(sha256(f"{digest} {corruption} {strength} {VERSION}".encode())[:16], 16)
    return function(pixels, amounts[strength - 1], np.random.default_rng(seed))


def _gaussian_noise(pixels: Pixels, deviation: float, generator: np.random.Generator) -> Pixels:
    """``deviation`` as a share of white."""
    return _rounded(pixels + generator.normal(0, 255 * deviation, pixels.shape))


def _shot_noise(pixels: Pixels, photons: float, generator: np.random.Generator) -> Pixels:
    """Poisson noise, where white is so many ``photons``."""
    return _rounded(generator.poisson(pixels / 255 * photons) / photons * 255)


def _gaussian_blur(pixels: Pixels, radius: float, generator: np.random.Generator) -> Pixels:
    """``radius`` in pixels of an image of side 224."""
    blur = ImageFilter.GaussianBlur(radius * _scale(pixels))
    return _by_channel(pixels, lambda plane: plane.filter(blur))


def _motion_blur(pixels: Pixels, length: float, generator: np.random.Generator) -> Pixels:
    """The mean along a line of ``length`` pixels (of a side of 224) in a random direction; the border is repeated."""
    angle, reach = generator.uniform(0, math.pi), length * _scale(pixels) / 2
    steps = np.linspace(-reach, reach, max(3, 2 * round(reach) + 1))
    edge, (height, width) = math.ceil(reach) + 1, pixels.shape[:2]
    around = np.pad(pixels, ((edge, edge), (edge, edge), (0, 0)), mode="edge")
    total = np.zeros(pixels.shape, np.float32)
    for step in steps:
        top, left = edge + round(step * math.sin(angle)), edge + round(step * math.cos(angle))
        total += around[top : top + height, left : left + width]
    return _rounded(total / len(steps))


def _jpeg(pixels: Pixels, quality: float, generator: np.random.Generator) -> Pixels:
    """Saved as a JPEG of this quality; images of other than 1 or 3 channels each channel for itself."""

    def saved(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=round(quality))
        return Image.open(io.BytesIO(buffer.getvalue()))

    if pixels.shape[2] == 3:
        return np.asarray(saved(Image.fromarray(pixels)).convert("RGB"))
    return _by_channel(pixels, saved)


def _brighter(pixels: Pixels, amount: float, generator: np.random.Generator) -> Pixels:
    """``amount`` is added, as a share of white."""
    return _rounded(pixels + 255 * amount)


def _darker(pixels: Pixels, factor: float, generator: np.random.Generator) -> Pixels:
    """So much of the light is left."""
    return _rounded(pixels * factor)


def _low_contrast(pixels: Pixels, factor: float, generator: np.random.Generator) -> Pixels:
    """So much of the distance from each channel's mean is left."""
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return _rounded((pixels - mean) * factor + mean)


def _rotation(pixels: Pixels, degrees: float, generator: np.random.Generator) -> Pixels:
    """To a random side; what comes in from outside is black."""
    angle = degrees * generator.choice([-1, 1])
    return _by_channel(pixels, lambda plane: plane.rotate(angle, Image.Resampling.BILINEAR))


def _crop(pixels: Pixels, share: float, generator: np.random.Generator) -> Pixels:
    """A random window with this share of each side, enlarged."""
    height, width = pixels.shape[:2]
    tall, wide = max(1.0, height * share), max(1.0, width * share)
    top, left = generator.uniform(0, height - tall), generator.uniform(0, width - wide)
    box = (left, top, left + wide, top + tall)
    return _by_channel(pixels, lambda plane: plane.resize((width, height), Image.Resampling.BICUBIC, box=box))


def _low_resolution(pixels: Pixels, share: float, generator: np.random.Generator) -> Pixels:
    """Made smaller to this share of each side, and enlarged again."""
    height, width = pixels.shape[:2]
    small = max(1, round(width * share)), max(1, round(height * share))
    return _by_channel(
        pixels,
        lambda plane: plane.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BILINEAR),
    )


def _occlusion(pixels: Pixels, share: float, generator: np.random.Generator) -> Pixels:
    """A grey square that covers this share of the area."""
    height, width = pixels.shape[:2]
    tall, wide = max(1, round(height * math.sqrt(share))), max(1, round(width * math.sqrt(share)))
    top, left = generator.integers(0, height - tall + 1), generator.integers(0, width - wide + 1)
    covered = pixels.copy()
    covered[top : top + tall, left : left + wide] = 128
    return covered


CORRUPTIONS: Mapping[str, tuple[_Corrupt, tuple[float, float, float]]] = MappingProxyType(
    {
        "gaussian_noise": (_gaussian_noise, (0.08, 0.18, 0.38)),
        "shot_noise": (_shot_noise, (60.0, 12.0, 3.0)),
        "gaussian_blur": (_gaussian_blur, (1.0, 3.0, 6.0)),
        "motion_blur": (_motion_blur, (10.0, 20.0, 30.0)),
        "jpeg": (_jpeg, (25.0, 15.0, 7.0)),
        "brighter": (_brighter, (0.1, 0.3, 0.5)),
        "darker": (_darker, (0.7, 0.4, 0.2)),
        "low_contrast": (_low_contrast, (0.4, 0.2, 0.05)),
        "rotation": (_rotation, (10.0, 25.0, 45.0)),
        "crop": (_crop, (0.8, 0.6, 0.4)),
        "low_resolution": (_low_resolution, (0.5, 0.25, 0.125)),
        "occlusion": (_occlusion, (0.1, 0.25, 0.5)),
    }
)
"""Each with its amounts at the three strengths; the functions say in what."""


def _scale(pixels: Pixels) -> float:
    return float(max(pixels.shape[:2])) / 224


def _rounded(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _by_channel(pixels: Pixels, change: Callable[[Image.Image], Image.Image]) -> Pixels:
    """Each channel, changed as a grey image."""
    planes = [np.asarray(change(Image.fromarray(plane))) for plane in np.moveaxis(pixels, 2, 0)]
    return np.ascontiguousarray(np.stack(planes, axis=2))
