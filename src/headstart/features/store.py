"""The content-addressed feature store: what a frozen trunk has computed once for an image is never computed again."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.errors import OptionError, StorageError
from headstart.features._index import Index
from headstart.features._segments import (
    DamagedSegmentError,
    Segment,
    SegmentEntry,
    is_mapped,
    map_segment,
    search_segments,
    verify_segment,
    write_segment,
)
from headstart.features._writer import FeatureWriter, hash_array
from headstart.features.table import FeatureTable, grouped
from headstart.files import cache_root, clear_storage_errors, sha256, write_atomic
from headstart.records import to_json, to_plain

_LAYOUT = "v1"  # another layout of the files gets another folder
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class StoreKey(Protocol):
    """Any frozen dataclass of plain values that names everything which shapes a row, the image apart."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class MissingRowsError(LookupError):
    """Rows that were asked for aren't in the store; ``indices`` (ascending int64) says which."""

    def __init__(self, indices: NDArray[np.int64]) -> None:
        super().__init__(f"{len(indices)} rows are not in the feature store")
        self.indices = indices


@dataclass(frozen=True)
class StoreStats:
    """What a store holds: its folder, the bytes of its segments, its limit in bytes, and how much of what."""

    root: str
    bytes: int
    limit_bytes: int
    contexts: int
    segments: int
    rows: int


