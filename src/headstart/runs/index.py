"""The index of a runs folder: an SQLite file that remembers what each run folder says, so that lists are quick.

The run folders are the truth. Each row carries the state of the files that it was read from (inode, time, size); where
that is another one now, the folder is read again. So an index that is absent, damaged, old or of another headstart
costs time and nothing else, and runs that were moved or removed by hand are listed as they lie there now.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from headstart.errors import StorageError
from headstart.runs.database import Database
from headstart.runs.record import FILE
from headstart.runs.summary import EXPECTED, METRICS, RunSummary, State, is_run, live, summarise

FOLDER = ".headstart"
"""What lies beside the run folders: the index and its lock."""

# To be raised whenever a folder is read in another way: rows of another reading are read anew.
_READING = 1
_PATIENCE = 5.0  # seconds; what can't be written now is read again next time
_LONGEST_ROW = 4 << 20  # bytes
# What is being removed or replaced.
_LEFTOVER = re.compile(r"\.(.+\.)?[0-9a-f]{12}\.(tmp|old|removed)")
_FIELDS = tuple(entry.name for entry in dataclasses.fields(RunSummary))
_TABLE = "CREATE TABLE entries (folder BLOB PRIMARY KEY, files TEXT NOT NULL, summary TEXT NOT NULL)"
# For people and other programs: one column a field.
_VIEW = "CREATE VIEW runs AS SELECT {} FROM entries".format(
    ", ".join(f"json_extract(summary, '$.{name}') AS {name}" for name in _FIELDS)
)
_SCHEMA = f"PRAGMA journal_mode = WAL;\n{_TABLE};\n{_VIEW};\n"
_PUT = "INSERT OR REPLACE INTO entries (folder, files, summary) VALUES (?, ?, ?)"


def list_runs(root: Path) -> list[RunSummary]:
    """Every run whose folder lies in ``root``, the latest first; an absent folder holds none.

    What is wrong with a run is told in its :attr:`~headstart.runs.summary.RunSummary.problems`. Runs within runs
    (repeats) are not listed. Only folders whose files have changed since the last call are read.
    """
    known: dict[str, tuple[str, str]] = {}
    if (root / FOLDER).is_dir():  # a list makes nothing where nothing is
        with contextlib.suppress(StorageError, OSError, sqlite3.Error):
            known = _index(root).operate(_rows)
    found = {path.name: files for path, files in _run_folders(root)}
    runs, fresh = [], []
    for name, files in found.items():
        row = known.get(name)
        run = _decoded(row[1], name) if row is not None and row[0] == files else None
        if run is None:
            run = summarise(root / name)
            if run is None:  # removed a moment ago
                continue
            fresh.append((name, files, _encoded(run)))
        runs.append(live(run, root / name))
    gone = known.keys() - found.keys()
    if fresh or gone:
        with contextlib.suppress(StorageError, OSError, sqlite3.Error):
            _index(root).operate(lambda connection: _update(connection, fresh, gone))
    return sorted(runs, key=lambda run: (run.started or "", run.name), reverse=True)


def record_run(folder: Path) -> None:
    """Bring the index beside a run folder up to date about it, also when it is gone.

    Nothing is raised where the index can't be written: the next list reads the folder. A run within a run is left to
    that one.
    """
    folder = folder.absolute()
    if any((above / FILE).exists() for above in list(folder.parents)[:2]):
        return
    with contextlib.suppress(StorageError, OSError, sqlite3.Error):
        files = _files(folder)
        run = summarise(folder) if files else None
        fresh = [(folder.name, files, _encoded(run))] if run else []
        _index(folder.parent).operate(lambda connection: _update(connection, fresh, () if run else (folder.name,)))


def _index(root: Path) -> Database:
    if (root / FOLDER).is_symlink():  # it could lead to the index of something else, which would be replaced
        raise StorageError(f"{root / FOLDER} is a link: remove it")
    return Database(root / FOLDER, _SCHEMA, way_out="remove it", replaced=lambda damage: None, patience=_PATIENCE)


def _run_folders(root: Path) -> Iterator[tuple[Path, str]]:
    """The folders in ``root`` that hold runs, with the state of their files."""
    try:
        names = os.listdir(root)
    except OSError:
        return
    for name in names:
        if name != FOLDER and not _LEFTOVER.fullmatch(name) and (files := _files(root / name)):
            yield root / name, files


def _files(folder: Path) -> str:
    """The state of the files that a summary is read from, as text; empty where there is no run."""
    try:
        names = set(os.listdir(folder))
    except OSError:
        return ""
    if not is_run(names):
        return ""
    states = [_state(folder / name) for name in (FILE, METRICS) if name in names]
    return json.dumps([_READING, *states, *sorted(names.intersection(EXPECTED))])


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _require_own(connection: sqlite3.Connection) -> None:
    """Raise if the database isn't one that this headstart has made: it is then replaced as a damaged one is."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_ROW)
    connection.execute("PRAGMA trusted_schema = OFF")
    found = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master LIMIT 9") if sql is not None}
    if found != {_TABLE, _VIEW}:
        raise sqlite3.DatabaseError("another layout")


def _rows(connection: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    _require_own(connection)
    rows = connection.execute("SELECT folder, files, summary FROM entries").fetchall()
    return {os.fsdecode(folder): (files, text) for folder, files, text in rows if isinstance(folder, bytes)}


def _update(connection: sqlite3.Connection, fresh: Iterable[tuple[str, str, str]], gone: Iterable[str]) -> None:
    _require_own(connection)
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("DELETE FROM entries WHERE folder = ?", [(os.fsencode(name),) for name in gone])
    connection.executemany(_PUT, [(os.fsencode(name), files, text) for name, files, text in fresh])
    connection.execute("COMMIT")


def _encoded(run: RunSummary) -> str:
    return json.dumps(dataclasses.asdict(run))


def _decoded(text: object, name: str) -> RunSummary | None:
    """The summary in a row, or ``None`` if it is none: the row may have been damaged or written by anybody."""
    try:
        plain: Any = json.loads(text) if isinstance(text, str) else None
        if plain.keys() != set(_FIELDS):
            return None
        run = RunSummary(**{**plain, "name": name, "problems": tuple(plain["problems"])})
        run = dataclasses.replace(run, intervals={key: (low, high) for key, (low, high) in run.intervals.items()})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return run if _is_sound(run) else None


def _is_sound(run: RunSummary) -> bool:
    return (
        run.state in get_args(State)
        and _are(str, *run.problems)
        and _are((str, type(None)), run.data, run.task, run.strategy, run.backbone, run.metric, run.command)
        and _are((str, type(None)), run.started, run.finished, run.version)
        and _are((int, type(None)), run.cut, run.stages, run.tested, run.seed)
        and _are((float, type(None)), run.seconds)
        and _are(dict, run.scores, run.options, run.made_with)
        and _are(float, *run.scores.values(), *(end for pair in run.intervals.values() for end in pair))
        and _are((str, int, float), *run.options.values(), *run.made_with.values())
    )


def _are(kind: Any, *values: object) -> bool:
    return all(isinstance(value, kind) for value in values)
