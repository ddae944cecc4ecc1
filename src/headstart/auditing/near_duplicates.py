"""Copies of one picture in a data set: re-encoded, resized, slightly cropped, brighter or darker, mirrored, turned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.auditing.alignment import (
    TURN_NAMES,
    Pictures,
    Placement,
    block_correlations,
    correlation,
    halved,
    place,
    smoothed,
    turn_scores,
    turned,
)
from headstart.auditing.lookalikes import Lookalikes, find_lookalikes
from headstart.auditing.thumbnails import SIDE, Thumbnails
from headstart.data import Dataset
from headstart.features.engine import cpu_count
from headstart.imaging import preview
from headstart.runs.progress import Progress

LEAST_SIDE = 32
"""Smaller images show too little to tell a copy from another digit or icon: only equal ones count as copies."""

AGREEMENT = 0.8
"""Nine tenths of the squares of two copies correlate at least so much.

``python bench/duplicates.py`` measures it: of planted copies 98 to 100 % do, and of pairs that only look alike (MR
slices of one head, sketches of one kind of guitar, frames of a fixed camera) none.
"""

# And all but this share of them correlate at least half: where something else stands in one place of a fixed scene, the
# squares there do not correlate at all.
_ODD_SHARE = 0.03
_ODD_AGREEMENT = 0.5
# Where fewer of the squares show something (a line on white paper), there is too little to compare.
_LEAST_SHOWN = 0.08
_CONTRAST = 3.0  # grey levels: below it a square shows JPEG noise

# The side that decoded pictures are compared at, and of the squares in them.
_COMPARED = 128
_BLOCK = 8
_BATCH = 256  # pairs


@dataclass(frozen=True)
class _Level:
    """One look at thumbnails of a side: pairs that agree less are no copies."""

    side: int
    steps: int
    correlation: float
    quarter: float  # three quarters of the squares correlate at least so much


# Each is passed by 99 % of the planted copies that get there; the pairs that pass all are decoded.
_UNPLACED = 0.6
_LEVELS = (_Level(16, 8, 0.88, 0.5), _Level(32, 4, 0.9, 0.5), _Level(64, 3, 0.9, 0.65))
# Turns of a picture that correlate almost as well as the best one are tried too: heads and leaves are symmetric.
_NEAR_TURN = 0.04


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


def find_copies(
    dataset: Dataset, thumbnails: Thumbnails, features: NDArray[np.float32], progress: Progress
) -> tuple[Copy, ...]:
    """Pairs of images that show one picture; together they connect all of its copies.

    The nearest images by thumbnail and by features are laid over each other, at growing resolution, as long as they
    agree. Copies agree in nearly all squares that show anything; what merely looks alike does not agree in detail.

    Parameters
    ----------
    thumbnails, features:
        One row a row of the data set; the features are float32 (n, width).

    Notes
    -----
    Found are copies that have lost up to about a tenth at an edge. Copies that were rotated by a few degrees, or of
    which less is left, are not.
    """
    sides = thumbnails.shorter_sides()
    equal = _equal_pictures(thumbnails, np.flatnonzero((sides > 0) & (sides < LEAST_SIDE)))
    rows = np.flatnonzero(sides >= LEAST_SIDE)
    if len(rows) < 2:
        return equal
    small = np.concatenate([_level(thumbnails, part, 16) for part in _parts(np.arange(len(thumbnails)))])
    aligned = _align(thumbnails, small, find_lookalikes(small, features, rows))
    return (*equal, *_confirm(dataset, aligned, progress))


@dataclass(frozen=True, eq=False)
class _Aligned:
    """Pairs int64 (n, 2), how the second is turned, where it lies in the first, and how well they agree, float32 (n,)."""

    pairs: NDArray[np.int64]
    turns: NDArray[np.intp]
    placement: Placement
    agreement: NDArray[np.float32]

    def select(self, at: NDArray[np.intp] | NDArray[np.bool_]) -> _Aligned:
        return _Aligned(self.pairs[at], self.turns[at], self.placement.select(at), self.agreement[at])


def _equal_pictures(thumbnails: Thumbnails, rows: NDArray[np.int64]) -> tuple[Copy, ...]:
    """Each image whose pixels equal those of an earlier one, with that one."""
    first: dict[bytes, int] = {}
    found = []
    for part in _parts(rows):
        for row, picture in zip(part.tolist(), thumbnails.pictures(part), strict=True):
            earlier = first.setdefault(picture.tobytes(), row)
            if earlier != row and picture.std() > _CONTRAST:
                found.append(Copy((earlier, row), 1.0, ""))
    return tuple(found)


def _align(thumbnails: Thumbnails, small: Pictures, lookalikes: Lookalikes) -> _Aligned:
    """The pairs that agree as thumbnails, each in its best turn; those that agree best come first."""
    found = _hypotheses(small, lookalikes)
    for level in _LEVELS:
        passed = [_at_level(thumbnails, small, found.select(at), level) for at in _parts(np.arange(len(found.pairs)))]
        found = _joined(passed)
    order = np.lexsort((-found.agreement, found.pairs[:, 1], found.pairs[:, 0]))
    found = found.select(order)
    _, first = np.unique(found.pairs, axis=0, return_index=True)
    found = found.select(first)
    return found.select(np.argsort(-found.agreement, kind="stable"))


def _hypotheses(small: Pictures, lookalikes: Lookalikes) -> _Aligned:
    """Each pair in the turns that it may have."""
    pairs = lookalikes.pairs
    scores = np.concatenate(
        [np.empty((0, 8), np.float32), *(turn_scores(small[part[:, 0]], small[part[:, 1]]) for part in _parts(pairs))]
    )
    best = scores.max(1, keepdims=True)
    tried = scores == best
    close = scores >= best - _NEAR_TURN
    tried[:, 0] |= (lookalikes.upright | lookalikes.by_features) & close[:, 0]
    tried[:, 1] |= lookalikes.by_features & close[:, 1]
    row, turn = np.nonzero(tried & (scores >= _UNPLACED))
    return _Aligned(pairs[row], turn, Placement.same(len(row)), scores[row, turn])


def _at_level(thumbnails: Thumbnails, small: Pictures, found: _Aligned, level: _Level) -> _Aligned:
    """The pairs that agree at this level, placed anew."""
    first, second = (
        small[rows] if level.side == 16 else _level(thumbnails, rows, level.side) for rows in found.pairs.T
    )
    second = turned(second, found.turns)
    placement = place(first, second, found.placement, level.steps)
    kept = placement.is_plausible() & (correlation(first, second, placement) >= level.correlation)
    squares = block_correlations(
        first[kept], second[kept], placement.select(kept), block=max(4, level.side // 8), least_contrast=_CONTRAST
    )
    quarter = _quantiles(squares, 0.25)
    at = np.flatnonzero(kept)[quarter >= level.quarter]
    return _Aligned(found.pairs[at], found.turns[at], placement.select(at), quarter[quarter >= level.quarter])


def _confirm(dataset: Dataset, found: _Aligned, progress: Progress) -> Iterator[Copy]:
    """Of the aligned pairs those that agree in detail; pairs that are connected by now are passed over."""
    family = list(range(len(dataset)))

    def head(row: int) -> int:
        while family[row] != row:
            family[row] = family[family[row]]
            row = family[row]
        return row

    with (
        progress.task("copies", total=len(found.pairs)) as step,
        ThreadPoolExecutor(cpu_count(), thread_name_prefix="copies") as pool,
    ):
        for part in _parts(np.arange(len(found.pairs))):
            news = [place for place in part.tolist() if len({head(int(row)) for row in found.pairs[place]}) == 2]
            for copy in _compared(dataset, found.select(np.array(news, np.int64)), pool.map):
                first, second = (head(row) for row in copy.rows)
                if first != second:
                    family[second] = first
                    yield copy
            step(len(part))


def _compared(dataset: Dataset, found: _Aligned, run: Callable[..., Iterator[_Picture]]) -> Iterator[Copy]:
    """Decode the pairs and compare them, those of one resolution together."""
    rows = np.unique(found.pairs).tolist()
    pictures = dict(zip(rows, run(lambda row: _picture(dataset, row), rows), strict=True))
    sides = [min(_side(pictures[a].shorter), _side(pictures[b].shorter)) for a, b in found.pairs.tolist()]
    for side in sorted(set(sides)):
        some = found.select(np.array(sides) == side)
        first, second = (_greys([pictures[row] for row in column], side) for column in some.pairs.T.tolist())
        second = turned(second, some.turns)
        placement = place(first, second, some.placement, 3)
        squares = block_correlations(first, second, placement, block=_BLOCK, least_contrast=_CONTRAST)
        shown = (~np.isnan(squares)).mean(1) >= _LEAST_SHOWN
        agreement, odd = _quantiles(squares, 0.1), _quantiles(squares, _ODD_SHARE)
        good = shown & (agreement >= AGREEMENT) & (odd >= _ODD_AGREEMENT) & placement.is_plausible()
        for at in np.flatnonzero(good).tolist():
            a, b = some.pairs[at].tolist()
            if _colours_agree(pictures[a].colours, pictures[b].colours, int(some.turns[at])):
                how = _difference(int(some.turns[at]), placement.select(slice(at, at + 1)))
                yield Copy((a, b), float(agreement[at]), how)


@dataclass(frozen=True, eq=False)
class _Picture:
    """An image as it is compared: grey (128, 128), colours (8, 8, 2) around 0, and its shorter side in pixels."""

    grey: Pictures
    colours: Pictures
    shorter: int


def _picture(dataset: Dataset, row: int) -> _Picture:
    pixels = preview(dataset.read(row), dataset.files[row], _COMPARED)
    image = Image.fromarray(pixels)
    grey = image.convert("L").resize((_COMPARED, _COMPARED), Image.Resampling.BICUBIC)
    small = image.resize((8, 8), Image.Resampling.BOX).convert("YCbCr")
    colours = np.asarray(small)[..., 1:].astype(np.float32) - 128
    return _Picture(np.asarray(grey, np.float32), colours, min(pixels.shape[:2]))


def _greys(pictures: list[_Picture], side: int) -> Pictures:
    """Smooth pictures (n, side, side), at a side of 128, 64 or 32."""
    greys = np.stack([picture.grey for picture in pictures])
    while greys.shape[1] > side:
        greys = halved(greys)
    return smoothed(greys, 3)


def _side(shorter: int) -> int:
    """The greatest side to compare at that an image has the pixels for."""
    return next(side for side in (_COMPARED, 64, 32, 0) if shorter >= side)


def _colours_agree(first: Pictures, second: Pictures, turn: int) -> bool:
    """Whether two pictures have the same hues in the same places, as far as both have any."""
    planes = turned(np.moveaxis(second, 2, 0), np.full(2, turn))
    other = np.moveaxis(planes, 0, 2)
    lengths = [float(np.sqrt((colours**2).mean())) for colours in (first, other)]
    if min(lengths) < _HUED:
        return True
    return float((first * other).mean()) >= _SAME_HUES * lengths[0] * lengths[1]


# Colours nearer to grey, in levels of Cb and Cr, are those of a grey picture; and the cosine between those of copies.
_HUED = 4.0
_SAME_HUES = 0.8
# A scale or shift that is more than imprecision, in sides.
_MOVED = 0.015


def _difference(turn: int, placement: Placement) -> str:
    """What sets the second of two pictures apart, in words."""
    moved = max(float(np.abs(placement.scale - 1).max()), float(np.abs(placement.shift).max())) > _MOVED
    return ", ".join(part for part in (TURN_NAMES[turn], "cropped" if moved else "") if part)


def _level(thumbnails: Thumbnails, rows: NDArray[np.int64], side: int) -> Pictures:
    """Smooth pictures (n, side, side) of some rows."""
    pictures = thumbnails.pictures(rows)
    while pictures.shape[1] > side:
        pictures = halved(pictures)
    return smoothed(pictures, 1)


def _quantiles(squares: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """The value that this share of the squares of each pair is below, (n,); -1 where none shows anything."""
    counts = (~np.isnan(squares)).sum(1)
    ordered = np.sort(squares, axis=1)  # NaN comes last
    at = np.floor(share * (counts - 1).clip(0)).astype(np.int64)
    found = np.take_along_axis(ordered, at[:, None], 1)[:, 0]
    return np.where(counts > 0, found, -1).astype(np.float32)


def _joined(parts: list[_Aligned]) -> _Aligned:
    if not parts:
        return _Aligned(np.empty((0, 2), np.int64), np.empty(0, np.intp), Placement.same(0), np.empty(0, np.float32))
    return _Aligned(
        np.concatenate([part.pairs for part in parts]),
        np.concatenate([part.turns for part in parts]),
        Placement(*(np.concatenate([getattr(part.placement, name) for part in parts]) for name in ("scale", "shift"))),
        np.concatenate([part.agreement for part in parts]),
    )


def _parts(items: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """A long array in pieces that fit a cache."""
    return [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]
