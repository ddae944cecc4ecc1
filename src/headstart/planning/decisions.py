"""How the model that is kept decides: by the costs of mistakes, at the metric's operating point, or as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart.data import Dataset
from headstart.errors import OptionError
from headstart.evaluation.costs import Costs, read_costs
from headstart.evaluation.metrics import check_metric, point_of
from headstart.evaluation.operating_points import threshold_at
from headstart.planning.finalist import Finalist
from headstart.planning.options import Options
from headstart.training.calibrate import Floats


def check_decisions(options: Options, dataset: Dataset) -> Costs | None:
    """The costs that the options name; raises :class:`OptionError` where they, or the metric, don't fit the data."""
    check_metric(options.metric, dataset.task, len(dataset.classes))
    if options.costs is None:
        return None
    if dataset.task == "multilabel":
        raise OptionError("--costs are for one class an image, and these images have several labels: leave it out")
    costs = read_costs(Path(options.costs))
    costs.check(dataset.classes, options.costs)
    return costs


@dataclass(frozen=True)
class Decider:
    """What decides between the given classes under the options; see :data:`headstart.planning.judging.Decide`."""

    metric: str
    costs: Costs | None
    classes: Sequence[str]

    def __call__(self, targets: npt.NDArray[np.generic], probabilities: Floats, usual: Floats | None) -> Floats | None:
        """Costs come first; then the threshold that the metric holds on these rows; else what is usual."""
        if self.costs is not None:
            return self.costs.among(self.classes)
        point = point_of(self.metric)
        positive = np.asarray(targets == 1)
        if point is None or positive.all() or not positive.any():
            return usual
        threshold = min(max(threshold_at(positive, probabilities[:, 1], *point), 1e-9), 1 - 1e-9)
        return np.array([1 - threshold, threshold])

    def of(self, finalist: Finalist) -> Finalist:
        """The same model, deciding so; the rows that judged it choose the threshold."""
        judged = finalist.validation
        rule = self(judged.targets, judged.probabilities, finalist.fitted.thresholds)
        return dataclasses.replace(
            finalist,
            fitted=dataclasses.replace(finalist.fitted, thresholds=rule),
            validation=dataclasses.replace(judged, thresholds=rule),
        )
