"""Development rows as arrays: what a strategy learns from, and which rows judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from headstart.features.table import FeatureTable
from headstart.tasks import Task

Ints = npt.NDArray[np.int64]
Fold = tuple[Ints, Ints]


@dataclass(frozen=True)
class Examples:
    """Labelled rows of features; test rows are never among them.

    Attributes
    ----------
    table, places:
        The features of all images, and where in that table each of the n rows here lies.
    columns:
        Where each output of the trunk lies in a row of the table.
    targets:
        Class numbers (n,) or booleans (n, C), as the data set gives them.
    classes:
        Their number C.
    groups:
        int64 (n,): rows of one group are never on both sides of a fold.
    folds:
        Pairs of row numbers (fitted on, held out). With a validation split of the user's, one pair.
    """

    table: FeatureTable
    places: Ints
    columns: dict[str, slice]
    targets: npt.NDArray[np.generic]
    classes: int
    groups: Ints
    folds: tuple[Fold, ...]
    task: Task

    def __len__(self) -> int:
        return len(self.places)

    @property
    def encoded(self) -> npt.NDArray[np.float64]:
        """Targets of zeros and ones, float64 (n, C)."""
        return self.task.encode(self.targets, self.classes)

    @property
    def judged(self) -> Ints:
        """Numbers of the rows that are held out in some fold, ascending."""
        return np.unique(np.concatenate([held for _, held in self.folds]))

    def features(self, outputs: Sequence[str]) -> npt.NDArray[np.float32]:
        """The features of some outputs, float32 (n, D), in the outputs' order."""
        return features_of(self.table, self.places, self.columns, outputs)

    def subset(self, rows: Ints, folds: Sequence[Fold]) -> Examples:
        """Some of the rows, with folds in their own numbering."""
        return replace(
            self,
            places=self.places[rows],
            targets=self.targets[rows],
            groups=self.groups[rows],
            folds=tuple(folds),
        )


def features_of(
    table: FeatureTable, places: Ints, columns: dict[str, slice], outputs: Sequence[str]
) -> npt.NDArray[np.float32]:
    """The features of some rows and outputs of a table, float32 (n, D)."""
    first, last = columns[outputs[0]], columns[outputs[-1]]
    contiguous = sum(columns[name].stop - columns[name].start for name in outputs) == last.stop - first.start
    if contiguous:
        return table.rows(places, slice(first.start, last.stop)).astype(np.float32, copy=False)
    return np.concatenate([table.rows(places, columns[name]) for name in outputs], axis=1).astype(
        np.float32, copy=False
    )
