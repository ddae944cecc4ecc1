"""Training samples of the data sets that the ladder is judged on, each beside a test that never changes."""

from __future__ import annotations

import csv
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# Where a data set has no test of its own: this share of each class, and no more rows than that in all.
TEST_SHARE, MOST_TEST = 0.4, 400
# Of the held-out test, whatever the seed of a sample: seeds of one cell are then judged on the same rows.
TEST_SEED = 20
OWN_TESTS = ("test", "val")
# Data sets of which several images show one thing: drawings of one photograph have one stem before the last dash.
GROUPED = ("pacs/sketch",)
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Image:
    """A file below the folder of all data sets, its label, and what it shares with other images of it."""

    file: str
    label: str
    group: str


@dataclass(frozen=True)
class Pool:
    """What samples are drawn from, and the test; they share no group."""

    train: tuple[Image, ...]
    test: tuple[Image, ...]

    def smallest(self) -> int:
        """Images of the rarest class that can be drawn."""
        return min(Counter(image.label for image in self.train).values())

    def largest(self) -> int:
        """Images of the most frequent class that can be drawn."""
        return max(Counter(image.label for image in self.train).values())


def pool_of(data: Path, name: str) -> Pool:
    """The data set's own test, or one that is held out of it.

    Raises
    ------
    FileNotFoundError
        If there is no image below ``data / name``.
    """
    folder = data / name
    own = next((split for split in OWN_TESTS if (folder / split).is_dir()), None)
    if own is not None and (folder / "train").is_dir():
        return Pool(tuple(_images(data, f"{name}/train", name)), tuple(_images(data, f"{name}/{own}", name)))
    return hold_out(_images(data, name, name))


def hold_out(images: Sequence[Image], share: float = TEST_SHARE, most: int = MOST_TEST) -> Pool:
    """Hold out a share of each class as whole groups, the same ones every time.

    A class gives up to one group more than its share, so the test may have some rows above ``most``.
    """
    shuffle = random.Random(TEST_SEED)
    share = min(share, most / len(images))
    groups: dict[str, dict[str, list[Image]]] = defaultdict(lambda: defaultdict(list))
    for image in sorted(images, key=lambda image: image.file):
        groups[image.label][image.group].append(image)
    train: list[Image] = []
    test: list[Image] = []
    for label in sorted(groups):
        names = sorted(groups[label])
        shuffle.shuffle(names)
        wanted, taken = round(share * sum(len(groups[label][name]) for name in names)), 0
        for name in names:
            (test if taken < wanted else train).extend(groups[label][name])
            taken += len(groups[label][name])
    return Pool(tuple(train), tuple(test))


def draw(images: Sequence[Image], per_class: int, seed: int) -> list[Image]:
    """Up to so many images of each class; with one seed, a small draw is part of a larger one."""
    shuffle, found = random.Random(seed), []
    for label in sorted({image.label for image in images}):
        own = sorted((image for image in images if image.label == label), key=lambda image: image.file)
        shuffle.shuffle(own)
        found += own[:per_class]
    return found


def shuffled(images: Sequence[Image], seed: int) -> list[Image]:
    """The same images and the same labels, which no longer belong to one another."""
    labels = [image.label for image in images]
    random.Random(seed).shuffle(labels)
    return [replace(image, label=label) for image, label in zip(images, labels, strict=True)]


def write_table(out: Path, data: Path, train: Sequence[Image], test: Sequence[Image]) -> None:
    """A CSV that ``headstart fit`` reads, with a column of groups where some images share one."""
    rows = [(image, split) for images, split in ((train, "train"), (test, "test")) for image in images]
    grouped = len({image.group for image, _ in rows}) < len(rows)
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "label", "split", *(("group",) if grouped else ())))
        for image, split in rows:
            group = (image.group,) if grouped else ()
            writer.writerow((str((data / image.file).resolve()), image.label, split, *group))


def _images(data: Path, where: str, name: str) -> list[Image]:
    """All images of the folders of classes below ``where``."""
    found = []
    for file in sorted((data / where).glob("*/*")):
        if file.suffix.lower() in SUFFIXES:
            stem = file.stem.rpartition("-")[0] if name in GROUPED else ""
            label = file.parent.name
            found.append(Image(str(file.relative_to(data)), label, f"{label}/{stem or file.stem}"))
    if not found:
        raise FileNotFoundError(f"no image in a folder of a class below {data / where}: give --data and --sets")
    return found
