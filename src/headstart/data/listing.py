"""Which files lie below a folder: symbolic links followed, hidden files ignored, circles of links ended."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from headstart.errors import DataError
from headstart.imaging import ARRAY_SUFFIXES, IMAGE_SUFFIXES

# No data set has so many; links that point at each other in many ways do.
MAX_FOLDERS = 1_000_000


def list_images(source: str | Path) -> list[Path]:
    """The images below a folder, at any depth, sorted; or the one file that ``source`` is, whatever its suffix.

    A file is taken for an image by its suffix, as :func:`images_among` says. Hidden files and folders are ignored.

    Raises
    ------
    DataError
        If there is nothing at ``source``.
    """
    source = Path(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    return [source / name for name in images_among(files_below(source))]


def images_among(names: Sequence[str]) -> list[str]:
    """The names whose suffix, in any case, is that of an image (``headstart.imaging.IMAGE_SUFFIXES``).

    Where none is, NumPy's arrays are the images; beside photographs they are depths, masks or features of theirs.
    """
    for suffixes in (IMAGE_SUFFIXES, ARRAY_SUFFIXES):
        if found := [name for name in names if PurePosixPath(name).suffix.lower() in suffixes]:
            return found
    return []


def is_hidden(name: str) -> bool:
    """Whether a part of the path starts with a dot, or is the folder where macOS keeps its own data in a zip."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def files_below(folder: Path) -> list[str]:
    """Names of all files below ``folder``, relative to it, with ``/`` between the parts, sorted by their parts.

    Links to files and folders are followed, but never into a folder that the path already runs through. Links that
    lead nowhere are listed like files, so that they can be named; devices and pipes are not.

    Raises
    ------
    DataError
        If there are more than ``MAX_FOLDERS`` folders, each path through links counted; or a folder can't be read, or
        a name is not UTF-8.
    """
    return by_parts(walk(folder))


def walk(folder: Path) -> Iterator[str]:
    """The names that :func:`files_below` gives, in no order and one at a time; errors as there."""
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    entered = 0
    while waiting:
        prefix, above = waiting.pop()
        identity = _identity(folder / prefix)
        if identity in above:
            continue
        entered += 1
        if entered > MAX_FOLDERS:
            raise DataError(f"{folder}: more than {MAX_FOLDERS} folders; do links in it point at each other?")
        for entry in _entries(folder / prefix):
            name = prefix + _checked(entry.name, folder / prefix)
            if _is_folder(entry):
                waiting.append((name + "/", above | {identity}))
            elif _is_file(entry):
                yield name


def by_parts(names: Iterable[str]) -> list[str]:
    """Sort paths folder by folder, so that a folder's files stay together."""
    return sorted(names, key=lambda name: name.split("/"))


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not is_hidden(entry.name))
    except OSError as error:
        raise DataError(f"{folder}: can't be read ({error.strerror})") from error


def _checked(name: str, folder: Path) -> str:
    """The name, unless its bytes are not UTF-8: neither tables nor JSON can hold it then."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = name.encode(errors="backslashreplace").decode()
        raise DataError(f"{folder}: the name {shown!r} is not UTF-8; rename it") from error
    return name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:  # a link to itself
        return True
