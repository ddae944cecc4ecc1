"""Would more data help? The accuracy of the same probe at twice and four times the rows, from its learning curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.data.splits import assign
from headstart.evaluation.calibration import probabilities
from headstart.evaluation.intervals import bootstrap_weights, resampling_units
from headstart.planning.power_law import PRIOR, PowerLaw, Prior, fit_power_law, fit_power_laws
from headstart.planning.rule_table import (
    BACKTESTS,
    FACTORS,
    LEAST_FITTED,
    LEAST_MISTAKES,
    LEAST_ROWS_A_CLASS,
    LEAST_SIZES,
    MISS_COUNTS_FOR,
    TYPICAL_MISS,
    WORTHWHILE,
)
from headstart.training.examples import Examples, Fold
from headstart.training.probe import FOLD_TOLERANCE, Penalties, balanced_weights, choose
from headstart.training.strategies import Learned, Strategy, learn, outputs_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TIMES = {2: "twice", 4: "four times"}
# Each size is the one above it divided by the square root of two, so that both factors are whole numbers of steps.
STEPS_PER_DOUBLING = 2
MOST_SIZES = 9
# A size that is not clearly below the last one is left out: groups can be too large to halve.
LEAST_STEP = 0.9
# Each size is repeated with other rows until so many were trained on in all, at most so often: small sizes are noisy
# and cheap.
ROWS_TRAINED = 1000
MOST_REPEATS = 4
# Smaller sizes want stronger penalties: they choose between the rung's own and this many times it.
PENALTY_RANGE = 10.0
DRAWS = 200
# The two-sided 95 % point of the normal distribution.
REACH = 1.96


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Out-of-fold errors at nested sizes of the training parts.

    Attributes
    ----------
    sizes:
        float64 (S,), ascending: mean number of rows that a fold's model was fitted on.
    wrong:
        float64 (S, n): how often each judged row was not predicted wholly right, a share of the repeats; labels that
        do not exclude each other are decided at 0.5.
    groups:
        int64 (n,) of the judged rows.
    """

    sizes: Floats
    wrong: Floats
    groups: Ints

    @property
    def errors(self) -> Floats:
        """float64 (S,) in 0..1."""
        return np.asarray(self.wrong.mean(axis=1))


@dataclass(frozen=True)
class CurvePoint:
    """One size: rows that a model was fitted on, and the error on rows it had not seen."""

    rows: float
    error: float


@dataclass(frozen=True)
class Prediction:
    """The accuracy at some times the data.

    Attributes
    ----------
    factor, rows:
        Times the present development rows, and how many that makes.
    accuracy, ci95:
        Of the same strategy on rows not seen; ``None`` where hidden.
    hidden:
        Why nothing is predicted; ``None`` where something is.
    tested_factor, backtests, backtest_error, no_change_error:
        How many larger sizes were predicted from sizes smaller by which factor (a lower one where the curve is too
        short for this one), the mean absolute error of that, and that of saying that nothing changes; ``None`` where
        none were.
    """

    factor: int
    rows: int
    accuracy: float | None
    ci95: tuple[float, float] | None
    hidden: str | None
    tested_factor: int | None
    backtests: int
    backtest_error: float | None
    no_change_error: float | None


@dataclass(frozen=True)
class AccuracyForecast:
    """What more data would bring.

    Attributes
    ----------
    accuracy:
        Out of fold, now.
    law:
        Fitted to all points; ``None`` where there are too few.
    sentence:
        "Would more data help?", answered.
    """

    strategy: str
    accuracy: float
    points: tuple[CurvePoint, ...]
    law: PowerLaw | None
    predictions: tuple[Prediction, ...]
    sentence: str


@dataclass(frozen=True)
class _Backtest:
    """Forecasts of larger sizes from ones ``factor`` times smaller: errors (T,) predicted, found, and unchanged."""

    factor: int
    predicted: Floats
    found: Floats
    unchanged: Floats

    @property
    def error(self) -> float:
        return float(np.abs(self.predicted - self.found).mean())

    @property
    def no_change_error(self) -> float:
        return float(np.abs(self.unchanged - self.found).mean())


