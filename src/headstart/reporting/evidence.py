"""A run folder's records as a report reads them: what is absent, null or damaged is left out, and said to be."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from headstart.errors import RunError

if TYPE_CHECKING:
    import pyarrow as pa

Values = Mapping[str, Any]
Interval = tuple[float, float]
Labels = tuple[str, ...]
NESTED = "nested_out_of_fold"

# What a fit writes besides metrics.json, and what is lost without it. Plans and histories are not part of every run.
_EXPECTED = {
    "ladder.json": "what was tried",
    "audit.json": "what was left out of the data, and what is wrong with them",
    "run.json": "how to run it again",
    "evaluation.json": "thresholds, groups and the coverage–risk curve",
    "predictions.parquet": "the images",
    "training.parquet": "the training images",
}
# A longer history is no work of a fit, and would not fit into a diagram either.
_MOST_EPOCHS = 20_000

_Read = TypeVar("_Read")


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
    hashes:
        n SHA-256 of the images' bytes, or ``None`` where the table has none.
    """

    split: str
    files: tuple[str, ...]
    images: tuple[str, ...]
    truth: tuple[Labels, ...]
    predicted: tuple[Labels, ...]
    confidence: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64] | None
    hashes: tuple[str, ...] | None = None

    def correct(self) -> npt.NDArray[np.bool_]:
        """Which rows (n,) are wholly right, whatever the order of their labels."""
        pairs = zip(self.truth, self.predicted, strict=True)
        return np.fromiter((set(truth) == set(found) for truth, found in pairs), np.bool_, len(self.truth))


@dataclass(frozen=True)
class Training:
    """``training.parquet``: the images that shaped a model, in columns ``file``, ``image``, ``label`` and ``hash``."""

    table: pa.Table

    def counts(self) -> dict[str, int]:
        """How many images carry each label."""
        import pyarrow as pa

        labels = self.table["label"].combine_chunks()
        flat = labels.flatten() if pa.types.is_list(labels.type) else labels
        return {str(one["values"]): int(one["counts"]) for one in flat.value_counts().to_pylist()}

    def addresses(self, files: Collection[str]) -> dict[str, str]:
        """Where the bytes of some of the images are, by their names."""
        return _addresses(self.table, files)


@dataclass(frozen=True)
class RunEvidence:
    """All that a report is made of. Records that the folder doesn't have are empty.

    Attributes
    ----------
    history:
        The lines of ``history.csv``, as numbers by column; NaN where there is none.
    missing:
        Sentences: which records are not there or can't be read, and what the page lacks for it.
    """

    folder: Path
    metrics: Values
    ladder: Values
    audit: Values
    run: Values
    plan: Values
    evaluation: Values
    fingerprint: Values
    history: tuple[Mapping[str, float], ...]
    predictions: Predictions | None
    training: Training | None
    missing: tuple[str, ...]

    @property
    def classes(self) -> Labels:
        """The class names in their order."""
        return texts(self.metrics, "classes")

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several labels."""
        return self.metrics.get("task") == "multilabel"

    @property
    def nested(self) -> bool:
        """Whether the test scores are a nested out-of-fold estimate."""
        return split_of(self.metrics, "test").get("estimate") == NESTED

    @property
    def shown(self) -> str:
        """The split whose images and matrix are shown: ``test``, or ``val`` where there is no test."""
        if self.predictions is not None:
            return self.predictions.split
        return "test" if split_of(self.metrics, "test") else "val"


def read_evidence(folder: Path) -> RunEvidence:
    """Read the records of a run; those that are damaged are named in ``missing``, like those that are not there.

    Raises
    ------
    RunError
        If there is no ``metrics.json``, or it can't be read: without it nothing is known of the model.
    """
    if not (folder / "metrics.json").exists():
        raise RunError(f"{folder} has no metrics.json: the run has not finished; start it again to finish it")
    metrics, missing = _read_json(folder / "metrics.json"), [_lost(folder, name) for name in _EXPECTED]

    def kept(read: Callable[[Path], _Read], name: str, nothing: _Read) -> _Read:
        try:
            return read(folder / name)
        except FileNotFoundError:
            return nothing
        except RunError as error:
            missing.append(f"{error}.")
            return nothing

    def record(name: str) -> Values:
        nothing: Values = {}
        return kept(_read_json, f"{name}.json", nothing)

    return RunEvidence(
        folder=folder,
        metrics=metrics,
        ladder=record("ladder"),
        audit=record("audit"),
        run=record("run"),
        plan=record("plan"),
        evaluation=record("evaluation"),
        fingerprint=record("fingerprint"),
        history=kept(_read_history, "history.csv", ()),
        predictions=kept(_read_predictions, "predictions.parquet", None),
        training=kept(_read_training, "training.parquet", None),
        missing=tuple(sentence for sentence in missing if sentence),
    )


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


def _lost(folder: Path, name: str) -> str:
    return "" if (folder / name).exists() else f"{name} is not there, and with it {_EXPECTED[name]}."


def _unreadable(path: Path, error: Exception) -> RunError:
    return RunError(f"{path.name} can't be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})")


def _read_json(path: Path) -> Values:
    try:
        plain = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(plain, dict):
        raise RunError(f"{path.name} can't be read (it holds no JSON object)")
    return plain


def _read_history(path: Path) -> tuple[Mapping[str, float], ...]:
    try:
        reader = csv.DictReader(io.StringIO(path.read_text("utf-8")))
        lines = tuple(
            {key: float(value) for key, value in line.items()} for line in itertools.islice(reader, _MOST_EPOCHS)
        )
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise _unreadable(path, error) from error
    return lines


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
        raise _unreadable(path, error) from error


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
        tuple(table["hash"].to_pylist()) if "hash" in table.column_names else None,
    )


def _read_training(path: Path) -> Training | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return None
    try:
        table = pq.read_table(path, columns=["file", "image", "label", "hash"])
        texts_only = all(table.schema.field(name).type == pa.string() for name in ("file", "image", "hash"))
        labelled = table.schema.field("label").type in (pa.string(), pa.list_(pa.string()))
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    if not (texts_only and labelled):
        raise RunError(f"{path.name} can't be read (its columns are not those of training images)")
    return Training(table)


def _addresses(table: pa.Table, files: Collection[str]) -> dict[str, str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    found = table.filter(pc.is_in(table["file"], value_set=pa.array(sorted(files), pa.string())))
    return {
        str(file): str(image)
        for file, image in zip(*(found[name].to_pylist() for name in ("file", "image")), strict=True)
    }


def _labels(value: Any) -> Labels:
    return (value,) if isinstance(value, str) else tuple(value or ())
