"""A data set through a compiled trunk: the features of all its images, and its development rows as examples."""

from __future__ import annotations

import numpy as np

from headstart.data import Dataset, Protocol
from headstart.data.splits import folds
from headstart.errors import DataError
from headstart.features.engine import CompiledTrunk, Say
from headstart.features.extract import Extraction, extract
from headstart.features.store import Store
from headstart.features.table import FeatureTable
from headstart.runs.progress import Progress
from headstart.tasks import TASKS
from headstart.training.examples import Examples

FOLDS = 5


def extract_all(
    dataset: Dataset, compiled: CompiledTrunk, progress: Progress, say: Say
) -> tuple[Dataset, FeatureTable]:
    """The features of all images that can be decoded, and the data set without the others."""
    with Store.default(say) as store:
        extraction = extract(dataset.read, dataset.files, dataset.hashes, compiled, store, progress)
        _check_decodable(dataset, extraction)
    failures = extraction.failures
    return dataset.leave_out(list(failures), "undecodable", list(failures.values())), extraction.table


def _check_decodable(dataset: Dataset, extraction: Extraction) -> None:
    failures = extraction.failures
    broken = len(failures) + sum(entry.kind == "undecodable" for entry in dataset.left_out)
    total = len(dataset) + len(dataset.left_out)
    if 2 * broken > total:
        example = next(iter(failures.values()), "empty files")
        raise DataError(f"{dataset.name}: {broken} of {total} images can't be decoded, for example {example}")


def examples_of(
    dataset: Dataset, table: FeatureTable, columns: dict[str, slice], protocol: Protocol, seed: int
) -> Examples:
    """The development rows with the folds that judge them; the rows of the test split are left behind here."""
    places = np.flatnonzero(dataset.splits != "test")
    development = dataset.select(places)
    if protocol.selection == "val":
        held = dataset.splits[places] == "val"
        pairs = [(np.flatnonzero(~held), np.flatnonzero(held))]
    else:
        pairs = folds(development.targets, development.groups, FOLDS, seed)
    if not any(len(held) for _, held in pairs):
        raise DataError(
            f"{dataset.name}: too few images are left to hold any out for choices; label more of each class"
        )
    task = TASKS[dataset.task]
    targets, groups = development.targets, development.groups
    return Examples(table, places, columns, targets, len(dataset.classes), groups, tuple(pairs), task)
