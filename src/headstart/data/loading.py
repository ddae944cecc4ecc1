"""``load``: a folder, a table, a zip, a DataFrame or ``(images, labels)`` → :class:`Dataset`."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from headstart.data.dataset import Dataset
from headstart.data.duplicates import Equals, compare, hash_rows
from headstart.data.folders import LAYOUT, only_folder, read_folders
from headstart.data.pairs import read_pairs
from headstart.data.rows import Listing, Row, check_classes, first_few
from headstart.data.tables import (
    Columns,
    TableLike,
    from_table_like,
    in_tree,
    is_labelled,
    is_table,
    on_disk,
    read_rows,
    read_table,
)
from headstart.data.trees import Archive, Folder, Tree
from headstart.errors import DataError

Source = str | Path | TableLike | tuple[Sequence[Any], Sequence[Any]]
"""What :func:`load` takes."""


def load(source: Source, *, root: Path | None = None) -> Dataset:
    """Read labelled images.

    Every file is read and hashed once, none is decoded. Exact duplicates, files whose equals have another label, and
    empty or unreadable files are left out and listed in ``left_out``.

    Parameters
    ----------
    source:
        - A folder with a folder per class, or with ``train/``, ``val/`` (``valid``, ``validation``, ``dev``) and
          ``test/``, each with a folder per class. Deeper folders belong to the class. An only folder at the top is
          entered. If a table with the columns of the next point lies at the top, it is read instead.
        - A CSV, TSV or Parquet table with the columns ``image`` and ``label`` (or ``labels``, separated by ``|``:
          multilabel), optional ``split`` and ``group``.
        - A zip of any of these. Nothing is unpacked to disk.
        - A DataFrame with these columns.
        - ``(images, labels)``: paths, Pillow images, arrays or bytes, and a label, or a list of labels, each.
    root:
        What the paths in a table, DataFrame or list are relative to; by default the table's folder, or the current one.

    Raises
    ------
    DataError
        If nothing is found there, there are fewer than two classes, two classes differ only in case, a table has
        missing columns, files or labels, or over half of the files are empty or unreadable.
    ImageError
        If an image in memory can't be taken.
    """
    listing = _listing(source, root)
    name = Path(source).absolute().stem if isinstance(source, str | Path) else "data"
    return _dataset(name, listing)


def _listing(source: Source, root: Path | None) -> Listing:
    if isinstance(source, tuple) and len(source) == 2:
        return read_pairs(*source, base=root or Path())
    if isinstance(source, str | Path):
        return _from_path(Path(source), root)
    if hasattr(source, "columns") and not isinstance(source, tuple):
        return read_rows(from_table_like(source), "the DataFrame", *on_disk(root or Path()))
    raise DataError(f"a {type(source).__name__} holds no data set; give a path, a DataFrame or (images, labels)")


def _from_path(path: Path, root: Path | None) -> Listing:
    if path.is_dir():
        return _from_tree(Folder(path))
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    if is_table(path.name):
        return read_rows(read_table(path.read_bytes(), str(path)), str(path), *on_disk(root or path.parent))
    if path.suffix.lower() == ".zip":
        return _from_tree(Archive(path))
    raise DataError(f"{path}: neither a folder nor a CSV, TSV, Parquet or zip file; {LAYOUT}")


def _from_tree(tree: Tree) -> Listing:
    if not tree.names:
        raise DataError(f"{tree.where}: empty; {LAYOUT}")
    prefix = only_folder(tree.names, "")
    tables = _tables(tree, prefix)
    if len(tables) > 1:
        raise DataError(f"{tree.where}: several tables with labels ({first_few(tables)}); name the one to read")
    if not tables:
        return read_folders(tree, prefix)
    ((name, columns),) = tables.items()
    folder = name[: name.rfind("/") + 1]
    listing = read_rows(columns, f"{tree.where}: {name}", *in_tree(tree, folder))
    return listing


def _tables(tree: Tree, prefix: str) -> dict[str, Columns]:
    """The tables of images at the top of a tree; others, such as notes on the data, are no concern."""
    found: dict[str, Columns] = {}
    for name in tree.names:
        if name.startswith(prefix) and "/" not in name[len(prefix) :] and is_table(name):
            with contextlib.suppress(DataError):
                columns = read_table(tree.read(tree.uri(name)), name)
                if is_labelled(columns):
                    found[name] = columns
    return found
