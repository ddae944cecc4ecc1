"""A tree of images → rows: a folder per class, below split folders or not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from headstart.data.dataset import LeftOut, Split
from headstart.data.listing import images_among
from headstart.data.rows import SPLITS, Listing, Row, clean_label, first_few
from headstart.data.tables import is_table
from headstart.data.trees import Tree
from headstart.errors import DataError

LAYOUT = "make a folder per class (cats/1.jpg, dogs/2.jpg), or such folders in train/, val/ and test/"


def read_folders(tree: Tree, prefix: str) -> Listing:
    """Read a tree of class folders.

    The first folder below the root, or below ``train/``, ``val/`` and ``test/``, is the class; deeper folders belong
    to it. The root's only folder, if it has folders in it, is taken for the root instead.
    Split folders go by the names in ``headstart.data.rows.SPLITS``, in any case. Beside folders with other names, one
    that has images directly in it is a class. Images outside class folders are left out and listed.

    Parameters
    ----------
    prefix:
        What all names start with; ends in ``/`` or is empty.

    Raises
    ------
    DataError
        If there are no images, no class folders, or split folders beside others.
    """
    images = images_among(tree.names)
    taken = set(images)
    ignored = [name for name in tree.names if name not in taken]
    if not images:
        beside = f", only {len(ignored)} other files ({_suffixes(ignored)})" if ignored else ""
        raise DataError(f"{tree.where}: no images{beside}; {LAYOUT}")
    prefix = only_folder(images, prefix)
    splits = _split_folders(tree.where, [name[len(prefix) :].split("/")[:-1] for name in images])
    rows, outside = _rows(tree, images, prefix, splits)
    if not rows:
        raise DataError(f"{tree.where}: {len(images)} images, none of them in a class folder; {LAYOUT}")
    if splits and not any(row.split == "train" for row in rows) and "train" in splits.values():
        raise DataError(f"{tree.where}: the images for training lie in no class folders; {LAYOUT}")
    left_out = tuple(LeftOut(name, "unlabelled", "it lies outside the class folders") for name in outside)
    return Listing(tree.where, "classification", rows, tree, left_out, _notes(ignored, outside))


def only_folder(names: Sequence[str], prefix: str) -> str:
    """``prefix``, extended while all files lie in one folder that is no split and has folders or a table in it."""
    while True:
        rests = [name[len(prefix) :].partition("/") for name in names]
        folder = rests[0][0]
        has_more = any("/" in rest or is_table(rest) for _, _, rest in rests)
        if folder.lower() in SPLITS or not has_more or not all(top == folder and slash for top, slash, _ in rests):
            return prefix
        prefix = f"{prefix}{folder}/"


def _split_folders(where: str, paths: Sequence[list[str]]) -> dict[str, Split]:
    """Which of the first folders on the images' paths are splits: all or none."""
    tops = {path[0] for path in paths if path}
    found = {top: SPLITS[top.lower()] for top in sorted(tops) if top.lower() in SPLITS}
    others = sorted(tops - found.keys())
    if others:
        with_images = {path[0] for path in paths if len(path) == 1}
        if found.keys() <= with_images:
            return {}
        few = f"{first_few(sorted(found.keys() - with_images))} has class folders like a split"
        raise DataError(f"{where}: {few}, but beside it lie other folders ({first_few(others)}); move them elsewhere")
    by_split: defaultdict[Split, list[str]] = defaultdict(list)
    for folder, split in found.items():
        by_split[split].append(folder)
    for split, same in by_split.items():
        if len(same) > 1:
            raise DataError(f"{where}: the folders {' and '.join(same)} are both the {split} split; keep one")
    return found


def _rows(tree: Tree, images: Sequence[str], prefix: str, splits: dict[str, Split]) -> tuple[list[Row], list[str]]:
    """A row for each image in a class folder, and the names of the others."""
    rows: list[Row] = []
    outside: list[str] = []
    for name in images:
        parts = name[len(prefix) :].split("/")
        split = splits.get(parts[0]) if len(parts) > 1 else None
        folders = parts[1:-1] if split else parts[:-1]
        if folders:
            rows.append(Row(tree.uri(name), name, clean_label(folders[0]), split))
        else:
            outside.append(name)
    return rows, outside


def _notes(ignored: Sequence[str], outside: Sequence[str]) -> tuple[str, ...]:
    notes = []
    if ignored:
        notes.append(f"{len(ignored)} files are ignored, because they are not images: {_suffixes(ignored)}.")
    if outside:
        notes.append(f"{len(outside)} images are left out, because they lie in no class folder: {first_few(outside)}.")
    return tuple(notes)


def _suffixes(names: Sequence[str]) -> str:
    counts = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in names)
    return first_few([f"{count} {suffix}" for suffix, count in counts.most_common()], 5)
