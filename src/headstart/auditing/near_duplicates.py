"""Copies of one picture in a data set: re-encoded, resized, slightly cropped, brighter or darker, mirrored, turned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from headstart.auditing.alignment import (
    Pictures,
    Placement,
    block_correlations,
    correlation,
    halved,
    place,
    quantiles,
    shown_alike,
    smoothed,
    turn_scores,
    turned,
)
from headstart.auditing.comparison import CONTRAST, LEAST_SIDE, Aligned, Copy, compare
from headstart.auditing.lookalikes import Lookalikes, find_lookalikes
from headstart.auditing.thumbnails import Thumbnails
from headstart.data import Dataset
from headstart.features.engine import cpu_count
from headstart.runs.progress import Progress

_BATCH = 256  # pairs that are worked on at once: their pictures fit a cache


@dataclass(frozen=True)
class _Level:
    """One look at thumbnails of a side: pairs that agree less are no copies."""

    side: int
    steps: int
    correlation: float
    quarter: float  # three quarters of the squares correlate at least so much
    block: int


# What passes all of these is decoded; the recall in `bench/duplicates.py` includes what is lost here.
_UNPLACED = 0.6
_LEVELS = (_Level(16, 8, 0.88, 0.5, 4), _Level(32, 4, 0.9, 0.5, 4), _Level(64, 3, 0.9, 0.65, 8))
_SMALL = _LEVELS[0].side
# Turns of a picture that correlate almost as well as the best one are tried too: heads and leaves are symmetric.
_NEAR_TURN = 0.04


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
    which less is left, are not. Of images with a side under 32 pixels, only those with equal pixels are copies.
    """
    sides = thumbnails.shorter_sides()
    equal = _equal_pictures(thumbnails, np.flatnonzero((sides > 0) & (sides < LEAST_SIDE)))
    rows = np.flatnonzero(sides >= LEAST_SIDE)
    if len(rows) < 2:
        return equal
    with ThreadPoolExecutor(cpu_count(), thread_name_prefix="copies") as pool:
        parts = _parts(np.arange(len(thumbnails)))
        small = np.concatenate(list(pool.map(partial(_level, thumbnails, side=_SMALL), parts)))
        aligned = _align(thumbnails, small, find_lookalikes(small, features, rows), pool)
        return (*equal, *_confirmed(dataset, aligned, pool, progress))


def _equal_pictures(thumbnails: Thumbnails, rows: NDArray[np.int64]) -> tuple[Copy, ...]:
    """Each image whose pixels equal those of an earlier one, with that one; images of one colour are passed over."""
    first: dict[bytes, int] = {}
    found = []
    for part in _parts(rows):
        for row, picture in zip(part.tolist(), thumbnails.pictures(part), strict=True):
            earlier = first.setdefault(picture.tobytes(), row)
            if earlier != row and picture.std() >= CONTRAST:
                found.append(Copy((earlier, row), 1.0, ""))
    return tuple(found)


def _align(thumbnails: Thumbnails, small: Pictures, lookalikes: Lookalikes, pool: ThreadPoolExecutor) -> Aligned:
    """The pairs that agree as thumbnails, each in its best turn; those that agree best come first."""
    found = _hypotheses(small, lookalikes, pool)
    for level in _LEVELS:
        parts = [found.select(at) for at in _parts(np.arange(len(found)))]
        found = _joined(list(pool.map(partial(_agreeing, thumbnails, small, level), parts)))
    found = found.select(np.lexsort((-found.agreement, found.pairs[:, 1], found.pairs[:, 0])))
    _, first = np.unique(found.pairs, axis=0, return_index=True)
    found = found.select(first)
    return found.select(np.argsort(-found.agreement, kind="stable"))


def _hypotheses(small: Pictures, lookalikes: Lookalikes, pool: ThreadPoolExecutor) -> Aligned:
    """Each pair in the turns that it may have."""
    pairs = lookalikes.pairs
    parts = pool.map(lambda part: turn_scores(small[part[:, 0]], small[part[:, 1]]), _parts(pairs))
    scores = np.concatenate([np.empty((0, 8), np.float32), *parts])
    best = scores.max(1, keepdims=True)
    tried, close = scores == best, scores >= best - _NEAR_TURN
    tried[:, 0] |= (lookalikes.upright | lookalikes.by_features) & close[:, 0]
    tried[:, 1] |= lookalikes.by_features & close[:, 1]
    row, turn = np.nonzero(tried & (scores >= _UNPLACED))
    return Aligned(pairs[row], turn, Placement.same(len(row)), scores[row, turn])


def _agreeing(thumbnails: Thumbnails, small: Pictures, level: _Level, found: Aligned) -> Aligned:
    """The pairs that agree at a level, placed anew."""
    first, second = (
        small[rows] if level.side == _SMALL else _level(thumbnails, rows, side=level.side) for rows in found.pairs.T
    )
    second = turned(second, found.turns)
    placement = place(first, second, found.placement, level.steps)
    kept = placement.is_plausible() & (correlation(first, second, placement) >= level.correlation)
    overlaid = shown_alike(first[kept], second[kept], placement.select(kept))
    quarter = quantiles(block_correlations(*overlaid, block=level.block, least_contrast=CONTRAST), 0.25)
    at, agreement = np.flatnonzero(kept)[quarter >= level.quarter], quarter[quarter >= level.quarter]
    return Aligned(found.pairs[at], found.turns[at], placement.select(at), agreement)


def _confirmed(dataset: Dataset, found: Aligned, pool: ThreadPoolExecutor, progress: Progress) -> Iterator[Copy]:
    """Of the aligned pairs those that agree in detail; pairs that are connected by now are passed over."""
    family = list(range(len(dataset)))

    def head(row: int) -> int:
        while family[row] != row:
            family[row] = family[family[row]]
            row = family[row]
        return row

    with progress.task("copies", total=len(found)) as step:
        for part in _parts(np.arange(len(found))):
            pairs = found.pairs[part].tolist()
            apart = np.array([head(first) != head(second) for first, second in pairs], bool)
            for copy in compare(dataset, found.select(part[apart]), pool.map):
                first, second = map(head, copy.rows)
                if first != second:
                    family[second] = first
                    yield copy
            step(len(part))


def _level(thumbnails: Thumbnails, rows: NDArray[np.int64], *, side: int) -> Pictures:
    """Smooth pictures (n, side, side) of some rows."""
    pictures = thumbnails.pictures(rows)
    while pictures.shape[1] > side:
        pictures = halved(pictures)
    return smoothed(pictures, 1)


def _joined(parts: Sequence[Aligned]) -> Aligned:
    none = Aligned(np.empty((0, 2), np.int64), np.empty(0, np.intp), Placement.same(0), np.empty(0, np.float32))
    every = (none, *parts)
    scale, shift = (np.concatenate([getattr(part.placement, name) for part in every]) for name in ("scale", "shift"))
    pairs, turns, agreement = (
        np.concatenate([getattr(part, name) for part in every]) for name in ("pairs", "turns", "agreement")
    )
    return Aligned(pairs, turns, Placement(scale, shift), agreement)


def _parts(items: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]
