"""What other rules for the next rung would cost: climbs simulated with the gains that :mod:`regret` measured.

In each cell (a data set and a number of images) a climb begins after the race of the probes. A rung that is tried shows
its real gain over the probe, the mean of the seeds, plus noise as of the rows that would judge it; the prior is fitted
to the other data sets, and the posterior is the ladder's. ``order`` says which of the rungs that are expected to add at
least ``asked`` points is tried first: the cheapest, or the one that is expected to add most. Regret is how far the
choice is below the best rung's real accuracy. Takes seconds: nothing is trained.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from regret_prior import PROBE, RACE, STAGES, Record, cut_of, fitted_to_others, mean_conditions
from regret_report import table

from headstart.planning.posterior import Observed, Posterior, update
from headstart.planning.prior import Prior, RungKind, prior_of, reach_of
from headstart.planning.rule_table import FOLDS, TYPICAL_POINTS

TUNED = ("cut 7", "cut 4", "full")
ORDERS, ASKED = ("cheapest first", "highest gain first"), (0.25, 0.5, 1.0)
# Differences of rungs on one row scatter by about this many points: the typical spread before any is seen is 30.
SCATTER = 22.0
# Nats are left out: what they would show is not kept.
NOTHING_KNOWN = 1e6


@dataclass(frozen=True)
class Cell:
    """One data set and size: real gains over the probe in points, processor seconds of each rung, and the prior."""

    size: str
    gains: Mapping[str, float]
    seconds: Mapping[str, float]
    prior: Prior
    rows: int

    @property
    def units(self) -> int:
        """Rows that judge a fine-tuned rung."""
        return max(1, self.rows // FOLDS)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data" / "regret.json")
    parser.add_argument("--climbs", type=int, default=60, help="of each cell and rule")
    options = parser.parse_args()
    cells = list(cells_of(json.loads(options.out.read_text())))
    sizes = dict.fromkeys(cell.size for cell in cells)
    rows = []
    for order in ORDERS:
        for asked in ASKED:
            found = [climbs(cell, order, asked, options.climbs) for cell in cells]
            row = [order, f"{asked:g}"]
            for size in (*sizes, None):
                some = [one for one, cell in zip(found, cells, strict=True) if size in (None, cell.size)]
                row += [f"{mean(regret for regret, _ in some):.2f}", f"{mean(share for _, share in some):.0%}"]
            rows.append(row)
    head = [text for size in (*(f"{size} a class" for size in sizes), "mean") for text in (f"{size}: regret", "time")]
    print(table(["order", "asked", *head], rows, text=1))


def cells_of(kept: Record) -> Iterator[Cell]:
    """All cells of which at least one seed has every rung."""
    found: dict[tuple[str, str], dict[str, dict[int, Record]]] = {}
    for record in kept["runs"].values():
        if "failed" not in record and not record["shuffled"]:
            found.setdefault((record["set"], record["size"]), {}).setdefault(record["kind"], {})[record["seed"]] = (
                record
            )
    for (name, size), kinds in sorted(found.items(), key=lambda one: one[0][1]):
        runs = [kinds.get(kind, {}) for kind in (PROBE, RACE, *TUNED)]
        seeds = sorted(set.intersection(*(set(one) for one in runs)))
        if not seeds:
            continue
        accuracy, seconds = (
            {kind: mean(kinds[kind][seed][key] for seed in seeds) for kind in (PROBE, RACE, *TUNED)}
            for key in ("accuracy", "cpu_seconds")
        )
        conditions = mean_conditions([kinds[PROBE][seed] for seed in seeds], None)
        rungs = [RungKind(RACE, "head"), *(RungKind(kind, reach_of(cut_of(kind) or 0, STAGES)) for kind in TUNED)]
        prior = prior_of(conditions, rungs, probe=PROBE, table=fitted_to_others(kept, name))
        gains = {kind: 100 * (value - accuracy[PROBE]) for kind, value in accuracy.items()}
        yield Cell(size, gains, seconds, prior, conditions.rows)


def climbs(cell: Cell, order: str, asked: float, count: int) -> tuple[float, float]:
    """Mean regret in points, and the mean share of the time that all rungs take."""
    generator = np.random.default_rng(0)
    found = [climb(cell, order, asked, generator) for _ in range(count)]
    return mean(regret for regret, _ in found), mean(share for _, share in found)


def climb(cell: Cell, order: str, asked: float, generator: np.random.Generator) -> tuple[float, float]:
    """Regret and share of the time of one climb."""
    shown = {RACE: _shown(cell.gains[RACE], cell.rows, generator)}
    waiting, seconds = list(TUNED), cell.seconds[RACE]
    while True:
        posterior = _posterior(cell, shown)
        best = posterior.best([PROBE, *shown])
        expected = {kind: posterior.expected_further_gain(kind, best, units=cell.units) for kind in waiting}
        worthwhile = [kind for kind in waiting if expected[kind] >= asked]
        if not worthwhile:
            return max(cell.gains.values()) - cell.gains[best], seconds / sum(cell.seconds.values())
        kind = worthwhile[0] if order == ORDERS[0] else max(worthwhile, key=expected.__getitem__)
        waiting.remove(kind)
        shown[kind] = _shown(cell.gains[kind], cell.units, generator)
        seconds += cell.seconds[kind] - cell.seconds[PROBE]


def _shown(gain: float, rows: int, generator: np.random.Generator) -> float:
    return float(gain + generator.normal(0, SCATTER / np.sqrt(rows)))


def _posterior(cell: Cell, shown: Mapping[str, float]) -> Posterior:
    units = [cell.rows if kind == RACE else cell.units for kind in shown]
    mean_of = np.array([*shown.values(), *(0.0 for _ in shown)])
    noise = np.diag([*(TYPICAL_POINTS**2 / count for count in units), *(NOTHING_KNOWN for _ in shown)])
    return update(cell.prior, Observed(tuple(shown), mean_of, noise, tuple(units), tuple(units)))


if __name__ == "__main__":
    main()
