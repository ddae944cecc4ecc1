"""``load``: a folder, a table, a zip, a DataFrame or ``(images, labels)`` → :class:`Dataset`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from headstart.data.corrections import correct, correction_note
from headstart.data.dataset import Dataset, LeftOut
from headstart.data.duplicates import find_equals, hash_rows
from headstart.data.findings import class_notes, left_out_notes, straddling_notes
from headstart.data.folders import LAYOUT, only_folder, read_folders
from headstart.data.pairs import read_pairs
from headstart.data.rows import Listing, check_classes, first_few
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
from headstart.data.trees import Archive, Folder
from headstart.errors import DataError, ImageError

Source = str | Path | TableLike | tuple[Sequence[Any], Sequence[Any]]
"""What :func:`load` takes."""


def load(source: Source, *, root: Path | None = None, corrections: Path | None = None) -> Dataset:
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
          multilabel), optional ``split``, ``group`` and ``domain``.
        - A zip of any of these. Nothing is unpacked to disk.
        - A DataFrame with these columns.
        - ``(images, labels)``: paths, Pillow images, arrays or bytes, and a label, or a list of labels, each.
    root:
        What the paths in a table, DataFrame or list are relative to; by default the table's folder, or the current one.
    corrections:
        A file of corrections of labels (:func:`headstart.data.corrections.correct`), as ``headstart ui`` writes it.

    Raises
    ------
    DataError
        If nothing is found there, there are fewer than two classes, two classes differ only in case, a table has
        missing columns, files or labels, or over half of the files are empty or unreadable; or if the corrections
        name images or classes that aren't there.
    ImageError
        If an image in memory can't be taken.
    """
    listing = _listing(source, root)
    return _dataset(_name(source), listing, corrections)


def _name(source: Source) -> str:
    if not isinstance(source, str | Path):
        return "data"
    path = Path(source).absolute()
    return path.name if path.is_dir() else path.stem


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
        return _from_tree(Folder(path), root)
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    if is_table(path.name):
        return read_rows(read_table(path.read_bytes(), str(path)), str(path), *on_disk(root or path.parent))
    if path.suffix.lower() == ".zip":
        return _from_tree(Archive(path), root)
    raise DataError(f"{path}: neither a folder nor a CSV, TSV, Parquet or zip file; {LAYOUT}")


def _from_tree(tree: Folder | Archive, root: Path | None) -> Listing:
    if not tree.names:
        raise DataError(f"{tree.where}: empty; {LAYOUT}")
    prefix = only_folder(tree.names, "")
    tables = _tables(tree, prefix)
    if len(tables) > 1:
        raise DataError(f"{tree.where}: several tables with labels ({first_few(tables)}); name the one to read")
    if not tables:
        return read_folders(tree, prefix)
    ((name, columns),) = tables.items()
    images = on_disk(root or tree.path / prefix) if isinstance(tree, Folder) else in_tree(tree, prefix)
    return read_rows(columns, f"{tree.where}: {name}", *images)


def _tables(tree: Folder | Archive, prefix: str) -> dict[str, Columns]:
    """The tables of images at the top of a tree; others, such as notes on the data, are no concern."""
    found: dict[str, Columns] = {}
    for name in tree.names:
        if name.startswith(prefix) and "/" not in name[len(prefix) :] and is_table(name):
            with contextlib.suppress(DataError, ImageError):
                columns = read_table(tree.read(tree.uri(name)), name)
                if is_labelled(columns):
                    found[name] = columns
    return found


def _dataset(name: str, listing: Listing, corrections: Path | None) -> Dataset:
    """Hash the files, correct labels, leave out what can't be used, and say what was found."""
    before = check_classes(listing)
    hashes, unusable = hash_rows(listing.rows, listing.reader)
    _require_readable(listing, unusable)
    corrected = None
    if corrections is not None:
        listing, doubtful, corrected = correct(listing, hashes, before, corrections)
        hashes = [None if place in doubtful else digest for place, digest in enumerate(hashes)]
        unusable |= doubtful
    rows = listing.rows
    equals = find_equals(rows, hashes)
    left_out = unusable | equals.left_out
    kept = [place for place in range(len(rows)) if place not in left_out]
    listing = dataclasses.replace(listing, rows=[rows[place] for place in kept])
    classes = check_classes(listing)
    dropped = [left_out[place] for place in sorted(left_out)]
    return Dataset(
        name=name,
        task=listing.task,
        classes=classes,
        table=_table(listing, [hashes[place] for place in kept]),
        reader=listing.reader,
        left_out=(*listing.left_out, *dropped),
        notes=(
            *listing.notes,
            *([] if corrected is None else [correction_note(corrected)]),
            *left_out_notes(dropped),
            *class_notes(listing.rows, sorted(set(before) - set(classes))),
            *straddling_notes(rows, equals.leaks),
        ),
        corrected=corrected,
    )


def _require_readable(listing: Listing, unusable: Mapping[int, LeftOut]) -> None:
    """Raise :class:`DataError` if most files can't be used: then the path is wrong, or the disk."""
    if 2 * len(unusable) > len(listing.rows):
        example = next(iter(unusable.values()))
        raise DataError(
            f"{listing.where}: {len(unusable)} of {len(listing.rows)} files are empty or unreadable, "
            f"for example {example.file} ({example.reason})"
        )


def _table(listing: Listing, hashes: Sequence[str | None]) -> pa.Table:
    rows = listing.rows
    label = pa.string() if listing.task == "classification" else pa.list_(pa.string())
    return pa.table(
        {
            "image": pa.array([row.image for row in rows], pa.string()),
            "file": pa.array([row.file for row in rows], pa.string()),
            "label": pa.array([row.label for row in rows], label),
            "split": pa.array([row.split for row in rows], pa.string()),
            "group": pa.array([row.group for row in rows], pa.string()),
            "domain": pa.array([row.domain for row in rows], pa.string()),
            "hash": pa.array(hashes, pa.string()),
        }
    )
