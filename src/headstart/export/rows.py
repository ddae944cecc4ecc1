"""The labelled images that an export is checked on and quantised with: never those of the test split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.data import Dataset, load
from headstart.data.corrections import FILE
from headstart.errors import DataError, ImageError, MissingExtraError
from headstart.imaging import Preprocessing, load_view
from headstart.runs import FinishedRun

FEWEST, MOST = 200, 300
"""How many images the comparison takes, where there are so many: validation rows first."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled images with their bytes at hand.

    Attributes
    ----------
    names:
        What messages call them.
    images:
        Encoded bytes.
    truth:
        Class numbers (n,), or booleans (n, C) for multi-label, in the model's numbering.
    groups:
        Numbers (n,), equal for rows that belong together; ``None`` where none do.
    validation:
        How many of them are validation rows; the others were trained on.
    """

    names: tuple[str, ...]
    images: tuple[bytes, ...]
    truth: npt.NDArray[Any]
    groups: npt.NDArray[np.int64] | None
    validation: int

    def __len__(self) -> int:
        return len(self.names)

    def select(self, places: Sequence[int]) -> Rows:
        """Some rows, by rising position."""
        kept = np.asarray(places, np.intp)
        return Rows(
            tuple(self.names[place] for place in kept),
            tuple(self.images[place] for place in kept),
            self.truth[kept],
            None if self.groups is None else self.groups[kept],
            int((kept < self.validation).sum()),
        )


@dataclass(frozen=True, eq=False)
class Development:
    """The images that a model may be looked at with.

    ``validation`` are positions of rows that chose the model, ``training`` of those that it was fitted on.
    """

    dataset: Dataset
    classes: tuple[str, ...]
    validation: npt.NDArray[np.intp]
    training: npt.NDArray[np.intp]

    def to_compare(self) -> Rows:
        """At least :data:`FEWEST` rows where there are so many: validation rows, then training rows; evenly taken."""
        chosen = _evenly(self.validation, MOST)
        others = np.setdiff1d(self.training, chosen)
        added = _evenly(others, max(0, FEWEST - len(chosen)))
        places = np.concatenate([chosen, added]).astype(np.intp)
        read = {int(place): data for place in places if (data := self._bytes(int(place))) is not None}
        kept = np.array(list(read), np.intp)
        if not len(kept):
            raise DataError(f"{self.dataset.name}: none of its images can be read; give them again with --data")
        return Rows(
            tuple(self.dataset.files[place] for place in kept),
            tuple(read.values()),
            _truth(self.dataset, self.classes)[kept],
            self.dataset.groups[kept] if self.dataset.has_groups else None,
            int(np.isin(kept, chosen).sum()),
        )

    def views(self, most: int, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
        """Training images as the network sees them, evenly taken: uint8 (n, size, size, channels)."""
        found = []
        for place in map(int, _evenly(self.training, most)):
            data = self._bytes(place)
            try:
                found += [] if data is None else [load_view(data, preprocessing, self.dataset.files[place])]
            except (ImageError, MissingExtraError):
                continue  # a row that the fit has left out as well
        side = preprocessing.size
        return np.stack(found) if found else np.empty((0, side, side, preprocessing.channels), np.uint8)

    def _bytes(self, place: int) -> bytes | None:
        try:
            return self.dataset.read(place)
        except ImageError:
            return None


def development_of(run: FinishedRun, classes: tuple[str, ...], data: Path | None, root: Path | None) -> Development:
    """The rows that a run has learnt from and chosen with.

    Parameters
    ----------
    classes:
        Of the model.
    data, root:
        Labelled images to take instead of the run's own, all of which may be looked at; as :func:`headstart.load`
        takes them.

    Raises
    ------
    DataError
        If the run's images are gone or have other classes now.
    """
    if data is not None:
        dataset = load(data, root=root)
        _check_classes(dataset, classes)
        everything = np.flatnonzero(dataset.splits != "test") if (dataset.splits != "").any() else _all(dataset)
        validation = np.flatnonzero(dataset.splits == "val")
        return Development(dataset, classes, validation, np.setdiff1d(everything, validation))
    request = run.record.request
    source = str(request.get("source", ""))
    if not Path(source).exists():
        where = "in memory" if source == "in memory" else f"at {source}"
        raise DataError(f"{run.folder}: the images it was fitted on lay {where}; say where they are now with --data")
    root, corrected = request.get("root"), run.path(FILE)
    dataset = load(
        source,
        root=Path(root) if root else None,
        corrections=corrected if request.get("corrections") and corrected.is_file() else None,
    )
    _check_classes(dataset, classes)
    tested, chosen = _judged(run.path("predictions.parquet"))
    mine = np.array([image not in tested or image in chosen for image in dataset.images], bool)
    validation = np.array([image in chosen for image in dataset.images], bool) & mine
    given = _selection(run) == "val"
    training = np.flatnonzero(mine & ~validation) if given else np.flatnonzero(mine)
    return Development(dataset, classes, np.flatnonzero(validation), training)


def _judged(path: Path) -> tuple[set[str], set[str]]:
    """Images of the run's test rows, and of its validation rows."""
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["image", "split"]).to_pydict()
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} can't be read ({error}); give labelled images with --data") from error
    rows = list(zip(table["image"], table["split"], strict=True))
    return {image for image, split in rows if split == "test"}, {image for image, split in rows if split == "val"}


def _selection(run: FinishedRun) -> str:
    """Whether a split of the user's or folds judged the run's choices."""
    try:
        return str(json.loads(run.path("metrics.json").read_bytes())["protocol"]["selection"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{run.folder}/metrics.json can't be read ({error}); give images with --data") from error


def _check_classes(dataset: Dataset, classes: tuple[str, ...]) -> None:
    unknown = sorted(set(dataset.classes) - set(classes))
    if unknown:
        raise DataError(f"{dataset.name} has classes that the model does not know: {', '.join(unknown[:5])}")


def _truth(dataset: Dataset, classes: tuple[str, ...]) -> npt.NDArray[Any]:
    """Targets in the model's numbering."""
    place = np.array([classes.index(name) for name in dataset.classes])
    if dataset.task == "classification":
        return np.asarray(place[dataset.targets])
    truth = np.zeros((len(dataset), len(classes)), bool)
    truth[:, place] = dataset.targets
    return truth


def _all(dataset: Dataset) -> npt.NDArray[np.intp]:
    return np.arange(len(dataset))


def _evenly(places: npt.NDArray[np.intp], most: int) -> npt.NDArray[np.intp]:
    """At most so many of them, at equal distances, so that sorted classes all have their share."""
    if len(places) <= most:
        return places
    return places[np.unique(np.linspace(0, len(places) - 1, most).astype(np.intp))]