class Store:
    """Rows of features, keyed by a context and the SHA-256 of an image's bytes.

    Safe for many processes at once and for a kill at any moment. A row is there whole or missing: damaged files are
    dropped, said once, and count as missing. What this store has found or written it can give until it is closed,
    whatever the limit and whatever happens to the files: they stay mapped.

    Parameters
    ----------
    root:
        The folder; made when first needed.
    limit_bytes:
        What the segments may take. Those used least recently go first.
    say:
        Told, in one line each, what was damaged; by default a warning of the logger ``headstart``.
    """

    def __init__(self, root: Path, *, limit_bytes: int, say: Callable[[str], None] | None = None) -> None:
        self._root = Path(root) / _LAYOUT
        self._limit_bytes = limit_bytes
        self._say = say or logging.getLogger("headstart").warning
        self._index = Index(self._root, self._say)
        self._mapped: defaultdict[str, dict[str, Segment]] = defaultdict(dict)  # by context and name
        self._swept = False

    @classmethod
    def default(cls, say: Callable[[str], None] | None = None) -> Store:
        """The user's store: ``features`` in the cache folder, at most ``HEADSTART_CACHE_SIZE`` (10GB) large.

        Raises
        ------
        OptionError
            If ``HEADSTART_CACHE_SIZE`` is no size.
        """
        size = os.environ.get("HEADSTART_CACHE_SIZE") or "10GB"
        return cls(cache_root() / "features", limit_bytes=parse_size(size, "HEADSTART_CACHE_SIZE"), say=say)

    def missing(self, context: StoreKey, hashes: Sequence[str]) -> NDArray[np.int64]:
        """Which of ``hashes`` have no sound row yet: ascending indices, int64; an image that stands there twice, twice.

        Segments are checked against their checksums here, once for each store.

        Raises
        ------
        StorageError
            If the store's folder can't be used.
        """
        _, block, _ = self._locate(context, hashes)
        return np.flatnonzero(block < 0)

    def table(self, context: StoreKey, hashes: Sequence[str]) -> FeatureTable:
        """The rows of ``hashes`` in their order; equal hashes give equal rows.

        Raises
        ------
        MissingRowsError
            If rows are missing.
        StorageError
            If the store's folder can't be used.
        """
        blocks, block, position = self._locate(context, hashes)
        missing = np.flatnonzero(block < 0)
        if missing.size:
            raise MissingRowsError(missing)
        return FeatureTable(blocks, block, position)

    def writer(self, context: StoreKey, width: int) -> FeatureWriter:
        """A writer of rows of ``width`` features.

        Raises
        ------
        ValueError
            If the context has rows of another width, that is, doesn't name all that shapes them.
        StorageError
            If the store's folder can't be used.
        """
        key = context_id(context)
        known = self._index.width(key)
        if known not in (None, width):
            raise ValueError(f"the rows of {context} are {known} wide, not {width}")
        if not self._swept:
            self.prune()
            self._swept = True
        return FeatureWriter(width, lambda hashes, rows: self._save(context, key, hashes, rows))

    def prune(self) -> None:
        """Remove what killed processes left behind, and what exceeds the limit and isn't in use."""
        with clear_storage_errors(self._root):
            self._index.sweep(self._remove_unlisted)
        self._evict()

    def clear(self) -> int:
        """Remove everything; returns the bytes of the segments that were removed. Tables in use stay valid."""
        freed = sum(path.stat().st_size for path in self._root.glob("??/*/*.npy"))
        self._mapped.clear()
        with clear_storage_errors(self._root):
            self._index.clear(lambda: self._remove_unlisted(set()))
        return freed

    def stats(self) -> StoreStats:
        """Count what the store holds; raises :class:`StorageError` if its folder can't be used."""
        contexts, segments, rows, size = self._index.totals()
        return StoreStats(str(self._root.parent), size, self._limit_bytes, contexts, segments, rows)

    def close(self) -> None:
        """Let other stores evict what this one used, and go back below the limit. Tables stay valid."""
        self._mapped.clear()
        self.prune()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._mapped.clear()
        with contextlib.suppress(StorageError):  # housekeeping: the results are safe already
            self.prune()

    def _locate(
        self, context: StoreKey, hashes: Sequence[str]
    ) -> tuple[list[NDArray[Any]], NDArray[np.int32], NDArray[np.int64]]:
        """The blocks of rows, and for each hash its block (-1 if missing) and its position there."""
        key = context_id(context)
        keys = hash_array(hashes)
        found = self._index.find(key, keys)
        block = np.full(len(keys), -1, np.int32)
        position = np.zeros(len(keys), np.int64)
        blocks: list[NDArray[Any]] = []
        damaged: list[tuple[Path, str]] = []
        for number, at in grouped(found.segment):
            entry = found.entries[number]
            asked, where = found.asked[at], found.position[at]
            try:
                segment = self._open(key, entry)
                if not segment.holds(where, keys[asked]):
                    raise DamagedSegmentError("it doesn't hold the rows that the index says")
            except DamagedSegmentError as error:
                damaged.append((self._path(key, entry.name), str(error)))
                continue
            block[asked], position[asked] = len(blocks), where
            blocks.append(segment.rows)
        if damaged:
            self._drop(key, damaged)
        lost = np.flatnonzero(block < 0)
        mapped = list(self._mapped[key].values())
        if lost.size and mapped:  # what others have evicted or cleared since this store used it
            at, holder, where = search_segments(mapped, keys[lost])
            holders, nth = np.unique(holder, return_inverse=True)
            block[lost[at]], position[lost[at]] = len(blocks) + nth, where
            blocks.extend(mapped[number].rows for number in holders)
        return blocks, block, position

    def _open(self, key: str, entry: SegmentEntry) -> Segment:
        mapped = self._mapped[key]
        if entry.name not in mapped:
            path = self._path(key, entry.name)
            verify_segment(path, entry)
            mapped[entry.name] = map_segment(path, entry)
        return mapped[entry.name]

    def _drop(self, key: str, damaged: Sequence[tuple[Path, str]]) -> None:
        for path, _ in damaged:
            self._mapped[key].pop(path.stem, None)
        rows = self._index.drop([path.stem for path, _ in damaged])
        with clear_storage_errors(self._root):
            for path, _ in damaged:
                path.unlink(missing_ok=True)
        if rows:  # else they were evicted or dropped by another process a moment ago, which is no damage
            path, reason = damaged[0]
            others = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
            self._say(f"{path}{others} in the feature cache was damaged ({reason}): {rows} rows are computed again")

    def _save(self, context: StoreKey, key: str, hashes: NDArray[np.uint8], rows: NDArray[Any]) -> None:
        path = self._path(key, uuid.uuid4().hex)

        def write() -> SegmentEntry:
            description = path.parent / "context.json"
            if not description.exists():
                write_atomic(description, to_json(context))
            entry = write_segment(path, hashes, rows)
            self._mapped[key][entry.name] = map_segment(path, entry)
            return entry

        try:
            listed = self._index.add(key, hashes, write)
        except StorageError:
            path.unlink(missing_ok=True)
            raise
        if not listed:
            path.unlink(missing_ok=True)
        self._evict()

    def _evict(self) -> None:
        evicted = self._index.evict(self._limit_bytes, lambda key, name: is_mapped(self._path(key, name)))
        with clear_storage_errors(self._root):
            for key, name in evicted:
                self._path(key, name).unlink(missing_ok=True)

    def _remove_unlisted(self, names: set[str]) -> None:
        for folder in self._root.glob("??/*"):
            kept = [path for path in folder.glob("*.npy") if path.stem in names]
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            for path in set(folder.iterdir()) - {*kept, folder / "context.json"}:
                path.unlink(missing_ok=True)

    def _path(self, key: str, name: str) -> Path:
        return self._root / key[:2] / key / f"{name}.npy"


def context_id(context: StoreKey) -> str:
    """The SHA-256 of a context's canonical JSON, 64 hexadecimal digits: equal fields give equal ids in any process."""
    canonical = json.dumps(to_plain(context), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return sha256(canonical.encode())


def parse_size(text: str, option: str) -> int:
    """The bytes of a size such as ``10GB``, ``500 MB``, ``1.5GiB`` or ``100000``.

    Raises
    ------
    OptionError
        If the text is no size; ``option`` names where it comes from.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text, re.IGNORECASE)
    if match is None:
        raise OptionError(f"{option}={text!r} is no size: write it like 10GB or 500MB")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])
