"""``(images, labels)`` in memory → rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.data.rows import Listing
from headstart.data.tables import on_disk, read_rows
from headstart.data.trees import Files
from headstart.errors import DataError
from headstart.imaging import encode


def read_pairs(images: Sequence[Any], labels: Sequence[Any], base: Path) -> Listing:
    """Rows of images and labels of equal number.

    Parameters
    ----------
    images:
        Paths (relative to ``base``), Pillow images, arrays (see :func:`headstart.imaging.encode`), or encoded bytes.
    labels:
        A string or number each; or a list of them each, for multilabel.

    Raises
    ------
    DataError
        If the numbers differ, a label is empty, or a path does not exist.
    ImageError
        If an image in memory can't be taken.
    """
    where = "(images, labels)"
    if len(images) != len(labels):
        raise DataError(f"{where}: {len(images)} images, but {len(labels)} labels; give one label an image")
    memory: dict[str, bytes] = {}
    names: list[str] = []
    for number, image in enumerate(images):
        if isinstance(image, str | os.PathLike):
            names.append(os.fspath(image))
            continue
        name = f"memory://{number}"
        memory[name] = bytes(image) if isinstance(image, bytes | bytearray) else encode(image, f"image {number}")
        names.append(name)
    locate, _ = on_disk(base)
    columns = {"image": names, "label": list(labels)}
    return read_rows(columns, where, lambda name: name if name in memory else locate(name), Files(memory))
