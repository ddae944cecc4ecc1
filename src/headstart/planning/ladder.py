"""The ladder: race the strategies, cheap first, on rows that none of them has seen, and keep what is better."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstart.evaluation.comparison import paired_difference
from headstart.evaluation.intervals import Interval, share_interval
from headstart.evaluation.metrics import better, score
from headstart.evaluation.scores import row_label_log_loss, row_log_loss
from headstart.planning.posterior import Gain, RowScores
from headstart.planning.refolding import dealt
from headstart.runs.budget import Left, no_end
from headstart.training.calibrate import Calibration, Floats, calibrate
from headstart.training.examples import Examples
from headstart.training.probe import balanced_weights
from headstart.training.strategies import FINE_TUNED, STRATEGIES, Learned, Strategy, learn, outputs_of

# Metrics that count every class alike, however rare. A model that serves them has the worse log-loss over all rows, so
# under them a row's loss weighs as much as its class is rare.
CLASSES_ALIKE = ("balanced_accuracy", "macro_f1")


@dataclass(frozen=True)
class Rung:
    """One strategy that was tried.

    Attributes
    ----------
    score:
        The governing metric on validation rows; where their folds were dealt several times, the mean over the deals.
    log_loss:
        Mean negative log-likelihood of the same rows, in nats; likewise.
    gain_ci95:
        95 % interval of the log-loss that it saves a row against the best before it, where the metric counts classes
        alike a row of classes of equal weight; ``None`` for the first.
    expected_gain:
        What trying it was expected to add to the best before it, in points or nats; ``None`` for the probes.
    gain:
        Over the linear probe, once it was judged; ``None`` for the probes.
    rows:
        How many were judged: rungs that train stages are judged on one fold.
    ci95:
        95 % interval of the score where that is the accuracy; others would need a bootstrap.
    precision:
        How the network computed while it trained; ``None`` for the probes.
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
    rows: int | None = None
    ci95: tuple[float, float] | None = None
    precision: str | None = None


@dataclass(frozen=True)
class LadderRecord:
    """``ladder.json``: every rung tried, and which one was chosen by which metric.

    Attributes
    ----------
    steps:
        Why each rung was tried, and why no other was.
    reason:
        Of the choice; empty where there was nothing to choose.
    by_clock:
        Whether the budget kept rungs from being tried, or from all their epochs: more time may choose otherwise.
    """

    metric: str
    chosen: str
    rungs: tuple[Rung, ...]
    notes: tuple[str, ...]
    steps: tuple[str, ...] = ()
    reason: str = ""
    by_clock: bool = False


@dataclass(frozen=True)
class Climbed:
    """Who won a race, and what it rests on.

    Attributes
    ----------
    best, calibration:
        The best rung, and its calibration on the judged rows. Where the folds were dealt several times, the penalty is
        the middle one of those found, temperature and thresholds are means, and logits and probabilities are those of
        the first deal: of a single model a row, as a mean of several would flatter.
    tried:
        The same of every strategy, by its title.
    scores:
        What each did on each row: means over the deals.
    """

    best: Learned
    calibration: Calibration
    record: LadderRecord
    tried: Mapping[str, tuple[Learned, Calibration]]
    scores: Mapping[str, RowScores]

    def choosing(self, title: str) -> Climbed:
        """The same race with one of those that were tried as the best."""
        best, calibration = self.tried[title]
        return dataclasses.replace(self, best=best, calibration=calibration)


@dataclass(frozen=True, eq=False)
class _Judged:
    """A strategy on one deal of the folds, or the mean over several; ``score`` is the governing metric."""

    learned: Learned
    calibration: Calibration
    score: float
    rows: RowScores


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


def climb(
    strategies: Sequence[Strategy], examples: Examples, *, metric: str, cut: int, seed: int, left: Left = no_end
) -> Climbed:
    """Race strategies on the folds of ``examples``; small data is dealt into folds several times.

    A strategy replaces the best before it when the metric is better and the log-loss, which is far less noisy on
    few rows, is not worse. Under a metric that counts classes alike, so does that log-loss.

    Parameters
    ----------
    left:
        Tells the seconds that are left. A strategy that is expected to take longer is left out, once
        :data:`headstart.planning.rule_table.FIRST` has run, and so are penalties.
    """
    return race(strategies, dealt(examples, seed), metric=metric, cut=cut, seed=seed, left=left)


