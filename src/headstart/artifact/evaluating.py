"""How a saved model does on labelled images: its answers beside the truth, and the scores that follow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.artifact.saved import ModelRecord
from headstart.data import Dataset, load
from headstart.data.rows import first_few
from headstart.errors import DataError
from headstart.evaluation.costs import Costs
from headstart.evaluation.details import Rows, detail, one_hot
from headstart.evaluation.metrics import evaluate
from headstart.evaluation.operating_points import AppliedPoint, apply_points, decide
from headstart.records import to_plain

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of labelled images.

    Attributes
    ----------
    dataset:
        The n images that could be decoded.
    truth:
        Their targets in the numbering of the model's classes: int (n,), or bool (n, C) for multi-label.
    probabilities:
        float64 (n, C), calibrated.
    left_out:
        The number of files that could not be used.
    fitted_on:
        The number of images that the model was fitted on.
    """

    dataset: Dataset
    truth: npt.NDArray[np.generic]
    probabilities: Floats
    left_out: int
    fitted_on: int

    def rows(self, decision: Floats | None) -> Rows:
        """As :func:`headstart.evaluation.details.detail` takes them, decided by thresholds or costs."""
        groups, domains = self.dataset.group_names, self.dataset.domains
        return Rows(
            self.truth,
            self.probabilities,
            decision,
            self.dataset.groups if self.dataset.has_groups else None,
            groups if any(groups) else None,
            domains if any(domains) else None,
        )


def scored_part(source: Any, root: Path | None) -> Dataset:
    """What :func:`headstart.load` makes of a source; where the data have splits, ``test``, else ``val``, alone."""
    dataset = source if isinstance(source, Dataset) else load(source, root=root)
    tested = next((split for split in ("test", "val") if (dataset.splits == split).any()), "")
    return dataset.select(dataset.splits == tested) if tested else dataset


def decision_of(record: ModelRecord) -> Floats | None:
    """How a model's probabilities become decisions: costs (C, C), else thresholds (C,), if any."""
    rule = record.thresholds if record.costs is None else record.costs
    return None if rule is None else np.array(rule)


def truth_of(dataset: Dataset, record: ModelRecord) -> npt.NDArray[np.generic]:
    """The data's targets in the numbering of the model's classes.

    Raises
    ------
    DataError
        If the data are of another task or have classes that the model does not know.
    """
    if dataset.task != record.task:
        raise DataError(f"{dataset.name} is for {dataset.task}, the model for {record.task}")
    unknown = sorted(set(dataset.classes) - set(record.classes))
    if unknown:
        known = first_few(record.classes, 10)
        raise DataError(
            f"{dataset.name} has classes that the model does not know: {first_few(unknown, 10)}; it knows {known}"
        )
    place = np.array([record.classes.index(name) for name in dataset.classes])
    if dataset.task == "classification":
        return np.asarray(place[dataset.targets])
    truth = np.zeros((len(dataset), len(record.classes)), bool)
    truth[:, place] = dataset.targets
    return truth


def scores_of(answers: Answers, record: ModelRecord, seed: int) -> dict[str, Any]:
    """What :meth:`headstart.artifact.model.Model.evaluate` returns."""
    rows, task, classes = answers.rows(decision_of(record)), answers.dataset.task, record.classes
    scores = evaluate(
        task,
        rows.truth,
        rows.probabilities,
        classes,
        groups=rows.owners,
        thresholds=rows.decision,
        seed=seed,
        metric=record.metric,
    )
    points: tuple[AppliedPoint, ...] = ()
    if record.points:
        decided = decide(record.points, rows.probabilities, classes)
        points = apply_points(record.points, decided, one_hot(rows.truth, len(classes)), classes, rows.owners)
    costs = None if record.costs is None else Costs(classes, record.costs)
    details = detail(rows, task, classes, points=points, costs=costs, seed=seed)
    return {
        **scores,
        "left_out": answers.left_out,
        "fitted_on": answers.fitted_on,
        "details": to_plain(details),
    }
