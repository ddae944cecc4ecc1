"""``predictions.parquet``: every validation and test row with its truth, prediction and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headstart.data import Dataset
from headstart.planning.judging import Judged
from headstart.tasks import TASKS


def predictions_table(dataset: Dataset, parts: Sequence[Judged]) -> bytes:
    """The Parquet bytes of a table with one row an image and split.

    Columns: ``file`` (relative to the source), ``image`` (where its bytes are), ``hash`` (their SHA-256), ``group`` and
    ``domain`` (or null), ``split``, ``truth`` and ``predicted`` (a class, or a list of labels), ``confidence``, and
    ``probabilities`` in the order of the classes, which the schema's metadata name.
    """
    table = pa.concat_tables([_part(dataset, judged) for judged in parts])
    table = table.replace_schema_metadata({"classes": "|".join(dataset.classes)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _part(dataset: Dataset, judged: Judged) -> pa.Table:
    task = TASKS[dataset.task]
    label = pa.string() if dataset.task == "classification" else pa.list_(pa.string())
    files, images = dataset.files, dataset.images
    predicted = task.labels(judged.probabilities, dataset.classes, judged.thresholds)
    confidence = task.confidence(judged.probabilities, judged.thresholds)
    columns: dict[str, Any] = {
        "file": pa.array([files[place] for place in judged.places], pa.string()),
        "image": pa.array([images[place] for place in judged.places], pa.string()),
        "hash": pa.array([dataset.hashes[place] for place in judged.places], pa.string()),
        "group": pa.array([dataset.group_names[place] for place in judged.places], pa.string()),
        "domain": pa.array([dataset.domains[place] for place in judged.places], pa.string()),
        "split": pa.array([judged.split] * len(judged.places), pa.string()),
        "truth": pa.array(task.names(judged.targets, dataset.classes), label),
        "predicted": pa.array(predicted, label),
        "confidence": pa.array(confidence, pa.float64()),
        "probabilities": pa.array(list(judged.probabilities), pa.list_(pa.float64())),
    }
    return pa.table(columns)
