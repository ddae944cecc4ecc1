"""Images whose labels don't matter → :class:`Dataset`: what ``load`` takes, and folders and zips without classes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from headstart.data.dataset import Dataset
from headstart.data.duplicates import find_equals, hash_rows
from headstart.data.listing import images_among
from headstart.data.loading import load
from headstart.data.rows import Row
from headstart.data.trees import Archive, Folder
from headstart.errors import DataError


def load_images(source: Path, *, root: Path | None = None) -> Dataset:
    """Read images, labelled or not.

    What :func:`load` reads whole is read so, with splits and groups. Of any other folder or zip all images at any
    depth are taken, without labels; of several with equal bytes the first.

    Parameters
    ----------
    root:
        As for :func:`load`.

    Raises
    ------
    DataError
        If there are no images, none that can be read, or the source is neither a folder nor a zip and :func:`load`
        can't read it.
    """
    try:
        dataset = load(source, root=root)
    except DataError:
        if not (source.is_dir() or source.suffix.lower() == ".zip"):
            raise
    else:
        if all(entry.kind != "unlabelled" for entry in dataset.left_out):
            return dataset
    return _unlabelled(source)


def _unlabelled(source: Path) -> Dataset:
    tree = Folder(source) if source.is_dir() else Archive(source)
    rows = [Row(tree.uri(name), name, ()) for name in images_among(tree.names)]
    if not rows:
        raise DataError(f"{source}: no images in it")
    hashes, unusable = hash_rows(rows, tree)
    left_out = unusable | find_equals(rows, hashes).left_out
    kept = [place for place in range(len(rows)) if place not in left_out]
    if not kept:
        example = next(iter(unusable.values()))
        raise DataError(
            f"{source}: none of its {len(rows)} images can be read, for example {example.file} ({example.reason})"
        )
    nothing = pa.nulls(len(kept), pa.string())
    table = pa.table(
        {
            "image": pa.array([rows[place].image for place in kept], pa.string()),
            "file": pa.array([rows[place].file for place in kept], pa.string()),
            "label": pa.array([[] for _ in kept], pa.list_(pa.string())),
            "split": nothing,
            "group": nothing,
            "hash": pa.array([hashes[place] for place in kept], pa.string()),
        }
    )
    path = source.absolute()
    name = path.name if source.is_dir() else path.stem
    return Dataset(name, "multilabel", (), table, tree, tuple(left_out[place] for place in sorted(left_out)))
