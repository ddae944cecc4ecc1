"""The features of a folder of images as a table, for work outside headstart."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headstart.backbones.catalogue import find_backbone
from headstart.data.listing import list_images
from headstart.data.trees import read_image_file
from headstart.errors import DataError, ImageError, StorageError
from headstart.features.compiling import compile_trunk
from headstart.features.engine import EngineName
from headstart.features.extract import extract, probe_trunk
from headstart.features.store import Store
from headstart.files import clear_storage_errors, replacing, sha256
from headstart.runs import Progress, SilentProgress


def embed_folder(
    folder: Path,
    out: Path,
    *,
    backbone: str,
    size: int | None = None,
    channels: int = 3,
    engine: EngineName = "auto",
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
) -> tuple[int, list[str]]:
    """Write ``out``, a Parquet file with ``file`` (relative to the folder) and ``features`` (float32 list).

    Returns the number of rows written, and for each image left out the reason. Of a single image, the file is its name.
    Backbone, size and channels are as :func:`headstart.backbones.catalogue.find_backbone` takes them.

    Raises
    ------
    DataError
        If the folder has no images, or none that can be decoded.
    StorageError
        If the file can't be written, or is a folder.
    """
    if out.is_dir():
        raise StorageError(f"{out} is a folder: name the Parquet file to write, for example {out / 'features.parquet'}")
    paths = list_images(folder)
    if not paths:
        raise DataError(f"{folder}: no images in this folder")
    names = [str(path.relative_to(folder)) if path != folder else path.name for path in paths]
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(_hash, paths))
    network = find_backbone(backbone, size=size, channels=channels)
    compiled = compile_trunk(probe_trunk(network), engine=engine, say=say)
    with Store.default(say) as store:
        found = extract(
            lambda row: read_image_file(paths[row]), names, hashes, compiled, store, progress or SilentProgress()
        )
        if len(found.failures) == len(paths):
            raise DataError(f"{folder}: none of its images can be decoded, for example {found.failures[0]}")
        rows = found.table.array(compiled.trunk.columns["features"], np.float32)
    kept = [name for row, name in enumerate(names) if row not in found.failures]
    table = pa.table({"file": kept, "features": pa.FixedSizeListArray.from_arrays(rows.ravel(), rows.shape[1])})
    with clear_storage_errors(out), replacing(out) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return len(kept), list(found.failures.values())


def _hash(path: Path) -> str:
    """The hash of a file's bytes; of one that can't be read that of its path, under which nothing is ever stored."""
    try:
        return sha256(read_image_file(path))
    except ImageError:
        return sha256(f"unreadable {path}".encode())
