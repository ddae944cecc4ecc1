"""``headstart gap``: opens what is to be compared, measures how far it lies apart, and says what that means."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.data.dataset import Dataset
from headstart.data.unlabelled import load_images
from headstart.errors import OptionError
from headstart.features.engine import Say
from headstart.planning.domain_gap import DomainGap, domain_gap, gap_between
from headstart.planning.gap_reading import read_gap
from headstart.planning.outside import outside, test_split
from headstart.planning.rule_table import GAP_IMAGES
from headstart.runs import Progress

_LOG = logging.getLogger("headstart")


@dataclass(frozen=True)
class GapReport:
    """A gap, what it means in a sentence, and what to know about the images that were compared, a sentence each."""

    gap: DomainGap
    reading: str
    notes: tuple[str, ...]


def report_gap(
    a: Path,
    b: Path | None = None,
    *,
    split: bool = False,
    root: Path | None = None,
    channels: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
    say: Say = _LOG.warning,
) -> GapReport:
    """How far images lie from ImageNet, from other images, or the rows of a test split from the others.

    Labels are not looked at. Of images that lie on both sides, the second side is without them. Without ``split`` the
    rows of a test split are left out, so that a gap that leads to a choice has not seen them.

    Parameters
    ----------
    a, b:
        Data sets, or folders or zips of unlabelled images; without ``b`` the other side is ImageNet.
    split:
        Compare the test split of ``a`` (or ``val``, where that plays the test) with its other rows.
    root:
        What the paths in tables are relative to.
    channels, seed, progress, say:
        As for :func:`headstart.planning.domain_gap.domain_gap`.

    Raises
    ------
    OptionError
        If ``b`` and ``split`` are both given, ``a`` and ``b`` are the same place or hold the same images, or there is
        no split to compare.
    DataError
        If there are no images in one of the two, or none that can be decoded.
    """
    if split and b is not None:
        raise OptionError("--split compares the splits of one data set: leave it out, or name one")
    if b is not None and a.resolve() == b.resolve():
        raise OptionError(f"{a} and {b} are the same place; name another, or compare its splits with --split")
    if split:
        whole = load_images(a, root=root)
        return _between(*_splits(whole), _unreadable(whole), channels, seed, progress, say)
    first, notes = _outside_test(load_images(a, root=root))
    if b is None:
        gap = domain_gap(first, channels=channels, seed=seed, progress=progress, say=say)
        return GapReport(gap, read_gap(gap), (*notes, *_undecoded(first, gap.images)))
    second, more = _outside_test(load_images(b, root=root))
    names = _distinct(a, b)
    first, second = (dataclasses.replace(part, name=name) for part, name in zip((first, second), names, strict=True))
    return _between(first, second, (*notes, *more), channels, seed, progress, say)


def _between(
    a: Dataset, b: Dataset, notes: Sequence[str], channels: int, seed: int, progress: Progress | None, say: Say
) -> GapReport:
    shared = np.isin(b.hashes, a.hashes)
    if shared.all():
        raise OptionError(f"all {len(b)} images of {b.name} lie in {a.name} too: there is nothing to compare")
    if count := int(shared.sum()):
        images = "1 image" if count == 1 else f"{count} images"
        notes = (*notes, f"{images} of {b.name} not looked at: equal ones lie in {a.name}.")
    b = b.select(~shared)
    gap = gap_between(a, b, channels=channels, seed=seed, progress=progress, say=say)
    missing = (*_undecoded(a, gap.images), *_undecoded(b, gap.against_images or 0))
    return GapReport(gap, read_gap(gap), (*notes, *missing))


def _unreadable(dataset: Dataset) -> tuple[str, ...]:
    """How many files of a place are no images, as far as that shows before they are decoded."""
    count = sum(entry.kind in ("undecodable", "unreadable") for entry in dataset.left_out)
    files = "1 file" if count == 1 else f"{count} files"
    return (f"{files} of {dataset.name} could not be read.",) if count else ()


def _undecoded(dataset: Dataset, looked_at: int) -> tuple[str, ...]:
    """How many of the images that were drawn are missing, as they are broken."""
    count = min(GAP_IMAGES, len(dataset)) - looked_at
    images = "1 image" if count == 1 else f"{count} images"
    return (f"{images} of {dataset.name} not looked at: broken.",) if count > 0 else ()


def _outside_test(dataset: Dataset) -> tuple[Dataset, tuple[str, ...]]:
    """The rows that may lead to choices; where there are no others than a test's, these."""
    tested = test_split(dataset)
    rest, broken = outside(dataset, tested), _unreadable(dataset)
    if len(rest) in (0, len(dataset)):
        return dataset, broken
    count = len(dataset) - len(rest)
    images = "1 image is" if count == 1 else f"{count} images are"
    kept_back = f"{images} not looked at: the split {tested} of {dataset.name}, which tests; --split compares it."
    return rest, (kept_back, *broken)


def _splits(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """The rows outside the split that tests, and those in it, named by their splits."""
    tested = test_split(dataset)
    rest = outside(dataset, tested)
    if tested is None or not len(rest):
        raise OptionError(f"{dataset.name} has no test split beside other images; name two places: headstart gap A B")
    others = [name for name in ("train", "val") if (rest.splits == name).any()]
    if (rest.splits == "").any():
        others.append("no split")
    return (
        dataclasses.replace(rest, name=" and ".join(others)),
        dataclasses.replace(dataset.select(dataset.splits == tested), name=tested),
    )


def _distinct(a: Path, b: Path) -> tuple[str, str]:
    """The ends of two paths, as long as it takes for them to differ."""
    depth, parts = 1, (a.resolve().parts, b.resolve().parts)
    while parts[0][-depth:] == parts[1][-depth:]:
        depth += 1
    first, second = ("/".join(part[-depth:]) for part in parts)
    return first, second