def race(
    strategies: Sequence[Strategy],
    deals: Sequence[Examples],
    *,
    metric: str,
    cut: int,
    seed: int,
    left: Left = no_end,
) -> Climbed:
    """Race strategies as :func:`climb` does, on the same rows with one or several deals of their folds.

    Losses are averaged over the deals row by row, so that strategies are still compared on the same rows.
    """
    examples = deals[0]
    judged = examples.judged
    groups, weights = examples.groups[judged], row_weights(examples, metric)
    alike = _counts_classes_alike(examples, metric)
    best: _Judged | None = None
    rungs: list[Rung] = []
    notes = [] if len(deals) == 1 else [_dealt_note(examples, len(deals))]
    tried: dict[str, _Judged] = {}
    late: list[str] = []
    a_column = 0.0  # seconds of a logistic fit for each column of its features
    for strategy in strategies:
        started, seconds_left = time.perf_counter(), left()
        expected = a_column * _columns(strategy, examples)
        if expected > seconds_left:
            takes = f"it would take about {expected:.0f} s, and {seconds_left:.0f} s are left"
            late.append(f"{strategy.title} is left out: {takes}")
            continue
        found = _mean([_judge(strategy, deal, metric, seed, left) for deal in deals])
        if not found.learned.converged:
            notes.append(f"{strategy.title}: a fit ended by its limit of iterations, short of the optimum")
        if found.learned.out_of_time:
            late.append(f"{strategy.title}: the time was over before weaker penalties could be tried")
        tried[strategy.title] = found
        losses = found.rows.losses[judged]
        kept, gain, reason = True, None, "the first rung"
        if best is not None:
            difference = paired_difference(best.rows.losses[judged] * weights, losses * weights, groups, seed=seed)
            gain = difference.ci95
            kept, reason = _decide(metric, found.score, best.score, difference.mean, alike)
        seconds = time.perf_counter() - started
        if strategy.method == "logistic":
            a_column = seconds / _columns(strategy, examples)
        decision: Literal["kept", "dropped"] = "kept" if kept else "dropped"
        rung = Rung(strategy.title, cut, seconds, found.score, float(losses.mean()), gain, decision, reason)
        interval = score_interval(metric, found.rows.correct[judged], groups)
        rungs.append(dataclasses.replace(rung, rows=len(judged), ci95=interval))
        best = found if kept else best
    if best is None:
        raise ValueError("no strategy to race")
    chosen = best.learned.strategy.title
    record = LadderRecord(metric, chosen, tuple(rungs), tuple(notes), tuple(late), by_clock=bool(late))
    pairs = {title: (found.learned, found.calibration) for title, found in tried.items()}
    return Climbed(best.learned, best.calibration, record, pairs, {title: found.rows for title, found in tried.items()})


def _columns(strategy: Strategy, examples: Examples) -> int:
    """How many features a strategy reads."""
    read = [examples.columns[name] for name in outputs_of(strategy, examples.columns)]
    return sum(columns.stop - columns.start for columns in read)


def score_interval(metric: str, correct: npt.NDArray[Any], groups: npt.NDArray[np.int64]) -> Interval | None:
    """The 95 % interval of a rung's score, from whether each judged row is right; ``None`` but for the accuracy."""
    return share_interval(correct, groups) if metric == "accuracy" else None


def _dealt_note(examples: Examples, count: int) -> str:
    few = "few images judge" if len(np.unique(examples.groups)) == len(examples) else "few groups of images judge"
    return f"{few}, so their folds were dealt {count} times: scores of probes are means over these"


def _judge(strategy: Strategy, examples: Examples, metric: str, seed: int, left: Left) -> _Judged:
    """A strategy on one deal of the folds."""
    learned, judged = learn(strategy, examples, left), examples.judged
    truth = examples.targets[judged]
    calibration = calibrate(learned.logits[judged], truth, examples.groups[judged], examples.task, seed)
    chances, thresholds = calibration.probabilities, calibration.thresholds
    value = score(metric, examples.task.name, truth, chances, thresholds)
    return _Judged(learned, calibration, value, row_scores(examples, judged, chances, thresholds))


def _mean(found: Sequence[_Judged]) -> _Judged:
    """The mean over deals of what is judged and of what the final model takes over; predictions stay the first's."""
    first = found[0]
    if len(found) == 1:
        return first
    penalty, thresholds = first.learned.penalty, first.calibration.thresholds
    if penalty is not None:  # the middle one of those found: on the path of penalties, and not moved by a stray one
        penalty = sorted(one.learned.penalty or 0.0 for one in found)[len(found) // 2]
    if thresholds is not None:
        limits = [one.calibration.thresholds for one in found if one.calibration.thresholds is not None]
        thresholds = np.asarray(np.mean(limits, axis=0))
    temperature = float(np.exp(np.mean([np.log(one.calibration.temperature) for one in found])))
    converged = all(one.learned.converged for one in found)
    out_of_time = any(one.learned.out_of_time for one in found)
    return _Judged(
        dataclasses.replace(first.learned, penalty=penalty, converged=converged, out_of_time=out_of_time),
        dataclasses.replace(first.calibration, temperature=temperature, thresholds=thresholds),
        float(np.mean([one.score for one in found])),
        RowScores(
            _mean_where_first([one.rows.losses for one in found]),
            _mean_where_first([one.rows.correct for one in found]),
        ),
    )


def _mean_where_first(values: Sequence[Floats]) -> Floats:
    """Of each row that the first deal judges, the mean over the deals that judge it; NaN elsewhere."""
    stacked = np.stack(values)
    known = np.isfinite(stacked)
    return np.where(known[0], np.where(known, stacked, 0.0).sum(0) / np.maximum(known.sum(0), 1), np.nan)


def row_scores(
    examples: Examples, rows: npt.NDArray[np.int64], probabilities: Floats, thresholds: Floats | None
) -> RowScores:
    """Log-loss and correctness of some rows, NaN for the others."""
    truth = examples.targets[rows]
    losses, correct = np.full(len(examples), np.nan), np.full(len(examples), np.nan)
    losses[rows] = row_losses(examples, truth, probabilities)
    correct[rows] = examples.task.correct(truth, probabilities, thresholds)
    return RowScores(losses, correct)


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
