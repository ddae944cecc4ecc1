"""Whether 95 % intervals are honest: how often they hold the true value of synthetic predictions.

``--part shares``: the interval of an accuracy over n rows that are right with a known probability, each by itself or in
groups of five on average (geometric sizes), whose own accuracies are spread as a Beta distribution: the likeness is the
correlation of two rows of a group. Beside it Wilson's interval, which takes rows for independent, and the percentiles
of a bootstrap of groups. ``--part scores``: all scores of ``metrics.json`` for classes that are normal clouds, with the
probabilities of a perfect model; the true value is that of 400,000 rows.

``python bench/coverage.py --part shares`` prints a Markdown table, row by row. With ``--keep FILE`` what was measured
is kept there, and the same command goes on from it.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from headstart.evaluation.intervals import bootstrap_weights, percentile_interval, share_interval, wilson
from headstart.evaluation.metrics import evaluate
from headstart.evaluation.scores import row_mean

ROWS = (30, 100, 300, 1000)
ACCURACIES = (0.6, 0.75, 0.9, 0.95)
# ``None``: each row by itself.
LIKENESSES = (None, 0.0, 0.1, 0.3, 0.6, 1.0)
GROUP = 5
SHARE_DRAWS, SCORE_DRAWS, BOOTSTRAP_DRAWS = 5000, 1000, 400
POPULATION = 400_000
SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "map", "log_loss", "brier", "ece", "aurc")
# Classes' shares, and how far each class's cloud lies out on an axis of its own.
PROBLEMS = {
    "two classes, equal": ((0.5, 0.5), 1.5),
    "two classes, 85 to 15": ((0.85, 0.15), 1.5),
    "five classes": ((0.4, 0.2, 0.2, 0.1, 0.1), 2.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("shares", "scores"), required=True)
    parser.add_argument("--keep", type=Path, help="a file of what was measured, to go on from")
    parser.add_argument("--draws", type=int, help="fewer, for a look")
    options = parser.parse_args()
    kept = Kept(options.keep)
    if options.part == "shares":
        shares(kept, options.draws or SHARE_DRAWS)
    else:
        scores(kept, options.draws or SCORE_DRAWS)


class Kept:
    """Rows that were measured, one JSON line each."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self._rows = dict(json.loads(line) for line in lines)

    def row(self, key: str, measure: Callable[[], list[float]]) -> list[float]:
        """What was measured under this key, now or before."""
        if key not in self._rows:
            self._rows[key] = measure()
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(json.dumps([key, self._rows[key]]) + "\n")
        return self._rows[key]


def shares(kept: Kept, draws: int) -> None:
    columns = [f"{accuracy:.0%}" for accuracy in ACCURACIES]
    print("| rows | n | " + " | ".join(columns) + " | Wilson over rows, lowest | bootstrap of groups, lowest |")
    print("|---|--:|" + "--:|" * (len(columns) + 2))
    for likeness in LIKENESSES:
        title = "alone" if likeness is None else f"in groups, likeness {likeness:g}"
        for rows in ROWS:
            found = [
                kept.row(
                    f"shares {rows} {accuracy} {likeness} {draws}",
                    lambda n=rows, p=accuracy, r=likeness: covered_shares(n, p, r, draws),
                )
                for accuracy in ACCURACIES
            ]
            own = " | ".join(percent(cell[0]) for cell in found)
            others = " | ".join(percent(min(cell[place] for cell in found)) for place in (1, 2))
            print(f"| {title} | {rows} | {own} | {others} |", flush=True)


def covered_shares(rows: int, accuracy: float, likeness: float | None, draws: int) -> list[float]:
    """How often three intervals hold the accuracy; the bootstrap, which is slow, on a tenth of the draws."""
    generator = np.random.default_rng([rows, round(1000 * accuracy), 99 if likeness is None else round(10 * likeness)])
    hits, tried = np.zeros(3), np.zeros(3)
    for draw in range(draws):
        owners = np.arange(rows) if likeness is None else group_rows(rows, generator)
        chance = np.full(rows, accuracy)
        if likeness == 1:  # copies
            chance = (generator.random(owners.max() + 1) < accuracy)[owners]
        elif likeness:
            strength = (1 - likeness) / likeness
            chance = generator.beta(accuracy * strength, (1 - accuracy) * strength, owners.max() + 1)[owners]
        right = generator.random(rows) < chance
        found = [share_interval(right, owners), wilson(right.sum(), rows)]
        if likeness is not None and draw % 10 == 0:
            weights = bootstrap_weights(rows, owners, BOOTSTRAP_DRAWS, draw)
            found.append(percentile_interval(np.concatenate([row_mean(right, w) for w in weights]), owners.max() + 1))
        for place, interval in enumerate(found):
            if interval is not None:
                hits[place] += interval[0] <= accuracy <= interval[1]
                tried[place] += 1
    return [float(hit / count) if count else math.nan for hit, count in zip(hits, tried, strict=True)]


def group_rows(rows: int, generator: np.random.Generator) -> np.ndarray:
    """Numbers of groups of geometric sizes, one a row; the last group takes what is left."""
    sizes: list[int] = []
    while sum(sizes) < rows:
        sizes.append(min(int(generator.geometric(1 / GROUP)), rows - sum(sizes)))
    return np.repeat(np.arange(len(sizes)), sizes)


def scores(kept: Kept, draws: int) -> None:
    print("| problem | n | " + " | ".join(SCORES) + " |")
    print("|---|--:|" + "--:|" * len(SCORES))
    for title, (priors, distance) in PROBLEMS.items():
        for rows in ROWS:
            found = kept.row(
                f"scores {title} {rows} {draws}",
                lambda n=rows, p=priors, d=distance: covered_scores(n, np.array(p), d, draws),
            )
            print(f"| {title} | {rows} | " + " | ".join(percent(cell) for cell in found) + " |", flush=True)


def covered_scores(rows: int, priors: np.ndarray, distance: float, draws: int) -> list[float]:
    """How often each score's interval holds its true value, of the draws in which there is an interval."""
    generator = np.random.default_rng(rows)
    names = [str(number) for number in range(len(priors))]
    true = evaluate("classification", *predictions(POPULATION, priors, distance, generator), names, draws=0)
    hits, tried = np.zeros(len(SCORES)), np.zeros(len(SCORES))
    for draw in range(draws):
        found = evaluate("classification", *predictions(rows, priors, distance, generator), names, seed=draw)
        for place, name in enumerate(SCORES):
            interval = found[f"{name}_ci95"]
            if interval is not None:
                hits[place] += interval[0] <= true[name] <= interval[1]
                tried[place] += 1
    return (hits / tried).tolist()


def predictions(
    rows: int, priors: np.ndarray, distance: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Truth, and the probabilities that follow from where a row lies."""
    truth = generator.choice(len(priors), rows, p=priors)
    places = generator.normal(size=(rows, len(priors))) + distance * np.eye(len(priors))[truth]
    powers = priors * np.exp(distance * (places - places.max(axis=1, keepdims=True)))
    return truth, powers / powers.sum(axis=1, keepdims=True)


def percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f}"


if __name__ == "__main__":
    main()
