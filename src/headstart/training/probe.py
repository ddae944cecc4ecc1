"""The linear probe: its penalty chosen on rows that the compared models have not seen, then one refit on all rows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from headstart.features.engine import cpu_count
from headstart.runs.budget import Left, no_end
from headstart.training.linear import Features, Floats, Kind, LinearModel, fit_path, row_losses, walk_path

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]

# Out-of-fold logits end up in scores and temperatures. With this and float32, no out-of-fold probability of four real
# sets was further than 4e-3 from the exact optimum's.
FOLD_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Penalties:
    """The descending penalties that are tried; where the path ends is decided by the losses.

    The objective is a mean over rows and its columns are standardised, so penalties need no scaling by the number of
    rows; they are given here per column, because a standardised row's squared length is the number of columns.

    Attributes
    ----------
    strongest:
        At 1.0, a penalty as large as the mean squared length of a row, a typical logit can't move by more than about
        1 from the class frequencies, whatever the data: the path starts where features have little say.
    factor:
        Between neighbours. On four real sets the loss at the best of these, half a decade apart, was within 1 % of
        the minimum between them.
    weakest:
        Where the path ends at the latest; reached only by classes that a plane separates on unseen rows as well.
    rise:
        A loss counts as risen when it lies by more than this share above the least.
    patience:
        The path ends when the loss has risen at this many penalties in a row.
    negligible:
        Nats; the path also ends below this loss, where there is little left to gain.
    """

    strongest: float = 1.0
    factor: float = math.sqrt(10.0)
    weakest: float = 1e-9
    rise: float = 0.01
    patience: int = 2
    negligible: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.weakest <= self.strongest or not self.factor > 1 or self.patience < 1:
            raise ValueError(f"penalties must descend from strongest to weakest, with patience: {self}")

    def grid(self, columns: int) -> list[float]:
        """The penalties for features with so many columns, strongest first."""
        steps = math.floor(math.log(self.strongest / self.weakest) / math.log(self.factor) + 1e-9)
        return [columns * self.strongest * self.factor**-step for step in range(steps + 1)]

    def ended(self, losses: Sequence[float]) -> bool:
        """Whether a path with these losses so far need not go on."""
        if losses[-1] < self.negligible:
            return True
        latest = losses[-self.patience :]
        return len(losses) > self.patience and min(latest) > min(losses) * (1.0 + self.rise)


@dataclass(frozen=True, eq=False)
class ProbeChoice:
    """The chosen penalty and the evidence for it.

    Attributes
    ----------
    penalty:
        The one with the least loss.
    penalties, losses:
        All that were tried, strongest first, and their mean log-loss in nats over the held-out rows (weighted, where
        the fit is).
    oof_logits:
        (n, C) float64: the logits of each row at the chosen penalty by the model that had not seen it; NaN where a row
        was never held out.
    converged:
        Whether all the fits behind ``oof_logits`` reached their tolerance.
    out_of_time:
        Whether weaker penalties were left out because the time was over.
    """

    penalty: float
    penalties: tuple[float, ...]
    losses: tuple[float, ...]
    oof_logits: Floats
    converged: bool
    out_of_time: bool = False


def choose(
    features: Features,
    targets: Floats,
    folds: Sequence[Fold],
    *,
    kind: Kind,
    row_weights: Floats | None = None,
    penalties: Penalties | None = None,
    tolerance: float = FOLD_TOLERANCE,
    left: Left = no_end,
) -> ProbeChoice:
    """Choose the penalty by out-of-fold log-loss.

    All folds walk the path of penalties in step, so that it ends for all of them together. Means and deviations are
    each fold's own: a held-out row shapes nothing. The choice of one penalty among about ten is the only use that is
    made of the held-out labels.

    Parameters
    ----------
    features, targets, kind, row_weights:
        As :func:`headstart.training.linear.walk_path` takes them.
    folds:
        Pairs of row numbers: trained on, held out. No row is held out twice. Memory holds every fold's rows at once,
        in float32. The folds run in threads of their own, each with one thread for its matrix products: beside
        other work that is several times faster than products in many threads, which wait for one another.
    penalties:
        None stands for ``Penalties()``.
    tolerance:
        Of each fit, in nats: about how far its objective may lie above the least.
    left:
        Tells the seconds that are left. No penalty is tried that is expected to take longer together with the fit of
        all rows that follows, but for the first.

    Raises
    ------
    DataError
        If features are not finite.
    ValueError
        If folds overlap or are empty, or the rest is not as described.
    """
    _check_folds(folds)
    penalties = penalties or Penalties()
    grid = penalties.grid(features.shape[1])
    paths = [_path(features, targets, fold, grid, kind, row_weights, tolerance) for fold in folds]
    held = np.concatenate([fold[1] for fold in folds])
    held_weights = None if row_weights is None else row_weights[held]
    losses: list[float] = []
    best_logits: Floats = np.empty(0)
    converged, out_of_time = True, False
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(min(len(folds), cpu_count())) as pool:
        while len(losses) < len(grid):
            started = time.perf_counter()
            models = list(pool.map(next, paths))
            logits = np.vstack([model.logits(features[fold[1]]) for model, fold in zip(models, folds, strict=True)])
            losses.append(float(np.average(row_losses(logits, targets[held], kind), weights=held_weights)))
            if losses[-1] == min(losses):
                best_logits, converged = logits, all(model.converged for model in models)
            if penalties.ended(losses):
                break
            if (time.perf_counter() - started) * (1 + 1 / len(folds)) > left():  # and the fit of all rows after it
                out_of_time = len(losses) < len(grid)
                break
    oof_logits = np.full(targets.shape, np.nan)
    oof_logits[held] = best_logits
    tried = tuple(grid[: len(losses)])
    return ProbeChoice(tried[int(np.argmin(losses))], tried, tuple(losses), oof_logits, converged, out_of_time)


def fit(
    features: Features,
    targets: Floats,
    penalty: float,
    *,
    kind: Kind,
    row_weights: Floats | None = None,
    left: Left = no_end,
) -> LinearModel:
    """Fit all rows at the penalty that :func:`choose` found, in float64 and, while time is left, tightly."""
    return fit_path(features, targets, [penalty], kind=kind, row_weights=row_weights, left=left)[0]


def balanced_weights(targets: Floats) -> Floats:
    """(n,) row weights that give every class the same total: n / (classes present * rows of the class).

    ``targets`` (n, C) are those of exclusive classes, rows summing to 1; the weights sum to n. Labels that do not
    exclude each other have no common row weight.
    """
    if not np.allclose(targets.sum(axis=1), 1.0):
        raise ValueError("only exclusive classes can be balanced: rows of targets must sum to 1")
    counts = targets.sum(axis=0)
    present = counts > 0
    per_class = np.zeros(len(counts))
    per_class[present] = len(targets) / (present.sum() * counts[present])
    return np.asarray(targets @ per_class)


def _path(
    features: Features,
    targets: Floats,
    fold: Fold,
    grid: Sequence[float],
    kind: Kind,
    row_weights: Floats | None,
    tolerance: float,
) -> Iterator[LinearModel]:
    train = fold[0]
    weights = None if row_weights is None else row_weights[train]
    return walk_path(
        features[train],
        targets[train],
        grid,
        kind=kind,
        row_weights=weights,
        tolerance=tolerance,
        precision="float32",
    )


def _check_folds(folds: Sequence[Fold]) -> None:
    if not folds or any(len(train) == 0 or len(held) == 0 for train, held in folds):
        raise ValueError("there must be folds, each with rows to train on and rows held out")
    if any(np.intersect1d(train, held).size for train, held in folds):
        raise ValueError("a row is both trained on and held out in one fold")
    held = np.concatenate([fold[1] for fold in folds])
    if len(np.unique(held)) != len(held):
        raise ValueError("a row is held out twice")
