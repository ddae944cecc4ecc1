"""Segments of the feature store: immutable files of rows, written whole, checked, and mapped into memory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import mmap
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from headstart.files import clear_storage_errors, replacing

HASH_BYTES = 32  # a SHA-256
_CHUNK = 1 << 20
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO, errno.EINVAL}


class DamagedSegmentError(Exception):
    """A segment is absent, cut short, altered, or doesn't hold what the index says."""


@dataclass(frozen=True)
class SegmentEntry:
    """What the index knows of one segment.

    ``rows`` rows of ``width`` floats of ``itemsize`` bytes (2 or 4); ``size`` is the file's length in bytes and
    ``checksum`` the CRC-32 of all of it (as good as a longer digest against accidents, and at 2 GB/s twice as fast
    as the next one).
    """

    name: str
    rows: int
    width: int
    itemsize: int
    size: int
    checksum: int


@dataclass(frozen=True, eq=False)
class Segment:
    """A mapped segment: ``hashes`` (n, 32) uint8, and ``rows`` (n, width) float16 or float32.

    As long as the mapping lives, the file is locked (shared), which tells other processes that evicting it would
    free nothing. Where one does it nevertheless, the mapping stays valid.
    """

    hashes: NDArray[np.uint8]
    rows: NDArray[Any]

    def holds(self, positions: NDArray[np.int64], hashes: NDArray[np.uint8]) -> bool:
        """Whether the rows at ``positions`` (n) are those of ``hashes`` (n, 32)."""
        if positions.size and (positions.min() < 0 or positions.max() >= len(self.rows)):
            return False
        return bool(np.array_equal(self.hashes[positions], hashes))


def write_segment(path: Path, hashes: NDArray[np.uint8], rows: NDArray[Any]) -> SegmentEntry:
    """Write rows and the hashes they belong to.

    The file is a ``.npy`` of one record with the fields ``hashes`` and ``rows``, so that NumPy alone can read it:
    ``numpy.load(path, mmap_mode="r")["rows"][0]``.

    Raises
    ------
    StorageError
        If there is no room or no right to write; nothing is left behind then.
    """
    count, width = rows.shape
    values = rows.dtype.newbyteorder("<")
    layout = np.dtype([("hashes", "u1", (count, HASH_BYTES)), ("rows", values, (count, width))])
    header = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(layout), "fortran_order": False, "shape": (1,)}
    np.lib.format.write_array_header_1_0(header, description)
    keys, features = np.ascontiguousarray(hashes), np.ascontiguousarray(rows, dtype=values)
    parts: list[memoryview] = [memoryview(header.getvalue()), keys.data, features.data]
    checksum = 0
    with clear_storage_errors(path), replacing(path) as temporary, temporary.open("wb") as file:
        for part in parts:
            file.write(part)
            checksum = zlib.crc32(part, checksum)
        file.flush()
        size = file.tell()
    return SegmentEntry(path.stem, count, width, values.itemsize, size, checksum)


def verify_segment(path: Path, entry: SegmentEntry) -> None:
    """Read the whole file once and raise :class:`DamagedSegmentError` if it isn't as it was written."""
    with _absence_as_damage(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size != entry.size:
            raise DamagedSegmentError(f"it has {size} bytes in place of {entry.size}")
        if _checksum(file) != entry.checksum:
            raise DamagedSegmentError("its checksum doesn't fit")


def map_segment(path: Path, entry: SegmentEntry) -> Segment:
    """Map a segment into memory, read-only; raises :class:`DamagedSegmentError` if it is absent or too short."""
    with _absence_as_damage(path), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # the mapping keeps a duplicate of the descriptor, and with it the lock
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    values = entry.rows * entry.width
    start = entry.size - values * entry.itemsize
    if start < entry.rows * HASH_BYTES or len(mapped) != entry.size or entry.itemsize not in (2, 4):
        raise DamagedSegmentError("its length doesn't fit its rows")
    hashes = np.frombuffer(mapped, np.uint8, entry.rows * HASH_BYTES, start - entry.rows * HASH_BYTES)
    rows = np.frombuffer(mapped, f"<f{entry.itemsize}", values, start)
    return Segment(hashes.reshape(entry.rows, HASH_BYTES), rows.reshape(entry.rows, entry.width))


def search_segments(
    segments: Sequence[Segment], hashes: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Look ``hashes`` (n, 32) up in mapped segments: which are there, in which segment, at which position."""
    there = np.concatenate([segment.hashes for segment in segments]).view(f"S{HASH_BYTES}").ravel()
    wanted = np.ascontiguousarray(hashes).view(f"S{HASH_BYTES}").ravel()
    order = np.argsort(there)
    nearest = order[np.minimum(np.searchsorted(there, wanted, sorter=order), len(there) - 1)]
    found = np.flatnonzero(there[nearest] == wanted)
    starts = np.cumsum([0, *(len(segment.hashes) for segment in segments)])
    segment = np.searchsorted(starts, nearest[found], side="right") - 1
    return found, segment, nearest[found] - starts[segment]


def is_mapped(path: Path) -> bool:
    """Whether a living process, this one included, has the segment mapped."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _checksum(file: BinaryIO) -> int:
    """The CRC-32 of a file, by reading it: through a mapping all its pages would count as this process's memory."""
    checksum = 0
    while chunk := file.read(_CHUNK):
        checksum = zlib.crc32(chunk, checksum)
    return checksum


@contextlib.contextmanager
def _absence_as_damage(path: Path) -> Iterator[None]:
    try:
        with clear_storage_errors(path):
            yield
    except OSError as error:
        if error.errno not in _GONE:
            raise
        raise DamagedSegmentError(os.strerror(error.errno).lower()) from error
    except ValueError as error:  # what mmap says of an empty file
        raise DamagedSegmentError("it is empty") from error
