"""Removing a run: only what surely is one, that nobody writes, and nothing outside its folder."""

from __future__ import annotations

import os
import re
import shutil
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

from headstart.errors import RunError, StorageError
from headstart.files import clear_storage_errors
from headstart.runs.index import record_run
from headstart.runs.locks import HeldLock, acquire
from headstart.runs.record import FILE, LOCK
from headstart.runs.summary import read_object

# A run.json of any version has these; other programs write files of that name too.
_KEYS = {"schema", "state", "request", "seed", "started", "headstart"}
_LEFTOVER = re.compile(r"\.[0-9a-f]{12}\.removed")
_PATIENCE = 0.1  # seconds; a reader may look at a lock for a moment


@dataclass(frozen=True)
class Removable:
    """A run folder that may be removed.

    Attributes
    ----------
    folder:
        Absolute.
    names:
        What lies directly in it, the lock left out.
    files, size:
        How many files lie in it at any depth, and their bytes.
    """

    folder: Path
    names: tuple[str, ...]
    files: int
    size: int


def check_removable(folder: Path) -> Removable:
    """Look whether a folder is a run that can be removed.

    Raises
    ------
    RunError
        If it is a link, holds no run or other runs, is or holds the current folder, or is being written.
    """
    if folder.is_symlink():
        raise RunError(f"{folder} is a link: name the run folder itself, {os.readlink(folder)}")
    if not folder.is_dir():
        raise RunError(f"{folder} is no run folder; headstart runs lists those that there are")
    if folder.name in ("", ".."):
        raise RunError(f"{folder} doesn't say which folder it is: give its name")
    folder = folder.resolve()
    _require_run(folder)
    if Path.cwd().is_relative_to(folder):
        raise RunError(f"{folder} is the current folder, or holds it: go elsewhere first")
    inside = [path.name for path in folder.iterdir() if (path / FILE).exists()]
    if inside:
        raise RunError(f"{folder} holds another run, {inside[0]}: move or delete that one first")
    _hold(folder).release()
    files = [Path(above, name) for above, _, names in os.walk(folder) for name in names]
    names = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
    return Removable(folder, tuple(names), len(files), sum(path.lstat().st_size for path in files))


def remove_run(folder: Path) -> None:
    """Remove a run folder for good; links in it go, what they point to stays.

    The folder vanishes at once, under another name that no list shows; a process that is killed in between leaves that
    behind, and the next removal in the same place clears it up.

    Raises
    ------
    RunError
        As :func:`check_removable` does.
    StorageError
        If it can't be removed.
    """
    folder = check_removable(folder).folder
    with _hold(folder), clear_storage_errors(folder):
        folder.rename(folder.with_name(f".{uuid.uuid4().hex[:12]}.removed"))
    record_run(folder)
    failed: list[BaseException] = []
    for leftover in [path for path in folder.parent.iterdir() if _LEFTOVER.fullmatch(path.name)]:
        shutil.rmtree(leftover, onerror=lambda function, path, error: failed.append(error[1]))
    failed = [error for error in failed if not isinstance(error, FileNotFoundError)]  # another process was faster
    if failed:
        raise StorageError(f"{folder} is removed from the list, but not all of it from the disk: {failed[0]}")


def _require_run(folder: Path) -> None:
    run, problem = read_object(folder, FILE)
    if not run.keys() >= _KEYS:
        why = problem or f"its {FILE} is not headstart's"
        raise RunError(f"{folder} is not surely a run ({why}): remove it by hand if nothing in it is of use")


def _hold(folder: Path) -> HeldLock:
    """The lock of a run folder; raises :class:`RunError` if a process holds it."""
    path = folder / LOCK
    if path.is_symlink() or (path.exists() and not stat.S_ISREG(path.stat().st_mode)):
        raise RunError(f"{path} is no plain file: {folder} was changed by hand; remove it by hand")
    with clear_storage_errors(path):
        lock = acquire(path, "exclusive", timeout=_PATIENCE)
    if lock is None:
        raise RunError(f"{folder} is being written by another process: wait for its end, or end it first")
    return lock
