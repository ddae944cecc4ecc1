"""Findings about copies: which images show one picture, which of them have other labels, which leak between splits."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from headstart.auditing.comparison import Copy
from headstart.auditing.findings import Finding
from headstart.auditing.material import Material
from headstart.data import Dataset
from headstart.data.rows import first_few
from headstart.errors import LeakError

LEAK = "leak"
NEAR_DUPLICATE = "near_duplicate"
CONFLICTING_LABELS = "conflicting_labels"

# A copy stays where it judges: what tests before what chooses, and that before what trains.
_RANK = {"": 0, "train": 1, "val": 2, "test": 3}


def near_duplicates(material: Material) -> Iterator[Finding]:
    """Pairs that show one picture, with the same labels and on one side of the user's splits."""
    labels, splits, files = _labels(material.dataset), material.dataset.splits, material.dataset.files
    for copy in material.copies:
        first, second = copy.rows
        if labels[first] == labels[second] and splits[first] == splits[second]:
            action = "nothing: they stay together in every split; remove one if it should not count twice"
            yield Finding(files[second], NEAR_DUPLICATE, _seen(copy), action, copy.agreement, files[first])


def conflicting_labels(material: Material) -> Iterator[Finding]:
    """Pairs that show one picture and have different labels."""
    labels, files = _labels(material.dataset), material.dataset.files
    for copy in material.copies:
        first, second = copy.rows
        if labels[first] != labels[second]:
            names = " and ".join(repr("|".join(labels[row])) for row in (second, first))
            evidence = f"labelled {names}; {_seen(copy)}"
            action = "look at both, and correct the label or remove one"
            yield Finding(files[second], CONFLICTING_LABELS, evidence, action, copy.agreement, files[first])


def leaks(material: Material) -> Iterator[Finding]:
    """Images of which a copy lies in a split that judges them, or is judged by them: they flatter the score."""
    files, splits, seen = material.dataset.files, material.dataset.splits, _how(material)
    for row, judge in _leaking(material):
        how, agreement = seen.get((row, judge), ("a copy of a copy", None))
        evidence = f"in {splits[row]}, and a copy of it in {splits[judge]}; {how}"
        action = f"--fix-leaks leaves it out of {splits[row]}; --allow-leaks keeps it"
        yield Finding(files[row], LEAK, evidence, action, agreement, files[judge])


def require_no_leaks(material: Material) -> None:
    """Raise :class:`LeakError` with a few of the leaks, if there are any."""
    found = _leaking(material)
    if found:
        files, name = material.dataset.files, material.dataset.name
        pictures = "1 image has" if len(found) == 1 else f"{len(found)} images have"
        pairs = first_few(f"{files[row]} = {files[judge]}" for row, judge in found)
        raise LeakError(
            f"{name}: {pictures} a copy in another split, which flatters the scores: {pairs}. "
            "See all with `headstart audit`; --fix-leaks leaves them out of training, --allow-leaks goes on"
        )


def without_leaks(material: Material, dataset: Dataset) -> Dataset:
    """The rows of the material's data set without those that leak, which are listed as left out.

    What tests stays whole, so that its scores can be compared with others' on the same test.

    Raises
    ------
    DataError
        As :meth:`headstart.data.Dataset.leave_out` does.
    """
    files, splits = dataset.files, dataset.splits
    found = _leaking(material)
    if not found:
        return dataset
    reasons = [f"in {splits[row]}, and a copy of it in {splits[judge]}: {files[judge]}" for row, judge in found]
    kept = dataset.leave_out([row for row, _ in found], LEAK, reasons)
    images = "1 image is" if len(found) == 1 else f"{len(found)} images are"
    note = f"{images} left out, because a copy lies in a split that judges them."
    return dataclasses.replace(kept, notes=(*kept.notes, note))


def _leaking(material: Material) -> list[tuple[int, int]]:
    """Rows that have a copy in a split that comes before theirs, each with that copy: the one it was compared with."""
    rank = np.array([_RANK[split] for split in material.dataset.splits.tolist()], np.int64)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for row, family in enumerate(material.families.tolist()):
        members[family].append(row)
    compared = {pair for copy in material.copies for pair in (copy.rows, copy.rows[::-1])}
    found = []
    for rows in members.values():
        split = [row for row in rows if rank[row]]
        top = max((int(rank[row]) for row in split), default=0)
        judges = [row for row in split if rank[row] == top]
        for row in split:
            if rank[row] < top:
                found.append((row, next((judge for judge in judges if (row, judge) in compared), judges[0])))
    return sorted(found)


def _how(material: Material) -> dict[tuple[int, int], tuple[str, float | None]]:
    """For compared rows, in either order, how they are alike."""
    return {pair: (_seen(copy), copy.agreement) for copy in material.copies for pair in (copy.rows, copy.rows[::-1])}


def _seen(copy: Copy) -> str:
    """How alike two images are, in words."""
    if copy.how == "the same bytes":
        return copy.how
    how = f" ({copy.how})" if copy.how else ""
    return f"one picture{how}: nine tenths of its squares correlate {copy.agreement:.2f} or more"


def _labels(dataset: Dataset) -> list[tuple[str, ...]]:
    """The labels of each row, sorted."""
    values = dataset.table.column("label").to_pylist()
    return [(value,) if isinstance(value, str) else tuple(sorted(value)) for value in values]
