"""Markdown tables of what :mod:`regret` kept: accuracy, regret, time, controls, and the prior refitted to it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, median

import numpy as np
from regret_prior import PROBE, RACE, Record, outcomes
from regret_scores import Bools, Cell, from_bits, mean_over_sets, regret, relative_errors

from headstart.errors import DataError
from headstart.planning.climbing import AGAIN
from headstart.planning.prior import ELICITED
from headstart.planning.prior_fit import Outcome, Refit, left_out_error, left_out_log_likelihood, refit, without
from headstart.training.strategies import FINE_TUNED

ENOUGH_SEEDS = 3
# For how many data sets the prior's spread from before any data may count.
SPREAD_COUNTED_FOR = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
# How kinds of a second try end.
SECOND = " again"


@dataclasses.dataclass(frozen=True, eq=False)
class Kept:
    """Results by data set, size, seed and kind of process."""

    tests: Mapping[str, Record]
    runs: Mapping[tuple[str, str, int, str], Record]
    rungs: tuple[str, ...]
    ladder: str

    @classmethod
    def of(cls, kept: Record, rungs: tuple[str, ...], quality: str) -> Kept:
        """What did not fail, controls left out."""
        runs = {
            (found["set"], found["size"], found["seed"], found["kind"]): found
            for found in kept["runs"].values()
            if "failed" not in found and not found["shuffled"]
        }
        return cls(kept["tests"], runs, rungs, f"ladder {quality}")

    def cells(self) -> list[Cell]:
        """Data sets and sizes with at least one seed of which every process is there, small sizes first."""
        places = {(name, size) for name, size, _, _ in self.runs}
        order = sorted(places, key=lambda place: (_size(place[1]), list(self.tests).index(place[0])))
        found = [self._cell(name, size) for name, size in order]
        return [cell for cell in found if cell.seeds]

    def of_cell(self, cell: Cell, kind: str) -> list[Record]:
        """One kind's records, one a seed."""
        return [self.runs[cell.dataset, cell.size, seed, kind] for seed in cell.seeds]

    def _cell(self, name: str, size: str) -> Cell:
        kinds = (*self.rungs, self.ladder)
        seeds = sorted({key[2] for key in self.runs if key[:2] == (name, size)})
        whole = [seed for seed in seeds if all((name, size, seed, kind) in self.runs for kind in kinds)]
        runs = [[self.runs[name, size, seed, kind] for seed in whole] for kind in kinds]
        groups = np.array(self.tests[name]["groups"])
        right = np.array([[from_bits(run["right"]) for run in row] for row in runs], np.bool_)
        seconds = np.array([[run["seconds"] for run in row] for row in runs], np.float64)
        return Cell(name, size, tuple(whole), self.rungs, right[:-1], right[-1], groups, seconds[:-1], seconds[-1])


def report(kept: Record, rungs: tuple[str, ...], quality: str) -> str:
    """All tables.

    Parameters
    ----------
    kept:
        The JSON of :mod:`regret`.
    rungs:
        The kinds of processes that are rungs, cheap first.
    quality:
        Which ladder is judged.
    """
    results = Kept.of(kept, rungs, quality)
    cells = results.cells()
    parts = [f"# The ladder's choice ({quality}) against every rung", _machine(kept)]
    if cells:
        parts += ["## Each data set", _accuracies(results, cells)]
        parts += ["## Regret over all of them", _policies(results, cells)]
        repeated = [cell for cell in cells if len(cell.seeds) >= ENOUGH_SEEDS]
        if repeated and len(repeated) < len(cells):
            parts += [f"## Regret where there are {ENOUGH_SEEDS} seeds", _policies(results, repeated)]
        parts += [_alike(kept, rungs, quality), _as_fast(results, cells)]
        parts += ["## Forecast seconds", _forecasts(results, cells)]
    else:
        parts.append("Of no data set every rung and the ladder are there yet.")
    parts += ["## The prior, refitted", _prior(kept)]
    for title, text in (_second_tries(results), _controls(kept), _failures(kept)):
        parts += [title, text] if text else []
    return "\n\n".join(filter(None, parts))


def _machine(kept: Record) -> str:
    found = kept.get("machine")
    return "" if found is None else f"Measured on {found['cores']} cores of {found['cpu']}."


