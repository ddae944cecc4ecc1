"""The training images that are nearest to an image in the features that the model reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from headstart.artifact.model import Model
from headstart.data import Dataset
from headstart.data.addresses import Addresses
from headstart.errors import ImageError, RunError
from headstart.features.engine import Say
from headstart.features.extract import extract
from headstart.features.store import Store
from headstart.files import sha256
from headstart.runs.progress import Progress, SilentProgress
from headstart.training.neighbours import nearest, unit_rows

FILE = "training.parquet"
_COLUMNS = ("file", "image", "label", "hash")
_MOST_ROWS = 10_000_000
_HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Neighbour:
    """A training image near another image.

    Attributes
    ----------
    file, image:
        Its name relative to the data, and the address of its bytes, which :class:`Addresses` reads.
    label:
        Its class, or its labels.
    similarity:
        Cosine of the two images' pooled top features, −1 to 1; 1 is equal.
    """

    file: str
    image: str
    label: str | list[str]
    similarity: float


def training_table(dataset: Dataset) -> bytes:
    """The Parquet bytes of ``training.parquet``: file, address, label and SHA-256 of the images that shape a model."""
    rows = dataset.development()
    sink = BytesIO()
    pq.write_table(rows.table.select(list(_COLUMNS)), sink, compression="zstd")
    return sink.getvalue()


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The images that a model was fitted on, with their features as rows of unit length, float32 (m, D)."""

    files: Sequence[str]
    images: Sequence[str]
    labels: Sequence[str | list[str]]
    hashes: Sequence[str]
    units: npt.NDArray[np.float32]

    @classmethod
    def of_run(
        cls, folder: Path, model: Model, *, progress: Progress | None = None, say: Say = print
    ) -> TrainingImages:
        """The training images of a run; features that the store has lost are computed again from the files.

        Parameters
        ----------
        folder:
            The run folder, or the model's in it.

        Raises
        ------
        RunError
            If the run has no table of them, or none of the images can be had any more.
        StorageError
            If the store's folder can't be used.
        """
        table = _read_table(folder)
        files, images, labels, hashes = (table.column(name).to_pylist() for name in _COLUMNS)
        addresses = Addresses()

        def read(row: int) -> bytes:
            data = addresses.read(images[row])
            if sha256(data) != hashes[row]:
                raise ImageError(f"{images[row]}: has changed since the training")
            return data

        with Store.default(say) as store:
            found = extract(read, files, hashes, model.trunk, store, progress or SilentProgress())
            top = found.table.array(model.trunk.trunk.columns["features"]) if len(found.table) else None
        if top is None:
            raise RunError(f"{folder}: none of its training images is there any more, for example {images[0]}")
        if found.failures:
            gone = images[min(found.failures)]
            say(f"{len(found.failures)} training images are not there any more, for example {gone}")
        kept = [row for row in range(len(files)) if row not in found.failures]
        return cls(
            files=[files[row] for row in kept],
            images=[images[row] for row in kept],
            labels=[labels[row] for row in kept],
            hashes=[hashes[row] for row in kept],
            units=unit_rows(top),
        )

    def nearest(
        self, features: npt.NDArray[np.float32], hashes: Sequence[str], count: int
    ) -> list[tuple[Neighbour, ...]]:
        """For each image its ``count`` nearest training images, nearest first; never one with the same bytes.

        Parameters
        ----------
        features:
            (n, D) pooled top features of the images.
        hashes:
            The SHA-256 of each image's bytes.
        """
        count = min(count, len(self.files))
        if count == 0 or not len(features):
            return [() for _ in hashes]
        numbers = {digest: number for number, digest in enumerate(self.hashes)}
        similarity, places = nearest(
            unit_rows(features),
            self.units,
            count,
            query_owners=np.array([numbers.get(digest, -1) for digest in hashes]),
            reference_owners=np.array([numbers[digest] for digest in self.hashes]),
        )
        return [
            tuple(
                self._neighbour(int(place), float(near)) for place, near in zip(row, scores, strict=True) if near > -2
            )
            for row, scores in zip(places, similarity, strict=True)
        ]

    def _neighbour(self, place: int, similarity: float) -> Neighbour:
        return Neighbour(self.files[place], self.images[place], self.labels[place], similarity)


def _read_table(folder: Path) -> pa.Table:
    path = next((one for one in (folder / FILE, folder.parent / FILE) if one.is_file()), folder / FILE)
    try:
        file = pq.ParquetFile(path)
        if file.metadata.num_rows > _MOST_ROWS:
            raise RunError(f"{path}: {file.metadata.num_rows:,} rows are more than the {_MOST_ROWS:,} that are read")
        table = file.read(list(_COLUMNS))
    except FileNotFoundError as error:
        raise RunError(f"{folder} does not say what it was trained on: {FILE} is missing; fit it again") from error
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path} can't be read: {str(error).splitlines()[0]}") from error
    if not _is_sound(table):
        raise RunError(f"{path} is not the table of training images that a fit writes")
    return table


def _is_sound(table: pa.Table) -> bool:
    """Whether a table has rows, every column, its type, nothing missing, and hashes that are such."""
    if set(table.column_names) != set(_COLUMNS) or not table.num_rows:
        return False
    kinds = [table.schema.field(name).type for name in ("file", "image", "hash")]
    labels = table.schema.field("label").type in (pa.string(), pa.list_(pa.string()))
    if (
        any(kind != pa.string() for kind in kinds)
        or not labels
        or any(table.column(name).null_count for name in _COLUMNS)
    ):
        return False
    return all(_HASH.fullmatch(digest) for digest in table.column("hash").to_pylist())
