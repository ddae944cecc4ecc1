"""What a person says of labels, kept in the run's ``corrections.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headstart.data.corrections import BETWEEN, FILE, Correction, label_of, read_corrections, to_csv
from headstart.data.dataset import Task
from headstart.errors import OptionError, RunError
from headstart.files import write_atomic
from headstart.reporting.labelled_images import LabelledImage
from headstart.runs.locks import acquire
from headstart.runs.record import LOCK, utc_now

_PATIENCE = 5.0  # seconds; another window writes for a moment only


@dataclass(frozen=True)
class Mark:
    """What was said of one image.

    Attributes
    ----------
    file:
        The image's name in the data.
    verdict:
        ``right``, ``wrong``, or ``open`` to take back what was said.
    labels:
        With ``wrong``, the classes that are right, where any are.
    no_class:
        With ``wrong``, that the image belongs to none of the classes.
    """

    file: str
    verdict: Literal["right", "wrong", "open"]
    labels: tuple[str, ...] = ()
    no_class: bool = False


def read_marks(folder: Path) -> dict[str, Correction]:
    """What has been said in a run so far, by file; raises :class:`DataError` if that can't be read."""
    path = folder / FILE
    return {one.file: one for one in read_corrections(path)} if path.exists() else {}


def write_mark(
    folder: Path, mark: Mark, images: Mapping[str, LabelledImage], classes: Sequence[str], *, several: bool
) -> dict[str, Correction]:
    """Add a verdict to ``corrections.csv``, which is replaced whole, and give all of them.

    Parameters
    ----------
    images:
        Those of the run, by name.
    several:
        Whether an image may have several labels.

    Raises
    ------
    OptionError
        If the run has no such image or class, or the mark says nothing that can be kept.
    RunError
        If another process holds the run's folder.
    DataError, StorageError
        If the file can't be read or written.
    """
    image = images.get(mark.file)
    if image is None:
        raise OptionError(f"the run has no image {mark.file[:200]!r}")
    lock = acquire(folder / LOCK, "exclusive", timeout=_PATIENCE)
    if lock is None:
        raise RunError(f"{folder} is being written by another process: try again when it has ended")
    with lock:
        marks = read_marks(folder)
        before = marks.pop(mark.file, None)
        given = before.label_given if before is not None else BETWEEN.join(image.label)
        if mark.verdict != "open":
            marks[mark.file] = _correction(mark, image, given, classes, several=several)
        write_atomic(folder / FILE, to_csv(marks.values()))
    return marks


def _correction(mark: Mark, image: LabelledImage, given: str, classes: Sequence[str], *, several: bool) -> Correction:
    """What is kept of a mark: the label may have been corrected before this run, and ``given`` is from before that."""
    if mark.verdict == "wrong" and mark.no_class:
        return Correction(mark.file, given, "wrong", "", utc_now())
    labels = image.label if mark.verdict == "right" else mark.labels
    unknown = [name for name in labels if name not in classes]
    if unknown:
        raise OptionError(f"the run has no class {unknown[0][:200]!r}")
    if not several and len(labels) != 1:
        raise OptionError("say which class is right, or that none is")
    task: Task = "multilabel" if several else "classification"
    meant = BETWEEN.join(sorted(labels)) or BETWEEN
    if label_of(meant, task) == label_of(given, task):
        return Correction(mark.file, given, "right", "", utc_now())
    return Correction(mark.file, given, "wrong", meant, utc_now())
