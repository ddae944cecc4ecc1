"""One rung of fine-tuning: a backbone and its labelled rows in, tuned weights and their evidence out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np

from headstart.features.table import FeatureTable
from headstart.runs.progress import SilentProgress
from headstart.training.finetuning.augmentation import Augmenter
from headstart.training.finetuning.contact_sheet import contact_sheet
from headstart.training.finetuning.devices import on_devices
from headstart.training.finetuning.outcome import EpochRow
from headstart.training.finetuning.session import Session
from headstart.training.finetuning.start import harmful_transforms, starting_head
from headstart.training.finetuning.team import ALONE, Reports, Team
from headstart.training.finetuning.wish import Ground, Tuned, Wish, check_wish
from headstart.training.linear import LinearModel

Tell = Callable[[EpochRow], None]
_SHOWN = 6
# Presets in the order of their strength.
_STRONGER = ("none", "light", "medium", "strong")


def fine_tune(ground: Ground, wish: Wish, *, tell: Tell = lambda row: None) -> Tuned:
    """Train what lies above the cut, from the probe on.

    With several devices ``tell`` and the ground's ``say``, ``progress`` and ``stop`` are called in this process, and
    the rest of the ground must pickle.

    Raises
    ------
    OptionError
        If the backbone has no such cut, the batch is larger than the training rows, or there are not so many devices.
    """
    check_wish(wish, stages=len(ground.backbone.stages), rows=len(ground.fold[0]))
    head = starting_head(ground, wish)
    tuned = _try(ground, wish, head, tell)
    return _held_back(ground, wish, head, tell, tuned) if wish.auto and tuned.overfitted else tuned


def _try(ground: Ground, wish: Wish, head: LinearModel, tell: Tell) -> Tuned:
    """One fine-tuning, in this process or in several."""
    without, sentences = harmful_transforms(ground, wish)
    reports = Reports(ground.say, tell, ground.progress, ground.stop)
    if wish.devices == 1:
        tuned = _train(ground, wish, head, without, ALONE, reports)
    else:
        tuned = on_devices(partial(_train, _without_features(ground), wish, head, without), wish.devices, reports)
    return dataclasses.replace(tuned, without=without, notes=(*sentences, *tuned.notes))


def _train(
    ground: Ground, wish: Wish, head: LinearModel, without: frozenset[str], team: Team, reports: Reports
) -> Tuned:
    """What each process does."""
    ground = dataclasses.replace(ground, say=reports.say, progress=reports.progress, stop=reports.stop)
    augmenter = Augmenter(wish.augment, ground.backbone.preprocessing, seed=wish.recipe.seed, without=without)
    session = Session(ground, wish, augmenter, reports.tell, team)
    if wish.strategy == "progressive":
        return session.progress_down(head)
    return session.train(check_wish(wish, stages=len(ground.backbone.stages), rows=len(ground.fold[0])), head, {})


def _held_back(ground: Ground, wish: Wish, head: LinearModel, tell: Tell, first: Tuned) -> Tuned:
    """Train again, from the same start, where the network learnt its images by heart; the better of both."""
    milder = held_back(wish, first.cut, len(ground.backbone.stages))
    if milder is None:
        note = "--auto: there is no stronger augmentation and no higher cut left to hold this training back with"
        return dataclasses.replace(first, notes=(*first.notes, note))
    folder = None if ground.folder is None else ground.folder / "held-back"
    if folder is not None:
        folder.mkdir(exist_ok=True)
    how = f"above cut {milder.cut} " if milder.strategy == "partial" else ""
    ground.say(f"the images were learnt by heart: trained again {how}with {milder.augment} augmentation (--auto)")
    second = _try(dataclasses.replace(ground, folder=folder), milder, head, tell)
    better = second.losses.mean() < first.losses.mean()
    outcome = "the second is kept" if better else "that did no better, so the first is kept"
    note = (
        f"--auto: trained again {how}with {milder.augment} augmentation; validation loss {first.losses.mean():.4f} "
        f"before and {second.losses.mean():.4f} after: {outcome}"
    )
    best = second if better else first
    notes = (*first.notes, *(note for note in second.notes if note not in first.notes), note)
    late = first.out_of_time or second.out_of_time
    return dataclasses.replace(best, history=(*first.history, *second.history), notes=notes, out_of_time=late)


def held_back(wish: Wish, cut: int, stages: int) -> Wish | None:
    """A wish that overfits less: one stage more frozen, where that is ours to choose, and stronger augmentation."""
    augment = wish.augment
    if augment in _STRONGER[:-1]:
        augment = _STRONGER[_STRONGER.index(augment) + 1]
    milder = dataclasses.replace(wish, augment=augment, auto=False)
    if wish.strategy in ("partial", "full") and cut + 1 < stages:
        milder = dataclasses.replace(milder, strategy="partial", cut=cut + 1)
    return None if dataclasses.replace(milder, auto=True) == wish else milder


def _without_features(ground: Ground) -> Ground:
    """What other processes need of the ground: all but the features, which the head was fitted on, and the reports."""
    examples = dataclasses.replace(ground.examples, table=FeatureTable.from_array(np.empty((0, 0), np.float32)))
    silent = dataclasses.replace(ground, examples=examples, say=print, progress=SilentProgress())
    return dataclasses.replace(silent, stop=bool, ends=_never)


def _never(seconds: float) -> bool:
    """Time is counted in one process only: several would not agree."""
    return False


def contact_sheet_of(ground: Ground, wish: Wish, tuned: Tuned) -> bytes:
    """``augmentations.png``: some training images, each with views as the training saw them."""
    preprocessing, seed = ground.backbone.preprocessing, wish.recipe.seed
    augmenter = Augmenter(tuned.augment, preprocessing, seed=seed, without=tuned.without)
    train = ground.fold[0]
    chosen = train[np.unique(np.linspace(0, len(train) - 1, _SHOWN).astype(int))]
    return contact_sheet([(ground.images.read(i), ground.images.names[i]) for i in chosen.tolist()], augmenter)
