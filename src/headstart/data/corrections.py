"""``corrections.csv``: what a person said about labels, and what that makes of a data set."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headstart.data.dataset import Corrected, Dataset, LeftOut, Task
from headstart.data.rows import Listing, Row, clean_label, first_few, labels_of
from headstart.errors import DataError
from headstart.files import sha256

FILE = "corrections.csv"
"""What the file is called in a run folder."""
COLUMNS = ("file", "label_given", "verdict", "label_corrected", "time")
BETWEEN = "|"
"""What stands between several labels of one image."""

_LARGEST = 256 << 20  # bytes; a million corrections take about 100 MB
_WAY_OUT = "let headstart ui write it, or mend it by hand"


@dataclass(frozen=True)
class Correction:
    """What a person said about the label of one image.

    Attributes
    ----------
    file:
        The image, as the data set names it.
    label_given:
        The label in the data; of several, with ``|`` between them.
    verdict:
        ``right``: the label stays. ``wrong``: it becomes ``label_corrected``.
    label_corrected:
        The class that is right, or the labels with ``|`` between them, ``|`` alone if none of them applies. Empty for
        what belongs to none of the classes: the image is left out.
    time:
        When that was said: ISO 8601, UTC.
    """

    file: str
    label_given: str
    verdict: Literal["right", "wrong"]
    label_corrected: str = ""
    time: str = ""

    @property
    def label(self) -> str:
        """The label that counts, as it stands in the file."""
        return self.label_given if self.verdict == "right" else self.label_corrected

    @property
    def leaves_out(self) -> bool:
        """Whether the image belongs to no class."""
        return self.verdict == "wrong" and not self.label_corrected


def to_csv(corrections: Iterable[Correction]) -> str:
    """The text of a file with these corrections."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows(dataclasses.astuple(one) for one in corrections)
    return text.getvalue()


def read_corrections(path: Path) -> tuple[Correction, ...]:
    """Read a file of corrections, in its order.

    Raises
    ------
    DataError
        If it is absent, too large, no CSV with these columns, has an unknown verdict, or names an image twice.
    """
    return parse_corrections(_content(path), str(path))


def parse_corrections(content: bytes, where: str) -> tuple[Correction, ...]:
    """Corrections from the bytes of a file that errors call ``where``; raises as :func:`read_corrections` does."""
    try:
        lines = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        if set(lines.fieldnames or ()) != set(COLUMNS):
            found = ", ".join(map(repr, lines.fieldnames or ())) or "none"
            raise DataError(f"{where}: wants the columns {', '.join(COLUMNS)}, has {found}: {_WAY_OUT}")
        corrections = tuple(_correction(row, f"{where}, line {lines.line_num}") for row in lines)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where} is no CSV file in UTF-8 ({error}): {_WAY_OUT}") from error
    counts: defaultdict[str, int] = defaultdict(int)
    for one in corrections:
        counts[one.file] += 1
    twice = [file for file, count in counts.items() if count > 1]
    if twice:
        raise DataError(f"{where} has two verdicts on {first_few(map(repr, twice))}: keep one of each")
    return corrections


def correct(
    listing: Listing, hashes: Sequence[str | None], classes: Sequence[str], path: Path
) -> tuple[Listing, dict[int, LeftOut], Corrected]:
    """Apply the corrections in a file to the rows of a data set.

    Files with the bytes of a judged one are the same picture, and take its label too, unless they were judged
    themselves.

    Parameters
    ----------
    hashes:
        Of each row's bytes; ``None`` where there are none.
    classes:
        Those of the data as they lie there.

    Returns
    -------
    tuple
        The rows with their right labels; by position, those of no class; and what was done.

    Raises
    ------
    DataError
        If the file can't be read, names images or classes that the data don't have, or gives labels that are no longer
        those of the data.
    """
    content = _content(path)
    corrections = parse_corrections(content, str(path))
    places = _places(listing.rows, corrections, path)
    _require_classes(corrections, classes, listing.task, path)
    _require_labels(listing, corrections, places, path)
    judged = _judgements(hashes, corrections, places)
    rows, relabelled, doubtful = list(listing.rows), [], {}
    for place, one in judged.items():
        row = rows[place]
        if one.leaves_out:
            reason = f"judged to be none of the classes; labelled {BETWEEN.join(labels_of(row.label))!r}"
            doubtful[place] = LeftOut(row.file, "correction", reason)
        elif (label := label_of(one.label, listing.task)) != row.label:
            rows[place] = dataclasses.replace(row, label=label)
            relabelled.append(row.file)
    confirmed = sum(one.verdict == "right" for one in corrections)
    left_out = tuple(entry.file for entry in doubtful.values())
    done = Corrected(str(path), sha256(content), tuple(relabelled), confirmed, left_out)
    return dataclasses.replace(listing, rows=rows), doubtful, done