def _accuracies(results: Kept, cells: Sequence[Cell]) -> str:
    """One row a cell: accuracies and regret in points, and seconds a seed."""
    head = ["data set", "a class", "seeds", "test rows", *cells[0].rungs, "ladder", "regret", "tried", "chose"]
    rows = []
    for cell in cells:
        records = results.of_cell(cell, results.ladder)
        accuracies = [f"{100 * right.mean():.1f}" for right in (*cell.right, cell.ladder)]
        tried = ", ".join(str(len(climbed(record))) for record in records)
        chose = ", ".join(short(record["chosen"]) for record in records)
        seconds = [f"{cell.seconds.sum(axis=0).mean():.0f}", f"{cell.ladder_seconds.mean():.0f}", f"{cell.share():.0%}"]
        counts = [str(len(cell.seeds)), str(cell.right.shape[2])]
        rows.append([cell.dataset, cell.size, *counts, *accuracies, f"{cell.regret():+.2f}", tried, chose, *seconds])
    said = "Accuracy in %, the mean of the seeds; `tried` counts the fine-tuned rungs that the ladder tried, by seed."
    return f"{said}\n\n{table([*head, 'all rungs, s', 'ladder, s', 'share'], rows, text=2)}"


def _policies(results: Kept, cells: Sequence[Cell]) -> str:
    """Mean regret of the ladder and of always taking one rung, and what part of the time of all rungs each takes."""
    rows = [_policy("ladder", cells, [cell.regret() for cell in cells], _share(cells, None))]
    regrets = {rung: [cell.regret_of(rung) for cell in cells] for rung in cells[0].rungs}
    cuts = [rung for rung in regrets if rung not in (PROBE, RACE)]
    best = min(cuts, key=lambda rung: mean(regrets[rung]))
    for rung, found in regrets.items():
        name = f"always {rung}" + (", the best single cut" if rung == best else "")
        rows.append(_policy(name, cells, found, _share(cells, rung)))
    naive = [regret(cell.right, _highest(results, cell), cell.halves()) for cell in cells]
    rows.append(_policy("the highest score on held-out rows", cells, naive, 1.0))
    text = table(["policy", "mean regret", "s.e.", "worst", "of the time of all rungs"], rows)
    return f"{text}\n\n{_time(results, cells)}"


def _highest(results: Kept, cell: Cell) -> Bools:
    """What was right, of each seed by the rung that scored highest where nobody doubts small numbers: (S, N)."""
    scores = []
    for rung in cell.rungs:
        records = results.of_cell(cell, rung)
        scores.append([next(one["score"] for one in r["tried"] if one["strategy"] == r["chosen"]) for r in records])
    best = np.argmax(np.array(scores), axis=0)
    return np.array([cell.right[place, seed] for seed, place in enumerate(best)])


def _policy(name: str, cells: Sequence[Cell], regrets: Sequence[float], share: float) -> list[str]:
    found, error = mean_over_sets(cells, regrets)
    worst = max(range(len(cells)), key=lambda place: regrets[place])
    where = f"{regrets[worst]:+.2f} ({cells[worst].dataset}, {cells[worst].size})"
    return [name, f"{found:+.2f}", "" if math.isnan(error) else f"{error:.2f}", where, f"{share:.0%}"]


def _share(cells: Sequence[Cell], rung: str | None) -> float:
    """Seconds of one rung, or of the ladder, for one second of running all rungs, summed over the cells."""
    spent = [cell.ladder_seconds if rung is None else cell.seconds[cell.rungs.index(rung)] for cell in cells]
    return float(sum(one.sum() for one in spent) / sum(cell.seconds.sum() for cell in cells))


def _time(results: Kept, cells: Sequence[Cell]) -> str:
    """The ladder's time against stricter measures of trying everything."""
    ladder = [record for cell in cells for record in results.of_cell(cell, results.ladder)]
    every = [record for cell in cells for rung in cell.rungs for record in results.of_cell(cell, rung)]
    shared = sum(record["seconds"] for record in every if record["kind"] == RACE)
    shared += sum(record["sections"].get("fine-tune", 0.0) for record in every)
    at_once = sum(record["seconds"] for record in ladder) / shared
    processor = sum(record["cpu_seconds"] for record in ladder) / sum(record["cpu_seconds"] for record in every)
    typical = median(cell.share() for cell in cells)
    return (
        f"The ladder takes {_share(cells, None):.0%} of the seconds of all rungs, each a process by itself (in the "
        f"median cell {typical:.0%}); {processor:.0%} of their processor time; and {at_once:.0%} of one process that "
        "would try them all and do once what they have in common."
    )


def _alike(kept: Record, rungs: tuple[str, ...], quality: str) -> str:
    """The same where no rung was slower for a reason that its record names: older code, or other work beside it."""
    runs = {key: found for key, found in kept["runs"].items() if "slower" not in found}
    results = Kept.of({**kept, "runs": runs}, rungs, quality)
    cells = results.cells()
    if len(runs) == len(kept["runs"]) or not cells:
        return ""
    seeds = sum(len(cell.seeds) for cell in cells)
    said = f"{seeds} samples have rungs that ran with the ladder's code and as it did."
    return f"{said} There: {_time(results, cells)}"


