"""A table with the columns image and label, from a file or a DataFrame → rows."""

from __future__ import annotations

import csv
import io
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from headstart.data.dataset import Split, Task
from headstart.data.rows import SPLITS, Listing, Row, clean_label, first_few
from headstart.data.trees import Files, Reader, Tree
from headstart.errors import DataError

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})

Columns = Mapping[str, Sequence[Any]]
"""Columns by name, in lower case; what is missing is ``None``."""

Locate = Callable[[str], str | None]
"""What a table calls an image → its URI, or ``None`` if there is no such file."""

_KNOWN = frozenset({"image", "label", "labels", "split", "group", "domain"})
_DELIMITERS = ",;\t"


class TableLike(Protocol):
    """A DataFrame of any library: names of columns, and columns by name that can be iterated."""

    @property
    def columns(self) -> Any:
        """The names."""
        ...

    def __getitem__(self, name: str, /) -> Any:
        """A column."""
        ...


def is_table(name: str) -> bool:
    """Whether a file's suffix is that of a table."""
    return PurePosixPath(name).suffix.lower() in TABLE_SUFFIXES


def read_table(data: bytes, where: str) -> Columns:
    """The columns of a CSV, TSV or Parquet file.

    CSV is UTF-8 with a header; its delimiter is whichever of comma, semicolon and tab the header has most of.

    Raises
    ------
    DataError
        If the bytes are no such table.
    """
    if where.lower().endswith(".parquet"):
        return _read_parquet(data, where)
    return _read_csv(data, where)


def from_table_like(table: TableLike) -> Columns:
    """The columns of a DataFrame."""
    return {str(name).strip().lower(): [_given(value) for value in table[name]] for name in table.columns}


def is_labelled(columns: Columns) -> bool:
    """Whether these are columns of a table of images."""
    return "image" in columns and ("label" in columns or "labels" in columns)


def read_rows(columns: Columns, where: str, locate: Locate, reader: Reader) -> Listing:
    """The rows of a table.

    Columns: ``image``; ``label``, one label a row, or a list of them; or ``labels``, separated by ``|``, where an
    empty cell means that no label applies; optional ``split``, ``group`` and ``domain``. Rows without a
    split are training rows if others have one. Other columns are ignored.

    Raises
    ------
    DataError
        If a column is missing, a cell is empty or unknown, or an image does not exist. Rows count from 1, the header
        excluded.
    """
    if not is_labelled(columns):
        missing = "image" if "image" not in columns else "label"
        found = ", ".join(columns) or "none"
        raise DataError(f"{where}: no column {missing!r}; the columns are {found}. Rename one, or add it")
    if "label" in columns and "labels" in columns:
        raise DataError(f"{where}: both a column 'label' and a column 'labels'; keep one")
    names = [_text(value) for value in columns["image"]]
    _refuse_empty(names, where, "no image")
    labels, task, notes = _labels(columns, where)
    images = _located(names, where, locate)
    splits = _splits(columns.get("split"), where, len(names))
    groups = [_text(value) or None for value in columns.get("group", [None] * len(names))]
    domains = [_text(value) or None for value in columns.get("domain", [None] * len(names))]
    rows = [Row(*row) for row in zip(images, names, labels, splits, groups, domains, strict=True)]
    return Listing(where, task, rows, reader, notes=notes)


def on_disk(base: Path) -> tuple[Locate, Reader]:
    """Images are paths relative to ``base``, or absolute."""
    root = str(base.absolute())

    def locate(name: str) -> str | None:
        for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
            # os.path, because Path takes ten times as long on long tables
            path = os.path.normpath(os.path.join(root, spelling))
            if "\0" not in path and os.path.isfile(path):
                return path
        return None

    return locate, Files()


