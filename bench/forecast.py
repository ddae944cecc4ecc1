"""Forecasts of the accuracy at two and four times the data against the truth, and against saying "no change".

For each data set and seed, a half (and a quarter) of the development rows gives a learning curve and a forecast by the
linear probe on the default backbone. The truth is the error on the very same held-out rows once the folds' models are
fitted on two (four) times the rows, the others taken from the rest of the development rows: so the noise of which rows
are judged takes no part. Errors are in points of accuracy. ``shown`` counts the forecasts that would be shown, with
the errors of these; ``covered`` how many of their intervals held the truth; ``hidden`` has the errors of the others.

Run ``python bench/forecast.py --data DIR``. With ``--fit`` it also chooses the prior of the power law on all data sets
but one, and says how that one fares.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.backbones.catalogue import find_backbone
from headstart.data import load
from headstart.data.protocol import resolve
from headstart.data.splits import assign, folds
from headstart.evaluation.calibration import probabilities
from headstart.features.compiling import compile_trunk
from headstart.features.extract import probe_trunk
from headstart.planning.forecast import LearningCurve, Prediction, forecast_accuracy, learning_curve
from headstart.planning.power_law import PRIOR, Prior, fit_power_law
from headstart.runs import SilentProgress
from headstart.training.examples import Examples
from headstart.training.gathering import examples_of, extract_all
from headstart.training.strategies import STRATEGIES, learn

SETS = (
    *("hymenoptera", "flowers5", "rsscn7", "brain_mri4"),
    *(f"pacs/{domain}" for domain in ("photo", "art_painting", "cartoon", "sketch")),
)
FOLDS = 5
EXPONENTS, DEVIATIONS, FLOORS, NOISES = (0.2, 0.25, 0.3, 0.35, 0.4, 0.5), (0.03, 0.05, 0.1, 0.2), (0.3, 0.6), (0.1,)
GRID = [Prior(*values) for values in itertools.product(EXPONENTS, DEVIATIONS, FLOORS, NOISES)]


@dataclass(frozen=True)
class Case:
    """One forecast and what came true; errors in 0..1."""

    name: str
    factor: int
    curve: LearningCurve
    prediction: Prediction
    now: float
    truth: float

    def forecast(self, prior: Prior = PRIOR) -> float:
        """The error that the curve leads to, whether it would be shown or not."""
        law = fit_power_law(self.curve.sizes, self.curve.errors, self.curve.wrong.shape[1], prior=prior)
        return law.error(self.factor * law.size)

    @property
    def covered(self) -> bool:
        interval = self.prediction.ci95
        return interval is not None and interval[0] <= 1 - self.truth <= interval[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data", help="the folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fit", action="store_true", help="choose the prior, leaving one data set out at a time")
    options = parser.parse_args()
    compiled = compile_trunk(probe_trunk(find_backbone("bundled/tf_efficientnet_lite0")), engine="openvino")
    cases: list[Case] = []
    print("| data set | factor | shown | forecast | no change | covered | hidden: forecast | no change | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in options.sets:
        started = time.perf_counter()
        dataset, table = extract_all(load(options.data / name), compiled, SilentProgress(), print)
        found = []
        for seed in range(options.seeds):
            resolved, protocol = resolve(dataset, test=None, seed=seed)
            examples = examples_of(resolved, table, compiled.trunk.columns, protocol, seed)
            found += cases_of(name, examples, seed)
        report(name, found, time.perf_counter() - started)
        cases += found
    report("all", cases, 0.0)
    if options.fit:
        fit(cases)


def cases_of(name: str, examples: Examples, seed: int) -> list[Case]:
    """Forecasts from a half and a quarter of the rows."""
    cases = []
    for share, factors in ((0.5, (2,)), (0.25, (2, 4))):
        rows = np.flatnonzero(assign(examples.targets, examples.groups, (share, 1 - share), seed) != 1)
        pairs = folds(examples.targets[rows], examples.groups[rows], FOLDS, seed)
        part = examples.subset(rows, pairs)
        learned = learn(STRATEGIES["linear_probe"], part)
        curve = learning_curve(part, learned, seed=seed)
        forecast = forecast_accuracy(curve, len(part), strategy="linear_probe", seed=seed)
        for prediction in forecast.predictions:
            if prediction.factor in factors:
                truth = error_with(prediction.factor, examples, rows, pairs, seed)
                cases.append(Case(name, prediction.factor, curve, prediction, 1 - forecast.accuracy, truth))
    return cases


def error_with(factor: int, examples: Examples, rows: np.ndarray, pairs: list, seed: int) -> float:
    """The error on the same held-out rows with so many times the training rows; mean of two draws, if there are two."""
    errors = []
    for draw in range(2 if factor * len(rows) < 0.9 * len(examples) else 1):
        enlarged = []
        for seen, held in pairs:
            others = np.setdiff1d(np.arange(len(examples)), rows)
            others = others[~np.isin(examples.groups[others], examples.groups[rows[held]])]
            share = (factor - 1) * len(seen) / len(others)
            if share < 1:
                parts = assign(examples.targets[others], examples.groups[others], (share, 1 - share), seed + 100 * draw)
                others = others[parts != 1]
            enlarged.append((np.concatenate([rows[seen], others]), rows[held]))
        judged = np.concatenate([held for _, held in enlarged])
        whole = examples.subset(np.arange(len(examples)), enlarged)
        chance = probabilities(learn(STRATEGIES["linear_probe"], whole).logits[judged], kind=whole.task.kind)
        errors.append(1 - whole.task.correct(whole.targets[judged], chance, None).mean())
    return float(np.mean(errors))


def report(name: str, cases: list[Case], seconds: float) -> None:
    for factor in (2, 4):
        some = [case for case in cases if case.factor == factor]
        shown = [case for case in some if case.prediction.hidden is None]
        hidden = [case for case in some if case.prediction.hidden is not None]
        print(
            f"| {name} | {factor} | {len(shown)} of {len(some)} | {cells(shown)} | "
            f"{sum(case.covered for case in shown)} of {len(shown)} | {cells(hidden)} | {seconds:.0f} |",
            flush=True,
        )
        if name == "all":
            misses = [np.log(case.forecast() / max(case.truth, 1e-3)) for case in shown]
            print(f"\nfactor {factor}: log of forecast over truth has a root mean square of {rms(misses):.3f}\n")


def cells(cases: list[Case]) -> str:
    if not cases:
        return "- | -"
    return f"{100 * miss(cases):.2f} | {100 * float(np.mean([abs(case.now - case.truth) for case in cases])):.2f}"


def miss(cases: list[Case], prior: Prior = PRIOR) -> float:
    return float(np.mean([abs(case.forecast(prior) - case.truth) for case in cases]))


def rms(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def fit(cases: list[Case]) -> None:
    """The prior chosen on the other data sets for each one left out, and how that one fares; and the prior of all."""
    errors = {prior: np.array([abs(case.forecast(prior) - case.truth) for case in cases]) for prior in GRID}
    names = np.array([case.name for case in cases])
    unchanged = np.array([abs(case.now - case.truth) for case in cases])
    print("\n| left out | prior | forecast | no change |\n|---|---|---|---|")
    for name in sorted(set(names)):
        prior, inside = widest(errors, names != name), names == name
        print(f"| {name} | {prior} | {100 * errors[prior][inside].mean():.2f} | {100 * unchanged[inside].mean():.2f} |")
    print(f"\nOn all: {widest(errors, names != '')}")


def widest(errors: dict[Prior, np.ndarray], among: np.ndarray) -> Prior:
    """The prior that leaves most to the points, of those whose mean error is within a twentieth of the least."""
    means = {prior: float(found[among].mean()) for prior, found in errors.items()}
    good = [prior for prior, mean in means.items() if mean <= 1.05 * min(means.values())]
    return max(good, key=lambda prior: (prior.exponent_sd, prior.floor_sd, -means[prior]))


if __name__ == "__main__":
    main()
