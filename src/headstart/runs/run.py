"""The run folder: created or taken over by one process at a time, and found again by readers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from headstart.errors import RunError
from headstart.files import clear_storage_errors, sha256_of, write_atomic
from headstart.records import to_json, to_plain
from headstart.runs.index import record_run
from headstart.runs.locks import HeldLock, acquire, is_held
from headstart.runs.record import EVIDENCE, FILE, LOCK, RunRecord, new_record, read_record, utc_now

_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12}\.(tmp|old)")  # what an atomic write leaves when it is killed
# How much of the difference between two requests an error names: values, and characters of each.
_MOST_DIFFERENCES, _LONGEST_VALUE = 4, 60
_PATIENCE = 0.1  # seconds; a reader may look at a lock for a moment


class Run:
    """A run that this process writes; made by :meth:`create`, best used in a ``with`` block.

    Attributes
    ----------
    folder:
        Where it lies.
    resumed:
        Whether an interrupted run was taken over. Its files lie there still, and are to be written again.
    """

    def __init__(self, folder: Path, record: RunRecord, lock: HeldLock, *, resumed: bool) -> None:
        self.folder = folder
        self.resumed = resumed
        self._record = record
        self._lock = lock

    @classmethod
    def create(
        cls, out: Path | None, name: str, request: Mapping[str, Any], *, seed: int = 0, command: str | None = None
    ) -> Run:
        """Make a run folder, or take over the one that an interrupted run of the same request has left.

        Parameters
        ----------
        out:
            The folder: absent, empty, or with an interrupted run of the same request and seed. Without it, the
            latest such run of this name below ``runs`` in the current folder, or else a new ``runs/<name>-<number>``.
        name:
            The beginning of the folder's name where ``out`` doesn't give it.
        request:
            What was asked for; records and tuples become plain JSON values.
        command:
            The command line that asks for the same, to be read by people.

        Raises
        ------
        RunError
            If ``out`` holds anything else, or another process is writing there.
        StorageError
            If the folder can't be written.
        """
        record = new_record(json.loads(json.dumps(to_plain(request))), seed, command)
        folder, lock = _claim_number(_folder_name(name), record) if out is None else (out, _claim(out, record))
        try:
            resumed = (folder / FILE).exists()
            _remove_leftovers(folder)
            write_atomic(folder / FILE, to_json(record))
        except BaseException:
            lock.release()
            raise
        return cls(folder, record, lock, resumed=resumed)

    @property
    def record(self) -> RunRecord:
        """What ``run.json`` says now."""
        return self._record

    def path(self, name: str) -> Path:
        """Where the file or folder ``name`` of this run lies."""
        return self.folder / name

    def write(self, name: str, content: object) -> Path:
        """Write a file whole or not at all: text, bytes, or a record as JSON.

        Raises
        ------
        StorageError
            If it can't be written.
        """
        path = self.path(name)
        write_atomic(path, content if isinstance(content, str | bytes) else to_json(content))
        return path

    def finish(self) -> None:
        """Declare the run finished, as the last thing, and let go of its folder; raises :class:`StorageError`."""
        sums = {name: sha256_of(self.path(name)) for name in EVIDENCE if self.path(name).is_file()}
        self._record = dataclasses.replace(self._record, state="finished", finished=utc_now(), sha256=sums)
        self.write(FILE, self._record)
        self.close()
        record_run(self.folder)

    def close(self) -> None:
        """Let go of the folder; a run that isn't finished can be taken over from now on."""
        self._lock.release()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let go of the folder; after an error, also remove it if nothing but the record of the request is in it."""
        if kind is not None:
            self._remove_if_bare()
        self.close()

    def _remove_if_bare(self) -> None:
        with contextlib.suppress(OSError):
            if {path.name for path in self.folder.iterdir()} <= {FILE, LOCK}:
                shutil.rmtree(self.folder)
                if self.folder.parent.name == "runs":
                    self.folder.parent.rmdir()  # fails if it is not empty


@dataclass(frozen=True)
class FinishedRun:
    """A run that is there to be read."""

    folder: Path
    record: RunRecord

    def path(self, name: str) -> Path:
        """Where the file or folder ``name`` of this run lies."""
        return self.folder / name


def owning_folder(path: Path) -> Path:
    """The run folder, also where the model folder in it is named: where what is found out later is written."""
    return path.resolve().parent if (path / "model.json").is_file() else path


def find_run(path: Path | str) -> FinishedRun:
    """Open a run folder for reading.

    Raises
    ------
    RunError
        If there is no run, it isn't finished, or a newer headstart wrote it.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise RunError(f"{folder} is no run folder: {'it is a file' if folder.exists() else 'it is absent'}")
    record = read_record(folder)
    if record.state == "finished":
        return FinishedRun(folder, record)
    if is_held(folder / LOCK):
        raise RunError(f"{folder} is still being written by another process: wait for its end")
    raise RunError(f"{folder} was interrupted: run the same command again to finish it")