def _as_fast(results: Kept, cells: Sequence[Cell]) -> str:
    """The ladder's share of the time if slower rungs had been as fast as the others of their data set and size."""
    by_place: dict[tuple[str, str, str], tuple[list[float], list[float]]] = {}
    for (name, size, _, kind), found in results.runs.items():
        if kind in results.rungs:
            by_place.setdefault((name, size, kind), ([], []))["slower" in found].append(found["seconds"])
    both = [(mean(usual), mean(slower)) for usual, slower in by_place.values() if usual and slower]
    if not both:
        return ""
    ratio = sum(usual for usual, _ in both) / sum(slower for _, slower in both)
    every = [record for cell in cells for rung in cell.rungs for record in results.of_cell(cell, rung)]
    seconds = sum(record["seconds"] * (ratio if "slower" in record else 1.0) for record in every)
    share = sum(cell.ladder_seconds.sum() for cell in cells) / seconds
    return (
        f"{len(both)} rungs ran both ways: as the ladder does they took {ratio:.0%} of the time. If all had been as "
        f"fast, the ladder would take {share:.0%} of the time of all rungs."
    )


def _forecasts(results: Kept, cells: Sequence[Cell]) -> str:
    """Planned seconds against real ones, where the ladder tried the rung and where it ran by itself."""
    pairs = list(_timed(results, cells))
    rows = []
    for where in ("in the ladder", "by itself"):
        for kind in (*(rung for rung in results.rungs if rung not in (PROBE, RACE)), "all"):
            some = [pair for pair in pairs if pair[0] == where and kind in (pair[1], "all")]
            if some:
                errors = relative_errors([pair[2] for pair in some], [pair[3] for pair in some])
                off, bias = float(np.median(np.abs(errors))), float(np.median(errors))
                real = median(pair[3] for pair in some)
                rows.append([where, kind, str(len(some)), f"{real:.0f}", f"{off:.0%}", f"{bias:+.0%}"])
    if not rows:
        return "No ladder planned a rung."
    head = ["rung ran", "rung", "times", "median seconds", "median error of the forecast", "median bias"]
    return table(head, rows, text=2)


def _timed(results: Kept, cells: Sequence[Cell]) -> Iterator[tuple[str, str, float, float]]:
    """Where a rung ran, its name, its forecast and its real seconds."""
    for cell in cells:
        for seed, record in zip(cell.seeds, results.of_cell(cell, results.ladder), strict=True):
            spent = {short(rung["strategy"]): rung["seconds"] for rung in record["tried"]}
            for rung in record.get("planned", ()):
                if rung["seconds"] is None:
                    continue
                kind = f"cut {rung['cut']}" if rung["cut"] else rung["strategy"]
                if kind in spent:
                    yield "in the ladder", kind, rung["seconds"], spent[kind]
                if kind in results.rungs:
                    alone = results.runs[cell.dataset, cell.size, seed, kind]["sections"]["fine-tune"]
                    yield "by itself", kind, rung["seconds"], alone


def _prior(kept: Record) -> str:
    """The prior from before any data and after a refit, with what it is worth on data sets that were left out."""
    gained = outcomes(kept)
    try:
        found = refit(gained)
    except DataError as error:
        return f"Not refitted: {error}."
    return "\n\n".join(filter(None, [_worth(gained, found), _coefficients(gained, found), _spread(gained)]))


def _worth(outcomes: Sequence[Outcome], found: Refit) -> str:
    names = sorted({outcome.dataset for outcome in outcomes})
    nothing = mean(mean(abs(one.gain) for one in outcomes if one.dataset == name) for name in names)
    uses = "is used" if found.uses_gap else "is without effect, as it predicts no better than size and probe"
    return (
        f"{len(outcomes)} gains of {len(names)} data sets. Mean error of predicted gains, in points, each data set "
        f"predicted by a table fitted to the others: {found.error_with_gap:.2f} with the domain gap, "
        f"{found.error_without_gap:.2f} without it; {found.error_before:.2f} by the table from before any data, and "
        f"{nothing:.2f} by no gain at all. The domain gap {uses}. The race of the probes has no part in the fit."
    )


