"""The strategies whose cut is n: what each fits on frozen features, and its predictions for rows it never saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from headstart.runs.budget import Left, no_end
from headstart.training.baselines import fit_prototype
from headstart.training.examples import Examples
from headstart.training.linear import LinearModel
from headstart.training.probe import balanced_weights, choose, fit

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Strategy:
    """One way to fit a head on frozen features.

    Attributes
    ----------
    name:
        The field's name for it; what ``--strategy`` takes.
    features:
        ``top`` reads the pooled embedding, ``all`` the pooled features of every stage (Head2Toe, Evci et al. 2022).
    method:
        ``logistic`` regression; ``prototype``, the nearest class mean (Snell et al. 2017); or ``fine_tuning``, which
        trains stages of the backbone as well and lies in a package of its own.
    weighting:
        ``balanced`` gives every class the same total weight.
    """

    name: str
    features: Literal["top", "all"]
    method: Literal["logistic", "prototype", "fine_tuning"]
    weighting: Literal["none", "balanced"] = "none"

    @property
    def title(self) -> str:
        """The name with what distinguishes it, for tables."""
        return f"{self.name}, balanced classes" if self.weighting == "balanced" else self.name


STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        Strategy("prototype", "top", "prototype"),
        Strategy("linear_probe", "top", "logistic"),
        Strategy("linear_probe_all_stages", "all", "logistic"),
    )
}


FINE_TUNED = {name: Strategy(name, "top", "fine_tuning") for name in ("partial", "progressive", "full", "scratch")}


@dataclass(frozen=True)
class Learned:
    """What a strategy found on the folds.

    Attributes
    ----------
    penalty:
        The penalty chosen by out-of-fold log-loss, for logistic regression.
    logits:
        float64 (n, C), of models that had not seen the row; NaN where a row was never held out.
    converged:
        Whether the fits behind the logits reached their tolerance.
    out_of_time:
        Whether the time was over before all penalties of interest were tried.
    """

    strategy: Strategy
    penalty: float | None
    logits: Floats
    converged: bool = True
    out_of_time: bool = False


def outputs_of(strategy: Strategy, columns: dict[str, slice]) -> tuple[str, ...]:
    """The outputs of the trunk that a strategy reads, in their order."""
    return tuple(columns) if strategy.features == "all" else ("features",)


def learn(strategy: Strategy, examples: Examples, left: Left = no_end) -> Learned:
    """Fit on each fold and predict its held-out rows; the test rows are not here to be seen.

    Parameters
    ----------
    left:
        Tells the seconds that are left; see :func:`headstart.training.probe.choose`.
    """
    rows, encoded = examples.features(outputs_of(strategy, examples.columns)), examples.encoded
    if strategy.method == "logistic":
        weights = _weights(strategy, encoded)
        choice = choose(rows, encoded, list(examples.folds), kind=examples.task.kind, row_weights=weights, left=left)
        return Learned(strategy, choice.penalty, choice.oof_logits, choice.converged, choice.out_of_time)
    logits = np.full(encoded.shape, np.nan)
    for seen, held in examples.folds:
        logits[held] = fit_prototype(rows[seen], encoded[seen], kind=examples.task.kind).logits(rows[held])
    return Learned(strategy, None, logits)


def refit(learned: Learned, examples: Examples, left: Left = no_end) -> LinearModel:
    """Fit the strategy on all rows, with the penalty found before; more loosely once no seconds are left."""
    strategy, encoded = learned.strategy, examples.encoded
    rows = examples.features(outputs_of(strategy, examples.columns))
    if learned.penalty is None:
        return fit_prototype(rows, encoded, kind=examples.task.kind)
    weights = _weights(strategy, encoded)
    return fit(rows, encoded, learned.penalty, kind=examples.task.kind, row_weights=weights, left=left)


def _weights(strategy: Strategy, encoded: Floats) -> Floats | None:
    return balanced_weights(encoded) if strategy.weighting == "balanced" else None
