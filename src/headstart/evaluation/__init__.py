"""Arrays in, evidence out: scores, intervals, calibration, abstention and paired comparison."""

from headstart.evaluation.abstention import AbstainRule, fit_abstain
from headstart.evaluation.calibration import (
    ReliabilityBin,
    fit_temperature,
    fit_thresholds,
    name_classes,
    probabilities,
    reliability,
)
from headstart.evaluation.comparison import PairedDifference, paired_difference
from headstart.evaluation.evidence import Task
from headstart.evaluation.metrics import METRICS, Metric, better, evaluate, score

__all__ = [
    "METRICS",
    "AbstainRule",
    "Metric",
    "PairedDifference",
    "ReliabilityBin",
    "Task",
    "better",
    "evaluate",
    "fit_abstain",
    "fit_temperature",
    "fit_thresholds",
    "name_classes",
    "paired_difference",
    "probabilities",
    "reliability",
    "score",
]
