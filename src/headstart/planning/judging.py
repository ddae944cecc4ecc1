"""How good the result is: validation, test, the nested estimate that replaces a test, and the baselines beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.auditing.cross_fit import AUDITOR, cross_fitted, known_of
from headstart.data.splits import folds
from headstart.errors import DataError
from headstart.evaluation.calibration import fit_temperature, probabilities
from headstart.evaluation.metrics import evaluate, score
from headstart.planning.ladder import Climbed, climb
from headstart.planning.rule_table import NESTED_FOLDS, REFITTING
from headstart.runs.budget import Left, at_least, no_end
from headstart.tasks import Task
from headstart.training.baselines import fit_knearest, majority
from headstart.training.calibrate import Floats
from headstart.training.examples import Examples, Ints, features_of
from headstart.training.linear import LinearModel
from headstart.training.strategies import STRATEGIES, Strategy, learn, outputs_of, refit

TOP = ("features",)

Decide = Callable[[npt.NDArray[np.generic], Floats, Floats | None], Floats | None]
"""Targets and probabilities of rows that chose a model, and how it would decide → how it decides."""


@dataclass(frozen=True)
class Judged:
    """Rows with their truth, and what models that had not seen them say.

    Attributes
    ----------
    split:
        ``val`` or ``test``.
    places:
        Which rows of the data set these are, int64 (n,).
    groups:
        int64 (n,), or ``None`` where every row stands for itself.
    probabilities:
        float64 (n, C), calibrated.
    thresholds:
        float64 (C,), or costs (C, C), or ``None``: how probabilities become decisions, see
        :class:`headstart.tasks.Task`.
    estimate:
        ``held_out_rows``, ``out_of_fold`` or ``nested_out_of_fold``.
    baselines:
        Name → probabilities (n, C) of the baselines fitted on the same rows.
    """

    split: str
    places: Ints
    targets: npt.NDArray[np.generic]
    groups: Ints | None
    probabilities: Floats
    thresholds: Floats | None
    estimate: str
    baselines: dict[str, Floats]

    def scores(self, task: Task, classes: Sequence[str], seed: int, metric: str = "accuracy") -> dict[str, Any]:
        """The keys of a split in ``metrics.json``, the governing metric among them."""
        scores = evaluate(
            task.name,
            self.targets,
            self.probabilities,
            classes,
            groups=self.groups,
            thresholds=self.thresholds,
            seed=seed,
            metric=metric,
        )
        return {"n": scores["n"], "estimate": self.estimate, **scores}


@dataclass(frozen=True)
class Fitted:
    """A head with the calibration that turns its logits into probabilities."""

    strategy: Strategy
    head: LinearModel
    temperature: float
    thresholds: Floats | None

    def predict(self, examples: Examples, places: Ints) -> Floats:
        """Calibrated probabilities, float64 (n, C), of some rows of the table."""
        outputs = outputs_of(self.strategy, examples.columns)
        logits = self.head.logits(features_of(examples.table, places, examples.columns, outputs))
        return probabilities(logits, self.temperature, examples.task.kind)


def refit_best(climbed: Climbed, examples: Examples, left: Left = no_end) -> Fitted:
    """One fit on all development rows, which takes over the out-of-fold temperature and thresholds.

    ``left`` tells the seconds that are left for it: see :func:`headstart.training.strategies.refit`. It always has
    :data:`headstart.planning.rule_table.REFITTING`.
    """
    calibration = climbed.calibration
    head = refit(climbed.best, examples, at_least(REFITTING, left))
    return Fitted(climbed.best.strategy, head, calibration.temperature, calibration.thresholds)


def judge_validation(climbed: Climbed, examples: Examples, *, grouped: bool, given: bool) -> Judged:
    """The rows that judged the ladder. ``given`` says that they are the user's own validation split."""
    judged = examples.judged
    return Judged(
        "val",
        examples.places[judged],
        examples.targets[judged],
        examples.groups[judged] if grouped else None,
        climbed.calibration.probabilities,
        climbed.calibration.thresholds,
        "held_out_rows" if given else "out_of_fold",
        {},
    )


