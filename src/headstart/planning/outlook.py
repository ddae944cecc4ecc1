"""What the features tell beyond a plan's rungs: where they stop transferring, and whether more data would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart.planning.forecast import AccuracyForecast, forecast_accuracy, learning_curve
from headstart.planning.ladder import Climbed
from headstart.planning.layer_map import LayerMap, map_layers
from headstart.planning.plan import Decision
from headstart.planning.rule_table import CURVE_ROWS, FIRST, LEAST_OUTLOOK, MAPPED_ROWS, OUTLOOK_PER_CLASS
from headstart.training.examples import Examples

# In nats. On flowers5 and brain_mri4, fits at 1e-7 took twice as long; accuracies of stages moved by up to 1.2 points,
# and forecasts by 0.02 points.
TOLERANCE = 1e-4
# What the decision to leave it out is about.
KEY = "layer map and forecast"


@dataclass(frozen=True)
class Outlook:
    """What a plan tells beside its rungs.

    Attributes
    ----------
    layers, forecast:
        Both, or neither.
    decisions:
        Why there is neither; empty where there are both.
    """

    layers: LayerMap | None
    forecast: AccuracyForecast | None
    decisions: tuple[Decision, ...] = ()


NO_OUTLOOK = Outlook(None, None)


def look_ahead(
    examples: Examples, climbed: Climbed, stages: Sequence[str], *, seconds: float, seed: int = 0
) -> Outlook:
    """Map the stages, and forecast the linear probe's accuracy with more data.

    Parameters
    ----------
    examples:
        Development rows with the pooled features of every stage, in their order.
    climbed:
        The race of the probes on the same folds.
    stages:
        Their names, from the input up.
    seconds:
        What is left to spend; may be infinite. It decides whether there is an outlook, and nothing in it.
    """
    if reason := why_none(examples):
        return _none(reason)
    probes = sum(rung.seconds for rung in climbed.record.rungs)
    if seconds < LEAST_OUTLOOK + probes:
        return _none(f"both may take {LEAST_OUTLOOK + probes:.0f} s, and {seconds:.0f} s are left for all", seconds)
    learned, _ = climbed.tried[FIRST]
    layers = map_layers(_judging(examples, MAPPED_ROWS), stages, top=learned, tolerance=TOLERANCE, seed=seed)
    curve = learning_curve(_judging(examples, CURVE_ROWS), learned, tolerance=TOLERANCE, seed=seed)
    return Outlook(layers, forecast_accuracy(curve, len(examples), strategy=FIRST, seed=seed))


def why_none(examples: Examples) -> str:
    """Why these rows allow no outlook, whatever the time; empty where they do."""
    if examples.task.name == "multilabel":
        return "images with several labels are seldom right in all of them, and that share says too little"
    fewest = int(np.asarray(examples.encoded.sum(axis=0)).min())
    if fewest < OUTLOOK_PER_CLASS:
        return f"the smallest class has {fewest} images, and {OUTLOOK_PER_CLASS} are needed to judge each class"
    return ""


def _judging(examples: Examples, rows: int) -> Examples:
    """The examples with the first folds only, which hold at least so many rows or are all."""
    before = np.cumsum([0, *(len(held) for _, held in examples.folds)])[:-1]
    return replace(examples, folds=examples.folds[: int(np.sum(before < rows))])


def _none(reason: str, seconds: float | None = None) -> Outlook:
    numbers = {} if seconds is None else {"seconds_left": seconds}
    decision = Decision(KEY, "empirical", "left out", reason, numbers, by_clock=seconds is not None)
    return Outlook(None, None, (decision,))
