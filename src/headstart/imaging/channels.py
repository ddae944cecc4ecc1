"""Images of any number of channels: which can stand for which, and what they look like as pixels of 8 bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.errors import ImageError
from headstart.imaging.modes import eight_bit_planes
from headstart.imaging.preprocessing import MAX_CHANNELS

GREY, RGB = 1, 3


def stand_for(wanted: int) -> tuple[int, ...]:
    """Numbers of channels that an image with ``wanted`` can be made from, the number itself first.

    Grey becomes RGB by repetition and RGB becomes grey by its luma; no other channels can be made up or left out.
    """
    return (wanted, RGB + GREY - wanted) if wanted in (GREY, RGB) else (wanted,)


def check_channels(found: int, wanted: int, name: str) -> None:
    """Raise :class:`ImageError`, which names both numbers, unless ``found`` channels can stand for ``wanted``."""
    if found in stand_for(wanted):
        return
    has = "1 channel" if found == 1 else f"{found} channels"
    way = f"--channels {RGB if found == GREY else found} takes it" if found <= MAX_CHANNELS else "leave some out"
    raise ImageError(f"{name}: has {has}, but {wanted} {'is' if wanted == 1 else 'are'} asked for; {way}")


def images_of(values: NDArray[Any], wanted: int) -> Iterator[Image.Image]:
    """One image in mode L for each channel of ``values`` (height, width, channels), or for its luma.

    They are made one by one, so that only one is in memory beside ``values``.
    """
    if values.shape[2] == RGB and wanted == GREY:
        yield Image.merge("RGB", list(eight_bit_planes(values))).convert("L")
    else:
        yield from eight_bit_planes(values)


def stacked(images: Iterable[Image.Image], wanted: int) -> NDArray[np.uint8]:
    """Images of equal size as uint8 (height, width, wanted): one RGB image, one of each channel, or one for all."""
    parts = [np.array(image) for image in images]
    if len(parts) > 1:
        return np.stack(parts, axis=2)
    (pixels,) = parts
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], wanted, axis=2)
