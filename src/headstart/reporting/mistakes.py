"""The mistakes that the model was surest of, as small pictures: what to look at first."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np

from headstart.errors import HeadstartError
from headstart.reporting.evidence import Labels, Predictions
from headstart.reporting.wording import listed, percent, shorten

MOST_PICTURES = 24
PICTURE_SIDE = 160
PICTURE_QUALITY = 80

Read = Callable[[str], bytes]


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
    """

    file: str
    picture: str | None
    truth: str
    predicted: str
    confidence: str
    chance_of_truth: str


@dataclass(frozen=True)
class Mistakes:
    """The surest mistakes, the number of all, and of how many images."""

    shown: tuple[Mistake, ...]
    count: int
    images: int


def surest_mistakes(rows: Predictions, classes: Labels, read: Read, most: int = MOST_PICTURES) -> Mistakes:
    """The wrong rows of highest confidence, at most ``most``, the surest first.

    Parameters
    ----------
    classes:
        The names of the columns of the probabilities.
    read:
        Gives the bytes of an image by its address in ``rows.images``. Where it raises, the mistake has no picture.
    """
    wrong = np.flatnonzero(~rows.correct())
    sureness = np.nan_to_num(rows.confidence[wrong], nan=-1.0)
    surest = wrong[np.argsort(-sureness, kind="stable")][:most]
    return Mistakes(tuple(_mistake(rows, classes, int(row), read) for row in surest), len(wrong), len(rows.files))


def thumbnail(data: bytes, name: str, side: int = PICTURE_SIDE) -> str:
    """An image of any format as a ``data:`` address of a JPEG whose longer side has at most ``side`` pixels.

    Raises
    ------
    ImageError
        If the bytes can't be decoded.
    """
    from PIL import Image

    from headstart.imaging import preview

    picture = Image.fromarray(preview(data, name, at_least=side))
    picture.thumbnail((side, side))
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=PICTURE_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _mistake(rows: Predictions, classes: Labels, row: int, read: Read) -> Mistake:
    file, truth = rows.files[row], rows.truth[row]
    try:
        picture = thumbnail(read(rows.images[row]), file)
    except (HeadstartError, OSError):  # an image that is gone by now must not cost the report
        picture = None
    confidence = float(rows.confidence[row])
    return Mistake(
        shorten(file),
        picture,
        listed(truth),
        listed(rows.predicted[row]),
        percent(confidence if np.isfinite(confidence) else None),
        _chance_of_truth(rows, classes, row),
    )


def _chance_of_truth(rows: Predictions, classes: Labels, row: int) -> str:
    truth, known = rows.truth[row], rows.probabilities
    if known is None or known.shape[1] != len(classes) or len(truth) != 1 or len(rows.predicted[row]) != 1:
        return ""
    return percent(float(known[row, classes.index(truth[0])])) if truth[0] in classes else ""
