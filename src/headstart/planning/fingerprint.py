"""What a data set is, in numbers that decide how to train on it: ``fingerprint.json``, and ``headstart inspect``."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.auditing.inspection import look
from headstart.backbones.bundled import BundledBackbone
from headstart.data import Dataset, LeftOut, Source, load
from headstart.errors import DataError, OptionError
from headstart.features.engine import Say
from headstart.imaging import Preprocessing
from headstart.imaging.facts import ImageFacts
from headstart.planning.domain_gap import RULER, DomainGap, domain_gap
from headstart.planning.gap_reading import read_gap
from headstart.planning.outside import outside, test_split
from headstart.runs import Progress, SilentProgress

_LOG = logging.getLogger("headstart")

# Width by height from the narrowest to the widest. Between two shapes lies the middle of their logarithms; the ends
# begin as far beyond 16:9 as 3:2 lies below it, so that no common format is at an edge, where a pixel would decide.
SHAPES = ("narrower", "9:16", "2:3", "3:4", "1:1", "4:3", "3:2", "16:9", "wider")
_RATIOS = (9 / 16, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 16 / 9)
_ENDS = (9 / 16) ** 2 / (2 / 3), (16 / 9) ** 2 / (3 / 2)


@dataclass(frozen=True)
class Spread:
    """Least, median and greatest of a quantity."""

    minimum: float
    median: float
    maximum: float


@dataclass(frozen=True)
class CentreCrop:
    """What a network sees of the images.

    Attributes
    ----------
    square:
        The share of a square image's area that its evaluation view keeps.
    kept:
        The share of an image's area that it keeps.
    over_a_third_lost:
        The share of images of which it loses more than a third. For the default backbone every image that is not
        nearly square is one: of ImageNet's own 0.93, so it costs a label only what shows at the edges alone.
    """

    square: float
    kept: Spread
    over_a_third_lost: float


@dataclass(frozen=True)
class Fingerprint:
    """What a data set is.

    Attributes
    ----------
    images:
        That can be used.
    classes:
        Images a class; a multi-label image counts for each of its labels.
    per_class:
        Of these counts.
    imbalance:
        Images of the largest class for one of the smallest; ``None`` where a class has none.
    splits:
        Images a split, as the user gave them; ``none`` for images without one.
    groups:
        Number of distinct groups, where the data have groups.
    looked_at:
        How many images were decoded for what follows, up to the gap: all of them, or a sample.
    width, height:
        In pixels, of the upright images.
    shapes:
        Images by the nearest of :data:`SHAPES`, width to height.
    crop:
        What the weights' evaluation view keeps of them.
    channels, bits, modes, formats:
        Images by number of channels, bits of a value, Pillow's mode and Pillow's format
        (:class:`headstart.imaging.facts.ImageFacts`).
    grey:
        The share of images that show no colour, whatever their files could hold.
    rotated:
        Images that are upright only by their EXIF orientation.
    left_out:
        Files that were found and are not used, by kind (:class:`headstart.data.LeftOut`).
    tested:
        The split whose rows the gap has not seen, because they test; ``None`` if all rows were used.
    gap:
        How far the images lie from ImageNet; ``None`` if it can't be measured.
    reading:
        What the gap means, in a sentence; or why there is none.
    """

    name: str
    task: str
    images: int
    classes: dict[str, int]
    per_class: Spread
    imbalance: float | None
    splits: dict[str, int]
    groups: int | None
    looked_at: int
    width: Spread
    height: Spread
    shapes: dict[str, int]
    crop: CentreCrop
    channels: dict[str, int]
    bits: dict[str, int]
    modes: dict[str, int]
    formats: dict[str, int]
    grey: float
    rotated: int
    left_out: dict[str, int]
    tested: str | None
    gap: DomainGap | None
    reading: str


@dataclass(frozen=True)
class Inspection:
    """What ``headstart inspect`` says: the fingerprint, each file that is not used, and notes, a sentence each."""

    fingerprint: Fingerprint
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def inspect(
    source: Source | Dataset, *, root: Path | None = None, progress: Progress | None = None, say: Say = _LOG.warning
) -> Inspection:
    """Look at every image of a data set and train nothing.

    Every file is decoded once, and the domain gap runs a small network over at most 192 of those outside the split
    that :func:`headstart.fit` would test on. No PyTorch is needed.

    Raises
    ------
    DataError
        As :func:`headstart.load` does, or if too few images can be decoded.
    """
    dataset = source if isinstance(source, Dataset) else load(source, root=root)
    progress = progress or SilentProgress()
    sound, facts = _decoded(dataset, progress)
    view = BundledBackbone(RULER).preprocessing
    found = _assembled(sound, facts, view, _gap(sound, test_split(sound), _channels(facts), 0, progress, say))
    return Inspection(found, sound.left_out, sound.notes)


def fingerprint(
    dataset: Dataset,
    *,
    preprocessing: Preprocessing | None = None,
    channels: int | None = None,
    at_most: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    say: Say = _LOG.warning,
) -> Fingerprint:
    """The fingerprint of a data set; for what steers a training pass ``dataset.development()``.

    Parameters
    ----------
    preprocessing:
        Whose view of the images is described; by default that of the default backbone.
    channels:
        That the gap is measured with, as for :func:`headstart.planning.domain_gap.domain_gap`; by default what most of
        the images have, where that is neither grey nor RGB, else 3.
    at_most:
        Decode so many of the images, drawn by ``seed``; by default all of them.

    Raises
    ------
    DataError
        If there are no images, or too few that can be decoded.
    """
    progress = progress or SilentProgress()
    sound, facts = _decoded(dataset, progress, at_most, seed)
    view = preprocessing or BundledBackbone(RULER).preprocessing
    tested = "test" if (sound.splits == "test").any() else None
    return _assembled(sound, facts, view, _gap(sound, tested, channels or _channels(facts), seed, progress, say))


@dataclass(frozen=True)
class _Gap:
    """The last fields of a :class:`Fingerprint`."""

    tested: str | None
    gap: DomainGap | None
    reading: str


def _decoded(
    dataset: Dataset, progress: Progress, at_most: int | None = None, seed: int = 0
) -> tuple[Dataset, tuple[ImageFacts, ...]]:
    """The data set without the files that can't be decoded, and what the others are."""
    looked = look(dataset, progress=progress, at_most=at_most, seed=seed)
    if not looked.facts:
        example = f", for example {next(iter(looked.failures.values()))}" if looked.failures else ""
        raise DataError(f"{dataset.name}: no images that can be decoded{example}")
    return looked.without_failures(dataset), looked.facts


