"""How long a rung will take, from rates that a short measurement found here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from headstart.planning.rule_table import MOST_PRECISION_PASSES, PRECISION_PASSES
from headstart.training.finetuning.defaults import PRECISION_FEWEST_ROWS, PRECISION_SECONDS, PRECISION_SHARE


@dataclass(frozen=True)
class Rates:
    """How fast this machine is at one cut of one backbone.

    Attributes
    ----------
    startup:
        Seconds before the first image and after the last: imports, compiling, choosing a precision.
    trunk:
        Images a second of a new view: decoded, augmented and run through the frozen stages. At cut 0 it has no meaning.
    step:
        Images a second that are trained on above the cut; at cut 0 decoding and augmentation included.
    judge:
        Images a second that are only predicted above the cut.
    whole:
        Images a second, decoded and run through the whole compiled backbone.

    Raises
    ------
    ValueError
        If a rate is not above 0, or the startup below 0 or not finite.
    """

    startup: float
    trunk: float
    step: float
    judge: float
    whole: float

    def __post_init__(self) -> None:
        if not 0 <= self.startup < math.inf:
            raise ValueError(f"a startup of {self.startup} seconds can't be")
        for name in ("trunk", "step", "judge", "whole"):
            if not getattr(self, name) > 0:
                raise ValueError(f"a rate of {getattr(self, name)} images a second ({name}) can't be")


@dataclass(frozen=True)
class Work:
    """What a fine-tuning has to do.

    Attributes
    ----------
    train_rows, held_rows:
        Images that train, and that judge each epoch.
    embedded:
        Images that pass a whole compiled backbone: with each transform that is judged before the first training, and
        through the tuned one in the end.
    views:
        Different augmented views of the training rows that the trunk computes; 0 at cut 0.
    epochs:
        Passes over the training rows.
    judgings:
        Times that the held-out rows are predicted: the start, each epoch, and mixtures with the start.
    """

    train_rows: int
    held_rows: int
    embedded: int
    views: int
    epochs: int
    judgings: int


@dataclass(frozen=True)
class TimeForecast:
    """Seconds of a rung, part by part; ``seconds`` is their sum.

    The views are added in full: while a machine's processor computes them in the background, it trains slower by about
    as much.
    """

    startup: float
    views: float
    steps: float
    judging: float
    features: float
    seconds: float


def forecast_seconds(rates: Rates, work: Work) -> TimeForecast:
    """Add up what a fine-tuning takes."""
    views = work.views * work.train_rows / rates.trunk if work.views else 0.0
    steps = work.epochs * work.train_rows / rates.step
    # The held-out rows pass the frozen stages once, or at cut 0 are decoded every time, which the rate includes.
    clean = work.held_rows / rates.trunk if work.views else 0.0
    judging = clean + work.judgings * work.held_rows / rates.judge
    features = work.embedded / rates.whole
    total = rates.startup + views + steps + judging + features
    return TimeForecast(rates.startup, views, steps, judging, features, total)


def epochs_within(seconds: float, rates: Rates, work: Work) -> int:
    """The most epochs, up to ``work.epochs``, that fit into some seconds with a judging each; 0 where none does.

    Views and all that is not done once an epoch count in full.
    """
    once = forecast_seconds(rates, Work(*_without_epochs(work))).seconds
    an_epoch = work.train_rows / rates.step + work.held_rows / rates.judge
    return max(0, min(work.epochs, math.floor((seconds - once) / an_epoch + 1e-9)))


def choosing_seconds(step: float, images: int) -> float:
    """About what the choice of a precision takes before a training of so many images, at ``step`` of them a second.

    It starts in plain float32, which takes about twice as long as the fastest setting.
    """
    one = PRECISION_FEWEST_ROWS / step
    timed = PRECISION_SECONDS + MOST_PRECISION_PASSES * one
    return PRECISION_PASSES * one + min(timed, PRECISION_SHARE * 2 * images / step)


def _without_epochs(work: Work) -> tuple[int, int, int, int, int, int]:
    return work.train_rows, work.held_rows, work.embedded, work.views, 0, max(0, work.judgings - work.epochs)