def _coefficients(gained: Sequence[Outcome], found: Refit) -> str:
    """Each number before and after, and the error of predicted gains where the fit has to do without it."""
    blind = ELICITED if found.uses_gap else without(ELICITED, "gap")
    rows = []
    for (name, old), new in zip(ELICITED.coefficients.items(), found.table.coefficients.values(), strict=True):
        error = "" if name == "head" else f"{left_out_error(gained, without(blind, name)):.2f}"
        rows.append([name, f"{old.mean:+.3f}", f"{old.sd:.3f}", f"{new.mean:+.3f}", f"{new.sd:.3f}", error])
    for name in ("shared_sd", "own_sd"):
        rows.append([name, f"{getattr(ELICITED, name):.3f}", "", f"{getattr(found.table, name):.3f}", "", ""])
    return table(["coefficient", "before any data", "± s.d.", "refitted", "± s.d.", "error without it"], rows)


def _spread(gained: Sequence[Outcome]) -> str:
    """What the table's spread is worth beside that of measured data sets."""
    try:
        found = {count: left_out_log_likelihood(gained, count) for count in SPREAD_COUNTED_FOR}
    except DataError:
        return ""
    rows = [["log-likelihood of gains on sets that were left out", *(f"{value:.1f}" for value in found.values())]]
    return table(["the spread before any data counts for so many sets", *(f"{count:g}" for count in found)], rows)


def _second_tries(results: Kept) -> tuple[str, str]:
    """What cuts gain over the probe at the usual rate and at that of a second try, on the same samples."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for (name, size, seed, kind), record in results.runs.items():
        first, probe = (results.runs.get((name, size, seed, other)) for other in (kind.removesuffix(SECOND), PROBE))
        if kind.endswith(SECOND) and first is not None and probe is not None:
            gains = [100 * (one["accuracy"] - probe["accuracy"]) for one in (first, record)]
            pairs.setdefault(first["kind"], []).append((gains[0], gains[1]))
    rows = [_second_try(kind, found) for kind, found in pairs.items()]
    rows += [_second_try("all", [pair for found in pairs.values() for pair in found])] if len(pairs) > 1 else []
    head = ["rung", "samples", "gain", "at a tenth of the rate", "correlation", "no gain at first", "then at a tenth"]
    said = "Gains in points over the probe of the same sample, means; the last two columns where the first had none."
    return "## Second tries", f"{said}\n\n{table(head, rows)}" if rows else ""


def _second_try(kind: str, pairs: Sequence[tuple[float, float]]) -> list[str]:
    first, second = zip(*pairs, strict=True)
    varied = len(set(first)) > 1 and len(set(second)) > 1
    alike = f"{np.corrcoef(first, second)[0, 1]:.2f}" if varied else ""
    failed = [pair[1] for pair in pairs if pair[0] <= 0]
    after = f"{mean(failed):+.1f}" if failed else ""
    return [kind, str(len(pairs)), f"{mean(first):+.1f}", f"{mean(second):+.1f}", alike, str(len(failed)), after]


def _controls(kept: Record) -> tuple[str, str]:
    """Ladders on shuffled training labels."""
    rows = []
    for found in kept["runs"].values():
        if found["shuffled"] and "failed" not in found:
            cell = [found["set"], found["size"], str(found["seed"]), found["kind"].removeprefix("ladder ")]
            names = [", ".join(climbed(found)) or "none", short(found["chosen"])]
            majority = max(found["counts"]) / sum(found["counts"])
            rows.append([*cell, *names, f"{100 * found['accuracy']:.1f}", f"{100 * majority:.1f}"])
    head = ["data set", "a class", "seed", "quality", "tried", "chose", "accuracy", "majority"]
    stayed = sum(row[4] == "none" for row in rows)
    said = f"{stayed} of {len(rows)} ladders tried no fine-tuning; accuracy in % on the true test labels."
    return "## Shuffled training labels", f"{said}\n\n{table(head, rows, text=6)}" if rows else ""


def _failures(kept: Record) -> tuple[str, str]:
    failed = {key: found["failed"] for key, found in kept["runs"].items() if "failed" in found}
    return "## Failed", "\n".join(f"- {key}: `{' '.join(text.split())[-300:]}`" for key, text in failed.items())


def climbed(record: Record) -> list[str]:
    """The fine-tuned rungs that a ladder tried."""
    return [short(rung["strategy"]) for rung in record["tried"] if rung["strategy"].split()[0] in FINE_TUNED]


def short(rung: str) -> str:
    """A rung's name as the tables have it."""
    return rung.replace("partial above ", "").replace(AGAIN, " again")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, text: int = 1) -> str:
    """A Markdown table whose first columns are text and whose others are numbers."""
    lines = [head, [*["---"] * text, *["--:"] * (len(head) - text)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _size(name: str) -> tuple[float, str]:
    return (float(name) if name.isdecimal() else math.inf, name)
