"""What a person should be told about the data, a sentence each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from headstart.data.dataset import LeftOut
from headstart.data.rows import Row, first_few, labels_of

_SENTENCES = {
    "undecodable": "{files} left out, because empty: {few}.",
    "unreadable": "{files} left out, because unreadable: {few}.",
    "duplicate": "{files} left out, because another has the same bytes and label: {few}.",
    "conflict": "{files} left out, because the same bytes have different labels: {few}.",
    "correction": "{files} left out, because judged to be none of the classes: {few}.",
}


def left_out_notes(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """A sentence for each kind of file that is left out."""
    for kind, sentence in _SENTENCES.items():
        names = [entry.file for entry in left_out if entry.kind == kind]
        if names:
            files = "1 file is" if len(names) == 1 else f"{len(names)} files are"
            yield sentence.format(files=files, few=first_few(names))


def class_notes(rows: Sequence[Row], lost: Sequence[str]) -> Iterator[str]:
    """Classes that have lost all of their files, and classes that have one."""
    if lost:
        yield f"No file of {_classes(lost)} can be used; gone from the data."
    counts = Counter(label for row in rows for label in labels_of(row.label))
    lone = sorted(label for label, count in counts.items() if count == 1)
    if lone:
        yield f"Only one image of {_classes(lone)}: kept for training, so nothing can be said about the accuracy there."


def straddling_notes(rows: Sequence[Row], leaks: Sequence[Sequence[int]]) -> Iterator[str]:
    """Pictures and groups that the user's own splits have on more than one side, which flatters every score."""
    if leaks:
        pairs = (" = ".join(f"{rows[place].file} ({rows[place].split})" for place in same) for same in leaks)
        pictures = "1 picture lies" if len(leaks) == 1 else f"{len(leaks)} pictures lie"
        yield f"{pictures} in more than one split with equal bytes, which flatters the scores: {first_few(pairs)}."
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.group and row.split:
            splits[row.group].add(row.split)
    across = [group for group, found in splits.items() if len(found) > 1]
    if across:
        groups = "1 group lies" if len(across) == 1 else f"{len(across)} groups lie"
        yield f"{groups} in more than one split, which flatters the scores: {first_few(across)}."


def _classes(names: Sequence[str]) -> str:
    return f"the class {names[0]!r}" if len(names) == 1 else f"{len(names)} classes ({first_few(names)})"
