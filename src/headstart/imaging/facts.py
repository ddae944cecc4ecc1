"""What an image file says of itself, once it has been decoded whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.imaging.arrays import is_array
from headstart.imaging.channels import GREY, RGB
from headstart.imaging.decoding import decoding_errors, identify, needs_planes, read_planes
from headstart.imaging.modes import eight_bit, eight_bit_planes, orientation

# Colour is looked for on a grid of at most so many pixels a side, of a JPEG at an eighth of its size.
_GRID = 64
# Channels that are nowhere more than so many of 255 levels apart show no colour: the rounding of a JPEG leaves that. Of
# 1,328 MR images, half of them in colour files, 99.5 % have no more; of 600 photographs of flowers 1 %.
_COLOURLESS = 8
_BITS = {"1": 1, "I": 32, "F": 32}


@dataclass(frozen=True)
class ImageFacts:
    """What a decoded file is.

    Attributes
    ----------
    format, mode:
        In Pillow's words (``JPEG``, ``RGB``). What Pillow has no words for is of format ``NPY`` or ``TIFF`` and of a
        mode like ``13 x uint16``: channels and the dtype of their values.
    width, height:
        In pixels, of the upright image.
    orientation:
        By EXIF; 1 is upright. Always 1 for TIFF, whose reader turns the image itself.
    channels:
        1 for grey, 3 for anything in colour, palettes and transparency included, or what an array holds.
    bits:
        Of a value, as Pillow reads it: of a PNG in colour with 16 bits it keeps 8.
    is_grey:
        Whether no colour shows, in a grey file or in one that could hold it.
    """

    format: str
    mode: str
    width: int
    height: int
    orientation: int
    channels: int
    bits: int
    is_grey: bool


def image_facts(data: bytes, name: str) -> ImageFacts:
    """Decode an image at the least cost and say what it is.

    Raises
    ------
    ImageError, MissingExtraError
        As :func:`headstart.imaging.decode` does.
    """
    with decoding_errors(name):
        if needs_planes(data, name):
            return _of_planes(read_planes(data, name), "NPY" if is_array(data) else "TIFF")
        image = identify(data, name)
        mode, (width, height) = image.mode, image.size
        image.draft(None, (1, 1))  # a JPEG at an eighth: every byte is still read
        image.load()
        turn = orientation(image)
        if turn >= 5:
            width, height = height, width
        channels = GREY if Image.getmodebase(mode) == "L" else RGB
        bits = 16 if mode.startswith("I;16") else _BITS.get(mode, 8)
        is_grey = channels == GREY or _is_colourless(_pixels(image))
        return ImageFacts(image.format or "", mode, width, height, turn, channels, bits, is_grey)


def _of_planes(values: NDArray[Any], format_: str) -> ImageFacts:
    height, width, channels = values.shape
    is_grey = channels == GREY
    if channels == RGB:
        grid = values[:: -(-height // _GRID), :: -(-width // _GRID)]
        is_grey = _is_colourless(np.stack([np.asarray(plane) for plane in eight_bit_planes(grid)], axis=2))
    mode, bits = f"{channels} x {values.dtype}", 8 * values.dtype.itemsize
    return ImageFacts(format_, mode, width, height, 1, channels, bits, is_grey)


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """A grid of the image's pixels, (rows, columns, 3), or (rows, columns) where they are grey."""
    size = min(image.width, _GRID), min(image.height, _GRID)
    return np.asarray(eight_bit(image.resize(size, Image.Resampling.NEAREST)))


def _is_colourless(pixels: NDArray[np.uint8]) -> bool:
    return pixels.ndim == 2 or bool((pixels.max(2) - pixels.min(2)).max() <= _COLOURLESS)
