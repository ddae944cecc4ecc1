"""What models say of development rows that they had not seen: every row once, whichever rows judge the ladder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headstart.data.splits import folds
from headstart.training.calibrate import Calibration, calibrate
from headstart.training.examples import Examples
from headstart.training.strategies import STRATEGIES, Strategy, learn

FOLDS = 5

AUDITOR = STRATEGIES["linear_probe_all_stages"]
"""The probe that ranked swapped labels best in ``bench/planted_faults.py``."""


def cross_fitted(examples: Examples, *, seed: int, strategy: Strategy = AUDITOR) -> NDArray[np.float64]:
    """Calibrated out-of-fold probabilities of all rows, float64 (n, C).

    A validation split of the user's judges the ladder, and then the training rows have none: here every row is held out
    once. Rows that no fold can hold out, such as the only one of a class, are NaN.
    """
    pairs = folds(examples.targets, examples.groups, FOLDS, seed)
    if not pairs:
        return np.full((len(examples), examples.classes), np.nan)
    dealt = replace(examples, folds=tuple(pairs))
    logits, held = learn(strategy, dealt).logits, dealt.judged
    calibration = calibrate(logits[held], examples.targets[held], examples.groups[held], examples.task, seed)
    return known_of(dealt, calibration)


def known_of(examples: Examples, calibration: Calibration) -> NDArray[np.float64]:
    """Of all rows, float64 (n, C), the probabilities that a calibration gave those that its folds judged; else NaN."""
    found = np.full((len(examples), examples.classes), np.nan)
    found[examples.judged] = calibration.probabilities
    return found