def learning_curve(
    examples: Examples, learned: Learned, *, tolerance: float = FOLD_TOLERANCE, seed: int = 0
) -> LearningCurve:
    """Errors of a strategy on the same held-out rows, fitted on ever fewer of the others.

    Each size's rows are among those of the size above it; groups stay whole, every class keeps its share and at least
    one group. Smaller sizes are repeated with other rows.

    Parameters
    ----------
    learned:
        What the strategy found on all training rows of the same examples: the last point of the curve, and where the
        penalties of the others begin.
    tolerance:
        Of each fit, in nats, as :func:`headstart.training.probe.choose` takes it.
    """
    judged = examples.judged
    folds = list(examples.folds)
    sizes, wrong = [_mean_size(folds)], [_wrong(examples, learned.logits)]
    counts = [sizes[0] / math.sqrt(2) ** step for step in range(1, MOST_SIZES)]
    levels = [count for count in counts if count >= LEAST_ROWS_A_CLASS * examples.classes]
    repeats = [min(MOST_REPEATS, max(1, round(ROWS_TRAINED / count))) for count in levels]
    found: list[list[tuple[float, Floats]]] = [[] for _ in levels]
    for repeat in range(max(repeats, default=0)):
        nested = folds
        for level in range(len(levels)):
            nested = [(_thinned(examples, seen, (seed, repeat, level)), held) for seen, held in nested]
            if repeat < repeats[level]:
                logits = _logits(learned, examples, nested, tolerance)
                found[level].append((_mean_size(nested), _wrong(examples, logits)))
    for tries in found:
        size = float(np.mean([size for size, _ in tries]))
        if size < LEAST_STEP * sizes[-1]:
            sizes.append(size)
            wrong.append(np.mean([rows for _, rows in tries], axis=0))
    return LearningCurve(np.array(sizes[::-1]), np.array(wrong[::-1]), examples.groups[judged])


def forecast_accuracy(
    curve: LearningCurve, rows: int, *, strategy: str, seed: int = 0, prior: Prior = PRIOR
) -> AccuracyForecast:
    """Predict twice and four times the data from a learning curve, where that is known to beat saying "no change".

    The interval joins three doubts: which rows were judged (bootstrap over rows or groups, refitted each time), how far
    forecasts from the smaller sizes missed the larger ones, and how far such forecasts usually miss.

    Parameters
    ----------
    rows:
        Development rows now; what the factors multiply.
    strategy:
        Whose curve it is, for the record.
    """
    points = tuple(CurvePoint(float(size), float(error)) for size, error in zip(curve.sizes, curve.errors, strict=True))
    reason = _why_not(curve)
    law = None if reason else fit_power_law(curve.sizes, curve.errors, curve.wrong.shape[1], prior=prior)
    drawn = [] if law is None else _drawn_laws(curve, seed, prior)
    predictions = tuple(
        Prediction(factor, factor * rows, None, None, reason, None, 0, None, None)
        if law is None or reason
        else _predict(curve, law, drawn, factor, rows, prior)
        for factor in FACTORS
    )
    accuracy = 1 - points[-1].error
    return AccuracyForecast(strategy, accuracy, points, law, predictions, _sentence(accuracy, predictions))


def _why_not(curve: LearningCurve) -> str | None:
    mistakes = float(curve.wrong[-1].sum())
    if mistakes < LEAST_MISTAKES:
        return f"only {mistakes:.0f} of {curve.wrong.shape[1]} images are predicted wrong, too few to see that fall"
    if len(curve.sizes) < LEAST_SIZES:
        return (
            f"there are images for {len(curve.sizes)} sizes with {LEAST_ROWS_A_CLASS} a class, and a curve needs "
            f"{LEAST_SIZES}"
        )
    return None


def _predict(
    curve: LearningCurve, law: PowerLaw, drawn: Sequence[PowerLaw], factor: int, rows: int, prior: Prior
) -> Prediction:
    test = _backtest(curve, factor, prior)
    tested = test.factor, len(test.found), test.error, test.no_change_error
    if test.error >= test.no_change_error:
        reason = (
            f"tested on the smaller sizes, forecasts missed by {test.error:.1%} and no change by "
            f"{test.no_change_error:.1%}"
        )
        return Prediction(factor, factor * rows, None, None, reason, *tested)
    size = factor * law.size
    error = law.error(size)
    spread = np.log([one.error(size) for one in drawn]).std() if drawn else 0.0
    reach = REACH * math.hypot(float(spread), _usual_miss(curve, test, factor))
    interval = max(0.0, 1 - error * math.exp(reach)), 1 - error * math.exp(-reach)
    return Prediction(factor, factor * rows, 1 - error, interval, None, *tested)


