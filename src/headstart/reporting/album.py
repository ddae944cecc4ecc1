"""All images that were judged, or as many as there is room for: mistakes first, then the least sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart.reporting.evidence import Labels, Predictions
from headstart.reporting.mistakes import chance_of_truth
from headstart.reporting.pictures import SMALL_SIDE, Pictures
from headstart.reporting.wording import listed, percent, shorten

MOST_IMAGES = 300
# Names in a list to choose from.
MOST_CHOICES = 400


@dataclass(frozen=True)
class AlbumImage:
    """One image.

    Attributes
    ----------
    anchor:
        Its address within the page where it is the first of its pair of truth and answer, else empty.
    truths, answers:
        Numbers of classes, parted by blanks.
    sureness:
        The confidence, as a number that can be sorted.
    """

    anchor: str
    file: str
    picture: str | None
    truth: str
    answer: str
    truths: str
    answers: str
    right: bool
    sureness: str
    confidence: str
    chance_of_truth: str


@dataclass(frozen=True)
class Album:
    """The images, how many there are in all, and the classes among them by number."""

    shown: tuple[AlbumImage, ...]
    images: int
    mistakes: int
    choices: tuple[tuple[int, str], ...]
    full: bool

    @property
    def anchors(self) -> frozenset[str]:
        """Those of pairs of truth and answer of which an image is shown."""
        return frozenset(one.anchor for one in self.shown if one.anchor)


def make_album(rows: Predictions, classes: Labels, pictures: Pictures, most: int = MOST_IMAGES) -> Album:
    """At most ``most`` images: wrong ones by falling confidence, then right ones by rising confidence."""
    correct = rows.correct()
    sureness = np.nan_to_num(rows.confidence, nan=0.0)
    order = np.lexsort((np.where(correct, sureness, -sureness), correct))[:most].tolist()
    numbers = {name: number for number, name in enumerate(classes)}
    anchors: set[str] = set()
    shown = []
    for row in order:
        anchor = pair_anchor(_numbers(rows.truth[row], numbers), _numbers(rows.predicted[row], numbers))
        shown.append(
            _image(rows, classes, row, bool(correct[row]), numbers, "" if anchor in anchors else anchor, pictures)
        )
        anchors.add(anchor)
    met = {number for one in shown for number in f"{one.truths} {one.answers}".split()}
    choices = tuple((number, shorten(name)) for name, number in numbers.items() if str(number) in met)
    return Album(tuple(shown), len(rows.files), int((~correct).sum()), choices[:MOST_CHOICES], pictures.full)


def pair_anchor(truth: str, answer: str) -> str:
    """The address within the page of the first image of a pair of class numbers; empty where there are several."""
    return f"images-{truth}-{answer}" if truth.isdigit() and answer.isdigit() else ""


def _numbers(labels: Labels, numbers: dict[str, int]) -> str:
    return " ".join(str(numbers[label]) for label in labels if label in numbers)


def _image(
    rows: Predictions,
    classes: Labels,
    row: int,
    right: bool,
    numbers: dict[str, int],
    anchor: str,
    pictures: Pictures,
) -> AlbumImage:
    confidence, chance = float(rows.confidence[row]), chance_of_truth(rows, classes, row)
    known = np.isfinite(confidence)
    return AlbumImage(
        anchor=anchor,
        file=shorten(rows.files[row]),
        picture=pictures(rows.images[row], rows.files[row], SMALL_SIDE),
        truth=listed(rows.truth[row]),
        answer=listed(rows.predicted[row]),
        truths=_numbers(rows.truth[row], numbers),
        answers=_numbers(rows.predicted[row], numbers),
        right=right,
        sureness=f"{confidence:.4f}" if known else "0",
        confidence=percent(confidence if known else None),
        chance_of_truth="" if chance is None else percent(chance),
    )
