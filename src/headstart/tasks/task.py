"""The two tasks, single-label and multi-label classification, behind one interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from headstart.evaluation.calibration import name_classes

Floats = npt.NDArray[np.float64]


class Task(Protocol):
    """What the rest of headstart asks of a task.

    ``targets`` are class numbers (n,) for single-label and booleans (n, C) for multi-label classification;
    ``probabilities`` are float64 (n, C) in 0…1; ``thresholds`` are float64 (C,) or ``None``, and say how probabilities
    become decisions. For exclusive classes they may be costs (C, C), see
    :func:`headstart.evaluation.calibration.name_classes`.
    """

    name: Literal["classification", "multilabel"]
    kind: Literal["softmax", "sigmoid"]

    def encode(self, targets: npt.NDArray[np.generic], classes: int) -> Floats:
        """Targets as the linear fit takes them: float64 (n, C) of zeros and ones."""
        ...

    def correct(
        self, targets: npt.NDArray[np.generic], probabilities: Floats, thresholds: Floats | None
    ) -> npt.NDArray[np.bool_]:
        """Which rows (n,) are predicted wholly right."""
        ...

    def confidence(self, probabilities: Floats, thresholds: Floats | None) -> Floats:
        """How sure each prediction is: (n,) in 0…1."""
        ...

    def labels(
        self, probabilities: Floats, classes: Sequence[str], thresholds: Floats | None
    ) -> list[str] | list[list[str]]:
        """The predicted class name of each row, or the list of its names."""
        ...

    def names(self, targets: npt.NDArray[np.generic], classes: Sequence[str]) -> list[str] | list[list[str]]:
        """The true class name of each row, or the list of its names."""
        ...


class Classification:
    """Each image has one class.

    The prediction is the one of the largest probability over threshold, which is positive; with costs the one of least
    expected cost; without either the most probable one.
    """

    name: Literal["classification", "multilabel"] = "classification"
    kind: Literal["softmax", "sigmoid"] = "softmax"

    def encode(self, targets: npt.NDArray[np.generic], classes: int) -> Floats:
        return np.eye(classes)[targets.astype(np.int64)]

    def correct(
        self, targets: npt.NDArray[np.generic], probabilities: Floats, thresholds: Floats | None
    ) -> npt.NDArray[np.bool_]:
        return np.asarray(name_classes(probabilities, thresholds) == targets)

    def confidence(self, probabilities: Floats, thresholds: Floats | None) -> Floats:
        """The probability of the class that is named."""
        named = name_classes(probabilities, thresholds)
        return np.asarray(np.take_along_axis(probabilities, named[:, None], axis=1)[:, 0])

    def labels(
        self, probabilities: Floats, classes: Sequence[str], thresholds: Floats | None
    ) -> list[str] | list[list[str]]:
        return [classes[int(number)] for number in name_classes(probabilities, thresholds)]

    def names(self, targets: npt.NDArray[np.generic], classes: Sequence[str]) -> list[str] | list[list[str]]:
        return [classes[int(number)] for number in targets]


class Multilabel:
    """Each image has any number of labels; a label is predicted where its probability reaches its threshold."""

    name: Literal["classification", "multilabel"] = "multilabel"
    kind: Literal["softmax", "sigmoid"] = "sigmoid"

    def encode(self, targets: npt.NDArray[np.generic], classes: int) -> Floats:
        return targets.astype(np.float64)

    def correct(
        self, targets: npt.NDArray[np.generic], probabilities: Floats, thresholds: Floats | None
    ) -> npt.NDArray[np.bool_]:
        return np.asarray((_chosen(probabilities, thresholds) == targets.astype(bool)).all(1))

    def confidence(self, probabilities: Floats, thresholds: Floats | None) -> Floats:
        """The probability that the whole set is right, were the labels independent."""
        chosen = _chosen(probabilities, thresholds)
        return np.asarray(np.where(chosen, probabilities, 1 - probabilities).prod(1))

    def labels(
        self, probabilities: Floats, classes: Sequence[str], thresholds: Floats | None
    ) -> list[str] | list[list[str]]:
        return self.names(_chosen(probabilities, thresholds), classes)

    def names(self, targets: npt.NDArray[np.generic], classes: Sequence[str]) -> list[str] | list[list[str]]:
        return [[classes[int(number)] for number in np.flatnonzero(row)] for row in targets]


def _chosen(probabilities: Floats, thresholds: Floats | None) -> npt.NDArray[np.bool_]:
    return np.asarray(probabilities >= (0.5 if thresholds is None else thresholds))


TASKS: Mapping[str, Task] = {"classification": Classification(), "multilabel": Multilabel()}