def _backtest(curve: LearningCurve, factor: int, prior: Prior) -> _Backtest:
    """Fit the sizes up to one, and predict the size that is about ``factor`` times as large.

    A curve of :data:`LEAST_SIZES` can be tested at the lowest factor; where it is too short for a higher one, what it
    shows at half of that counts.
    """
    steps = round(math.log2(factor) * STEPS_PER_DOUBLING)
    errors, judged = curve.errors, curve.wrong.shape[1]
    targets = [at for at in range(len(errors)) if at - steps + 1 >= LEAST_FITTED][-BACKTESTS:]
    if not targets:
        return _backtest(curve, factor // 2, prior)
    last = [at - steps for at in targets]
    laws = [fit_power_law(curve.sizes[: end + 1], errors[: end + 1], judged, prior=prior) for end in last]
    predicted = [law.error(float(curve.sizes[at])) for law, at in zip(laws, targets, strict=True)]
    return _Backtest(factor, np.array(predicted), errors[targets], errors[last])


def _usual_miss(curve: LearningCurve, test: _Backtest, factor: int) -> float:
    """Standard deviation of a forecast's logarithm: what the back-tests show, held to what is usual."""
    judged = curve.wrong.shape[1]
    found = (test.found * judged + 0.5) / (judged + 1)
    squares = float((np.log(test.predicted / found) ** 2).sum())
    usual = MISS_COUNTS_FOR * TYPICAL_MISS[factor] ** 2
    return math.sqrt((squares + usual) / (len(found) + MISS_COUNTS_FOR))


def _drawn_laws(curve: LearningCurve, seed: int, prior: Prior) -> list[PowerLaw]:
    """The curves that other draws of the judged rows, or groups, would have given; none where there is one group."""
    judged = curve.wrong.shape[1]
    if resampling_units(curve.groups, judged)[1] < 2:
        return []
    draws = [
        weights @ curve.wrong.T / weights.sum(axis=1, keepdims=True)
        for weights in bootstrap_weights(judged, curve.groups, DRAWS, seed)
    ]
    return fit_power_laws(curve.sizes, np.concatenate(draws), judged, prior=prior)


def _sentence(accuracy: float, predictions: Sequence[Prediction]) -> str:
    asked = "Would more data help?"
    told = [
        f"{one.accuracy:.1%} ({one.ci95[0]:.1%} to {one.ci95[1]:.1%}) with {TIMES[one.factor]} as many images"
        for one in predictions
        if one.accuracy is not None and one.ci95 is not None
    ]
    if not told:
        return f"{asked} That can't be said: {predictions[0].hidden}."
    gains = [one.accuracy - accuracy for one in predictions if one.accuracy is not None]
    helps = "Probably" if max(gains) >= WORTHWHILE else "Hardly"
    return f"{asked} {helps}: {accuracy:.1%} now, {' and '.join(told)}."


def _thinned(examples: Examples, rows: Ints, seed: Sequence[int]) -> Ints:
    """Of some rows those of the next smaller size."""
    share = 2 ** (-1 / STEPS_PER_DOUBLING)
    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    parts = assign(examples.targets[rows], examples.groups[rows], (share, 1 - share), number)
    return np.asarray(rows[parts != 1])


def _logits(learned: Learned, examples: Examples, folds: Sequence[Fold], tolerance: float) -> Floats:
    """Logits of the held-out rows, (n, C), by the strategy fitted on other training rows."""
    strategy: Strategy = learned.strategy
    if learned.penalty is None:
        return learn(strategy, examples.subset(np.arange(len(examples)), folds)).logits
    rows, encoded = examples.features(outputs_of(strategy, examples.columns)), examples.encoded
    a_column = learned.penalty / rows.shape[1]
    around = Penalties(strongest=max(a_column, min(1.0, PENALTY_RANGE * a_column)), weakest=a_column)
    weights = balanced_weights(encoded) if strategy.weighting == "balanced" else None
    found = choose(
        rows,
        encoded,
        list(folds),
        kind=examples.task.kind,
        row_weights=weights,
        penalties=around,
        tolerance=tolerance,
    )
    return found.oof_logits


def _wrong(examples: Examples, logits: Floats) -> Floats:
    """Which judged rows are not predicted wholly right, of zeros and ones."""
    judged = examples.judged
    chance = probabilities(logits[judged], kind=examples.task.kind)
    return 1.0 - examples.task.correct(examples.targets[judged], chance, None).astype(np.float64)


def _mean_size(folds: Sequence[Fold]) -> float:
    return float(np.mean([len(seen) for seen, _ in folds]))
