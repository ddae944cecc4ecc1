"""Which rows are held out: stratified, grouped and seeded, for one test split or for folds, one label a row or many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

KEPT = -1
"""The part of rows that are never held out."""


def hold_out(targets: NDArray[Any], groups: Ints | None, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose about a fraction of the rows, bool (n,): see :func:`assign` for the rules."""
    held: NDArray[np.bool_] = assign(targets, groups, (1 - fraction, fraction), seed) == 1
    return held


def folds(targets: NDArray[Any], groups: Ints | None, k: int, seed: int) -> list[tuple[Ints, Ints]]:
    """Up to ``k`` pairs of training rows and held rows; see :func:`assign` for the rules.

    Every row is held once, save for those of classes with a single group, which are in every training part. There are
    fewer pairs where fewer than ``k`` groups can be held, and none where no class has two.
    """
    parts = assign(targets, groups, (1 / k,) * k, seed)
    pairs = [(np.flatnonzero(parts != part), np.flatnonzero(parts == part)) for part in range(k)]
    return [(train, held) for train, held in pairs if len(held)]


def assign(targets: NDArray[Any], groups: Ints | None, shares: Sequence[float], seed: int) -> Ints:
    """Deal rows into parts so that each part has its share of every class.

    Groups stay whole. Whichever part is taken away, every class is left in the others: a class with a single group, or
    all groups of which came into one part, has one that is in no part.

    Parameters
    ----------
    targets:
        Integers (n,), one class a row; or bool (n, classes), true where a label applies.
    groups:
        Integers (n,), equal for rows that stay together; ``None`` if every row is its own group.
    shares:
        One a part, above 0, with the sum 1.
    seed:
        Equal seeds give equal parts.

    Returns
    -------
    numpy.ndarray
        int64 (n,): the number of the part, or ``KEPT`` for rows that are in none.

    Notes
    -----
    Without groups and with one label a row, each class is shuffled and dealt out in a sequence that gives every
    stretch of it the right shares, so that counts are right to about one row, a class and in all. Otherwise groups are
    placed one by one where they reduce the distance to the wished counts most, first those that hold much of their
    labels. That is iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011), rarest labels first, with the
    order fixed beforehand and every label of a group counted.
    """
    if len(targets) == 0:
        return np.empty(0, np.int64)
    rng = np.random.default_rng(seed)
    of_row: Ints = np.arange(len(targets)) if groups is None else np.unique(groups, return_inverse=True)[1]
    counts = _Counts.of(targets, of_row)
    free = np.ones(counts.groups, bool)
    free[counts.lone_groups()] = False
    wished = np.asarray(shares, float)
    if targets.ndim == 1 and counts.groups == len(targets):
        label_of_group = np.empty(counts.groups, np.int64)
        label_of_group[counts.group] = counts.label
        parts = _deal(label_of_group, free, wished, rng)
    else:
        parts = _place(counts, free, wished, rng)
    parts[counts.smallest_of_confined(parts)] = KEPT
    of_rows: Ints = parts[of_row]
    return of_rows


@dataclass(frozen=True)
class _Counts:
    """How many rows each group has of each label: one entry a group and label that meet, sorted by group.

    ``group``, ``label`` and ``count`` are int64 (entries,). Rows without any label count for one more, ``labels - 1``,
    so that they are spread evenly too; ``real`` is the number of labels without that one.
    """

    group: Ints
    label: Ints
    count: Ints
    groups: int
    labels: int
    real: int
    size: Ints

    @classmethod
    def of(cls, targets: NDArray[Any], of_row: Ints) -> _Counts:
        if targets.ndim == 1:
            real = int(targets.max()) + 1
            rows, labels = np.arange(len(targets)), targets.astype(np.int64)
        else:
            real = targets.shape[1]
            rows, labels = np.nonzero(np.column_stack([targets, ~targets.any(1)]))
        width = real + 1
        entries, count = np.unique(of_row[rows] * width + labels, return_counts=True)
        size = np.bincount(of_row)
        return cls(entries // width, entries % width, count, len(size), width, real, size)

    def lone_groups(self) -> Ints:
        """The groups that are the only ones of a label."""
        number = np.bincount(self.label, minlength=self.labels)
        lone: Ints = self.group[(number[self.label] == 1) & (self.label < self.real)]
        return lone

    def smallest_of_confined(self, parts: Ints) -> Ints:
        """For each label that lies in a single part, the smallest of its groups."""
        part = parts[self.group]
        least, most = np.full(self.labels, len(parts)), np.full(self.labels, KEPT)
        np.minimum.at(least, self.label, part)
        np.maximum.at(most, self.label, part)
        confined = np.flatnonzero((least == most) & (most != KEPT))
        groups = [self.group[self.label == label] for label in confined if label < self.real]
        return np.array([of_label[np.argmin(self.size[of_label])] for of_label in groups], np.int64)


def _deal(labels: Ints, free: NDArray[np.bool_], shares: NDArray[np.float64], rng: np.random.Generator) -> Ints:
    """Parts of groups of one row each, with these labels."""
    parts = np.full(len(labels), KEPT, np.int64)
    places = rng.permutation(np.flatnonzero(free))
    order = rng.permutation(int(labels.max()) + 1)  # so that no class is always dealt first
    places = places[np.argsort(order[labels[places]], kind="stable")]
    parts[places] = _sequence(len(places), shares)
    return parts


def _sequence(length: int, shares: NDArray[np.float64]) -> Ints:
    """Numbers of parts, so that every stretch has about the right shares: each part's turns are evenly spaced."""
    turns = [(np.arange(int(np.ceil(length * share)) + 1) + 0.5) / share for share in shares]
    part = np.repeat(np.arange(len(shares)), [len(times) for times in turns])
    return part[np.argsort(np.concatenate(turns), kind="stable")[:length]]


def _place(counts: _Counts, free: NDArray[np.bool_], shares: NDArray[np.float64], rng: np.random.Generator) -> Ints:
    """Parts of groups of any size and any labels."""
    movable = free[counts.group]
    total = np.bincount(counts.label[movable], counts.count[movable], counts.labels)
    rows = max(int(counts.size[free].sum()), 1)
    # How far the counts of a part move when it takes a group: what moves them most is placed first.
    weight = np.bincount(counts.group, counts.count**2 / np.maximum(total[counts.label], 1), counts.groups)
    order = np.lexsort((rng.random(counts.groups), -counts.size, -weight))
    wished, wished_rows = np.outer(total, shares), rows * shares
    need, need_rows = wished.copy(), wished_rows.copy()
    starts = np.searchsorted(counts.group, np.arange(counts.groups + 1))
    parts = np.full(counts.groups, KEPT, np.int64)
    for group in order[free[order]]:
        entries = slice(starts[group], starts[group + 1])
        labels, count, size = counts.label[entries], counts.count[entries], counts.size[group]
        # What the squared distance to the wished counts, over the wished counts, falls by in each part.
        gain = (count[:, None] * (2 * need[labels] - count[:, None]) / wished[labels]).sum(0)
        gain += size * (2 * need_rows - size) / wished_rows
        part = int(np.argmax(gain))
        need[labels, part] -= count
        need_rows[part] -= size
        parts[group] = part
    return parts
