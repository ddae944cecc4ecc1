"""What a model said of labelled images, row by row: its test rows as its run kept them, or any data asked anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.artifact.evaluating import decision_of
from headstart.artifact.model import Model
from headstart.data import Dataset
from headstart.data.dataset import Task
from headstart.errors import RunError
from headstart.evaluation.comparison import Decided
from headstart.runs import find_run

_COLUMNS = ("file", "split", "truth", "predicted", "probabilities")


@dataclass(frozen=True, eq=False)
class RunRows:
    """Labelled images with a model's answers.

    Attributes
    ----------
    name:
        Of the run.
    files, hashes, groups:
        n names, SHA-256 and names of groups (``None`` for a row by itself); ``hashes`` is ``None`` for a run that did
        not keep them.
    truth:
        Class indices (n,), or bool (n, C) for multi-label.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    files: tuple[str, ...]
    hashes: tuple[str, ...] | None
    groups: tuple[str | None, ...]
    truth: npt.NDArray[np.generic]
    said: Decided

    def __len__(self) -> int:
        return len(self.files)

    def names(self, row: int) -> tuple[str, str]:
        """The true and the decided class of a row; of several labels, joined by ``|``."""
        return self._named(self.truth[row]), self._named(self.said.decisions[row])

    def _named(self, found: Any) -> str:
        if self.task == "classification":
            return self.classes[int(found)]
        return "|".join(self.classes[number] for number in np.flatnonzero(found))


def rows_of_run(folder: Path) -> RunRows:
    """The test rows in a run's ``predictions.parquet``.

    Raises
    ------
    RunError
        If it is no finished run, a file is missing or broken, or no row tested.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = find_run(folder).path("predictions.parquet")
    if not path.is_file():
        raise RunError(f"{folder} has no predictions.parquet: name data that both models can predict, with --data")
    metrics = _read_metrics(folder)
    task, classes = metrics.get("task"), metrics.get("classes")
    try:
        table = pq.read_table(path)
        missing = [name for name in _COLUMNS if name not in table.column_names]
        if missing or task not in ("classification", "multilabel") or not isinstance(classes, list):
            raise ValueError(f"{missing[0] if missing else 'the task or the classes'} is missing")
        table = table.filter(pa.array(table["split"].to_numpy() == "test"))
        rows = _of_table(table, folder.resolve().name, task, tuple(classes))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
        raise RunError(f"{path} can't be read ({error}): name data with --data, or fit again") from error
    if not len(rows):
        raise RunError(f"{folder} has no row that tested: name data with --data")
    return rows


def rows_of_model(model: Model, name: str, dataset: Dataset) -> tuple[RunRows, int]:
    """A model's answers to labelled images, and how many of them it was fitted on; errors as of :meth:`Model.evaluate`.

    Where the data have splits, ``test`` alone counts, else ``val``.
    """
    found = model.answers(dataset)
    labels = model.task.labels(found.probabilities, model.classes, decision_of(model.record))
    rows = RunRows(
        name,
        model.task.name,
        model.classes,
        tuple(found.dataset.files),
        tuple(found.dataset.hashes),
        tuple(found.dataset.group_names),
        found.truth,
        Decided(_numbers(labels, model.classes, model.task.name), found.probabilities),
    )
    return rows, found.fitted_on


def _read_metrics(folder: Path) -> dict[str, Any]:
    """``metrics.json`` of a run; raises :class:`RunError` where it is missing or broken."""
    import json

    path = folder / "metrics.json"
    try:
        plain = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise RunError(f"{folder} has no metrics.json: name data that both models can predict, with --data") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} can't be read ({error})") from error
    if not isinstance(plain, dict):
        raise RunError(f"{path} holds no JSON object")
    return plain


def _of_table(table: Any, name: str, task: Task, classes: tuple[str, ...]) -> RunRows:
    columns = {key: table[key].to_pylist() for key in ("file", "truth", "predicted")}
    probabilities = np.array(table["probabilities"].to_pylist(), np.float64).reshape(len(table), len(classes))
    if not ((probabilities >= 0) & (probabilities <= 1 + 1e-6)).all():  # nor of NaN
        raise ValueError("probabilities lie outside of 0 to 1")
    groups = table["group"].to_pylist() if "group" in table.column_names else [None] * len(table)
    return RunRows(
        name,
        task,
        classes,
        tuple(columns["file"]),
        tuple(table["hash"].to_pylist()) if "hash" in table.column_names else None,
        tuple(groups),
        _numbers(columns["truth"], classes, task),
        Decided(_numbers(columns["predicted"], classes, task), probabilities),
    )


def _numbers(labels: Any, classes: tuple[str, ...], task: Task) -> npt.NDArray[np.generic]:
    """Class numbers (n,) of names, or bool (n, C) of lists of names; raises :class:`KeyError` for an unknown one."""
    places = {name: number for number, name in enumerate(classes)}
    if task == "classification":
        return np.array([places[name] for name in labels], np.intp)
    found = np.zeros((len(labels), len(classes)), np.bool_)
    for row, names in enumerate(labels):
        found[row, [places[name] for name in names]] = True
    return found
