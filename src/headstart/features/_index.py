"""The feature store's index: an SQLite file that says which segment holds the row of a context and an image."""

from __future__ import annotations

import contextlib
import operator
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.features._segments import SegmentEntry
from headstart.runs.database import Database

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


@dataclass(frozen=True, eq=False)
class Found:
    """Where rows lie: of ``asked[k]`` in segment ``entries[segment[k]]`` at ``position[k]`` (int64, equal length)."""

    entries: tuple[SegmentEntry, ...]
    asked: NDArray[np.int64]
    segment: NDArray[np.int64]
    position: NDArray[np.int64]


class Index:
    """The index below the folder ``root``, safe for many processes at once.

    A damaged index is replaced by an empty one, and ``say`` is told so by the one process that does it.
    """

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self._say = say
        self._database = Database(root, _SCHEMA, way_out="set HEADSTART_CACHE", replaced=self._tell)

    def find(self, context: str, hashes: NDArray[np.uint8]) -> Found:
        """Find the rows of ``hashes`` (n, 32) uint8 and mark their segments as just used."""
        return self._database.operate(lambda connection: _find(connection, context, hashes))

    def width(self, context: str) -> int | None:
        """The width of the rows of a context, ``None`` if it has none yet."""
        query = "SELECT width FROM segments WHERE context = (SELECT id FROM contexts WHERE key = ?) LIMIT 1"
        found = self._database.operate(lambda connection: connection.execute(query, (context,)).fetchone())
        return None if found is None else int(found[0])

    def add(self, context: str, hashes: NDArray[np.uint8], write: Callable[[], SegmentEntry]) -> bool:
        """Write a segment by ``write`` and list its rows, all or nothing.

        No file that isn't listed is removed in between. A damaged index makes ``write`` be called a second time.

        Returns
        -------
        bool
            False if others have added every row in the meantime: then the segment isn't listed.
        """
        return self._database.operate(lambda connection: _add(connection, context, hashes, write()))

    def drop(self, names: Sequence[str]) -> int:
        """Forget segments by their names; returns how many rows went with those that were still listed."""
        return self._database.operate(lambda connection: _drop(connection, names))

    def evict(self, limit_bytes: int, in_use: Callable[[str, str], bool]) -> list[tuple[str, str]]:
        """Forget the segments that were used least recently, until the others fit into ``limit_bytes``.

        ``in_use(context, name)`` spares a segment. Returns the context and name of each forgotten one.
        """
        return self._database.operate(lambda connection: _evict(connection, limit_bytes, in_use))

    def totals(self) -> tuple[int, int, int, int]:
        """The numbers of contexts, segments and rows, and the bytes of all segments."""
        found = self._database.operate(lambda connection: connection.execute(_TOTALS).fetchone())
        contexts, segments, rows, size = found
        return int(contexts), int(segments), int(rows), int(size)

    def sweep(self, remove_others: Callable[[set[str]], None]) -> None:
        """Call ``remove_others(names of listed segments)`` while no process works; do nothing if one does."""
        self._database.operate(_names)  # makes or mends the index first, where needed
        self._database.operate_alone(_names, remove_others)

    def clear(self, remove_all: Callable[[], None]) -> None:
        """Remove the index, and call ``remove_all`` while no process works."""
        self._database.clear(remove_all)

    def _tell(self, damage: str) -> None:
        self._say(f"{self._database.path} was damaged ({damage}): started anew, features are computed again as needed")


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
