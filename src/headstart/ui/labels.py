"""The page on which labels are judged: which ones, a screenful at a time, with their pictures."""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headstart.data.addresses import Addresses
from headstart.data.corrections import FILE, Correction
from headstart.errors import ImageError, RunError
from headstart.files import sha256
from headstart.reporting.evidence import read_evidence
from headstart.reporting.labelled_images import LabelledImage, labelled_images
from headstart.reporting.pictures import thumbnail
from headstart.reporting.suspects import Suspect, suspects_of
from headstart.ui.marking import Mark, read_marks, write_mark
from headstart.ui.runs_folder import state_of

SCREENFUL = 12
PICTURE_SIDE = 640
_KEPT = 4  # runs whose tables are kept at hand


@dataclass(frozen=True, eq=False)
class Judged:
    """The labels of a run that may be judged.

    Attributes
    ----------
    images:
        Every image of the run, by name.
    suspects:
        Those most worth checking, first.
    classes:
        What a label may be.
    several:
        Whether an image may have several labels.
    """

    images: Mapping[str, LabelledImage]
    suspects: tuple[Suspect, ...]
    classes: tuple[str, ...]
    several: bool


@dataclass(frozen=True)
class Card:
    """One label on the page, and what was said of it so far."""

    suspect: Suspect
    mark: Correction | None


@dataclass(frozen=True)
class Sheet:
    """One screenful of labels: the ``first`` of them counts from 0, ``total`` are there, ``marked`` were judged."""

    cards: tuple[Card, ...]
    first: int
    total: int
    marked: int


class Labels:
    """Reads and marks the labels of runs. Safe to call from several threads."""

    def __init__(self) -> None:
        self._judged: OrderedDict[Path, tuple[tuple[int, ...], Judged]] = OrderedDict()
        self._lock = threading.Lock()
        self._decoding = threading.Lock()
        self._addresses = Addresses()

    def of(self, folder: Path) -> Judged:
        """The labels of a run; raises :class:`RunError` if its records are missing or can't be read."""
        with self._lock:
            state = state_of(folder)
            there = self._judged.pop(folder, None)
            if there is None or there[0] != state:
                there = state, _judged(folder)
            self._judged[folder] = there
            while len(self._judged) > _KEPT:
                self._judged.popitem(last=False)
            return there[1]

    def sheet(self, folder: Path, first: int) -> Sheet:
        """A screenful from ``first`` on; raises as :meth:`of` does, and :class:`DataError` for broken corrections."""
        judged, marks = self.of(folder), read_marks(folder)
        first = min(max(first, 0), max(len(judged.suspects) - 1, 0)) // SCREENFUL * SCREENFUL
        shown = judged.suspects[first : first + SCREENFUL]
        cards = tuple(Card(suspect, marks.get(suspect.image.file)) for suspect in shown)
        return Sheet(cards, first, len(judged.suspects), len(marks))

    def mark(self, folder: Path, mark: Mark) -> dict[str, Correction]:
        """Keep a verdict; raises as :func:`headstart.ui.marking.write_mark` does."""
        judged = self.of(folder)
        with self._lock:
            return write_mark(folder, mark, judged.images, judged.classes, several=judged.several)

    def picture(self, folder: Path, file: str) -> bytes:
        """An image of the run as a small JPEG.

        Raises
        ------
        RunError
            If the run has no image of that name.
        ImageError, MissingExtraError
            If it is gone, has changed since the run, or can't be decoded.
        """
        image = self.of(folder).images.get(file)
        if image is None:
            raise RunError(f"the run has no image {file[:200]!r}")
        with self._decoding:  # one at a time, so that memory stays bounded
            data = self._addresses.read(image.image)
            if sha256(data) != image.sha256:
                raise ImageError(f"{file}: has changed since the run")
            address = thumbnail(data, file, PICTURE_SIDE)
        return base64.b64decode(address.partition(",")[2])


def corrections_of(folder: Path) -> Path:
    """Where the verdicts on a run's labels lie."""
    return folder / FILE


def _judged(folder: Path) -> Judged:
    evidence, images = read_evidence(folder), labelled_images(folder)
    return Judged(images, suspects_of(folder, images), evidence.classes, evidence.multilabel)
