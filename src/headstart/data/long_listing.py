"""The images below folders, sorted, where they may be too many to hold in memory: a file with one path a line."""

from __future__ import annotations

import heapq
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO

from headstart.data.listing import by_parts, walk
from headstart.errors import DataError
from headstart.files import clear_storage_errors, replacing
from headstart.imaging import ARRAY_SUFFIXES, IMAGE_SUFFIXES

# Names that are sorted in memory at once: some 30 MB.
_AT_ONCE = 200_000


def write_listing(sources: Sequence[Path], out: Path) -> None:
    """Write the paths of all images, each as a JSON string on a line of its own.

    Those of a folder are the ones that :func:`headstart.data.listing.list_images` gives, in its order. The memory that
    is used does not grow with their number; names are sorted on disk beside ``out``.

    Parameters
    ----------
    sources:
        Folders and files, in the order in which they are listed; a file is listed whatever it is.

    Raises
    ------
    DataError
        If a folder has no images, or as :func:`headstart.data.listing.files_below` raises it.
    StorageError
        If the listing can't be written.
    """
    with clear_storage_errors(out), replacing(out) as temporary, temporary.open("w", encoding="ascii") as file:
        for source in sources:
            paths = (str(source / name) for name in _images(source, out.parent)) if source.is_dir() else [str(source)]
            for path in paths:
                file.write(json.dumps(path) + "\n")


def read_listing(path: Path) -> Iterator[str]:
    """The paths in a listing, one at a time."""
    with path.open(encoding="ascii") as file:
        for line in file:
            yield json.loads(line)


def _images(folder: Path, scratch: Path) -> Iterator[str]:
    for suffixes in (IMAGE_SUFFIXES, ARRAY_SUFFIXES):
        found = (name for name in walk(folder) if PurePosixPath(name).suffix.lower() in suffixes)
        names = _sorted(found, scratch)
        first = next(names, None)
        if first is not None:
            yield first
            yield from names
            return
    raise DataError(f"{folder}: no images in this folder")


def _sorted(names: Iterable[str], scratch: Path) -> Iterator[str]:
    """Sort as :func:`headstart.data.listing.by_parts` does, what does not fit into memory in files without a name."""
    left = iter(names)
    with ExitStack() as stack:
        runs: list[Iterator[str]] = []
        while some := by_parts(itertools.islice(left, _AT_ONCE)):
            if len(some) < _AT_ONCE:
                runs.append(iter(some))
                break
            file = stack.enter_context(tempfile.TemporaryFile("w+", encoding="ascii", dir=scratch))
            runs.append(_spilled(some, file))
        yield from heapq.merge(*runs, key=lambda name: name.split("/"))


def _spilled(names: list[str], file: IO[str]) -> Iterator[str]:
    file.writelines(json.dumps(name) + "\n" for name in names)
    file.seek(0)
    return (json.loads(line) for line in file)
