"""Small grey pictures of all images of a data set, decoded once and kept in the feature store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.data import Dataset
from headstart.errors import ImageError, MissingExtraError
from headstart.features.engine import Say, cpu_count
from headstart.features.store import Store
from headstart.features.table import FeatureTable
from headstart.imaging import DECODE_VERSION, preview
from headstart.runs.progress import Progress

SIDE = 64
# A row of the store: the pixels, and the shorter side of the image, which is exact in float16 up to here.
_WIDTH = SIDE**2 + 1
_LONGEST = 2048
_CHUNK = 64  # images a task


@dataclass(frozen=True)
class _Key:
    """What shapes a thumbnail besides the image."""

    decode: int = DECODE_VERSION
    kind: str = "thumbnail"
    side: int = SIDE


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Thumbnails of the rows of a data set, in their order; those of images that can't be decoded are black.

    Attributes
    ----------
    failures:
        Why some images can't be decoded, by row.
    """

    _table: FeatureTable
    _place: NDArray[np.int64]
    failures: dict[int, str]

    def __len__(self) -> int:
        return len(self._place)

    def pictures(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Grey levels 0 to 255, float32 (n, 64, 64): the whole image, whatever its shape."""
        found: NDArray[np.float32] = self._rows(rows, slice(0, SIDE**2)).reshape(-1, SIDE, SIDE)
        return found

    def shorter_sides(self) -> NDArray[np.float32]:
        """Of the images in pixels, (n,), at most 2048; 0 where an image can't be decoded."""
        return self._rows(np.arange(len(self)), slice(SIDE**2, _WIDTH))[:, 0]

    def _rows(self, rows: NDArray[np.int64], columns: slice) -> NDArray[np.float32]:
        found = np.zeros((len(rows), columns.stop - columns.start), np.float32)
        places = self._place[rows]
        found[places >= 0] = self._table.rows(places[places >= 0], columns, np.float32)
        return found


def thumbnails_of(dataset: Dataset, progress: Progress, say: Say) -> Thumbnails:
    """Decode the images that the store has no thumbnail of, in threads, each at the least cost.

    Raises
    ------
    StorageError
        If the store can't be written.
    """
    hashes, files, failures = dataset.hashes, dataset.files, dict[int, str]()
    with Store.default(say) as store:
        missing = store.missing(_Key(), hashes)

        def draw(rows: NDArray[np.int64]) -> tuple[list[int], NDArray[np.float16]]:
            drawn, pictures = [], []
            for row in rows.tolist():
                try:
                    pictures.append(_thumbnail(dataset.read(row), files[row]))
                    drawn.append(row)
                except (ImageError, MissingExtraError) as error:
                    failures[row] = str(error)
            return drawn, np.array(pictures, np.float16).reshape(-1, _WIDTH)

        chunks = [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]
        with (
            progress.task("thumbnails", total=len(missing)) as step,
            store.writer(_Key(), _WIDTH) as writer,
            ThreadPoolExecutor(cpu_count(), thread_name_prefix="thumbnails") as pool,
        ):
            for chunk, (drawn, pictures) in zip(chunks, pool.map(draw, chunks), strict=True):
                writer.add([hashes[row] for row in drawn], pictures)
                step(len(chunk))
        kept = [row for row in range(len(dataset)) if row not in failures]
        place = np.full(len(dataset), -1, np.int64)
        place[kept] = np.arange(len(kept))
        return Thumbnails(store.table(_Key(), [hashes[row] for row in kept]), place, dict(sorted(failures.items())))


def _thumbnail(data: bytes, name: str) -> NDArray[np.float16]:
    pixels = preview(data, name, SIDE)
    grey = Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.append(np.asarray(grey).ravel(), min(*pixels.shape[:2], _LONGEST)).astype(np.float16)
