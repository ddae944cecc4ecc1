"""One look at every file of a data set: what kind of image it is, or why it can't be used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from headstart.data import Dataset
from headstart.errors import ImageError, MissingExtraError
from headstart.imaging.facts import ImageFacts, image_facts
from headstart.runs import Progress


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


def look(dataset: Dataset, *, progress: Progress, at_most: int | None = None, seed: int = 0) -> Looked:
    """Decode the files of a data set once, in threads, each at the least cost.

    Parameters
    ----------
    at_most:
        Look at so many of the files, drawn by ``seed``; by default at all.
    """
    count = len(dataset)
    drawn = count if at_most is None else min(at_most, count)
    rows = np.sort(np.random.default_rng(seed).permutation(count)[:drawn]).tolist()
    files = dataset.files

    def look_at(row: int) -> ImageFacts | str:
        try:
            return image_facts(dataset.read(row), files[row])
        except (ImageError, MissingExtraError) as error:
            return str(error)

    facts: list[ImageFacts] = []
    failures: dict[int, str] = {}
    with progress.task("images", total=len(rows)) as step, ThreadPoolExecutor() as pool:
        for row, found in zip(rows, pool.map(look_at, rows), strict=True):
            if isinstance(found, ImageFacts):
                facts.append(found)
            else:
                failures[row] = found
            step()
    return Looked(tuple(facts), failures)
