"""The feature store's index: an SQLite file that says which segment holds the row of a context and an image."""

from __future__ import annotations

import contextlib
import operator
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart.errors import StorageError
from headstart.features._segments import SegmentEntry
from headstart.files import clear_storage_errors
from headstart.runs.locks import HeldLock, Mode, acquire

T = TypeVar("T")

_PATIENCE = 60.0  # seconds that a lock of another process is waited for
_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE contexts (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE);
CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, context INTEGER NOT NULL,
    rows INTEGER NOT NULL, width INTEGER NOT NULL, itemsize INTEGER NOT NULL,
    size INTEGER NOT NULL, checksum INTEGER NOT NULL, used INTEGER NOT NULL
);
CREATE TABLE rows (
    context INTEGER NOT NULL, hash BLOB NOT NULL, segment INTEGER NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (context, hash)
) WITHOUT ROWID;
CREATE INDEX rows_of_segment ON rows (segment);
"""
# A row that is there stays, unless its segment is gone: then the new one takes its place.
_ADD_ROW = """
INSERT INTO rows (context, hash, segment, position) VALUES (?, ?, ?, ?)
ON CONFLICT (context, hash) DO UPDATE SET segment = excluded.segment, position = excluded.position
WHERE NOT EXISTS (SELECT 1 FROM segments WHERE segments.id = rows.segment)
"""
_FIND_ROWS = """
SELECT wanted.number, rows.segment, rows.position
FROM wanted CROSS JOIN rows ON rows.context = (SELECT id FROM contexts WHERE key = ?) AND rows.hash = wanted.hash
JOIN segments ON segments.id = rows.segment
"""
_BY_USE = """
SELECT segments.id, name, size, key FROM segments LEFT JOIN contexts ON contexts.id = context ORDER BY used, segments.id
"""
_TOTALS = """
SELECT count(DISTINCT context), count(*), (SELECT count(*) FROM rows), coalesce(sum(size), 0) FROM segments
"""
_ENTRY = "name, rows, width, itemsize, size, checksum"
_NO_ROOM = {sqlite3.SQLITE_FULL}
_NO_ACCESS = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}
_HELD = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


@dataclass(frozen=True, eq=False)
class Found:
    """Where rows lie: of ``asked[k]`` in segment ``entries[segment[k]]`` at ``position[k]`` (int64, equal length)."""

    entries: tuple[SegmentEntry, ...]
    asked: NDArray[np.int64]
    segment: NDArray[np.int64]
    position: NDArray[np.int64]


class Index:
    """The index below the folder ``root``, safe for many processes at once.

    A connection lives for one operation, under a shared lock; whoever replaces the index or removes files that
    nobody lists holds the lock alone, since SQLite doesn't survive a file that is exchanged under its hands.
    A damaged index is replaced by an empty one, and ``say`` is told so by the one process that does it.
    """

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self._root = root
        self._path = root / "index.sqlite"
        self._say = say

    def find(self, context: str, hashes: NDArray[np.uint8]) -> Found:
        """Find the rows of ``hashes`` (n, 32) uint8 and mark their segments as just used."""
        return self._operate(lambda connection: _find(connection, context, hashes))

    def width(self, context: str) -> int | None:
        """The width of the rows of a context, ``None`` if it has none yet."""
        query = "SELECT width FROM segments WHERE context = (SELECT id FROM contexts WHERE key = ?) LIMIT 1"
        found = self._operate(lambda connection: connection.execute(query, (context,)).fetchone())
        return None if found is None else int(found[0])

    def add(self, context: str, hashes: NDArray[np.uint8], write: Callable[[], SegmentEntry]) -> bool:
        """Write a segment by ``write`` and list its rows, all or nothing.

        No file that isn't listed is removed in between. A damaged index makes ``write`` be called a second time.

        Returns
        -------
        bool
            False if others have added every row in the meantime: then the segment isn't listed.
        """
        return self._operate(lambda connection: _add(connection, context, hashes, write()))

    def drop(self, names: Sequence[str]) -> int:
        """Forget segments by their names; returns how many rows went with those that were still listed."""
        return self._operate(lambda connection: _drop(connection, names))

    def evict(self, limit_bytes: int, in_use: Callable[[str, str], bool]) -> list[tuple[str, str]]:
        """Forget the segments that were used least recently, until the others fit into ``limit_bytes``.

        ``in_use(context, name)`` spares a segment. Returns the context and name of each forgotten one.
        """
        return self._operate(lambda connection: _evict(connection, limit_bytes, in_use))

    def totals(self) -> tuple[int, int, int, int]:
        """The numbers of contexts, segments and rows, and the bytes of all segments."""
        contexts, segments, rows, size = self._operate(lambda connection: connection.execute(_TOTALS).fetchone())
        return int(contexts), int(segments), int(rows), int(size)

    def sweep(self, remove_others: Callable[[set[str]], None]) -> None:
        """Call ``remove_others(names of listed segments)`` while no process works; do nothing if one does."""
        self._operate(_names)  # makes or mends the index first, where needed
        lock = self._lock("exclusive", timeout=0)
        if lock is None:
            return
        with lock, contextlib.suppress(sqlite3.Error):
            names = self._connected(_names)
            for leftover in self._root.glob(".index.*"):
                leftover.unlink(missing_ok=True)
            remove_others(names)

    def clear(self, remove_all: Callable[[], None]) -> None:
        """Remove the index, and call ``remove_all`` while no process works."""
        with self._locked("exclusive"):
            _unlink_database(self._path)
            remove_all()

    def _operate(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        damage: sqlite3.Error | None = None
        for _ in range(3):
            with self._locked("shared"):
                inode = self._inode()
                if inode is not None:
                    try:
                        return self._connected(operation)
                    except sqlite3.Error as error:
                        self._raise_storage_error(error)
                        damage = error
            self._renew(inode, damage)
        raise StorageError(f"{self._path} can't be mended ({damage}): remove it, or set HEADSTART_CACHE") from damage

    def _connected(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        address = f"{self._path.absolute().as_uri()}?mode=rw"  # a plain path would make the file where it is absent
        with contextlib.closing(sqlite3.connect(address, _PATIENCE, isolation_level=None, uri=True)) as connection:
            # In WAL mode this can't damage the file; a power cut may cost the last rows, which are missing then.
            try:
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA temp_store = MEMORY")
                return operation(connection)
            except UnicodeDecodeError as error:  # a message that quotes the damaged part
                raise sqlite3.DatabaseError("damaged text") from error

    def _renew(self, inode: int | None, damage: sqlite3.Error | None) -> None:
        """Put an empty index in the place of an absent or damaged one, unless another process was faster."""
        fresh = self._root / f".index.{uuid.uuid4().hex}"
        with self._locked("exclusive"), clear_storage_errors(self._path):
            if self._inode() != inode:
                return
            try:
                with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
                    connection.executescript(_SCHEMA)
            except sqlite3.Error as error:
                _unlink_database(fresh)
                self._raise_storage_error(error)
                raise
            _unlink_logs(self._path)  # first, so that no old log is ever applied to the new file
            fresh.replace(self._path)
        if inode is not None:
            self._say(f"{self._path} was damaged ({damage}): started anew, features are computed again as needed")

    def _inode(self) -> int | None:
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            return None

    def _locked(self, mode: Mode) -> HeldLock:
        lock = self._lock(mode, timeout=_PATIENCE)
        if lock is None:
            raise StorageError(f"{self._root} is held by another process for over a minute: end it, or try again later")
        return lock

    def _lock(self, mode: Mode, *, timeout: float) -> HeldLock | None:
        path = self._root / ".lock"
        with clear_storage_errors(path):
            try:
                self._root.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise StorageError(f"{self._root} is no folder: choose another place with HEADSTART_CACHE") from error
        return acquire(path, mode, timeout=timeout)

    def _raise_storage_error(self, error: sqlite3.Error) -> None:
        """Raise what a user can mend; return if ``error`` means that the index is damaged."""
        if isinstance(error, sqlite3.ProgrammingError):
            raise error
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code == sqlite3.SQLITE_READONLY and os.access(self._path, os.W_OK) and os.access(self._root, os.W_OK):
            return  # how SQLite reads some damaged headers
        if code in _NO_ROOM:
            why = "no room left: free some space, or choose another place with HEADSTART_CACHE"
        elif code in _NO_ACCESS:
            why = f"{error}: is the disk full or read-only? HEADSTART_CACHE chooses another place"
        elif code in _HELD:
            why = f"{error}: another process holds it for over a minute; end it, or try again later"
        elif code == sqlite3.SQLITE_INTERRUPT:
            raise error
        else:
            return
        raise StorageError(f"{self._path} can't be used, {why}") from error


def _unlink_database(path: Path) -> None:
    _unlink_logs(path)
    path.unlink(missing_ok=True)


def _unlink_logs(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextlib.contextmanager
def _strange_values_as_damage() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise sqlite3.DatabaseError(f"a value of the wrong kind: {error}") from error


def _find(connection: sqlite3.Connection, context: str, hashes: NDArray[np.uint8]) -> Found:
    connection.execute("BEGIN")  # so that what is read is of one moment
    asked, ids, position = _located(connection, context, hashes)
    known, segment = np.unique(ids, return_inverse=True)
    query = f"SELECT {_ENTRY} FROM segments WHERE id = ?"
    entries = tuple(_entry(connection.execute(query, (int(number),)).fetchone()) for number in known)
    connection.execute("COMMIT")
    if entries:
        now = time.time_ns()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("UPDATE segments SET used = ? WHERE id = ?", ((now, int(number)) for number in known))
        connection.execute("COMMIT")
    return Found(entries, asked, segment.astype(np.int64), position)


def _located(connection: sqlite3.Connection, context: str, hashes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(3, found) int64: which hash, its segment's id, and the position there."""
    connection.execute("CREATE TEMP TABLE wanted (number INTEGER PRIMARY KEY, hash BLOB)")
    connection.executemany("INSERT INTO wanted VALUES (?, ?)", enumerate(map(bytes, hashes)))
    found = connection.execute(_FIND_ROWS, (context,)).fetchall()
    with _strange_values_as_damage():
        return np.array(found, dtype=np.int64).reshape(-1, 3).T


