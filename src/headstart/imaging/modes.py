"""From whatever an image holds to upright pixels of 8 bits: orientation, depth, palette, alpha, colour space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a region, in pixels from the top left corner."""


class _Turn(NamedTuple):
    method: Image.Transpose
    swaps_sides: bool
    flips_x: bool
    flips_y: bool


_TURNS = {
    2: _Turn(Image.Transpose.FLIP_LEFT_RIGHT, swaps_sides=False, flips_x=True, flips_y=False),
    3: _Turn(Image.Transpose.ROTATE_180, swaps_sides=False, flips_x=True, flips_y=True),
    4: _Turn(Image.Transpose.FLIP_TOP_BOTTOM, swaps_sides=False, flips_x=False, flips_y=True),
    5: _Turn(Image.Transpose.TRANSPOSE, swaps_sides=True, flips_x=False, flips_y=False),
    6: _Turn(Image.Transpose.ROTATE_270, swaps_sides=True, flips_x=True, flips_y=False),
    7: _Turn(Image.Transpose.TRANSVERSE, swaps_sides=True, flips_x=True, flips_y=True),
    8: _Turn(Image.Transpose.ROTATE_90, swaps_sides=True, flips_x=False, flips_y=True),
}


def upright(image: Image.Image, box: Box) -> tuple[Image.Image, Box]:
    """Turn a loaded image as its EXIF orientation says, and a region of it with it.

    An orientation that can't be read or is none of 1 to 8 leaves the image as it is.
    """
    turn = _TURNS.get(orientation(image))
    if turn is None:
        return image, box
    turned = image.transpose(turn.method)
    left, top, right, bottom = box
    if turn.swaps_sides:
        left, top, right, bottom = top, left, bottom, right
    if turn.flips_x:
        left, right = turned.width - right, turned.width - left
    if turn.flips_y:
        top, bottom = turned.height - bottom, turned.height - top
    return turned, (left, top, right, bottom)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if there is none that can be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block fails in many ways, and none makes the pixels unreadable
        return 1
    return value if isinstance(value, int) and value in range(1, 9) else 1


def eight_bit(image: Image.Image) -> Image.Image:
    """The same picture in mode L or RGB, 8 bits a channel.

    - 16-bit grey, and 32-bit integers within 0..65535, are scaled so that 65535 becomes 255; other 32-bit
      integers are stretched from their least to their greatest value.
    - Floats within 0..1 are scaled by 255, floats within 0..255 are taken as they are, others are stretched;
      what is not finite becomes black.
    - Transparency, as a channel, in a palette or as one transparent colour, is laid on white.
    - CMYK and other colour spaces are converted to RGB without a colour profile.
    """
    if image.mode.startswith("I"):
        return Image.fromarray(scale_integers(np.asarray(image)))
    if image.mode == "F":
        return Image.fromarray(_scale_floats(np.asarray(image)))
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    background = Image.new("RGB", image.size, (255, 255, 255))
    background.paste(image, mask=image)
    return background


def eight_bit_planes(values: NDArray[Any]) -> Iterator[Image.Image]:
    """Each channel of an array as an image in mode L, by the rules of :func:`eight_bit` for grey.

    All channels of an image are scaled alike, so that their ratios stay: what is stretched is stretched from the least
    to the greatest value of all channels. The other rules look at no image's own range, but for whether it exceeds 1,
    255 or 65535, so equal values in two images stay equal. Their price: data that use a small part of the 16 bits, such
    as reflectances up to 10,000, come out dark and in few steps. Floats within 0..1 are the form that loses nothing.

    Parameters
    ----------
    values:
        (height, width, channels) of uint8, or of integers of 16 or 32 bits, or of floats.
    """
    planes = [values[:, :, channel] for channel in range(values.shape[2])]
    if values.dtype == np.uint8:
        yield from (Image.fromarray(np.ascontiguousarray(plane)) for plane in planes)
        return
    if values.dtype.kind != "f":
        low, high = values.min(), values.max()
        yield from (Image.fromarray(_scale_whole(plane, low, high)) for plane in planes)
        return
    ends = [end for plane in map(_finite, planes) for end in (plane.min(), plane.max())]
    yield from (Image.fromarray(_scale_finite(_finite(plane), min(ends), max(ends))) for plane in planes)


def scale_integers(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Integers of 16 bits, or of 32 within 0..65535, scaled to 0..255; wider ones stretched to it."""
    return _scale_whole(values, values.min(), values.max())


def _scale_floats(values: NDArray[Any]) -> NDArray[np.uint8]:
    finite = _finite(values)
    return _scale_finite(finite, finite.min(), finite.max())


def _scale_whole(values: NDArray[Any], low: Any, high: Any) -> NDArray[np.uint8]:
    """Integers of an image whose values lie within ``low`` and ``high``, which decide how they are scaled."""
    if low < 0 or high > 65535:
        return _stretch(values.astype(np.float64), float(low), float(high))
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _scale_finite(finite: NDArray[np.float64], low: Any, high: Any) -> NDArray[np.uint8]:
    """Finite floats of an image whose values lie within ``low`` and ``high``, which decide how they are scaled."""
    if low < 0 or high > 255:
        return _stretch(finite, float(low), float(high))
    return np.rint(finite * 255 if high <= 1 else finite).astype(np.uint8)


def _finite(values: NDArray[Any]) -> NDArray[np.float64]:
    finite: NDArray[np.float64] = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return finite


def _stretch(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    scale = 255 / (high - low) if high > low else 0.0
    scaled: NDArray[np.uint8] = np.rint((values - low) * scale).astype(np.uint8)
    return scaled