def _gap(dataset: Dataset, tested: str | None, channels: int, seed: int, progress: Progress, say: Say) -> _Gap:
    """The gap of the rows outside the split ``tested`` and its reading, or why there is none."""
    seen = outside(dataset, tested)
    try:
        gap = domain_gap(seen, seed=seed, channels=channels, progress=progress, say=say)
    except (DataError, OptionError) as error:
        return _Gap(tested, None, f"The domain gap can't be told: {error}.")
    return _Gap(tested, gap, read_gap(gap))


def _assembled(dataset: Dataset, facts: Sequence[ImageFacts], view: Preprocessing, gap: _Gap) -> Fingerprint:
    counts, groups = dataset.class_counts(), dataset.table.column("group").drop_null()
    fewest, most = min(counts.values()), max(counts.values())
    shapes = Counter(shape_of(fact.width, fact.height) for fact in facts)
    return Fingerprint(
        name=dataset.name,
        task=dataset.task,
        images=len(dataset),
        classes=counts,
        per_class=_spread(counts.values()),
        imbalance=most / fewest if fewest else None,
        splits=_counts(split or "none" for split in dataset.table.column("split").to_pylist()),
        groups=len(groups.unique()) if len(groups) else None,
        looked_at=len(facts),
        width=_spread(fact.width for fact in facts),
        height=_spread(fact.height for fact in facts),
        shapes={shape: shapes[shape] for shape in SHAPES},
        crop=_crop(facts, view),
        channels=_counts(str(fact.channels) for fact in facts),
        bits=_counts(str(fact.bits) for fact in facts),
        modes=_counts(fact.mode for fact in facts),
        formats=_counts(fact.format for fact in facts),
        grey=sum(fact.is_grey for fact in facts) / len(facts),
        rotated=sum(fact.orientation != 1 for fact in facts),
        left_out=_counts(entry.kind for entry in dataset.left_out),
        tested=gap.tested,
        gap=gap.gap,
        reading=gap.reading,
    )


def shape_of(width: int, height: int) -> str:
    """The nearest of :data:`SHAPES`."""
    ratio = width / height
    if not _ENDS[0] <= ratio <= _ENDS[1]:
        return SHAPES[0] if ratio < 1 else SHAPES[-1]
    nearest = min(range(len(_RATIOS)), key=lambda place: abs(math.log(ratio / _RATIOS[place])))
    return SHAPES[1 + nearest]


def _crop(facts: Sequence[ImageFacts], view: Preprocessing) -> CentreCrop:
    square = (view.size / view.shorter_side) ** 2
    sides = np.array([(fact.width, fact.height) for fact in facts])
    kept = square * (sides.min(1) / sides.max(1) if view.aspect == "crop" else np.ones(len(sides)))
    return CentreCrop(square, _spread(kept.tolist()), float((kept < 2 / 3).mean()))


def _channels(facts: Sequence[ImageFacts]) -> int:
    """What a network for these images takes: grey ones become RGB."""
    ((most, _),) = Counter(fact.channels for fact in facts).most_common(1)
    return most if most > 3 or most == 2 else 3


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _spread(values: Iterable[float]) -> Spread:
    array = np.array(list(values))
    return Spread(float(array.min()), float(np.median(array)), float(array.max()))
