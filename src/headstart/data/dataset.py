"""The labelled images that everything works on: one row a sample, with its label, split, group and hash."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from headstart.data.trees import Reader
from headstart.errors import DataError

Task = Literal["classification", "multilabel"]
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class LeftOut:
    """A file that was found and is not used.

    Attributes
    ----------
    file:
        Its name, relative to the source.
    kind:
        ``undecodable`` (no image, broken or empty), ``unreadable`` (its bytes can't be had), ``duplicate`` (another
        file has the same bytes, label and split), ``conflict`` (files with the same bytes have different labels),
        ``unlabelled`` (it lies outside the class folders), or another word of the room that left it out.
    reason:
        Why, in a few words.
    """

    file: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """Labelled images. Made by :func:`headstart.load`; methods return new ones.

    Attributes
    ----------
    name:
        A short name: of the folder, table or zip.
    task:
        ``classification`` (one label an image) or ``multilabel`` (any number).
    classes:
        The labels that occur, sorted.
    table:
        One row a sample. ``image``: string, an absolute path, ``zip://<path>!<member>`` or ``memory://<number>``;
        ``file``: string, its name relative to the source; ``label``: string, or list of strings for multilabel;
        ``split``: ``train``, ``val``, ``test`` or null; ``group``: string or null; ``domain``: string or
        null (a site, a camera, a style: scores are told by it); ``hash``: the SHA-256 of the bytes, as 64 hexadecimal
        digits. Once copies were looked for, also ``family``: int64, equal for rows that show one picture.
    reader:
        Where the bytes come from.
    left_out:
        Files that were found and are not used.
    notes:
        What a person should know about the data, a sentence each.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    table: pa.Table
    reader: Reader
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def read(self, row: int) -> bytes:
        """The bytes of a row's file; safe in threads. Raises :class:`ImageError` if they can't be had."""
        return self.reader.read(self.images[row])

    def read_image(self, image: str) -> bytes:
        """The bytes of an entry of the column ``image``; as :meth:`read`."""
        return self.reader.read(image)

    @cached_property
    def images(self) -> list[str]:
        """The column ``image``."""
        return _strings(self.table, "image")

    @cached_property
    def files(self) -> list[str]:
        """The column ``file``: what messages and reports call the rows."""
        return _strings(self.table, "file")

    @cached_property
    def hashes(self) -> list[str]:
        """The column ``hash``."""
        return _strings(self.table, "hash")

    @cached_property
    def targets(self) -> NDArray[Any]:
        """Positions in ``classes``, int64 (n,); for multilabel, bool (n, classes), true where the label applies."""
        if self.task == "classification":
            return _codes(self.table.column("label"), self.classes)
        labels = self.table.column("label").combine_chunks()
        rows = np.repeat(np.arange(len(self)), np.diff(labels.offsets.to_numpy()))
        applies = np.zeros((len(self), len(self.classes)), bool)
        applies[rows, _codes(labels.flatten(), self.classes)] = True
        return applies

    @cached_property
    def splits(self) -> NDArray[np.str_]:
        """The column ``split`` as strings (n,), empty where it is null."""
        return np.array([split or "" for split in self.table.column("split").to_pylist()], "U5")

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Numbers from 0, int64 (n,), equal for rows that must not be on two sides of a split.

        Those are rows of the same group, rows with equal bytes, rows that show one picture, and whatever these connect.
        """
        same = [_numbered(self.table.column(name)) for name in ("hash", "family") if name in self.table.column_names]
        column = self.table.column("group")
        alone = np.flatnonzero(column.is_null().to_numpy())
        groups = _numbered(column.fill_null(""))
        groups[alone] = len(self) + np.arange(len(alone))
        return _connected(np.unique(groups, return_inverse=True)[1], same)

    @cached_property
    def group_names(self) -> list[str | None]:
        """The column ``group``."""
        names: list[str | None] = self.table.column("group").to_pylist()
        return names

    @cached_property
    def domains(self) -> list[str | None]:
        """The column ``domain``; all ``None`` where there is none."""
        if "domain" not in self.table.column_names:
            return [None] * len(self)
        names: list[str | None] = self.table.column("domain").to_pylist()
        return names

    @property
    def has_groups(self) -> bool:
        """Whether some rows belong together."""
        return len(self) > 0 and int(self.groups.max()) + 1 < len(self)

    def class_counts(self) -> dict[str, int]:
        """Rows a class; a multilabel row counts for each of its labels."""
        one_hot = self.task == "multilabel"
        counts = self.targets.sum(0) if one_hot else np.bincount(self.targets, minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, counts, strict=True)}

    def select(self, rows: ArrayLike) -> Dataset:
        """Some rows, by position or by a mask (n,), in the order given; the classes stay."""
        places = np.asarray(rows)
        if places.dtype == bool:
            places = np.flatnonzero(places)
        return dataclasses.replace(self, table=self.table.take(pa.array(places.astype(np.int64))))

    def development(self) -> Dataset:
        """The rows that are not in the test split."""
        return self.select(self.splits != "test")

    def test(self) -> Dataset:
        """The rows of the test split."""
        return self.select(self.splits == "test")

    def with_splits(self, splits: Sequence[str] | NDArray[np.str_]) -> Dataset:
        """The same rows with another column ``split``."""
        place = self.table.schema.get_field_index("split")
        column = pa.array([str(split) or None for split in splits], pa.string())
        return dataclasses.replace(self, table=self.table.set_column(place, "split", column))

    def with_families(self, families: NDArray[np.int64]) -> Dataset:
        """The same rows with the column ``family``: numbers (n,), equal for rows that show one picture."""
        names = [name for name in self.table.column_names if name != "family"]
        table = self.table.select(names).append_column("family", pa.array(families, pa.int64()))
        return dataclasses.replace(self, table=table)

    def with_groups(self, groups: Sequence[str | None]) -> Dataset:
        """The same rows with another column ``group``."""
        place = self.table.schema.get_field_index("group")
        return dataclasses.replace(self, table=self.table.set_column(place, "group", pa.array(groups, pa.string())))

    def leave_out(self, rows: Sequence[int], kind: str, reasons: Sequence[str]) -> Dataset:
        """Without some rows, which are listed; a class that loses all of its rows is dropped, and a note says so.

        Parameters
        ----------
        rows, reasons:
            Positions, and for each a reason; the file's name in front of a reason is taken off.

        Raises
        ------
        DataError
            If no row, or for classification fewer than two classes, are left.
        """
        if not len(rows):
            return self
        files = [self.files[row] for row in rows]
        listed = [
            LeftOut(file, kind, reason.removeprefix(f"{self.images[row]}: ").removeprefix(f"{file}: "))
            for row, file, reason in zip(rows, files, reasons, strict=True)
        ]
        kept = self.select(np.setdiff1d(np.arange(len(self)), rows))
        classes = tuple(name for name, count in kept.class_counts().items() if count)
        if len(classes) < (2 if self.task == "classification" else 1):
            left = f"only the class {classes[0]!r} is" if classes else "no labelled image is"
            raise DataError(f"{self.name}: {left} left without {len(rows)} files, of which {files[0]} is {kind}")
        lost = [name for name in self.classes if name not in classes]
        notes = [f"The class {name!r} is dropped: none of its files can be used." for name in lost]
        return dataclasses.replace(
            kept, classes=classes, left_out=(*self.left_out, *listed), notes=(*self.notes, *notes)
        )


def _strings(table: pa.Table, column: str) -> list[str]:
    values: list[str] = table.column(column).to_pylist()
    return values


def _codes(values: pa.Array, classes: Sequence[str]) -> NDArray[np.int64]:
    """The position of each value in ``classes``."""
    found: NDArray[np.int64] = pc.index_in(values, value_set=pa.array(classes, pa.string())).to_numpy().astype(np.int64)
    return found


def _numbered(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Numbers from 0 for the distinct values of a column."""
    numbers: NDArray[np.int64] = column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return numbers


def _connected(groups: NDArray[np.int64], same: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The connected components of rows that share a group or one of other numbers, in the order of their groups.

    The least number spreads along the others and the groups in turn until nothing changes.
    """
    numbers = groups
    while True:
        spread = numbers
        for others in (*same, groups):
            least = np.full(len(groups), len(groups), np.int64)
            np.minimum.at(least, others, spread)
            spread = least[others]
        if np.array_equal(spread, numbers):
            return np.unique(numbers, return_inverse=True)[1]
        numbers = spread
