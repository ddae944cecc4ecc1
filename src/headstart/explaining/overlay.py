"""A map of evidence laid over its picture, so that a glance tells what the answer rests on.

The picture turns grey and what speaks for the class takes the map's colours, so that no colour of the picture can be
taken for one of the map. What the network did not see, because its view is a crop, lies in the dark.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart.imaging import Preprocessing, preview, seen_box

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

SIDE = 640
"""Pixels of the longer side of a rendered overlay; a small picture is enlarged to it at most fourfold."""

_MOST_ENLARGED = 4
# From least to most: dark violet over red to light yellow, lighter at every step, so that lightness alone tells the
# order: to every kind of colour vision, and in grey print. The path is "inferno"'s (Smith and van der Walt 2015).
_COLOURS = np.array(
    [
        (22, 11, 57),
        (66, 10, 104),
        (106, 23, 110),
        (147, 38, 103),
        (188, 55, 84),
        (221, 81, 58),
        (243, 120, 25),
        (252, 165, 10),
        (246, 215, 70),
        (252, 255, 164),
    ],
    np.float32,
)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601
# How opaque the map is where it is strongest, how fast it gets there, and how much of the picture's own light it keeps.
_OPACITY, _RISE, _RELIEF = 0.8, 1.5, 0.35
_DARK = 0.45
_EDGE = 150.0  # the grey of the line around what the network saw, which shows in dark pictures too
# Positions along a side: the finer texture that lower stages bring into a map looks like grain in the picture.
_FINEST = 32
# Logits. A map that rises by less above its middle tells little, and is drawn as faint as that is.
_LEAST_RANGE = 1.0
_TOP = 99.5


def render(data: bytes, name: str, evidence: Floats, preprocessing: Preprocessing, *, side: int = SIDE) -> Image.Image:
    """The whole picture with the map laid over the part that the network saw, as an RGB image.

    Parameters
    ----------
    data, name:
        The image's bytes, and what to call it in an error.
    evidence:
        float32 (height, width), over the view that ``preprocessing`` cuts out.
    side:
        Pixels of the longer side of the result.

    Raises
    ------
    ImageError
        If the bytes can't be decoded.
    """
    picture = Image.fromarray(preview(data, name, at_least=side))
    scale = min(side / max(picture.size), _MOST_ENLARGED)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    pixels = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
    left, top, right, bottom = map(round, seen_box((0, 0, *size), preprocessing))
    drawn = _grey(pixels) * _DARK
    seen = pixels[top:bottom, left:right]
    drawn[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = _EDGE
    drawn[top:bottom, left:right] = overlay(seen, evidence)
    return Image.fromarray(np.rint(drawn).astype(np.uint8))


def png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def overlay(pixels: Pixels, evidence: Floats) -> Floats:
    """A grey picture (H, W, 3) in the map's colours where something speaks for the class: float32 in 0..255."""
    height, width = pixels.shape[:2]
    plain = Image.fromarray(evidence)
    if min(plain.size) > _FINEST:
        plain = plain.resize((_FINEST, _FINEST), Image.Resampling.HAMMING)
    smooth = strength(np.asarray(plain.resize((width, height), Image.Resampling.BICUBIC)))
    grey = _grey(pixels)
    light = (1 - _RELIEF) + _RELIEF * grey / 255
    opacity = np.minimum(smooth * _RISE, 1.0)[:, :, None] * _OPACITY
    mixed: Floats = grey * (1 - opacity) + _colours(smooth) * light * opacity
    return mixed


def strength(evidence: Floats) -> Floats:
    """How strongly each position of a map is drawn: float32 in 0..1 of the same shape.

    0 is the map's median, or no evidence if that is more, since what is everywhere points nowhere; 1 is its peak.
    """
    low = max(0.0, float(np.median(evidence)))
    high = max(float(np.percentile(evidence, _TOP)), low + _LEAST_RANGE)
    return np.asarray((evidence - low) / (high - low), np.float32).clip(0, 1)


def _colours(strong: Floats) -> Floats:
    """The colours of strengths (H, W) in 0..1, linear between those of the table: float32 (H, W, 3)."""
    place = strong * (len(_COLOURS) - 1)
    low = np.minimum(place.astype(int), len(_COLOURS) - 2)
    share = (place - low)[:, :, None]
    mixed: Floats = _COLOURS[low] * (1 - share) + _COLOURS[low + 1] * share
    return mixed


def _grey(pixels: Pixels) -> Floats:
    """The luma of a picture, float32 (H, W, 3) in 0..255, a little flatter than it was so that colours stand out."""
    luma = pixels.astype(np.float32) @ _LUMA
    return np.repeat((30 + 0.78 * luma)[:, :, None], 3, axis=2)
