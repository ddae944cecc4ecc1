"""What a data set is, before anything is trained: counts, balance, sizes, formats, and the files that are broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.data import Dataset, LeftOut, Source, load
from headstart.errors import ImageError, MissingExtraError
from headstart.imaging.facts import ImageFacts, image_facts
from headstart.runs import Progress, SilentProgress


@dataclass(frozen=True)
class Spread:
    """Least, median and greatest of a quantity."""

    minimum: float
    median: float
    maximum: float


@dataclass(frozen=True)
class Inspection:
    """What ``headstart inspect`` says.

    Attributes
    ----------
    images:
        That can be used.
    classes:
        Images a class; a multi-label image counts for each of its labels.
    splits:
        Images a split, as the user gave them; ``none`` for images without one.
    groups:
        Number of distinct groups, where the data have groups.
    width, height:
        In pixels, as stored; empty if no image can be decoded.
    modes, formats, orientations:
        Images by Pillow's mode and format, and by EXIF orientation (1 is upright).
    """

    name: str
    task: str
    images: int
    classes: dict[str, int]
    splits: dict[str, int]
    groups: int | None
    width: Spread | None
    height: Spread | None
    modes: dict[str, int]
    formats: dict[str, int]
    orientations: dict[str, int]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def inspect(source: Source | Dataset, *, root: Path | None = None, progress: Progress | None = None) -> Inspection:
    """Look at every image of a data set and train nothing.

    Raises
    ------
    DataError
        As :func:`headstart.load` does.
    """
    dataset = source if isinstance(source, Dataset) else load(source, root=root)
    facts, failures = _look(dataset, progress or SilentProgress())
    dataset = dataset.leave_out(list(failures), "undecodable", list(failures.values()))
    groups = dataset.table.column("group").drop_null()
    return Inspection(
        name=dataset.name,
        task=dataset.task,
        images=len(dataset),
        classes=dataset.class_counts(),
        splits=_counts(split or "none" for split in dataset.table.column("split").to_pylist()),
        groups=len(groups.unique()) if len(groups) else None,
        width=_spread(fact.width for fact in facts),
        height=_spread(fact.height for fact in facts),
        modes=_counts(fact.mode for fact in facts),
        formats=_counts(fact.format for fact in facts),
        orientations=_counts(str(fact.orientation) for fact in facts),
        left_out=dataset.left_out,
        notes=dataset.notes,
    )


def _look(dataset: Dataset, progress: Progress) -> tuple[list[ImageFacts], dict[int, str]]:
    files = dataset.files

    def look(row: int) -> ImageFacts | str:
        try:
            return image_facts(dataset.read(row), files[row])
        except (ImageError, MissingExtraError) as error:
            return str(error)

    facts: list[ImageFacts] = []
    failures: dict[int, str] = {}
    with progress.task("images", total=len(dataset)) as step, ThreadPoolExecutor() as pool:
        for row, found in enumerate(pool.map(look, range(len(dataset)))):
            if isinstance(found, ImageFacts):
                facts.append(found)
            else:
                failures[row] = found
            step()
    return facts, failures


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _spread(values: Iterable[int]) -> Spread | None:
    array = np.array(list(values))
    return Spread(float(array.min()), float(np.median(array)), float(array.max())) if len(array) else None
