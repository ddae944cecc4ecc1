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
from headstart.errors import DataError
from headstart.features.engine import EngineName, compile_trunk
from headstart.features.extract import extract, probe_trunk
from headstart.features.store import Store
from headstart.files import clear_storage_errors, replacing, sha256_of
from headstart.runs import Progress, SilentProgress


def embed_folder(
    folder: Path,
    out: Path,
    *,
    backbone: str,
    engine: EngineName = "auto",
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
) -> tuple[int, list[str]]:
    """Write ``out``, a Parquet file with ``file`` (relative to the folder) and ``features`` (float32 list).

    Returns the number of rows written, and for each image left out the reason.

    Raises
    ------
    DataError
        If the folder has no images.
    StorageError
        If the file can't be written.
    """
    paths = list_images(folder)
    if not paths:
        raise DataError(f"{folder}: no images in this folder")
    names = [str(path.relative_to(folder)) for path in paths]
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(sha256_of, paths))
    compiled = compile_trunk(probe_trunk(find_backbone(backbone)), engine=engine, say=say)
    with Store.default(say) as store:
        found = extract(
            lambda row: paths[row].read_bytes(), names, hashes, compiled, store, progress or SilentProgress()
        )
        rows = found.table.array(compiled.trunk.columns["features"], np.float32)
    kept = [name for row, name in enumerate(names) if row not in found.failures]
    table = pa.table({"file": kept, "features": pa.FixedSizeListArray.from_arrays(rows.ravel(), rows.shape[1])})
    with clear_storage_errors(out), replacing(out) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return len(kept), list(found.failures.values())
