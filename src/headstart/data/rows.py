"""What every format is read into before it becomes a data set: rows with names, labels, splits and groups."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from headstart.data.dataset import LeftOut, Split, Task
from headstart.data.trees import Reader
from headstart.errors import DataError

SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""The names that splits go by, in lower case."""


@dataclass(frozen=True)
class Row:
    """One labelled image, not yet read; ``label`` is a tuple of labels for multilabel."""

    image: str
    file: str
    label: str | tuple[str, ...]
    split: Split | None = None
    group: str | None = None
    domain: str | None = None


@dataclass(frozen=True)
class Listing:
    """All rows of a source, and how to read them. ``where`` is what messages call the source."""

    where: str
    task: Task
    rows: list[Row]
    reader: Reader
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


def clean_label(text: str) -> str:
    """A label without surrounding space, and with accents in composed form, whichever system wrote the name."""
    return unicodedata.normalize("NFC", text).strip()


def labels_of(label: str | tuple[str, ...]) -> tuple[str, ...]:
    """The labels of a row, one or several."""
    return (label,) if isinstance(label, str) else label


def check_classes(listing: Listing) -> tuple[str, ...]:
    """The distinct labels, sorted.

    Raises
    ------
    DataError
        If there is none, only one for classification, or two that differ only in case.
    """
    counts = Counter(label for row in listing.rows for label in labels_of(row.label))
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(counts):
        alike[name.casefold()].append(name)
    for names in alike.values():
        if len(names) > 1:
            found = " and ".join(f"{name!r} ({counts[name]} images)" for name in names)
            raise DataError(f"{listing.where}: the classes {found} differ only in case; give them one name, or two")
    if not counts:
        raise DataError(f"{listing.where}: no image has a label")
    if listing.task == "classification" and len(counts) == 1:
        (name,) = counts
        raise DataError(
            f"{listing.where}: all {counts[name]} images are of one class, {name!r}; "
            "a classifier needs two or more, each in a folder of its own or with a label of its own"
        )
    return tuple(sorted(counts))


def first_few(items: Iterable[str], limit: int = 3) -> str:
    """``a, b, c and 4 more``."""
    found = list(items)
    shown = ", ".join(found[:limit])
    return shown if len(found) <= limit else f"{shown} and {len(found) - limit} more"
