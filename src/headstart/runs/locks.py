"""Locks between processes that the kernel lets go of when their holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Literal

from headstart.errors import StorageError
from headstart.files import clear_storage_errors

Mode = Literal["shared", "exclusive"]

_FLAGS = {"shared": fcntl.LOCK_SH, "exclusive": fcntl.LOCK_EX}
_PAUSES = (0.001, 0.005, 0.02, 0.05)  # seconds between attempts; the last one repeats


class HeldLock:
    """A lock that is held until :meth:`release`, the end of its ``with`` block, or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let go; calling it again does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> HeldLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def acquire(path: Path, mode: Mode, *, timeout: float) -> HeldLock | None:
    """Lock the file ``path``, which is made if it is absent.

    Many may hold a shared lock at once, an exclusive one is held alone. Two calls in one process stand against
    each other as two processes do.

    Parameters
    ----------
    timeout:
        Seconds to wait; 0 tries once.

    Returns
    -------
    HeldLock | None
        ``None`` if others kept the lock for ``timeout`` seconds.

    Raises
    ------
    StorageError
        If the file can't be made, or its file system has no locks.
    """
    with clear_storage_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if _wait(path, descriptor, _FLAGS[mode], time.monotonic() + timeout):
            return HeldLock(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def is_held(path: Path) -> bool:
    """Whether somebody holds the file ``path`` exclusively; an absent file is held by nobody."""
    try:
        # Not blocking, so that a pipe in its place can't make a reader wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try(path, descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _wait(path: Path, descriptor: int, flag: int, deadline: float) -> bool:
    attempt = 0
    while not _try(path, descriptor, flag):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
        attempt += 1
    return True


def _try(path: Path, descriptor: int, flag: int) -> bool:
    try:
        fcntl.flock(descriptor, flag | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StorageError(f"{path}: this file system has no locks ({error.strerror}); choose a local disk") from error
    return True