def _entry(row: tuple[str, int, int, int, int, int]) -> SegmentEntry:
    with _strange_values_as_damage():
        name, *numbers = row
        return SegmentEntry(_word(name), *(operator.index(number) for number in numbers))


def _word(value: object) -> str:
    """A name that is safe as part of a path, whatever happened to the index."""
    if isinstance(value, str) and value.isalnum():
        return value
    raise ValueError(repr(value))


def _add(connection: sqlite3.Connection, context: str, hashes: NDArray[np.uint8], entry: SegmentEntry) -> bool:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT OR IGNORE INTO contexts (key) VALUES (?)", (context,))
    (owner,) = connection.execute("SELECT id FROM contexts WHERE key = ?", (context,)).fetchone()
    values = (entry.name, entry.rows, entry.width, entry.itemsize, entry.size, entry.checksum)
    columns = f"INSERT INTO segments ({_ENTRY}, context, used) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    segment = connection.execute(columns, (*values, owner, time.time_ns())).lastrowid
    connection.executemany(_ADD_ROW, ((owner, bytes(key), segment, at) for at, key in enumerate(hashes)))
    asked, ids, _ = _located(connection, context, hashes)
    if len(asked) != len(hashes):  # a damage that SQLite itself doesn't see; unnoticed, it would stay for ever
        raise sqlite3.DatabaseError("rows can't be found after they were added")
    listed = bool((ids == segment).any())
    connection.execute("COMMIT" if listed else "ROLLBACK")
    return listed


