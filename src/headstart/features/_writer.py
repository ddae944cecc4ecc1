"""The writing side of the feature store: rows are gathered into segments of a useful size."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import StorageError
from headstart.features._segments import HASH_BYTES

# A segment is what a kill may cost (2,048 rows are some seconds of work), what a writer holds in memory, and one
# open file of each reader: 10 GB of large rows are 160 files.
SEGMENT_ROWS = 2048
SEGMENT_BYTES = 64_000_000

Save = Callable[[NDArray[np.uint8], NDArray[Any]], None]


class FeatureWriter:
    """Takes rows of one context and saves them segment by segment; use it in a ``with`` block.

    When the block ends, by an error or Ctrl-C too, what was added is saved.
    """

    def __init__(self, width: int, save: Save) -> None:
        self._width = width
        self._half = _Buffer(width, np.dtype(np.float16), save)
        self._single = _Buffer(width, np.dtype(np.float32), save)

    def add(self, hashes: Sequence[str], rows: NDArray[Any]) -> None:
        """Take the rows (b, width) of float16 or float32 that belong to the images ``hashes``.

        A row is kept as float16 if it is finite there, else as float32.

        Raises
        ------
        StorageError
            If a segment is full and can't be written.
        """
        keys = hash_array(hashes)
        if rows.shape != (len(keys), self._width) or rows.dtype not in (np.float16, np.float32):
            expected = f"float16 or float32 ({len(keys)}, {self._width})"
            raise ValueError(f"expected rows {expected}, got {rows.dtype} {rows.shape}")
        with np.errstate(over="ignore"):
            half = rows.astype(np.float16)
        fits = np.isfinite(half).all(axis=1)
        if fits.all():
            self._half.add(keys, half)
        else:
            self._half.add(keys[fits], half[fits])
            self._single.add(keys[~fits], rows[~fits])

    def flush(self) -> None:
        """Save what has been added up to now; raises :class:`StorageError` if it can't be written."""
        self._half.flush()
        self._single.flush()

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.flush()
        elif not isinstance(error, StorageError):
            with contextlib.suppress(StorageError):  # the error on its way says more
                self.flush()


class _Buffer:
    """Rows of one dtype on their way to a segment; nothing is forgotten before it is saved."""

    def __init__(self, width: int, dtype: np.dtype[Any], save: Save) -> None:
        self._capacity = max(1, min(SEGMENT_ROWS, SEGMENT_BYTES // (width * dtype.itemsize)))
        # Memory that isn't written to isn't taken.
        self._hashes = np.empty((self._capacity, HASH_BYTES), np.uint8)
        self._rows = np.empty((self._capacity, width), dtype)
        self._count = 0
        self._save = save

    def add(self, hashes: NDArray[np.uint8], rows: NDArray[Any]) -> None:
        taken = 0
        while taken < len(rows):
            step = min(self._capacity - self._count, len(rows) - taken)
            self._hashes[self._count : self._count + step] = hashes[taken : taken + step]
            self._rows[self._count : self._count + step] = rows[taken : taken + step]
            self._count += step
            taken += step
            if self._count == self._capacity:
                self.flush()

    def flush(self) -> None:
        if self._count:
            self._save(self._hashes[: self._count], self._rows[: self._count])
            self._count = 0


def hash_array(hashes: Sequence[str]) -> NDArray[np.uint8]:
    """The bytes (n, 32) of SHA-256 sums that are written as 64 hexadecimal digits each."""
    if any(len(text) != 2 * HASH_BYTES for text in hashes):
        raise ValueError("a hash needs 64 hexadecimal digits")
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, HASH_BYTES)
