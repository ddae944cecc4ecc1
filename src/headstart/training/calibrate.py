"""Temperature and thresholds from rows that the models had not seen, and probabilities that are calibrated honestly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.data.splits import folds
from headstart.evaluation.calibration import fit_temperature, fit_thresholds, probabilities
from headstart.tasks import Task

Floats = npt.NDArray[np.float64]
_PARTS = 5


@dataclass(frozen=True)
class Calibration:
    """How logits become decisions.

    Attributes
    ----------
    temperature:
        Fitted on all judged rows: what the final model takes over.
    thresholds:
        Likewise, float64 (C,), for multi-label. For exclusive classes ``None``, unless they were balanced in training:
        then what their probabilities are divided by to decide which is named. Validation scores are measured at these
        very thresholds, which flatters multi-label F1 on few rows; test scores are not affected.
    probabilities:
        float64 (n, C) of the judged rows, each with a temperature that was fitted without it.
    """

    temperature: float
    thresholds: Floats | None
    probabilities: Floats


def calibrate(
    logits: Floats, targets: npt.NDArray[np.generic], groups: npt.NDArray[np.int64], task: Task, seed: int
) -> Calibration:
    """Fit on all rows for later use, and in turn on four fifths of them to judge the rest.

    Parameters
    ----------
    logits:
        float64 (n, C) of models that had not seen the rows.
    targets, groups:
        Of the same rows.
    """
    temperature = fit_temperature(logits, targets, task.kind)
    crossed = probabilities(logits, temperature, task.kind)
    thresholds = fit_thresholds(targets.astype(bool), crossed) if task.kind == "sigmoid" else None
    for seen, held in folds(targets, groups, _PARTS, seed):
        part = fit_temperature(logits[seen], targets[seen], task.kind)
        crossed[held] = probabilities(logits[held], part, task.kind)
    return Calibration(temperature, thresholds, crossed)
