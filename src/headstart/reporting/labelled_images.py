"""The labelled images of a run: where each lies, its label, and what models that had not seen it said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.errors import RunError

Labels = tuple[str, ...]

_TABLES = {"training.parquet": "label", "predictions.parquet": "truth"}
_MOST_ROWS = 10_000_000


@dataclass(frozen=True)
class LabelledImage:
    """One image that a run was fitted or judged on.

    Attributes
    ----------
    file, image:
        Its name relative to the data, and the address of its bytes, which :class:`headstart.data.addresses.Addresses`
        reads.
    sha256:
        Of its bytes.
    label:
        Its classes; one in single-label tasks.
    split:
        ``val`` or ``test`` where it was judged, else ``train``.
    predicted:
        What a model that had not seen it said; ``None`` where none was asked.
    confidence:
        Of that prediction, 0 to 1.
    """

    file: str
    image: str
    sha256: str
    label: Labels
    split: str
    predicted: Labels | None = None
    confidence: float | None = None

    @property
    def mistaken(self) -> bool:
        """Whether a model said something else than the label."""
        return self.predicted is not None and set(self.predicted) != set(self.label)


def labelled_images(folder: Path) -> dict[str, LabelledImage]:
    """The images of a run by their names; a table that is absent adds none.

    Raises
    ------
    RunError
        If a table can't be read.
    """
    found: dict[str, LabelledImage] = {}
    for name, labels in _TABLES.items():
        for row in _rows(folder / name, labels):
            one = _image(row, labels, folder / name)
            found[one.file] = one
    return found


def _rows(path: Path, labels: str) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = ["file", "image", "hash", labels]
    try:
        file = pq.ParquetFile(path)
        if file.metadata.num_rows > _MOST_ROWS:
            raise RunError(f"{path}: {file.metadata.num_rows:,} rows are more than the {_MOST_ROWS:,} that are read")
        if labels == "truth":
            wanted += ["split", "predicted", "confidence"]
        rows: list[dict[str, Any]] = file.read(wanted).to_pylist()
    except FileNotFoundError:
        return []
    except (OSError, KeyError, pa.ArrowException) as error:
        raise RunError(f"{path} can't be read ({str(error).splitlines()[0]}): start the run again") from error
    if rows and not set(wanted) <= rows[0].keys():
        raise RunError(f"{path} is not the table that a fit writes: start the run again")
    return rows


def _image(row: Mapping[str, Any], labels: str, path: Path) -> LabelledImage:
    if not all(isinstance(row[name], str) for name in ("file", "image", "hash")):
        raise RunError(f"{path} is not the table that a fit writes: start the run again")
    confidence = row.get("confidence")
    return LabelledImage(
        file=row["file"],
        image=row["image"],
        sha256=row["hash"],
        label=_labels(row[labels]),
        split=str(row.get("split", "train")),
        predicted=_labels(row["predicted"]) if "predicted" in row else None,
        confidence=float(confidence) if isinstance(confidence, float) else None,
    )


def _labels(value: object) -> Labels:
    if isinstance(value, str):
        return (value,)
    return tuple(str(one) for one in value) if isinstance(value, list) else ()
