"""The ladder: race the strategies, cheap first, on rows that none of them has seen, and keep what is better."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstart.evaluation.comparison import paired_difference
from headstart.evaluation.metrics import better, score
from headstart.evaluation.scores import row_label_log_loss, row_log_loss
from headstart.planning.posterior import Gain
from headstart.training.calibrate import Calibration, Floats, calibrate
from headstart.training.examples import Examples
from headstart.training.probe import balanced_weights
from headstart.training.strategies import FINE_TUNED, STRATEGIES, Learned, Strategy, learn

# Metrics that count every class alike, however rare. A model that serves them has the worse log-loss over all rows, so
# under them a row's loss weighs as much as its class is rare.
CLASSES_ALIKE = ("balanced_accuracy", "macro_f1")


@dataclass(frozen=True)
class Rung:
    """One strategy that was tried.

    Attributes
    ----------
    score:
        The governing metric on validation rows.
    log_loss:
        Mean negative log-likelihood of the same rows, in nats.
    gain_ci95:
        95 % interval of the log-loss that it saves a row against the best before it, where the metric counts classes
        alike a row of classes of equal weight; ``None`` for the first.
    expected_gain:
        What trying it was expected to add to the best before it, in points or nats; ``None`` for the probes.
    gain:
        Over the linear probe, once it was judged; ``None`` for the probes.
    """

    strategy: str
    cut: int
    seconds: float
    score: float
    log_loss: float
    gain_ci95: tuple[float, float] | None
    decision: Literal["kept", "dropped"]
    reason: str
    expected_gain: float | None = None
    gain: Gain | None = None


@dataclass(frozen=True)
class LadderRecord:
    """``ladder.json``: every rung tried, and which one was chosen by which metric.

    Attributes
    ----------
    steps:
        Why each rung was tried, and why no other was.
    reason:
        Of the choice; empty where there was nothing to choose.
    """

    metric: str
    chosen: str
    rungs: tuple[Rung, ...]
    notes: tuple[str, ...]
    steps: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Climbed:
    """The best rung, its calibration on the judged rows, all that were tried by their titles, and the record."""

    best: Learned
    calibration: Calibration
    record: LadderRecord
    tried: Mapping[str, tuple[Learned, Calibration]]


def candidates(strategy: str, examples: Examples, metric: str) -> list[Strategy]:
    """The strategies to race for ``--strategy``: the named one, or for ``auto`` all of them.

    Where the metric counts every class alike and the classes are not equally frequent, each logistic strategy
    also races with balanced class weights.
    """
    if strategy in FINE_TUNED:
        strategy = "linear_probe"  # what it starts from, and is compared with
    named = list(STRATEGIES.values()) if strategy == "auto" else [STRATEGIES[strategy]]
    counts = examples.encoded.sum(0)
    if not _counts_classes_alike(examples, metric) or counts.max() == counts.min():
        return named
    weighted = [Strategy(s.name, s.features, s.method, "balanced") for s in named if s.method == "logistic"]
    return named + weighted


def climb(strategies: Sequence[Strategy], examples: Examples, *, metric: str, cut: int, seed: int) -> Climbed:
    """Race strategies on the folds of ``examples``.

    A strategy replaces the best before it when the metric is better and the log-loss, which is far less noisy on
    few rows, is not worse. Under a metric that counts classes alike, so does that log-loss.
    """
    best: tuple[Learned, Calibration, float, Floats] | None = None
    rungs: list[Rung] = []
    notes = []
    judged = examples.judged
    truth, groups = examples.targets[judged], examples.groups[judged]
    alike = _counts_classes_alike(examples, metric)
    weights = row_weights(examples, metric)
    tried = {}
    for strategy in strategies:
        started = time.perf_counter()
        learned = learn(strategy, examples)
        if not learned.converged:
            notes.append(f"{strategy.title}: a fit ended by its limit of iterations, short of the optimum")
        calibration = calibrate(learned.logits[judged], truth, groups, examples.task, seed)
        tried[strategy.title] = (learned, calibration)
        value = score(metric, examples.task.name, truth, calibration.probabilities, calibration.thresholds)
        losses = row_losses(examples, truth, calibration.probabilities)
        weighted = losses * weights
        kept, gain, reason = True, None, "the first rung"
        if best is not None:
            difference = paired_difference(best[3], weighted, groups, seed=seed)
            gain = difference.ci95
            kept, reason = _decide(metric, value, best[2], difference.mean, alike)
        seconds = time.perf_counter() - started
        decision: Literal["kept", "dropped"] = "kept" if kept else "dropped"
        rungs.append(Rung(strategy.title, cut, seconds, value, float(losses.mean()), gain, decision, reason))
        if kept:
            best = (learned, calibration, value, weighted)
    if best is None:
        raise ValueError("no strategy to race")
    record = LadderRecord(metric, best[0].strategy.title, tuple(rungs), tuple(notes))
    return Climbed(best[0], best[1], record, tried)


def row_weights(examples: Examples, metric: str) -> Floats:
    """What each judged row counts, of mean 1: where the metric counts classes alike, as much as its class is rare."""
    judged = examples.judged
    if _counts_classes_alike(examples, metric):
        return balanced_weights(examples.encoded[judged])
    return np.ones(len(judged))


def row_losses(examples: Examples, truth: npt.NDArray[Any], probabilities: Floats) -> Floats:
    """The log-loss of each row (n,) in nats, by the task's kind."""
    rows = row_log_loss if examples.task.kind == "softmax" else row_label_log_loss
    return rows(truth, probabilities)


def _counts_classes_alike(examples: Examples, metric: str) -> bool:
    return metric in CLASSES_ALIKE and examples.task.kind == "softmax"


def _decide(metric: str, value: float, best: float, saved: float, alike: bool) -> tuple[bool, str]:
    loss = f"{'class-balanced ' if alike else ''}log-loss {'lower' if saved > 0 else 'higher'} by {abs(saved):.4f}"
    difference = f"{metric} {value:.4f} against {best:.4f}, {loss}"
    if better(metric, value, best) and saved >= 0:
        return True, f"better than the best before it: {difference}"
    if not better(metric, best, value) and saved > 0:  # equal, or undefined on these rows
        return True, f"as good, and surer of it: {difference}"
    return False, f"not better than the best before it: {difference}"