def label_of(text: str, task: Task) -> str | tuple[str, ...]:
    """The label of a row from a file of corrections; of several, sorted."""
    if task == "classification":
        return clean_label(text)
    return tuple(sorted({clean_label(part) for part in text.split(BETWEEN)} - {""}))


def correction_note(corrected: Corrected) -> str:
    """What was done, in a sentence."""
    changed = "1 label was" if len(corrected.relabelled) == 1 else f"{len(corrected.relabelled)} labels were"
    said = f"{changed} changed, {corrected.confirmed} confirmed"
    return f"By {Path(corrected.file).name}, {said}."


def counts_of(dataset: Dataset) -> dict[str, str | int]:
    """What ``run.json`` tells of applied corrections: how many, and by which file; else nothing."""
    corrected = dataset.corrected
    if corrected is None:
        return {}
    return {
        "corrections_sha256": corrected.sha256,
        "labels_changed": len(corrected.relabelled),
        "labels_confirmed": corrected.confirmed,
        "images_of_no_class": len(corrected.left_out),
    }


def with_test_note(dataset: Dataset, *, nested: bool) -> Dataset:
    """The same data set, with a note where corrected labels are among those that test.

    Parameters
    ----------
    nested:
        Whether every row takes its turn in the test.
    """
    if dataset.corrected is None:
        return dataset
    test = dataset if nested else dataset.test()
    count = len(set(dataset.corrected.relabelled).intersection(test.files))
    if not count:
        return dataset
    labels = "1 test label was" if count == 1 else f"{count} test labels were"
    note = (
        f"{labels} changed by {Path(dataset.corrected.file).name}: if only images were judged that a model had "
        "disagreed with, the test score flatters."
    )
    return dataset if note in dataset.notes else dataclasses.replace(dataset, notes=(*dataset.notes, note))


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file of corrections")
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes, more than the {_LARGEST:,} that are read")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from error


def _correction(row: Mapping[str | None, str | None], where: str) -> Correction:
    if None in row or None in row.values():
        raise DataError(f"{where}: wants one value for each of {', '.join(COLUMNS)}: {_WAY_OUT}")
    file, given, verdict, corrected, time = (row[name] or "" for name in COLUMNS)
    if verdict not in ("right", "wrong"):
        raise DataError(f"{where}: the verdict is 'right' or 'wrong', not {verdict[:60]!r}: {_WAY_OUT}")
    if verdict == "right" and corrected and clean_label(corrected) != clean_label(given):
        raise DataError(f"{where}: the label of {file!r} is called right, and {corrected!r} too: {_WAY_OUT}")
    return Correction(
        file, clean_label(given), "right" if verdict == "right" else "wrong", clean_label(corrected), time
    )


def _places(rows: Sequence[Row], corrections: Sequence[Correction], path: Path) -> dict[str, list[int]]:
    """The rows of each corrected file."""
    wanted = {one.file for one in corrections}
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        if row.file in wanted:
            places[row.file].append(place)
    unknown = [one.file for one in corrections if one.file not in places]
    if unknown:
        raise DataError(
            f"{path} corrects {len(unknown)} images that are not in the data ({first_few(map(repr, unknown))}): "
            "give the data that the run was fitted on, or remove these lines"
        )
    return places


def _require_classes(corrections: Sequence[Correction], classes: Sequence[str], task: Task, path: Path) -> None:
    named = (
        name for one in corrections if one.label_corrected for name in labels_of(label_of(one.label_corrected, task))
    )
    unknown = [name for name in dict.fromkeys(named) if name not in classes]
    if unknown:
        raise DataError(
            f"{path} names classes that the data do not have: {first_few(map(repr, unknown))}; "
            f"known are {first_few(map(repr, classes), 10)}"
        )


def _require_labels(
    listing: Listing, corrections: Sequence[Correction], places: Mapping[str, Sequence[int]], path: Path
) -> None:
    """Raise if a label was changed after it was judged, unless to what was found right."""
    stale = []
    for one in corrections:
        found = [listing.rows[place].label for place in places[one.file]]
        judged = [label_of(label, listing.task) for label in (one.label_given, one.label)]
        if not any(label in judged for label in found):
            stale.append(f"{one.file!r} (now {BETWEEN.join(labels_of(found[0]))!r})")
    if stale:
        raise DataError(
            f"{path} judges labels that the data no longer have: {first_few(stale)}; remove these lines, "
            "or judge the images again"
        )


def _judgements(
    hashes: Sequence[str | None], corrections: Sequence[Correction], places: Mapping[str, Sequence[int]]
) -> dict[int, Correction]:
    """The correction of each row that has one, of its own or by equal bytes, in the order of the rows."""
    of_picture: dict[str, Correction] = {}
    found: dict[int, Correction] = {}
    for one in corrections:
        for place in places[one.file]:
            found[place] = one
            digest = hashes[place]
            if digest is not None:
                of_picture.setdefault(digest, one)
    for place, digest in enumerate(hashes):
        if digest in of_picture:
            found.setdefault(place, of_picture[digest])
    return dict(sorted(found.items()))
