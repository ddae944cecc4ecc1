"""The fine-tuned rung: judged on the rows it was held back from, and compared with the probe it starts from."""

from __future__ import annotations

import csv
import dataclasses
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headstart.evaluation.comparison import paired_difference
from headstart.evaluation.metrics import score
from headstart.features.engine import CompiledTrunk
from headstart.features.table import FeatureTable
from headstart.planning.judging import TOP, Fitted, Judged
from headstart.planning.ladder import Climbed, LadderRecord, Rung, row_losses, score_interval
from headstart.training.calibrate import Calibration, calibrate
from headstart.training.examples import Examples
from headstart.training.strategies import Strategy

if TYPE_CHECKING:
    from headstart.training.finetuning.outcome import EpochRow
    from headstart.training.finetuning.wish import Tuned


@dataclass(frozen=True, eq=False)
class TunedRung:
    """A fine-tuned model, with everything that proves it.

    Attributes
    ----------
    compiled:
        The trunk of the tuned backbone.
    examples:
        The development rows with its features, in a table of their own.
    validation:
        The held-out rows as the model predicts them.
    augmentations:
        Draws a picture (PNG) of training images with their views.
    """

    tuned: Tuned
    compiled: CompiledTrunk
    examples: Examples
    fitted: Fitted
    validation: Judged
    record: LadderRecord
    augmentations: Callable[[], bytes]

    @property
    def kept_its_start(self) -> bool:
        """Whether no epoch was better than the probe that the training started from."""
        return self.tuned.best_epoch == 0 or self.tuned.coefficient == 0


def judge_tuned(
    tuned: Tuned,
    strategy: Strategy,
    climbed: Climbed,
    frozen: Examples,
    compiled: CompiledTrunk,
    table: FeatureTable,
    *,
    metric: str,
    seed: int,
    grouped: bool,
    given: bool,
    augmentations: Callable[[], bytes],
    seconds: float,
) -> TunedRung:
    """Calibrate on the held-out rows, through the engine that will predict, and compare with the probe on them.

    Parameters
    ----------
    climbed:
        The race of the probes on the same folds.
    frozen:
        The development rows with the features of the backbone as pretrained.
    given:
        Whether the held-out rows are the user's own validation split.
    table:
        The features of the tuned backbone, of the development rows in their order.
    augmentations:
        See :class:`TunedRung`.
    seconds:
        What the training took.
    """
    started = time.perf_counter()
    own = np.arange(len(frozen))
    examples = dataclasses.replace(frozen, table=table, places=own, columns=compiled.trunk.columns)
    held, head = frozen.folds[0][1], tuned.weights.head
    part = examples.subset(held, ())
    calibration = calibrate(head.logits(part.features(TOP)), part.targets, part.groups, part.task, seed)
    if tuned.thresholds is not None:  # classes were balanced
        calibration = dataclasses.replace(calibration, thresholds=np.array(tuned.thresholds))
    fitted = Fitted(strategy, head, calibration.temperature, calibration.thresholds)
    rung = _rung(tuned, strategy, calibration, climbed, part, held, metric, seed)
    seconds += time.perf_counter() - started
    record = dataclasses.replace(
        climbed.record,
        chosen=strategy.title,
        rungs=(*climbed.record.rungs, dataclasses.replace(rung, seconds=seconds)),
        notes=(*climbed.record.notes, *tuned.notes),
    )
    validation = Judged(
        "val",
        frozen.places[held],
        part.targets,
        part.groups if grouped else None,
        calibration.probabilities,
        calibration.thresholds,
        "held_out_rows" if given else "held_out_fold",
        {},
    )
    return TunedRung(tuned, compiled, examples, fitted, validation, record, augmentations)


def _rung(
    tuned: Tuned,
    strategy: Strategy,
    calibration: Calibration,
    climbed: Climbed,
    part: Examples,
    held: npt.NDArray[np.int64],
    metric: str,
    seed: int,
) -> Rung:
    probe = calibrate(climbed.best.logits[held], part.targets, part.groups, part.task, seed)
    before = row_losses(part, part.targets, probe.probabilities)
    after = row_losses(part, part.targets, calibration.probabilities)
    difference = paired_difference(before, after, part.groups, seed=seed)
    value = score(metric, part.task.name, part.targets, calibration.probabilities, calibration.thresholds)
    old = score(metric, part.task.name, part.targets, probe.probabilities, probe.thresholds)
    reason = (
        f"asked for; on the {len(held)} rows held out {metric} {value:.4f} against {old:.4f} of "
        f"{climbed.best.strategy.title}, log-loss {'lower' if difference.mean > 0 else 'higher'} "
        f"by {abs(difference.mean):.4f}"
    )
    correct = part.task.correct(part.targets, calibration.probabilities, calibration.thresholds)
    interval = score_interval(metric, correct, part.groups)
    rung = Rung(strategy.title, tuned.cut, 0.0, value, float(after.mean()), difference.ci95, "kept", reason)
    return dataclasses.replace(rung, rows=len(held), ci95=interval, precision=tuned.precision.name)


def history_csv(history: Sequence[EpochRow]) -> str:
    """``history.csv``: one line an epoch, epoch 0 being the start of each training."""
    buffer = io.StringIO()
    rows = [dataclasses.asdict(row) for row in history]
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows)
    return buffer.getvalue()