def in_tree(tree: Tree, prefix: str) -> tuple[Locate, Reader]:
    """Images are files of a tree, relative to its folder ``prefix``; no path may leave the tree."""
    known = set(tree.names)

    def locate(name: str) -> str | None:
        path = posixpath.normpath(posixpath.join(prefix, name.replace("\\", "/")))
        if path.startswith("/") or path.split("/")[0] == "..":
            raise DataError(f"{tree.where}: the table names {name!r}, which lies outside; give paths inside it")
        return tree.uri(path) if path in known else None

    return locate, tree


def _read_parquet(data: bytes, where: str) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        wanted = [name for name in file.schema_arrow.names if name.strip().lower() in _KNOWN]
        table = file.read(columns=wanted) if wanted else file.schema_arrow.empty_table()
        columns = {name.strip().lower(): table.column(name).to_pylist() for name in table.column_names}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{where}: not a Parquet file that can be read ({error})") from error
    return columns


def _read_csv(data: bytes, where: str) -> Columns:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text (byte {error.start}); save it as CSV UTF-8") from error
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if line]
    except csv.Error as error:
        raise DataError(f"{where}: not a CSV table that can be read ({error})") from error
    if not lines:
        raise DataError(f"{where}: the table is empty")
    names = [name.strip().lower() for name in lines[0]]
    for number, line in enumerate(lines[1:], 1):
        if len(line) != len(names):
            cells = f"{len(line)} cells, the header {len(names)}"
            raise DataError(f"{where}: row {number} has {cells}; quote cells that hold {delimiter!r}")
    return {name: [line[place] for line in lines[1:]] for place, name in enumerate(names)}


def _given(value: Any) -> Any:
    """``None`` for what DataFrames write where nothing is."""
    if isinstance(value, float | np.floating) and np.isnan(value):
        return None
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def _text(value: Any) -> str:
    """A cell as text: whole numbers without a fraction, nothing as the empty string."""
    if value is None:
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return os.fspath(value).strip() if isinstance(value, os.PathLike) else str(value).strip()


def _refuse_empty(cells: Sequence[Any], where: str, what: str) -> None:
    empty = [f"row {number}" for number, cell in enumerate(cells, 1) if not cell]
    if empty:
        few = first_few(empty)
        raise DataError(f"{where}: {what} in {few}; fill what is empty, or remove the row")


def _labels(columns: Columns, where: str) -> tuple[Sequence[str | tuple[str, ...]], Task, tuple[str, ...]]:
    """The label of each row, the task that follows from their form, and what is to be said about them."""
    if "labels" in columns:
        several = [_several(value) for value in columns["labels"]]
    elif any(is_several(value) for value in columns["label"]):
        several = [_several(value) for value in columns["label"]]
    else:
        single = [clean_label(_text(value)) for value in columns["label"]]
        _refuse_empty(single, where, "no label")
        return single, "classification", ()
    bare = sum(not labels for labels in several)
    notes = (f"{bare} images have no label: it is taken that none applies.",) if bare else ()
    return several, "multilabel", notes


def is_several(value: Any) -> bool:
    """Whether a value is a collection of labels rather than one label."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def _several(value: Any) -> tuple[str, ...]:
    parts: Iterable[Any] = value if is_several(value) else _text(value).split("|")
    return tuple(sorted({clean_label(_text(part)) for part in parts} - {""}))


def _located(names: Sequence[str], where: str, locate: Locate) -> list[str]:
    images = [locate(name) for name in names]
    missing = [f"{names[place]} (row {place + 1})" for place, image in enumerate(images) if image is None]
    if missing:
        raise DataError(
            f"{where}: {len(missing)} of {len(names)} images do not exist: {first_few(missing)}; "
            "paths are relative to the table's folder, or to --root"
        )
    return [image for image in images if image is not None]


def _splits(values: Sequence[Any] | None, where: str, count: int) -> list[Split | None]:
    names = [_text(value) for value in values] if values is not None else []
    if not any(names):
        return [None] * count
    for number, name in enumerate(names, 1):
        if name and name.lower() not in SPLITS:
            raise DataError(f"{where}: row {number} has the unknown split {name!r}; known are {', '.join(SPLITS)}")
    return [SPLITS[name.lower()] if name else "train" for name in names]
