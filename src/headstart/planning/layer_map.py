"""Where features stop transferring: a probe on the pooled features of every stage alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.evaluation.comparison import PairedDifference, paired_difference
from headstart.evaluation.intervals import share_interval
from headstart.evaluation.scores import row_label_log_loss, row_log_loss
from headstart.planning.rule_table import FALSE_ALARM
from headstart.training.baselines import majority
from headstart.training.calibrate import calibrate
from headstart.training.examples import Examples
from headstart.training.probe import FOLD_TOLERANCE, choose
from headstart.training.strategies import Learned

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StageProbe:
    """What a probe on one stage's pooled features reaches on rows that it had not seen.

    Attributes
    ----------
    number, name:
        Of the stage, from 1 at the input, and what the backbone calls it.
    width:
        Columns that the probe reads.
    accuracy, accuracy_ci95:
        Share of the rows that are predicted wholly right, and its interval (over groups where there are some).
    log_loss:
        Mean over rows, at a cross-fitted temperature.
    saved:
        Nats a row that it saves against the best stage below it; ``None`` for the first.
    better:
        Whether that is more than noise.
    """

    number: int
    name: str
    width: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    log_loss: float
    saved: float | None
    better: bool


@dataclass(frozen=True)
class LayerMap:
    """All stages, from the input up.

    Attributes
    ----------
    transfers_to:
        Number of the last stage that beats all below it by more than noise; 0 where none beats the class frequencies.
    top_is_worse:
        Whether the last stage is worse than that one by more than noise.
    sentence:
        What that means, in plain words.
    """

    stages: tuple[StageProbe, ...]
    rows: int
    transfers_to: int
    top_is_worse: bool
    sentence: str


@dataclass(frozen=True, eq=False)
class _Probed:
    """Loss and correctness of each judged row by one stage's probe."""

    losses: Floats
    correct: npt.NDArray[np.bool_]


def map_layers(
    examples: Examples,
    names: Sequence[str],
    *,
    top: Learned | None = None,
    tolerance: float = FOLD_TOLERANCE,
    seed: int = 0,
) -> LayerMap:
    """Probe every stage on the folds of the examples, and say where features stop transferring.

    A stage counts as better than one below where the paired differences of their losses, resampled by rows or groups,
    prefer it in all but a share of the draws that :data:`FALSE_ALARM` leaves to each of the comparisons.

    Parameters
    ----------
    examples:
        Development rows with the pooled features of every stage, in the order of the stages.
    names:
        Of the stages, as many as the examples have outputs.
    top:
        What the linear probe found on the last output of the same rows, where it has been fitted already.
    tolerance:
        Of each fit, in nats, as :func:`headstart.training.probe.choose` takes it.

    Raises
    ------
    ValueError
        If there is not one name an output.
    """
    if len(names) != len(examples.columns):
        raise ValueError(f"there are {len(names)} names for the features of {len(examples.columns)} stages")
    judged = examples.judged
    groups, bound = examples.groups[judged], FALSE_ALARM / 2 / (len(names) + 1)
    best, best_number = _guess(examples), 0
    stages: list[StageProbe] = []
    for number, (output, name) in enumerate(zip(examples.columns, names, strict=True), start=1):
        known = top if number == len(names) else None
        found = _judged(examples, _logits(examples, output, tolerance) if known is None else known.logits, seed)
        difference = paired_difference(found.losses, best.losses, groups, seed)
        better = _is_less(difference, bound)
        where = examples.columns[output]
        stage = StageProbe(
            number,
            name,
            where.stop - where.start,
            float(found.correct.mean()),
            share_interval(found.correct, groups),
            float(found.losses.mean()),
            -difference.mean if stages else None,
            better,
        )
        stages.append(stage)
        if better:
            best, best_number = found, number
        last = found
    worse = best_number not in (0, len(stages)) and _is_less(
        paired_difference(best.losses, last.losses, groups, seed), bound
    )
    return LayerMap(tuple(stages), len(judged), best_number, worse, _sentence(stages, best_number, worse))


def _logits(examples: Examples, output: str, tolerance: float) -> Floats:
    """Logits (n, C) by models that had not seen the row."""
    rows, folds = examples.features([output]), list(examples.folds)
    return choose(rows, examples.encoded, folds, kind=examples.task.kind, tolerance=tolerance).oof_logits


def _judged(examples: Examples, logits: Floats, seed: int) -> _Probed:
    judged = examples.judged
    truth = examples.targets[judged]
    found = calibrate(logits[judged], truth, examples.groups[judged], examples.task, seed)
    correct = examples.task.correct(truth, found.probabilities, found.thresholds)
    return _Probed(_losses(examples, found.probabilities), correct)


def _guess(examples: Examples) -> _Probed:
    """What knows nothing but the class frequencies of each fold's training rows."""
    encoded = examples.encoded
    chance = np.empty(encoded.shape)
    for seen, held in examples.folds:
        chance[held] = majority(encoded[seen], len(held), examples.task.kind)
    chance = chance[examples.judged]
    correct = examples.task.correct(examples.targets[examples.judged], chance, None)
    return _Probed(_losses(examples, chance), correct)


def _losses(examples: Examples, probabilities: Floats) -> Floats:
    rows: Any = row_log_loss if examples.task.kind == "softmax" else row_label_log_loss
    return np.asarray(rows(examples.targets[examples.judged], probabilities))


def _is_less(difference: PairedDifference, bound: float) -> bool:
    return difference.mean < 0 and difference.ci95 is not None and difference.wins >= 1 - bound


def _sentence(stages: Sequence[StageProbe], best: int, worse: bool) -> str:
    top = stages[-1]
    if not best:
        return "No stage's features tell the classes apart better than guessing: the labels or the images don't fit."
    if best == len(stages):
        return (
            f"Features get better up to the top ({top.accuracy:.1%} right at stage {top.number}): they transfer all "
            "the way, and a probe on the top alone reads what there is."
        )
    found = stages[best - 1]
    where = f"stage {found.number} of {len(stages)} ({found.name}, {found.accuracy:.1%} right)"
    if worse:
        return (
            f"Features stop transferring after {where}: at the top they are worse ({top.accuracy:.1%}). Fine-tune the "
            "stages above it, or let a probe read all stages."
        )
    return (
        f"Features get better up to {where}; what the stages above it add is within noise "
        f"({top.accuracy:.1%} at the top)."
    )
