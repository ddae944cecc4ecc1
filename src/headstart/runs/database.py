"""An SQLite file that many processes use at once, and that is replaced by an empty one where it is damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from headstart.errors import StorageError
from headstart.files import clear_storage_errors
from headstart.runs.locks import HeldLock, Mode, acquire

T = TypeVar("T")

_NO_ROOM = {sqlite3.SQLITE_FULL}
_NO_ACCESS = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}
_HELD = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class Database:
    """The database ``index.sqlite`` in the folder ``root``, safe for many processes at once, also killed ones.

    A connection lives for one operation, under a shared lock; whoever replaces the file or removes others beside it
    holds the lock alone, since SQLite doesn't survive a file that is exchanged under its hands.

    Parameters
    ----------
    schema:
        SQL that makes an empty database. It should switch on WAL mode.
    way_out:
        What a user can do where the folder can't be used, as the end of a sentence: ``"set HEADSTART_CACHE"``.
    replaced:
        Told, with the damage, by the one process that puts an empty database in the place of a damaged one.
    patience:
        Seconds to wait for other processes.
    """

    def __init__(
        self, root: Path, schema: str, *, way_out: str, replaced: Callable[[str], None], patience: float = 60.0
    ) -> None:
        self.path = root / "index.sqlite"
        self._root = root
        self._schema = schema
        self._way_out = way_out
        self._replaced = replaced
        self._patience = patience

    def operate(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``operation`` with a connection; a second time, if it found the database absent or damaged.

        Raises
        ------
        StorageError
            If the disk is full or read-only, or another process holds the database too long.
        """
        damage: sqlite3.Error | None = None
        for _ in range(3):
            with self.locked("shared"):
                inode = self._inode()
                if inode is not None:
                    try:
                        return self._connected(operation)
                    except sqlite3.Error as error:
                        self._raise_storage_error(error)
                        damage = error
            self._renew(inode, damage)
        raise StorageError(f"{self.path} can't be mended ({damage}): remove it, or {self._way_out}") from damage

    def operate_alone(self, operation: Callable[[sqlite3.Connection], T], after: Callable[[T], None]) -> None:
        """Call ``after(operation(connection))`` while no other process works; do nothing if one does, or on damage."""
        lock = self._lock("exclusive", timeout=0)
        if lock is None:
            return
        with lock, contextlib.suppress(sqlite3.Error):
            found = self._connected(operation)
            for leftover in self._root.glob(".index.*"):
                leftover.unlink(missing_ok=True)
            after(found)

    def clear(self, after: Callable[[], None]) -> None:
        """Remove the database, and call ``after`` while no process works."""
        with self.locked("exclusive"):
            _unlink_database(self.path)
            after()

    def locked(self, mode: Mode) -> HeldLock:
        """The folder's lock; raises :class:`StorageError` if others keep it too long."""
        lock = self._lock(mode, timeout=self._patience)
        if lock is None:
            raise StorageError(
                f"{self._root} is held by another process for over {self._patience:g} seconds: end it, or try again "
                "later"
            )
        return lock

    def _connected(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        address = f"{self.path.absolute().as_uri()}?mode=rw"  # a plain path would make the file where it is absent
        with contextlib.closing(sqlite3.connect(address, self._patience, isolation_level=None, uri=True)) as connection:
            # In WAL mode this can't damage the file; a power cut may cost the last rows, which are missing then.
            try:
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA temp_store = MEMORY")
                return operation(connection)
            except UnicodeDecodeError as error:  # a message that quotes the damaged part
                raise sqlite3.DatabaseError("damaged text") from error

    def _renew(self, inode: int | None, damage: sqlite3.Error | None) -> None:
        """Put an empty database in the place of an absent or damaged one, unless another process was faster."""
        fresh = self._root / f".index.{uuid.uuid4().hex}"
        with self.locked("exclusive"), clear_storage_errors(self.path):
            if self._inode() != inode:
                return
            try:
                with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
                    connection.executescript(self._schema)
            except sqlite3.Error as error:
                _unlink_database(fresh)
                self._raise_storage_error(error)
                raise
            _unlink_logs(self.path)  # first, so that no old log is ever applied to the new file
            fresh.replace(self.path)
        if inode is not None:
            self._replaced(str(damage))

    def _inode(self) -> int | None:
        try:
            return self.path.stat().st_ino
        except FileNotFoundError:
            return None

    def _lock(self, mode: Mode, *, timeout: float) -> HeldLock | None:
        path = self._root / ".lock"
        with clear_storage_errors(path):
            try:
                self._root.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise StorageError(f"{self._root} is no folder: {self._way_out}") from error
        return acquire(path, mode, timeout=timeout)

    def _raise_storage_error(self, error: sqlite3.Error) -> None:
        """Raise what a user can mend; return if ``error`` means that the database is damaged."""
        if isinstance(error, sqlite3.ProgrammingError):
            raise error
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code == sqlite3.SQLITE_READONLY and os.access(self.path, os.W_OK) and os.access(self._root, os.W_OK):
            return  # how SQLite reads some damaged headers
        if code in _NO_ROOM:
            why = f"no room left: free some space, or {self._way_out}"
        elif code in _NO_ACCESS:
            why = f"{error}: is the disk full or read-only? To go on, {self._way_out}"
        elif code in _HELD:
            why = f"{error}: another process holds it for too long; end it, or try again later"
        elif code == sqlite3.SQLITE_INTERRUPT:
            raise error
        else:
            return
        raise StorageError(f"{self.path} can't be used, {why}") from error


def _unlink_database(path: Path) -> None:
    _unlink_logs(path)
    path.unlink(missing_ok=True)


def _unlink_logs(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
