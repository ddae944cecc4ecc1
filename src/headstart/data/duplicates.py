"""Hashes of all files, and what equal ones mean: duplicates, conflicting labels, leaks between splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from headstart.data.rows import Row, first_few, labels_of
from headstart.data.trees import Reader
from headstart.errors import ImageError
from headstart.files import sha256

_THREADS = 8
_CHUNK = 64  # files a task: a task for each would cost more than hashing a small file


@dataclass(frozen=True)
class Hashed:
    """The hash of each row, ``None`` where the file is unusable; and for those, by position, the kind and reason."""

    hashes: list[str | None]
    unusable: dict[int, tuple[str, str]]


@dataclass(frozen=True)
class Equals:
    """What rows with equal bytes mean.

    Attributes
    ----------
    duplicates, conflicts:
        By position, why a row is left out.
    leaks:
        For each picture that lies in several splits: one row of each.
    """

    duplicates: dict[int, str] = field(default_factory=dict)
    conflicts: dict[int, str] = field(default_factory=dict)
    leaks: list[list[int]] = field(default_factory=list)


def hash_rows(rows: Sequence[Row], reader: Reader) -> Hashed:
    """Read and hash every row's file, in threads. Empty files count as undecodable."""
    chunks = [range(start, min(start + _CHUNK, len(rows))) for start in range(0, len(rows), _CHUNK)]
    found = Hashed([None] * len(rows), {})

    def work(chunk: range) -> None:
        for place in chunk:
            try:
                data = reader.read(rows[place].image)
            except ImageError as error:
                found.unusable[place] = ("unreadable", str(error))
                continue
            if data:
                found.hashes[place] = sha256(data)
            else:
                found.unusable[place] = ("undecodable", "the file is empty")

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="hash") as pool:
        for _ in pool.map(work, chunks):
            pass
    return found


def compare(rows: Sequence[Row], hashes: Sequence[str]) -> Equals:
    """Sort out rows with equal bytes.

    With different labels, all are left out: none can be trusted. With the same label and split, the first is kept.
    With the same label in different splits, one is kept in each: which to drop is for the user to say.
    """
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, digest in enumerate(hashes):
        places[digest].append(place)
    equals = Equals()
    for same in places.values():
        if len(same) > 1:
            _sort_out(rows, same, equals)
    return equals


def _sort_out(rows: Sequence[Row], same: list[int], equals: Equals) -> None:
    by_label = {rows[place].label: rows[place].file for place in reversed(same)}
    if len(by_label) > 1:
        named = first_few(f"{_quoted(label)} in {file}" for label, file in by_label.items())
        equals.conflicts.update(dict.fromkeys(same, f"the same bytes have different labels: {named}"))
        return
    first: dict[str | None, int] = {}
    for place in same:
        kept = first.setdefault(rows[place].split, place)
        if kept != place:
            equals.duplicates[place] = f"the same bytes as {rows[kept].file}"
    if len(first) > 1:
        equals.leaks.append(list(first.values()))


def _quoted(label: str | tuple[str, ...]) -> str:
    return repr("|".join(labels_of(label)))