def _drop(connection: sqlite3.Connection, names: Sequence[str]) -> int:
    connection.execute("BEGIN IMMEDIATE")
    rows = 0
    for name in names:
        found = connection.execute("SELECT id FROM segments WHERE name = ?", (name,)).fetchone()
        if found is not None:
            rows += connection.execute("DELETE FROM rows WHERE segment = ?", found).rowcount
            connection.execute("DELETE FROM segments WHERE id = ?", found)
    connection.execute("COMMIT")
    return rows


def _evict(
    connection: sqlite3.Connection, limit_bytes: int, in_use: Callable[[str, str], bool]
) -> list[tuple[str, str]]:
    total_query = "SELECT coalesce(sum(size), 0) FROM segments"
    if connection.execute(total_query).fetchone()[0] <= limit_bytes:
        return []
    connection.execute("BEGIN IMMEDIATE")
    (total,) = connection.execute(total_query).fetchone()
    evicted = []
    with _strange_values_as_damage():
        for number, name, size, key in connection.execute(_BY_USE).fetchall():
            if total <= limit_bytes:
                break
            if not in_use(_word(key), _word(name)):
                connection.execute("DELETE FROM rows WHERE segment = ?", (number,))
                connection.execute("DELETE FROM segments WHERE id = ?", (number,))
                evicted.append((key, name))
                total -= size
    connection.execute("COMMIT")
    return evicted


def _names(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM segments")}
