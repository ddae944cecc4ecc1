"""What weights of any origin declare about their images → a checked Preprocessing record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, cast

from headstart.errors import BackboneError, OptionError
from headstart.imaging.preprocessing import Preprocessing

MAX_SIZE = 4096
"""Largest input side that is built; position tables and maps beyond it fill the memory of any machine."""


def declared(
    where: str,
    *,
    side: Any,
    share: Any,
    interpolation: Any,
    mean: Any,
    std: Any,
    size: int | None = None,
    squash: bool = False,
) -> Preprocessing:
    """Check what a configuration says, and put the wanted size in.

    Parameters
    ----------
    where:
        The network's name or configuration, for messages.
    side:
        The input side that the weights were made for: a number of pixels, or (height, width) that are equal.
    share:
        The share of the shorter side that the centre crop keeps; more than 1 (black borders, in a few networks)
        counts as 1.
    interpolation:
        ``"bicubic"`` or ``"bilinear"``.
    mean, std:
        Three numbers each, where white is 1.
    size:
        The side that is wanted in place of ``side``; the share stays.
    squash:
        Whether both sides of an image are resized to one length, rather than the shorter one alone.

    Raises
    ------
    BackboneError
        If a value is missing, of the wrong type, or nothing that a :class:`Preprocessing` can say.
    OptionError
        If ``size`` is out of range.
    """
    height, width = side if isinstance(side, Sequence) and len(side) == 2 else (side, side)
    if not (_is_number(height) and height == width and int(height) == height and 0 < height <= MAX_SIZE):
        raise BackboneError(f"{where}: takes {height} x {width} pixels; only squares of up to {MAX_SIZE} are supported")
    if interpolation not in ("bicubic", "bilinear"):
        raise BackboneError(f"{where}: resizes by {interpolation!r}; only bicubic and bilinear are supported")
    if not (_is_number(share) and share > 0):
        raise BackboneError(f"{where}: keeps {share!r} of the shorter side, which is not a fraction")
    try:
        return Preprocessing(
            int(height) if size is None else check_size(where, size),
            min(float(share), 1.0),
            cast(Literal["bicubic", "bilinear"], interpolation),
            _triple(where, "mean", mean),
            _triple(where, "std", std),
            aspect="squash" if squash else "crop",
        )
    except OptionError as error:
        if size is not None:
            raise
        raise BackboneError(f"{where}: {error}") from error


def check_size(where: str, size: int) -> int:
    """``size`` if it can be the side of an input at all; raises :class:`OptionError` otherwise."""
    if not isinstance(size, Integral) or not 1 <= size <= MAX_SIZE:
        raise OptionError(f"{where}: an input of {size} pixels is not possible; give 1 to {MAX_SIZE}")
    return size


def kept_share(resized: int, cropped: int) -> float:
    """The share for which ``cropped`` pixels are cut from a side of exactly ``resized``, rounding included."""
    share = cropped / resized
    while math.floor(cropped / share) < resized:
        share = math.nextafter(share, 0)
    return share


def _triple(where: str, what: str, values: Any) -> tuple[float, float, float]:
    if not (isinstance(values, Sequence) and len(values) == 3 and all(_is_number(value) for value in values)):
        raise BackboneError(f"{where}: its {what} {values!r} is not three numbers; only RGB networks are supported")
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
