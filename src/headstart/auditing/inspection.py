"""One look at every file of a data set: what kind of image it is, or why it can't be used."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from headstart.data import Dataset
from headstart.errors import ImageError, MissingExtraError
from headstart.imaging.facts import Examined, ImageFacts, examine, image_facts
from headstart.runs import Progress

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Looked:
    """What files are.

    Attributes
    ----------
    facts:
        Of those that can be decoded, in the order of the rows.
    failures:
        By row, why the others can't.
    """

    facts: tuple[ImageFacts, ...]
    failures: dict[int, str]

    def without_failures(self, dataset: Dataset) -> Dataset:
        """The data set that was looked at without the files that can't be decoded, which are listed as left out.

        Raises
        ------
        DataError
            As :meth:`headstart.data.Dataset.leave_out` does.
        """
        return dataset.leave_out(list(self.failures), "undecodable", list(self.failures.values()))


@dataclass(frozen=True)
class Closely:
    """What files are and look like.

    Attributes
    ----------
    examined:
        By row, of those that can be decoded.
    failures:
        By row, why the others can't.
    """

    examined: dict[int, Examined]
    failures: dict[int, str]


def look(dataset: Dataset, *, progress: Progress, at_most: int | None = None, seed: int = 0) -> Looked:
    """Decode the files of a data set once, in threads, each at the least cost.

    Parameters
    ----------
    at_most:
        Look at so many of the files, drawn by ``seed``; by default at all.
    """
    facts, failures = _each(dataset, image_facts, progress, at_most, seed)
    return Looked(tuple(facts.values()), failures)


def look_closely(dataset: Dataset, *, progress: Progress, at_most: int | None = None, seed: int = 0) -> Closely:
    """Decode the files at the size at which appearance is judged; parameters are those of :func:`look`.

    On photographs of 320 pixels it takes 1.7 times as long as decoding for the network (``bench/planted_faults.py``).
    """
    return Closely(*_each(dataset, examine, progress, at_most, seed))


def _each(
    dataset: Dataset, of: Callable[[bytes, str], Seen], progress: Progress, at_most: int | None, seed: int
) -> tuple[dict[int, Seen], dict[int, str]]:
    """By row, what a function says of the bytes, or why it can't."""
    count = len(dataset)
    drawn = count if at_most is None else min(at_most, count)
    rows = np.sort(np.random.default_rng(seed).permutation(count)[:drawn]).tolist()
    files = dataset.files

    def look_at(row: int) -> Seen | ImageError | MissingExtraError:
        try:
            return of(dataset.read(row), files[row])
        except (ImageError, MissingExtraError) as error:
            return error

    seen: dict[int, Seen] = {}
    failures: dict[int, str] = {}
    with progress.task("images", total=len(rows)) as step, ThreadPoolExecutor() as pool:
        for row, found in zip(rows, pool.map(look_at, rows), strict=True):
            if isinstance(found, (ImageError, MissingExtraError)):
                failures[row] = str(found)
            else:
                seen[row] = found
            step()
    return seen, failures
