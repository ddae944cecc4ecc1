"""What it is worth to deal the folds of small data several times: the luck that is left, and what is chosen.

From each data set 10 and 20 images a class are drawn, several times; the others test (or the user's own test split).
Each draw's folds are dealt ten times, and the probes race on every deal; races on several deals are put together from
these. For each number of deals: the deviation of the linear probe's score between races on the same rows, and of that
score from accuracy on the test rows, in points; how often two races on the same rows choose different probes; how often
the one is chosen that is best on the test rows, and the chosen one's accuracy there; each but the first with its
difference to a single deal and the standard error of that over the draws. ``python bench/repeated_folds.py --data DIR``
prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from headstart.backbones.catalogue import find_backbone
from headstart.data import Dataset, load
from headstart.data.splits import folds
from headstart.features.compiling import compile_trunk
from headstart.features.extract import probe_trunk
from headstart.features.table import FeatureTable
from headstart.planning.ladder import Climbed, race
from headstart.planning.refolding import deal_again
from headstart.runs import SilentProgress
from headstart.tasks import TASKS
from headstart.training.examples import Examples, features_of
from headstart.training.gathering import extract_all
from headstart.training.strategies import STRATEGIES, outputs_of, refit

SETS = (
    *("hymenoptera", "flowers5", "rsscn7", "brain_mri4"),
    *(f"pacs/{domain}" for domain in ("photo", "art_painting", "cartoon", "sketch")),
)
PER_CLASS = (10, 20)
PROBES = list(STRATEGIES.values())
PROBE = list(STRATEGIES).index("linear_probe")
# Deals of each draw, and pairs of races that are put together from them: two races take at most all.
DEALS, PAIRS = 10, 100


@dataclass(frozen=True)
class Draw:
    """Rows to choose and fit on, and rows that test."""

    examples: Examples
    places: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class Single:
    """The probes on every deal by itself: accuracy and mean loss (probes, deals), and mean test accuracy (probes)."""

    scores: np.ndarray
    losses: np.ndarray
    tested: np.ndarray
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data", help="the folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--deals", type=int, nargs="+", default=[1, 3, 5], help=f"up to {DEALS // 2}")
    parser.add_argument("--draws", type=int, default=4, help="of the images")
    options = parser.parse_args()
    compiled = compile_trunk(probe_trunk(find_backbone("bundled/tf_efficientnet_lite0")), engine="openvino")
    found = []
    for name in options.sets:
        dataset, table = extract_all(load(options.data / name), compiled, SilentProgress(), print)
        for per_class in PER_CLASS:
            for seed in range(options.draws):
                draw = drawn(dataset, table, compiled.trunk.columns, per_class, seed)
                with threadpool_limits(1, user_api="blas"):
                    found.append(raced(draw, seed))
        print(f"{name} done", flush=True)
    print("| deals | deviation | score − test | choices differ | best chosen | its test accuracy | seconds |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    base = np.array([measured(single, 1) for single in found])
    for deals in options.deals:
        cells = np.array([measured(single, deals) for single in found])
        seconds = deals * np.mean([single.seconds for single in found])
        print(f"| {deals} | {' | '.join(columns(cells, base))} | {seconds:.2f} |")


def drawn(dataset: Dataset, table: FeatureTable, columns: dict[str, slice], per_class: int, seed: int) -> Draw:
    """So many images a class; the user's own test split, or else all others, test."""
    rng, targets = np.random.default_rng([seed, per_class]), dataset.targets
    test = np.isin(dataset.splits, ("val", "test"))
    own = [rng.choice(np.flatnonzero((targets == c) & ~test), per_class, replace=False) for c in np.unique(targets)]
    rows = np.sort(np.concatenate(own))
    places = np.flatnonzero(test) if test.any() else np.setdiff1d(np.arange(len(dataset)), rows)
    groups = dataset.groups[rows]
    places = places[~np.isin(dataset.groups[places], groups)]
    pairs = tuple(folds(targets[rows], groups, 5, seed))
    task = TASKS[dataset.task]
    examples = Examples(table, rows, columns, targets[rows], len(dataset.classes), groups, pairs, task)
    return Draw(examples, places, targets[places])


def raced(draw: Draw, seed: int) -> Single:
    """Every deal by itself."""
    started = time.perf_counter()
    climbed = [
        race(PROBES, [deal], metric="accuracy", cut=9, seed=seed) for deal in deal_again(draw.examples, DEALS, seed)
    ]
    seconds = (time.perf_counter() - started) / DEALS
    scores, losses = (
        np.array([[getattr(rung, of) for rung in one.record.rungs] for one in climbed]).T
        for of in ("score", "log_loss")
    )
    chosen = [chosen_by(scores[:, [deal]], losses[:, [deal]]) for deal in range(DEALS)]
    if [PROBES[choice].name for choice in chosen] != [one.record.chosen for one in climbed]:
        raise AssertionError("the ladder chooses by another rule than this bench")
    return Single(scores, losses, np.mean([tested(draw, one) for one in climbed], axis=0), seconds)


def tested(draw: Draw, climbed: Climbed) -> list[float]:
    """Accuracy of each probe on the test rows."""
    found = []
    for learned, _ in climbed.tried.values():
        outputs = outputs_of(learned.strategy, draw.examples.columns)
        rows = features_of(draw.examples.table, draw.places, draw.examples.columns, outputs)
        logits = refit(replace(learned, logits=np.empty(0)), draw.examples).logits(rows)
        found.append(float((logits.argmax(1) == draw.truth).mean()))
    return found


def chosen_by(scores: np.ndarray, losses: np.ndarray) -> int:
    """The probe that the ladder keeps, by means over some deals."""
    score, loss, best = scores.mean(1), losses.mean(1), 0
    for probe in range(1, len(score)):
        better, equal, saved = score[probe] > score[best], score[probe] == score[best], loss[best] - loss[probe]
        if (better and saved >= 0) or (equal and saved > 0):
            best = probe
    return best


def measured(single: Single, deals: int) -> tuple[float, ...]:
    """The columns of one draw, over random pairs of races on its deals."""
    rng = np.random.default_rng(0)
    orders = [rng.permutation(DEALS) for _ in range(PAIRS)]
    one, other = ([order[place : place + deals] for order in orders] for place in (0, deals))  # that share no deal
    chosen, rival = (
        np.array([chosen_by(single.scores[:, some], single.losses[:, some]) for some in half]) for half in (one, other)
    )
    miss = [single.scores[PROBE, some].mean() - single.tested[PROBE] for some in one]
    got = single.tested[chosen]
    # Samples of ten deals overlap, so that their deviation would be too small: it follows from that of single deals.
    deviation = single.scores[PROBE].std(ddof=1) / np.sqrt(deals)
    best = (got == single.tested.max()).mean()
    return deviation, np.sqrt(np.mean(np.square(miss))), (chosen != rival).mean(), best, got.mean()


def columns(cells: np.ndarray, base: np.ndarray) -> list[str]:
    means, change = 100 * cells.mean(0), 100 * (cells - base)
    errors = change.std(0, ddof=1) / np.sqrt(len(cells))
    if not change.any():
        return [f"{mean:.2f}" for mean in means]
    apart = zip(means, change.mean(0), errors, strict=True)
    return [f"{mean:.2f} ({moved:+.2f} ± {error:.2f})" for mean, moved, error in apart]


if __name__ == "__main__":
    main()
