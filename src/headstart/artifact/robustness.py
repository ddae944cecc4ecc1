"""How a saved model does on images that were corrupted: twelve ways, three strengths each, on the same rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.artifact.evaluating import decision_of, scored_part, truth_of
from headstart.artifact.model import Model
from headstart.errors import DataError
from headstart.evaluation.evidence import gather_evidence
from headstart.evaluation.intervals import (
    Interval,
    bootstrap_weights,
    percentile_interval,
    resampling_units,
    scaled_interval,
    share_interval,
)
from headstart.evaluation.metrics import score
from headstart.features.extract import embed
from headstart.files import sha256
from headstart.imaging.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from headstart.runs import Progress, SilentProgress

SCHEMA = 1
_DRAWS = 1000
_KINDS = tuple((corruption, strength) for corruption in CORRUPTIONS for strength in STRENGTHS)


@dataclass(frozen=True)
class CleanScore:
    """The scores on the images as they are; ``score`` as in :class:`CorruptedScore`."""

    accuracy: float
    accuracy_ci95: Interval
    score: float | None


@dataclass(frozen=True)
class CorruptedScore:
    """The scores under one corruption.

    Attributes
    ----------
    score:
        The model's governing metric; ``None`` where it is undefined on these rows.
    drop, drop_ci95:
        By how much the accuracy lies below that on the images as they are, and the paired 95 % interval of that;
        ``None`` where resampling can't tell, as where all rows fare alike.
    """

    corruption: str
    strength: int
    accuracy: float
    accuracy_ci95: Interval
    score: float | None
    drop: float
    drop_ci95: Interval | None


@dataclass(frozen=True)
class Robustness:
    """``robustness.json``.

    Attributes
    ----------
    n, groups:
        Images, and the groups that were resampled, or ``None``.
    metric:
        What ``score`` is.
    clean:
        On the images as they are.
    mean_accuracy, mean_accuracy_ci95:
        Over all corruptions and strengths, each counting alike.
    mean_drop, mean_drop_ci95:
        Of the same.
    scores:
        Of each corruption and strength.
    left_out, fitted_on:
        As in :meth:`headstart.artifact.model.Model.evaluate`.
    """

    schema: int
    data: str
    n: int
    groups: int | None
    metric: str
    clean: CleanScore
    mean_accuracy: float
    mean_accuracy_ci95: Interval | None
    mean_drop: float
    mean_drop_ci95: Interval | None
    scores: tuple[CorruptedScore, ...]
    left_out: int
    fitted_on: int


def measure_robustness(
    model: Model, source: Any, *, root: Path | None = None, progress: Progress | None = None, seed: int = 0
) -> Robustness:
    """Score a model on corrupted copies of labelled images (Hendrycks and Dietterich 2019).

    The images are decoded once and corrupted as the network would see them; nothing is stored.

    Parameters
    ----------
    source, root:
        As for :meth:`headstart.artifact.model.Model.evaluate`.
    seed:
        Of the bootstraps.

    Raises
    ------
    DataError
        If the data are of another task, have classes that the model does not know, or none can be decoded.
    """
    dataset = scored_part(source, root)
    truth = truth_of(dataset, model.record)
    kept, parts = [], []
    with (progress or SilentProgress()).task("corruptions", total=len(dataset)) as step:
        for positions, rows, failures in embed(dataset.read, dataset.files, _Corrupting(model)):
            kept += positions
            parts += [rows] if positions else []
            step(len(positions) + len(failures))
    if not kept:
        raise DataError(f"{dataset.name}: none of its images can be decoded")
    found = np.concatenate(parts).astype(np.float64).reshape(len(kept), 1 + len(_KINDS), -1)
    groups = dataset.groups[kept] if dataset.has_groups else None
    return _record(
        model,
        dataset.name,
        truth[kept],
        [found[:, kind] for kind in range(found.shape[1])],
        groups,
        seed,
        left_out=len(dataset) - len(kept) + len(dataset.left_out),
        fitted_on=model.count_fitted(dataset.hashes),
    )


class _Corrupting:
    """A model in a trunk's place: an image's probabilities as it is, and under each corruption, side by side."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.trunk, self.identity, self.batch_size = model.trunk.trunk, model.trunk.identity, model.trunk.batch_size

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        digests = [sha256(image.tobytes()) for image in images]
        found = [self._model.probabilities_of(images)]
        for corruption, strength in _KINDS:
            pairs = zip(images, digests, strict=True)
            changed = [corrupt(image, corruption, strength, digest) for image, digest in pairs]
            found.append(self._model.probabilities_of(np.stack(changed)))
        return np.concatenate(found, axis=1).astype(np.float32)


def _record(
    model: Model,
    data: str,
    truth: npt.NDArray[np.generic],
    found: Sequence[npt.NDArray[np.float64]],
    groups: npt.NDArray[np.int64] | None,
    seed: int,
    *,
    left_out: int,
    fitted_on: int,
) -> Robustness:
    """``found``: the probabilities (n, C) of the images as they are, and then of each of ``_KINDS``."""
    task, rule, metric = model.task.name, decision_of(model.record), model.record.metric
    right = np.stack([gather_evidence(task, truth, chances, rule).correct for chances in found], axis=1).astype(float)
    accuracies = [(float(column.mean()), share_interval(column, groups)) for column in right.T]
    values = [score(metric, task, truth, chances, rule) for chances in found]
    told = [None if math.isnan(value) else value for value in values]
    dropped = right[:, :1] - right[:, 1:]
    columns = np.column_stack([right[:, 1:].mean(axis=1), dropped.mean(axis=1), dropped])
    means, units = columns.mean(axis=0), resampling_units(groups, len(right))[1]
    weighed = bootstrap_weights(len(right), groups, _DRAWS, seed)
    draws = np.concatenate([weights @ columns / weights.sum(axis=1, keepdims=True) for weights in weighed])
    drops = zip(means[2:], draws.T[2:], strict=True)
    told_drops = [(float(mean), percentile_interval(column, units)) for mean, column in drops]
    return Robustness(
        schema=SCHEMA,
        data=data,
        n=len(right),
        groups=None if groups is None else units,
        metric=metric,
        clean=CleanScore(*accuracies[0], told[0]),
        mean_accuracy=float(means[0]),
        mean_accuracy_ci95=scaled_interval(float(means[0]), draws[:, 0], units, "logit"),
        mean_drop=float(means[1]),
        mean_drop_ci95=percentile_interval(draws[:, 1], units),
        scores=tuple(
            CorruptedScore(*kind, *accuracies[number], told[number], *told_drops[number - 1])
            for number, kind in enumerate(_KINDS, 1)
        ),
        left_out=left_out,
        fitted_on=fitted_on,
    )
