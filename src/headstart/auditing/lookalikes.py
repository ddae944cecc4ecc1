"""Pairs of images that may be copies of each other: those nearest by thumbnail, turned thumbnail and features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.auditing.alignment import Pictures
from headstart.auditing.nearest import nearest

Ints = NDArray[np.int64]

# How many neighbours of each image are looked at. A copy that was not cropped is the nearest thumbnail even among MR
# slices; a cropped one is among the nearest by features, but not always the first.
BY_THUMBNAIL = 3
BY_TURNED = 2
BY_FEATURES = 4
# The side that thumbnails are compared at here.
_SIDE = 8
# With more rows, features are compared by their principal components: as good, and ten times as fast.
_MANY = 5_000
_COMPONENTS = 128


@dataclass(frozen=True, eq=False)
class Lookalikes:
    """Pairs that are worth a closer look.

    Attributes
    ----------
    pairs:
        int64 (n, 2), the smaller row first; no pair stands here twice.
    upright, by_features:
        bool (n,): whether the pair was found by thumbnails as they are, and by features.
    """

    pairs: Ints
    upright: NDArray[np.bool_]
    by_features: NDArray[np.bool_]


def find_lookalikes(pictures: Pictures, features: NDArray[np.float32], rows: Ints) -> Lookalikes:
    """The nearest images of each image.

    Parameters
    ----------
    pictures:
        Small grey pictures of all images, (n, 16, 16).
    features:
        Of all images, float32 (n, width).
    rows:
        Which images take part.
    """
    small = pictures[rows].reshape(-1, _SIDE, 2, _SIDE, 2).mean((2, 4))
    found = (
        _pairs(_unit(small), BY_THUMBNAIL),
        _pairs(_unit(_canonical(small)), BY_TURNED),
        _pairs(_components(features[rows]), BY_FEATURES),
    )
    pairs, inverse = np.unique(np.concatenate(found), axis=0, return_inverse=True)
    source = np.repeat(np.arange(3), [len(some) for some in found])
    by = np.zeros((len(pairs), 3), bool)
    by[inverse.ravel(), source] = True
    return Lookalikes(rows[pairs], by[:, 0], by[:, 2])


def _pairs(rows: NDArray[np.float32], k: int) -> Ints:
    indices, _ = nearest(rows, k)
    first = np.repeat(np.arange(len(rows)), k)
    second = indices.ravel()
    there = second >= 0
    return np.sort(np.stack([first[there], second[there]], axis=1), axis=1)


def _canonical(pictures: Pictures) -> Pictures:
    """Pictures turned and mirrored so that all eight turns of one come out alike: the heaviest side is the right one.

    Where two sides weigh the same they may not.
    """
    centred = pictures - pictures.mean((1, 2), keepdims=True)
    lever = np.arange(pictures.shape[1], dtype=np.float32) - (pictures.shape[1] - 1) / 2
    across, down = (centred * lever).sum((1, 2)), (centred * lever[:, None]).sum((1, 2))
    turned = np.where((across < 0)[:, None, None], pictures[:, :, ::-1], pictures)
    turned = np.where((down < 0)[:, None, None], turned[:, ::-1], turned)
    found: Pictures = np.where((np.abs(down) > np.abs(across))[:, None, None], turned.swapaxes(1, 2), turned)
    return found


def _components(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features of length 1, centred, and of length 1 again; of many rows their principal components."""
    rows = features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    rows -= rows.mean(0)
    if len(rows) > _MANY:
        sample = rows[np.random.default_rng(0).permutation(len(rows))[:_MANY]]
        _, axes = np.linalg.eigh(sample.T @ sample)
        rows = rows @ axes[:, -_COMPONENTS:]
    return _unit(rows)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row flattened, without its mean if it is a picture, and of length 1."""
    if rows.ndim > 2:
        rows = (rows - rows.mean((1, 2), keepdims=True)).reshape(len(rows), -1)
    found: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    return found
