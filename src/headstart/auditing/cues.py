"""What could give a label away without the object: size, encoding, camera, border and colour, as zeros and ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart.imaging.facts import Examined

BINS = 8
"""A number becomes the bin between two of its octiles, or its own value where it has no more values than this."""

_MOST_WORDS = 20


Columns = NDArray[np.float64]


def cues_of(examined: Sequence[Examined]) -> Mapping[str, Columns]:
    """The cues of n images: ``size``, ``file_size``, ``encoding``, ``camera``, ``border``, ``inside``, ``colour``.

    Each has zeros and ones, float64 (n, D); D is 0 where all images are alike. ``inside`` is measured like ``border``,
    on a ring half way to the centre, and is there for comparison.
    """
    facts = [one.facts for one in examined]
    sizes = np.array([(fact.width, fact.height, fact.width / fact.height) for fact in facts], np.float64)
    area = np.maximum(sizes[:, 0] * sizes[:, 1], 1)
    weight = np.array([one.bytes for one in examined], np.float64)
    looks = [one.appearance for one in examined]
    return {
        "size": binned(np.column_stack([sizes, area])),
        "file_size": binned(np.column_stack([weight, weight / area])),
        "encoding": named([one.encoding for one in examined]),
        "camera": named([one.camera for one in examined]),
        "border": binned([look.border.values for look in looks]),
        "inside": binned([look.inside.values for look in looks]),
        "colour": binned([look.colour for look in looks]),
    }


def binned(values: ArrayLike) -> Columns:
    """Numbers (n, d) as zeros and ones (n, D): a column for each bin of each number; constant ones are left out."""
    columns = []
    for column in np.asarray(values, np.float64).T:
        distinct = np.unique(column)
        edges = distinct[1:] if len(distinct) <= BINS else np.unique(np.quantile(column, np.arange(1, BINS) / BINS))
        place = np.searchsorted(edges, column, side="right")
        columns += [place == one for one in np.unique(place)] if len(np.unique(place)) > 1 else []
    return np.column_stack(columns).astype(np.float64) if columns else np.zeros((len(np.asarray(values)), 0))


def named(words: Sequence[str]) -> Columns:
    """Words (n,) as zeros and ones (n, D): a column for each of the most frequent ones and one for the rest."""
    found, place, counts = np.unique(np.array(words), return_inverse=True, return_counts=True)
    if len(found) < 2:
        return np.zeros((len(words), 0))
    kept = np.argsort(-counts, kind="stable")[:_MOST_WORDS]
    columns = [place == word for word in kept]
    if len(kept) < len(found):
        columns.append(~np.isin(place, kept))
    return np.column_stack(columns).astype(np.float64)
