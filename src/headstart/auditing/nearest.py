"""The nearest rows of each row: by comparing all with all where they are few, else within cells of like rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Ints = NDArray[np.int64]

EXACT_BELOW = 10_000
"""With fewer rows all pairs are compared: one core takes some seconds for 10,000 rows."""

# Rows a cell, and how many cells next to its own a row is compared with. Of 100,000 rows around 5,000 random centres,
# these find 99 % of the copies that a search of all pairs does.
_CELL = 400
_PROBED = 16
_ROUNDS = 4
_SAMPLED = 32  # rows a cell that the centres are fitted to
_BLOCK = 1024


def nearest(rows: Rows, k: int, *, seed: int = 0) -> tuple[Ints, Rows]:
    """The k rows with the greatest product with each row, itself apart.

    Up to :data:`EXACT_BELOW` rows the answer is exact. Beyond, rows are sorted into cells by k-means, and each is
    compared with those of the cells next to its own (an inverted file; Jégou, Douze and Schmid 2011), so that the work
    grows as the number of rows to the power of one and a half.

    Parameters
    ----------
    rows:
        float32 (n, width), of length 1, so that products are cosines.

    Returns
    -------
    tuple
        Indices, int64 (n, k), and products, float32 (n, k), greatest first; -1 where there are fewer than k others.
    """
    indices = np.full((len(rows), k), -1, np.int64)
    products = np.full((len(rows), k), -1, np.float32)
    everything = np.arange(len(rows))
    for asked, among in _cells(rows, seed) if len(rows) > EXACT_BELOW else [(everything, everything)]:
        pool = rows[among]
        for start in range(0, len(asked), _BLOCK):
            block = asked[start : start + _BLOCK]
            found = rows[block] @ pool.T
            found[among[None] == block[:, None]] = -np.inf
            taken = min(k, len(among) - 1)
            if taken < 1:
                continue
            top = np.argpartition(found, -taken, axis=1)[:, -taken:]
            values = np.take_along_axis(found, top, 1)
            order = np.argsort(-values, axis=1, kind="stable")
            indices[block, :taken] = among[np.take_along_axis(top, order, 1)]
            products[block, :taken] = np.take_along_axis(values, order, 1)
    return indices, products


def _cells(rows: Rows, seed: int) -> list[tuple[Ints, Ints]]:
    """For each cell its rows, and the rows that these are compared with."""
    centres = _centres(rows, len(rows) // _CELL, seed)
    cell = _closest(rows, centres)
    order = np.argsort(cell, kind="stable")
    members = np.split(order, np.searchsorted(cell[order], np.arange(1, len(centres))))
    near = np.argsort(-(centres @ centres.T), axis=1, kind="stable")[:, : _PROBED + 1]
    return [
        (own, np.concatenate([members[number] for number in near[place]]))
        for place, own in enumerate(members)
        if len(own)
    ]


def _centres(rows: Rows, count: int, seed: int) -> Rows:
    """Spherical k-means on a sample."""
    rng = np.random.default_rng(seed)
    sample = rows[np.sort(rng.permutation(len(rows))[: count * _SAMPLED])]
    centres = sample[rng.permutation(len(sample))[:count]].copy()
    for _ in range(_ROUNDS):
        cell = _closest(sample, centres)
        order = np.argsort(cell, kind="stable")
        numbers, starts = np.unique(cell[order], return_index=True)
        centres[numbers] = np.add.reduceat(sample[order], starts, axis=0)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True).clip(1e-12)
    return centres


def _closest(rows: Rows, centres: Rows) -> Ints:
    found = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), _BLOCK):
        found[start : start + _BLOCK] = (rows[start : start + _BLOCK] @ centres.T).argmax(1)
    return found