def _claim(folder: Path, record: RunRecord) -> HeldLock:
    """Take hold of a folder for a run; raises :class:`RunError` if that isn't possible."""
    with clear_storage_errors(folder):
        _raise_obstacle(folder, record)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise RunError(f"{folder} can't be made: a file is in the way; choose another folder with --out") from error
        except FileNotFoundError as error:  # below a place that takes no folders, such as /proc
            raise RunError(f"{folder} can't be made there; choose another folder with --out") from error
    lock = acquire(folder / LOCK, "exclusive", timeout=_PATIENCE)
    if lock is None:
        raise RunError(f"{folder} is being written by another process: wait for its end, or choose another --out")
    try:
        _raise_obstacle(folder, record)  # again, now that nobody else can change it
    except BaseException:
        lock.release()
        raise
    return lock


def _claim_number(name: str, record: RunRecord) -> tuple[Path, HeldLock]:
    """The latest folder of this name that an interrupted run has left, or else the first free number."""
    below = Path("runs").absolute()
    for folder in _existing(below, name):
        with contextlib.suppress(RunError):
            return folder, _claim(folder, record)
    number = 0
    while True:
        number += 1
        folder = below / f"{name}-{number}"
        with clear_storage_errors(folder):
            if not _make(folder):
                continue
        with contextlib.suppress(RunError):  # a process that came between has taken it over
            return folder, _claim(folder, record)


def _existing(below: Path, name: str) -> list[Path]:
    """The folders ``<name>-<number>``, latest first."""
    pattern = re.compile(re.escape(name) + r"-([1-9][0-9]*)")
    found = below.iterdir() if below.is_dir() else ()
    numbered = [(int(match[1]), path) for path in found if (match := pattern.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True)]


def _make(folder: Path) -> bool:
    """Make a folder; false if there is something of its name already, so that of two processes one succeeds."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunError(f"{folder.parent} is no folder: choose another place with --out") from error
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def _raise_obstacle(folder: Path, record: RunRecord) -> None:
    """Raise :class:`RunError` unless a run can begin in ``folder`` or take over the interrupted one that is there."""
    if not folder.is_dir() or all(_is_trace(path.name) for path in folder.iterdir()):
        return
    way_out = "choose another folder with --out, or remove this one"
    if not (folder / FILE).is_file():
        raise RunError(f"{folder} is not empty: {way_out}")
    try:
        there = read_record(folder)
    except RunError as error:
        raise RunError(f"{folder} is not empty ({error}): {way_out}") from error
    if there.state == "finished":
        raise RunError(f"{folder} holds a finished run: {way_out}")
    if (there.request, there.seed) != (record.request, record.seed):
        differences = _differences({**there.request, "seed": there.seed}, {**record.request, "seed": record.seed})
        raise RunError(
            f"{folder} holds an unfinished run of another request ({differences}): ask for the same again to "
            "finish it, or begin in another folder with --out"
        )


def _differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What two requests differ in, with both values, in a few words."""
    keys = [key for key in {**there, **now} if key not in there or key not in now or there[key] != now[key]]
    named = [f"{key} {_short(there, key)} there, {_short(now, key)} now" for key in keys[:_MOST_DIFFERENCES]]
    more = [f"{len(keys) - len(named)} more"] if len(keys) > len(named) else []
    return "; ".join(named + more)


def _short(request: Mapping[str, Any], key: str) -> str:
    """A value as JSON, of a long one the end: paths differ there."""
    if key not in request:
        return "absent"
    text = json.dumps(request[key], ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"…{text[1 - _LONGEST_VALUE :]}"


def _is_trace(name: str) -> bool:
    """Whether a run that was killed before its record was written leaves a file of this name."""
    return name == LOCK or (name.startswith(f".{FILE}.") and _LEFTOVER.fullmatch(name) is not None)


def _folder_name(name: str) -> str:
    """A name that is safe as the beginning of a folder's: letters, digits, dots and dashes of any script."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-")[:80] or "run"


def _remove_leftovers(folder: Path) -> None:
    """Remove half-written files. Whole ones stay until they are written again: they might not be the run's."""
    for path in [path for path in folder.rglob(".*") if _LEFTOVER.fullmatch(path.name)]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
