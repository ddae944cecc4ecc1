"""What a plan rests on: the situation of the data, and how fast this machine is at each cut."""

from __future__ import annotations

import time

import numpy as np

from headstart.backbones.backbone import Backbone
from headstart.data import Dataset
from headstart.features.engine import CompiledTrunk
from headstart.imaging import load_view
from headstart.planning.empirical_rules import Timing, cuts_of, rung_in_full
from headstart.planning.fingerprint import Fingerprint
from headstart.planning.ladder import Climbed, row_losses, row_weights
from headstart.planning.plan import PlannedRung
from headstart.planning.rule_table import FINE_TUNING_STARTUP, FIRST, VIEWS
from headstart.planning.situation import ProbeScore, Situation
from headstart.planning.time_forecast import Rates, Work, choosing_seconds
from headstart.training.baselines import majority
from headstart.training.examples import Examples
from headstart.training.finetuning.defaults import AUGMENT, EPOCHS, WISE_COEFFICIENTS
from headstart.training.finetuning.setting import find_setting
from headstart.training.finetuning.view_policy import Policy, needed
from headstart.training.finetuning.watch import improvement

# Images that the compiled trunk is timed on, and how often.
_TIMED, _PASSES = 32, 3


def situation_of(
    fingerprint: Fingerprint,
    examples: Examples,
    climbed: Climbed,
    backbone: Backbone,
    *,
    given: bool,
    trainable: bool,
) -> Situation:
    """Everything that a rule may look at, once the probes have run.

    Parameters
    ----------
    fingerprint, examples:
        Of the development rows.
    given:
        Whether the held-out rows are the user's own validation split.
    trainable:
        Whether what fine-tuning needs is installed.
    """
    counts = examples.encoded.sum(0)
    preprocessing = backbone.preprocessing
    return Situation(
        task=examples.task.name,
        rows=len(examples),
        classes=examples.classes,
        class_min=int(counts.min()),
        class_median=float(np.median(counts)),
        class_max=int(counts.max()),
        groups=len(np.unique(examples.groups)),
        validation_rows=len(examples.judged) if given else 0,
        gap=fingerprint.gap,
        probe=_probe(climbed, examples),
        crop_loss=max(0.0, 1 - fingerprint.crop.kept.median / preprocessing.crop**2),
        stages=len(backbone.stages),
        image_size=preprocessing.size,
        aspect=preprocessing.aspect,
        trainable=trainable,
    )


def timings_of(dataset: Dataset, examples: Examples, backbone: Backbone, compiled: CompiledTrunk) -> dict[int, Timing]:
    """Of each cut that a plan may race: how fast it is here, and what a whole fine-tuning there has to do."""
    cuts = cuts_of(len(backbone.stages))
    return {
        cut: timing_of(rung_in_full(cut), dataset, examples, backbone, compiled, first=cut == cuts[0]) for cut in cuts
    }


def timing_of(
    rung: PlannedRung,
    dataset: Dataset,
    examples: Examples,
    backbone: Backbone,
    compiled: CompiledTrunk,
    *,
    first: bool = True,
) -> Timing:
    """How fast the cut of a rung is here, and what the rung has to do; takes a second or two.

    Parameters
    ----------
    first:
        Whether no rung was trained before it, so that the transforms have yet to be judged.
    """
    from headstart.training.finetuning.speed import suffix_speed
    from headstart.training.finetuning.start import images_judged

    train, held = examples.folds[0]
    setting = None if rung.precision is None else find_setting(rung.precision)
    whole, speed = _whole_rate(dataset, backbone, compiled), suffix_speed(backbone, rung.cut, setting)
    epochs = rung.epochs or EPOCHS
    choosing = choosing_seconds(speed.step, epochs * len(train)) if setting is None else 0.0
    rates = Rates(FINE_TUNING_STARTUP + choosing, trunk=whole, step=speed.step, judge=speed.judge, whole=whole)
    judged = images_judged(rung.augment or AUGMENT, backbone.preprocessing, len(train)) if first else 0
    views = len(needed(Policy("rolling", rung.views or VIEWS), epochs)) if rung.cut else 0
    judgings = 1 + epochs + len(WISE_COEFFICIENTS) - 2
    return Timing(rates, Work(len(train), len(held), judged + len(examples), views, epochs, judgings))


def _probe(climbed: Climbed, examples: Examples) -> ProbeScore:
    judged, scores = examples.judged, climbed.scores[FIRST]
    rows, right, losses = len(judged), scores.correct[judged], scores.losses[judged]
    patterns = np.unique(examples.encoded[judged], axis=0, return_counts=True)[1]
    chance = row_losses(examples, examples.targets[judged], majority(examples.encoded, rows, examples.task.kind))
    return ProbeScore(
        accuracy=float(right.mean()),
        log_loss=float(losses.mean()),
        rows=rows,
        majority=float(patterns.max() / rows),
        chance_loss=float(chance.mean()),
        saved_error=improvement(chance, losses, examples.groups[judged]).standard_error,
        counted_accuracy=float((right * row_weights(examples, climbed.record.metric)).mean()),
    )


def _whole_rate(dataset: Dataset, backbone: Backbone, compiled: CompiledTrunk) -> float:
    """Images a second, decoded by one thread and run through the compiled trunk; both work at once in earnest.

    The fastest of a few passes: the first one reads files that nobody has read yet, and threads that end other work
    slow the next.
    """
    some, slower = range(min(_TIMED, len(dataset))), []
    for _ in range(_PASSES):
        started = time.perf_counter()
        images = np.stack([load_view(dataset.read(i), backbone.preprocessing, dataset.files[i]) for i in some])
        decoded = time.perf_counter()
        compiled(images)
        slower.append(max(decoded - started, time.perf_counter() - decoded))
    return len(some) / min(slower)
