"""What an image looks like in a few numbers: tone, detail, and the colours of its whole, its border and its inside."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOCUS = 256
"""Images are judged with at most so many pixels on their shorter side, about what networks see of them."""

LEAST_SIDE = 64
"""Detail is not judged of images with a shorter side below this: an eighth of it would hold no tile worth the name."""

GRID = 64
"""Colours are measured on so many cells a side, squashed; the border is the outermost cell, 1.6 % of a side."""

# The image is cut into so many tiles a side, and its detail is that of its sharpest tiles: a sharp flower before a
# background out of focus is a sharp image.
_TILES = 8
_SHARPEST = 8
# Below this mean square a tile holds nothing but the rounding of its own grey levels.
_ROUNDING = 1.0


@dataclass(frozen=True)
class Ring:
    """The four sides of a square ring of cells: for top, bottom, left and right the mean red, green and blue and the
    deviation of the luma along it, in 0..255."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Appearance:
    """What a decoded image looks like; tones are luma in 0..255.

    Attributes
    ----------
    dark_end, bright_end:
        The 5th and the 99th percentile of its pixels.
    clipped:
        The share of pixels of 250 and more.
    contrast:
        The standard deviation of its pixels.
    detail:
        The mean square of the Laplacian of the sharpest tiles over that of the same tiles at half the size. Scenes look
        alike at all scales, and the ratio is near 1 (spectra fall like 1/f², Field 1987); of an image without detail at
        this size it tends to 1/16, since a smooth function's second difference falls with the square of the step. It
        does not depend on contrast. ``None`` where the image is too small or has no structure at all. Of an image that
        is blurred so much that the rounding of grey levels outweighs what is left it means nothing.
    half_detail:
        The same at half the size.
    sharpness:
        The mean square of the Laplacian of the sharpest tiles; ``None`` where the image is too small. It falls with
        contrast as with focus (Pech-Pacheco et al. 2000 call it the variance of the Laplacian).
    colour:
        Mean red, green and blue and their deviations.
    border, inside:
        The outermost ring of cells, and for comparison the one half way to the centre.
    """

    dark_end: float
    bright_end: float
    clipped: float
    contrast: float
    detail: float | None
    half_detail: float | None
    sharpness: float | None
    colour: tuple[float, ...]
    border: Ring
    inside: Ring


def appearance_of(picture: Image.Image) -> Appearance:
    """The appearance of an upright picture in mode L or RGB."""
    grey = _at_focus(picture if picture.mode == "L" else picture.convert("L"))
    dark_end, bright_end, clipped, contrast = _tones(grey)
    detail, half_detail, sharpness = _details(grey)
    small = picture.resize((GRID, GRID), Image.Resampling.BOX, reducing_gap=1.0)
    cells = np.asarray(small.convert("RGB")).astype(np.float32)
    flat = cells.reshape(-1, 3)
    colour = np.concatenate([flat.mean(0), flat.std(0)])
    quarter = GRID // 4
    return Appearance(
        dark_end,
        bright_end,
        clipped,
        contrast,
        detail,
        half_detail,
        sharpness,
        tuple(colour.round(2).tolist()),
        _ring(cells),
        _ring(cells[quarter:-quarter, quarter:-quarter]),
    )


def _at_focus(grey: Image.Image) -> Image.Image:
    shorter = min(grey.size)
    if shorter <= FOCUS:
        return grey
    size = tuple(max(FOCUS, round(side * FOCUS / shorter)) for side in grey.size)
    return grey.resize((size[0], size[1]), Image.Resampling.BICUBIC, reducing_gap=2.0)


def _tones(grey: Image.Image) -> tuple[float, float, float, float]:
    levels = np.arange(256)
    shares = np.array(grey.histogram(), np.float64) / (grey.width * grey.height)
    dark_end, bright_end = np.searchsorted(np.cumsum(shares), (0.05, 0.99))
    contrast = math.sqrt(float(shares @ (levels - shares @ levels) ** 2))
    return float(dark_end), float(bright_end), float(shares[250:].sum()), contrast


def _details(grey: Image.Image) -> tuple[float | None, float | None, float | None]:
    """The ratios from the whole to half the size and from there to a quarter, and the whole's own sharpness."""
    if min(grey.size) < LEAST_SIDE:
        return None, None, None
    half = grey.reduce(2)
    whole, halved, quartered = (_roughness(image) for image in (grey, half, half.reduce(2)))
    sharp = np.argsort(halved)[-_SHARPEST:]
    sharpness = float(np.sort(whole)[-_SHARPEST:].mean())
    if halved[sharp].mean() < _ROUNDING:
        return None, None, sharpness
    sharpest = np.argsort(quartered)[-_SHARPEST:]
    detail = float(whole[sharp].mean() / halved[sharp].mean())
    return detail, float(halved[sharpest].mean() / max(quartered[sharpest].mean(), _ROUNDING)), sharpness


def _roughness(grey: Image.Image) -> NDArray[np.float32]:
    """The mean square of the Laplacian in each tile, float32 (tiles²,)."""
    values = np.asarray(grey).astype(np.int16)
    laplacian = values[1:-1, :-2] + values[1:-1, 2:] + values[:-2, 1:-1] + values[2:, 1:-1] - 4 * values[1:-1, 1:-1]
    height, width = (side // _TILES for side in laplacian.shape)
    tiles = laplacian[: height * _TILES, : width * _TILES].astype(np.float32).reshape(_TILES, height, _TILES, width)
    means: NDArray[np.float32] = np.einsum("ihjw,ihjw->ij", tiles, tiles).ravel() / (height * width)
    return means


def _ring(cells: NDArray[np.float32]) -> Ring:
    sides = np.stack([cells[0], cells[-1], cells[:, 0], cells[:, -1]])
    values = np.column_stack([sides.mean(1), sides.mean(2).std(1)])
    return Ring(tuple(values.round(2).ravel().tolist()))
