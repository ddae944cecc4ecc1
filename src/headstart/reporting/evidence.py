"""A run folder's records as a report reads them: tolerant of what is absent or null, never of what is broken."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.errors import RunError

Values = Mapping[str, Any]
Interval = tuple[float, float]
Labels = tuple[str, ...]
NESTED = "nested_out_of_fold"


@dataclass(frozen=True)
class Predictions:
    """The rows that the report shows: those of the test, or of the validation where there is no test.

    Attributes
    ----------
    split:
        ``test`` or ``val``.
    files, images:
        n names, and where the bytes of each image are.
    truth, predicted:
        n tuples of class names; one name each in single-label tasks.
    confidence:
        float64 (n,), in 0..1.
    probabilities:
        float64 (n, C) in the order of the classes, or ``None`` where the table has none.
    """

    split: str
    files: tuple[str, ...]
    images: tuple[str, ...]
    truth: tuple[Labels, ...]
    predicted: tuple[Labels, ...]
    confidence: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64] | None

    def correct(self) -> npt.NDArray[np.bool_]:
        """Which rows (n,) are wholly right, whatever the order of their labels."""
        pairs = zip(self.truth, self.predicted, strict=True)
        return np.fromiter((set(truth) == set(found) for truth, found in pairs), np.bool_, len(self.truth))


@dataclass(frozen=True)
class RunEvidence:
    """All that a report is made of. Records that the folder doesn't have are empty."""

    folder: Path
    metrics: Values
    ladder: Values
    audit: Values
    run: Values
    plan: Values
    predictions: Predictions | None

    @property
    def classes(self) -> Labels:
        """The class names in their order."""
        return texts(self.metrics, "classes")

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several labels."""
        return self.metrics.get("task") == "multilabel"


def read_evidence(folder: Path) -> RunEvidence:
    """Read the records of a run.

    Raises
    ------
    RunError
        If there is no ``metrics.json``, or a record can't be read.
    """
    if not (folder / "metrics.json").exists():
        raise RunError(f"{folder} has no metrics.json: the run has not finished; start it again to finish it")
    metrics, ladder, audit, run, plan = (
        _read_json(folder / f"{name}.json") for name in ("metrics", "ladder", "audit", "run", "plan")
    )
    return RunEvidence(folder, metrics, ladder, audit, run, plan, _read_predictions(folder / "predictions.parquet"))


def number(values: Values, key: str) -> float | None:
    """The finite number under ``key``; ``None`` where it is absent, null or something else."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def interval(values: Values, key: str) -> Interval | None:
    """The two numbers under ``key``, or ``None``."""
    pair = values.get(key)
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return None
    low, high = (number({"end": end}, "end") for end in pair)
    return None if low is None or high is None else (low, high)


def mapping(values: Values, key: str) -> Values:
    """The object under ``key``; an empty one where it is absent or something else."""
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}


def mappings(values: Values, key: str) -> tuple[Values, ...]:
    """The objects in the list under ``key``."""
    value = values.get(key)
    return tuple(item for item in value if isinstance(item, Mapping)) if isinstance(value, list | tuple) else ()


def texts(values: Values, key: str) -> tuple[str, ...]:
    """The strings in the list under ``key``."""
    value = values.get(key)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list | tuple) else ()


def text(values: Values, key: str, default: str = "") -> str:
    """The string under ``key``, or ``default``."""
    value = values.get(key)
    return value if isinstance(value, str) else default


def split_of(metrics: Values, name: str) -> Values:
    """The scores of one split in ``metrics.json``."""
    return mapping(mapping(metrics, "splits"), name)


def _read_json(path: Path) -> Values:
    try:
        plain = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} can't be read ({error}): start the run again") from error
    if not isinstance(plain, dict):
        raise RunError(f"{path} holds no JSON object: start the run again")
    return plain


def _read_predictions(path: Path) -> Predictions | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return None
    try:
        table = pq.read_table(path)
        splits = table["split"].to_numpy()
        split = "test" if (splits == "test").any() else "val"
        return _predictions(table.filter(pa.array(splits == split)), split)
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise RunError(f"{path} can't be read ({error}): start the run again") from error


def _predictions(table: Any, split: str) -> Predictions:
    columns = {name: table[name].to_pylist() for name in ("file", "image", "truth", "predicted")}
    probabilities = None
    if "probabilities" in table.column_names and len(table):
        flat = table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        probabilities = flat.astype(np.float64).reshape(len(table), -1)
    return Predictions(
        split,
        tuple(columns["file"]),
        tuple(columns["image"]),
        tuple(map(_labels, columns["truth"])),
        tuple(map(_labels, columns["predicted"])),
        table["confidence"].to_numpy().astype(np.float64),
        probabilities,
    )


def _labels(value: Any) -> Labels:
    return (value,) if isinstance(value, str) else tuple(value or ())
