"""The mistakes that the model was surest of, with what they rest on: what to look at first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart.reporting.evidence import Labels, Predictions
from headstart.reporting.illustrations import Illustrate, Illustration, Wanted
from headstart.reporting.pictures import SMALL_SIDE, Pictures
from headstart.reporting.wording import listed, percent, shorten

MOST_PICTURES = 12


@dataclass(frozen=True)
class Neighbour:
    """A training image like the mistaken one; ``likeness`` is the cosine of their features, as text.

    ``supports``: it carries a label that was predicted.
    """

    file: str
    label: str
    likeness: str
    picture: str | None
    supports: bool


@dataclass(frozen=True)
class Mistake:
    """A wrongly classified image.

    Attributes
    ----------
    picture:
        A JPEG as a ``data:`` address, or ``None`` where the image can't be read any more.
    truth, predicted:
        Class names, joined by commas where there are several.
    confidence:
        What the model said of its own prediction, as a percentage.
    chance_of_truth:
        What it gave the true class; empty where several labels are true or predicted.
    map, target:
        A picture of what speaks for the class ``target``, or ``None``.
    """

    file: str
    picture: str | None
    truth: str
    predicted: str
    confidence: str
    chance_of_truth: str
    map: str | None
    target: str
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Mistakes:
    """The surest mistakes, the number of all, and of how many images.

    ``note`` says what the illustrations lack; ``exact``: the maps are the model's own sum, not an approximation.
    """

    shown: tuple[Mistake, ...]
    count: int
    images: int
    note: str
    exact: bool

    @property
    def mapped(self) -> bool:
        """Whether there is a map at all."""
        return any(one.map for one in self.shown)

    @property
    def compared(self) -> bool:
        """Whether there are neighbours at all."""
        return any(one.neighbours for one in self.shown)


def surest_wrong(rows: Predictions, most: int) -> list[int]:
    """The numbers of the wrong rows of highest confidence, at most ``most``, the surest first."""
    wrong = np.flatnonzero(~rows.correct())
    sureness = np.nan_to_num(rows.confidence[wrong], nan=-1.0)
    order: list[int] = wrong[np.argsort(-sureness, kind="stable")][:most].tolist()
    return order


def surest_mistakes(
    rows: Predictions, classes: Labels, pictures: Pictures, illustrate: Illustrate, most: int = MOST_PICTURES
) -> Mistakes:
    """The wrong rows of highest confidence, at most ``most``, the surest first.

    Parameters
    ----------
    classes:
        The names of the columns of the probabilities.
    """
    surest = surest_wrong(rows, most)
    drawn = illustrate([Wanted(rows.images[row], _target(rows, row)) for row in surest])
    shown = tuple(_mistake(rows, classes, row, one, pictures) for row, one in zip(surest, drawn.each, strict=True))
    return Mistakes(shown, int((~rows.correct()).sum()), len(rows.files), drawn.note if surest else "", drawn.exact)


def chance_of_truth(rows: Predictions, classes: Labels, row: int) -> float | None:
    """What a model gave the true class; ``None`` where several labels are true or predicted, or nothing is known."""
    truth, known = rows.truth[row], rows.probabilities
    if known is None or known.shape[1] != len(classes) or len(truth) != 1 or len(rows.predicted[row]) != 1:
        return None
    return float(known[row, classes.index(truth[0])]) if truth[0] in classes else None


def _target(rows: Predictions, row: int) -> str:
    """The class whose evidence is wanted: one that was predicted and is not true, else one that was missed."""
    wrongly = [label for label in rows.predicted[row] if label not in rows.truth[row]]
    missed = [label for label in rows.truth[row] if label not in rows.predicted[row]]
    return next(iter(wrongly + missed), "")


def _mistake(rows: Predictions, classes: Labels, row: int, drawn: Illustration, pictures: Pictures) -> Mistake:
    confidence, chance = float(rows.confidence[row]), chance_of_truth(rows, classes, row)
    picture = pictures(rows.images[row], rows.files[row])
    return Mistake(
        file=shorten(rows.files[row]),
        picture=picture,
        truth=listed(rows.truth[row]),
        predicted=listed(rows.predicted[row]),
        confidence=percent(confidence if np.isfinite(confidence) else None),
        chance_of_truth="" if chance is None else percent(chance),
        map=pictures.take(drawn.map),
        target=shorten(drawn.target),
        neighbours=tuple(
            Neighbour(
                file=shorten(near.file),
                label=listed(near.labels),
                likeness=f"{near.similarity:.2f}",
                picture=pictures(near.image, near.file, SMALL_SIDE),
                supports=bool(set(near.labels) & set(rows.predicted[row]) - set(rows.truth[row])),
            )
            for near in drawn.near
        ),
    )
