"""Images that live in memory, as bytes that the decoder reads back without loss."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.errors import ImageError
from headstart.imaging.decoding import decoding_errors
from headstart.imaging.modes import eight_bit, scale_integers, upright


def encode(image: Image.Image | NDArray[Any], name: str = "image") -> bytes:
    """Bytes of a lossless file (PPM, or PGM for grey) that :func:`headstart.imaging.decode` reads.

    PPM rather than PNG, because it costs 0.06 ms rather than 4 for 224 x 224 pixels and because the same pixels give
    the same bytes, and so the same hash, whichever zlib is installed.

    Parameters
    ----------
    image:
        A Pillow image of any mode, turned as its EXIF orientation says; or an array of shape (height, width),
        (height, width, 1), (height, width, 3) RGB or (height, width, 4) RGBA, of dtype uint8, uint16 (65535 is white)
        or float within 0..1 (1 is white). Transparency is laid on white.
    name:
        What to call the image in an error.

    Raises
    ------
    ImageError
        If the image can't be read, or the array has another shape, dtype or range.
    """
    with decoding_errors(name):
        opened = image if isinstance(image, Image.Image) else _from_array(image, name)
        opened.load()
        turned, _ = upright(opened, (0, 0, *opened.size))
        buffer = BytesIO()
        eight_bit(turned).save(buffer, "PPM")
        return buffer.getvalue()


def _from_array(array: NDArray[Any], name: str) -> Image.Image:
    array = np.asarray(array)
    if array.size == 0 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"{name}: an array of shape {array.shape} is no image; "
            "give (height, width), or (height, width, channels) with 1, 3 or 4 channels"
        )
    pixels = _bytes_of(array, name)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _bytes_of(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return scale_integers(array)
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if low >= 0 and high <= 1:
            scaled: NDArray[np.uint8] = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
            return scaled
        raise ImageError(f"{name}: a float array must lie within 0..1, this one within {low:g}..{high:g}")
    raise ImageError(f"{name}: an array of dtype {array.dtype} is no image; give uint8, uint16, or float within 0..1")
