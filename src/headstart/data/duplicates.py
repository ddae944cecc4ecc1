"""Hashes of all files, and what equal ones mean: duplicates, conflicting labels, leaks between splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from headstart.data.dataset import LeftOut
from headstart.data.rows import Row, first_few, labels_of
from headstart.data.trees import Reader
from headstart.errors import ImageError
from headstart.files import sha256

_THREADS = 8
_CHUNK = 64  # files a task: a task for each would cost more than hashing a small file


@dataclass(frozen=True)
class Equals:
    """What rows with equal bytes mean.

    Attributes
    ----------
    left_out:
        By position, the duplicates and conflicts.
    leaks:
        For each picture that lies in several splits: one row of each.
    """

    left_out: dict[int, LeftOut] = field(default_factory=dict)
    leaks: list[list[int]] = field(default_factory=list)


def hash_rows(rows: Sequence[Row], reader: Reader) -> tuple[list[str | None], dict[int, LeftOut]]:
    """Read and hash every row's file, in threads.

    Returns
    -------
    tuple
        The hash of each row, ``None`` where the file is empty or unreadable; and by position, what is wrong with those.
    """
    chunks = [range(start, min(start + _CHUNK, len(rows))) for start in range(0, len(rows), _CHUNK)]
    hashes: list[str | None] = [None] * len(rows)
    unusable: dict[int, LeftOut] = {}

    def work(chunk: range) -> None:
        for place in chunk:
            row = rows[place]
            try:
                data = reader.read(row.image)
            except ImageError as error:
                unusable[place] = LeftOut(row.file, "unreadable", str(error).removeprefix(f"{row.image}: "))
                continue
            if data:
                hashes[place] = sha256(data)
            else:
                unusable[place] = LeftOut(row.file, "undecodable", "the file is empty")

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="hash") as pool:
        for _ in pool.map(work, chunks):
            pass
    return hashes, dict(sorted(unusable.items()))


def find_equals(rows: Sequence[Row], hashes: Sequence[str | None]) -> Equals:
    """Sort out rows with equal bytes; rows without a hash are passed over.

    With different labels, all are left out: none can be trusted. With the same label and split, the first is kept.
    With the same label in different splits, one is kept in each: which to drop is for the user to say.
    """
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, digest in enumerate(hashes):
        if digest is not None:
            places[digest].append(place)
    equals = Equals()
    for same in places.values():
        if len(same) > 1:
            _sort_out(rows, same, equals)
    return equals


def _sort_out(rows: Sequence[Row], same: list[int], equals: Equals) -> None:
    files = {rows[place].label: rows[place].file for place in reversed(same)}
    if len(files) > 1:
        named = first_few(f"{'|'.join(labels_of(label))!r} in {file}" for label, file in files.items())
        reason = f"the same bytes have different labels: {named}"
        equals.left_out.update({place: LeftOut(rows[place].file, "conflict", reason) for place in same})
        return
    first: dict[str | None, int] = {}
    for place in same:
        kept = first.setdefault(rows[place].split, place)
        if kept != place:
            reason = f"the same bytes as {rows[kept].file}"
            equals.left_out[place] = LeftOut(rows[place].file, "duplicate", reason)
    if len(first) > 1:
        equals.leaks.append(list(first.values()))
