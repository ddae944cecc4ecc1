"""Pairs of images compared in detail: decoded, laid over each other, and held against each other square by square."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.auditing.alignment import (
    TURN_NAMES,
    Pictures,
    Placement,
    block_correlations,
    halved,
    place,
    quantiles,
    resampled,
    shown_alike,
    smoothed,
    turned,
)
from headstart.data import Dataset
from headstart.imaging import preview

AGREEMENT = 0.8
"""Nine tenths of the squares of two copies correlate at least so much.

``python bench/duplicates.py`` measures what comes of it: nearly all planted copies are found in each data set, and
hardly a pair that only looks alike (MR slices of one head, sketches of one kind of guitar, frames of a fixed camera).
"""

LEAST_SIDE = 32
"""Smaller images show too little to tell a copy from another digit or icon."""

# And all large squares of some contrast correlate at least so much: where something else stands in one place of a fixed
# scene, they do not correlate at all there.
_LARGE_AGREEMENT = 0.5
_LARGE_CONTRAST = 8.0
# Where fewer of the squares show something (a line on white paper), there is too little to compare.
_LEAST_SHOWN = 0.08
CONTRAST = 3.0
"""Grey levels: a square with a lower standard deviation shows nothing, or the noise of a JPEG."""

# The side that decoded pictures are compared at, and of the squares in them.
_SIDE = 128
_BLOCK = 8
_SMOOTHING = 3
_STEPS = 3
# The side of the grid that colours are compared on. Colours nearer to grey, in levels of Cb and Cr, are those of a grey
# picture; and the cosine between those of copies.
_COLOUR_SIDE = 16
_HUED = 4.0
_SAME_HUES = 0.7
# A scale or shift that is more than imprecision, in sides.
_MOVED = 0.015

Run = Callable[..., Iterator["_Picture"]]


@dataclass(frozen=True)
class Copy:
    """Two rows of a data set that show one picture.

    Attributes
    ----------
    rows:
        Positions.
    agreement:
        What nine tenths of the squares correlate at least, up to 1.
    how:
        What sets the second apart, in words: ``mirrored left to right, cropped``; ``""`` where nothing does.
    """

    rows: tuple[int, int]
    agreement: float
    how: str


@dataclass(frozen=True, eq=False)
class Aligned:
    """Pairs of rows that may show one picture.

    Attributes
    ----------
    pairs:
        int64 (n, 2).
    turns:
        How the second is turned, 0 to 7 (n,).
    placement:
        Where the second lies in the first.
    agreement:
        How well they agree as far as known, float32 (n,).
    """

    pairs: NDArray[np.int64]
    turns: NDArray[np.intp]
    placement: Placement
    agreement: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pairs)

    def select(self, at: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Aligned:
        """Some of them."""
        return Aligned(self.pairs[at], self.turns[at], self.placement.select(at), self.agreement[at])


def compare(dataset: Dataset, found: Aligned, run: Run) -> Iterator[Copy]:
    """Those of the pairs that are copies.

    Parameters
    ----------
    run:
        Applies a function to items, as ``map`` does; images are decoded by it.
    """
    rows = np.unique(found.pairs).tolist()
    pictures = dict(zip(rows, run(lambda row: _picture(dataset, row), rows), strict=True))
    sides = [min(pictures[a].side, pictures[b].side) for a, b in found.pairs.tolist()]
    for side in sorted(set(sides)):
        yield from _copies(found.select(np.array(sides) == side), pictures, side)


@dataclass(frozen=True, eq=False)
class _Picture:
    """An image as it is compared: grey (128, 128), colours (2, 16, 16) around 0, the side that it has pixels for."""

    grey: Pictures
    colours: Pictures
    side: int


def _picture(dataset: Dataset, row: int) -> _Picture:
    pixels = preview(dataset.read(row), dataset.files[row], _SIDE)
    image = Image.fromarray(pixels)
    grey = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    small = image.resize((_COLOUR_SIDE, _COLOUR_SIDE), Image.Resampling.BOX).convert("YCbCr")
    colours = np.moveaxis(np.asarray(small, np.float32)[..., 1:], 2, 0) - 128
    side = next((side for side in (_SIDE, 64) if min(pixels.shape[:2]) >= side), LEAST_SIDE)
    return _Picture(np.asarray(grey, np.float32), np.ascontiguousarray(colours), side)


def _copies(found: Aligned, pictures: dict[int, _Picture], side: int) -> Iterator[Copy]:
    """The copies among pairs that are compared at one resolution."""
    first, second = (_greys([pictures[row] for row in column], side) for column in found.pairs.T.tolist())
    second = turned(second, found.turns)
    placement = place(first, second, found.placement, _STEPS)
    overlaid = shown_alike(first, second, placement)
    squares = block_correlations(*overlaid, block=_BLOCK, least_contrast=CONTRAST)
    within = slice(_BLOCK, -_BLOCK)
    inner = (picture[:, within, within] for picture in overlaid)  # the squares there lie across the others
    large = [block_correlations(*some, block=2 * _BLOCK, least_contrast=_LARGE_CONTRAST) for some in (overlaid, inner)]
    agreement, worst = quantiles(squares, 0.1), np.nan_to_num(np.concatenate(large, axis=1), nan=1).min(1)
    good = placement.is_plausible() & ((~np.isnan(squares)).mean(1) >= _LEAST_SHOWN)
    good &= (agreement >= AGREEMENT) & (worst >= _LARGE_AGREEMENT)
    for at in np.flatnonzero(good).tolist():
        (a, b), here = found.pairs[at].tolist(), placement.select(slice(at, at + 1))
        turn = int(found.turns[at])
        if _colours_agree(pictures[a].colours, pictures[b].colours, turn, here):
            yield Copy((a, b), float(agreement[at]), _difference(turn, here))


def _greys(pictures: list[_Picture], side: int) -> Pictures:
    """Smooth pictures (n, side, side), at a side of 128, 64 or 32."""
    greys = np.stack([picture.grey for picture in pictures])
    while greys.shape[1] > side:
        greys = halved(greys)
    return smoothed(greys, _SMOOTHING)


def _colours_agree(first: Pictures, second: Pictures, turn: int, placement: Placement) -> bool:
    """Whether two pictures have the same hues in the same places, as far as both have any."""
    other = turned(second, np.full(2, turn))
    one = resampled(first, Placement(placement.scale.repeat(2, 0), placement.shift.repeat(2, 0)))
    lengths = [float(np.sqrt((colours**2).mean())) for colours in (one, other)]
    if min(lengths) < _HUED:
        return True
    return float((one * other).mean()) >= _SAME_HUES * lengths[0] * lengths[1]


def _difference(turn: int, placement: Placement) -> str:
    """What sets the second of two pictures apart, in words."""
    distance = max(float(np.abs(placement.scale - 1).max()), float(np.abs(placement.shift).max()))
    return ", ".join(part for part in (TURN_NAMES[turn], "cropped" if distance > _MOVED else "") if part)