def unseen_chances(climbed: Climbed, examples: Examples, seed: int) -> Floats:
    """What models say of rows that they had not seen, float64 (n, C): of the race where its folds judged, else anew.

    Rows that the race could not judge are NaN; where the time was over during the race, these are all but its own.
    """
    raced = climbed.tried.get(AUDITOR.title)
    if climbed.record.by_clock:  # whatever did not run would take too long here too
        raced = raced or (climbed.best, climbed.calibration)
    elif len(examples.folds) == 1:
        raced = None
    return cross_fitted(examples, seed=seed) if raced is None else known_of(examples, raced[1])


def judge_test(
    predicted: Floats,
    thresholds: Floats | None,
    places: Ints,
    targets: npt.NDArray[np.generic],
    groups: Ints | None,
    *,
    frozen: Examples,
) -> Judged:
    """The test rows, met here for the first time, and the baselines fitted on the development rows.

    ``predicted`` (n, C) are the model's probabilities; ``frozen`` has the features of the backbone as pretrained, for
    baselines.
    """
    return Judged(
        "test",
        places,
        targets,
        groups,
        predicted,
        thresholds,
        "held_out_rows",
        _baselines(frozen, places),
    )


def judge_nested(
    strategies: Sequence[Strategy],
    examples: Examples,
    *,
    metric: str,
    seed: int,
    grouped: bool,
    decide: Decide = lambda targets, probabilities, usual: usual,
) -> Judged:
    """Out-of-fold predictions of the whole procedure, choice of strategy and calibration included.

    For data too few to hold a test split out: each of five folds is predicted by a model that was chosen, fitted and
    calibrated on the other four (nested cross-validation, Varma and Simon 2006). A fold is skipped where the other four
    leave nothing to hold out for a choice. How probabilities become decisions is the mean over the folds.

    Raises
    ------
    DataError
        If that is so in all folds.
    """
    found = np.full((len(examples), examples.classes), np.nan)
    thresholds: list[Floats] = []
    baselines: dict[str, Floats] = {}
    for seen, held in folds(examples.targets, examples.groups, NESTED_FOLDS, seed):
        inner = folds(examples.targets[seen], examples.groups[seen], NESTED_FOLDS, seed)
        if not inner:
            continue
        part = examples.subset(seen, inner)
        climbed = climb(strategies, part, metric=metric, cut=0, seed=seed)
        fitted = refit_best(climbed, part)
        found[held] = fitted.predict(part, examples.places[held])
        rule = decide(part.targets[part.judged], climbed.calibration.probabilities, fitted.thresholds)
        if rule is not None:
            thresholds.append(rule)
        for name, rows in _baselines(part, examples.places[held]).items():
            baselines.setdefault(name, np.full_like(found, np.nan))[held] = rows
    judged = np.flatnonzero(np.isfinite(found).all(1))
    if not len(judged):
        raise DataError(f"{len(examples)} images are too few to judge a model that is fitted on them: label more")
    return Judged(
        "test",
        examples.places[judged],
        examples.targets[judged],
        examples.groups[judged] if grouped else None,
        found[judged],
        np.mean(thresholds, axis=0) if thresholds else None,
        "nested_out_of_fold",
        {name: rows[judged] for name, rows in baselines.items()},
    )


def _baselines(examples: Examples, places: Ints) -> dict[str, Floats]:
    """What needs no training: the most frequent class, the nearest neighbours, the nearest class mean."""
    seen, encoded, kind = examples.features(TOP), examples.encoded, examples.task.kind
    rows = features_of(examples.table, places, examples.columns, TOP)
    prototype, judged = learn(STRATEGIES["prototype"], examples), examples.judged
    temperature = fit_temperature(prototype.logits[judged], examples.targets[judged], kind)
    return {
        "majority": majority(encoded, len(places), kind),
        "knn": fit_knearest(seen, encoded, examples.folds, kind=kind).probabilities(rows),
        "prototype": probabilities(refit(prototype, examples).logits(rows), temperature, kind),
    }


def baseline_scores(judged: Judged, task: Task, metric: str) -> dict[str, dict[str, float]]:
    """Each baseline's accuracy, and the governing metric, on the same rows as the model."""
    names = dict.fromkeys(("accuracy", metric))
    return {
        name: {f"{judged.split}_{key}": score(key, task.name, judged.targets, rows) for key in names}
        for name, rows in judged.baselines.items()
    }
