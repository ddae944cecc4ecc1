"""Files that are whole or absent: atomic writes, checksums, and where the cache lies."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from headstart.errors import StorageError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST}


def cache_root() -> Path:
    """The cache folder: ``HEADSTART_CACHE`` if set, else ``headstart`` in the user's cache folder."""
    if chosen := os.environ.get("HEADSTART_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headstart"


def sha256(data: bytes | memoryview) -> str:
    """The SHA-256 of some bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits, read in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def clear_storage_errors(path: Path) -> Iterator[None]:
    """Turn "disk full", "read-only", "not a folder" and their like into :class:`StorageError`; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageError(
                f"no room left to write {path}: free some space, or choose another place with --out or HEADSTART_CACHE"
            ) from error
        if error.errno in _NO_RIGHT:
            raise StorageError(
                f"not allowed to write {path}: choose another place with --out or HEADSTART_CACHE"
            ) from error
        if error.errno in _NO_FOLDER:
            raise StorageError(
                f"can't write {path}: a file is where a folder is wanted; choose another place with --out or "
                "HEADSTART_CACHE"
            ) from error
        raise


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader, also after a crash, sees the old content or the new, never a part.

    Raises
    ------
    StorageError
        If the disk is full or the place can't be written. Nothing is left behind then.
    """
    with clear_storage_errors(path), replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced and renamed onto ``path``, else removed.

    What is written there may be a file or a folder. An existing folder at ``path`` is moved aside first, since
    a rename can't replace one that is not empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield temporary
        for file in [temporary] if temporary.is_file() else sorted(temporary.rglob("*")):
            _sync(file)
        if path.is_dir():
            discarded = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.old")
            os.replace(path, discarded)
            os.replace(temporary, path)
            shutil.rmtree(discarded, ignore_errors=True)
        else:
            os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def _sync(path: Path) -> None:
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
