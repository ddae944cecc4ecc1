"""What rungs gained on each data set, and the prior that follows from all data sets but the one that it is judged on.

Run as a program, ``regret_prior.py PRIOR.json COMMAND ...`` is ``headstart COMMAND ...`` with that prior instead of its
own, so that no data set helps to judge itself.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from types import MappingProxyType
from typing import Any

import numpy as np
from regret_scores import from_bits, gain

from headstart.planning.prior import ELICITED, TABLE, Coefficient, Conditions, PriorTable, conditions_of, reach_of
from headstart.planning.prior_fit import Outcome, refit
from headstart.planning.situation import ProbeScore, Situation

Record = Mapping[str, Any]
PROBE, RACE = "linear_probe", "race"
STAGES = 9  # of the default backbone
# A prior is fitted to no fewer data sets; with fewer it is the one from before any data.
FEWEST_SETS = 2


def main() -> None:
    """Put the prior in its place, and do what the command line says."""
    use(from_json(Path(sys.argv[1]).read_text()))
    from headstart.cli import app

    sys.argv = ["headstart", *sys.argv[2:]]
    app()


def outcomes(kept: Record) -> list[Outcome]:
    """What each fine-tuned rung gained over the probe: the mean of the seeds, which share their test rows.

    Parameters
    ----------
    kept:
        The JSON of :mod:`regret`.
    """
    cells: dict[tuple[str, str], dict[str, dict[int, Record]]] = {}
    for found in kept["runs"].values():
        if "failed" not in found and not found["shuffled"]:
            cells.setdefault((found["set"], found["size"]), {}).setdefault(found["kind"], {})[found["seed"]] = found
    gained = []
    for (name, _), kinds in cells.items():
        probes = kinds.get(PROBE, {})
        for kind, runs in kinds.items():
            seeds = sorted(probes.keys() & runs.keys())
            cut = cut_of(kind)
            if cut is not None and seeds:
                right = [np.array([from_bits(found[seed]["right"]) for seed in seeds]) for found in (runs, probes)]
                points, error = gain(*right, np.array(kept["tests"][name]["groups"]))
                conditions = mean_conditions([probes[seed] for seed in seeds], kept.get("gaps", {}).get(name))
                gained.append(Outcome(name, conditions, reach_of(cut, STAGES), points, error))
    return gained


def cut_of(kind: str) -> int | None:
    """The cut that a kind of process fine-tunes above; none for the others, second tries included."""
    above = kind.removeprefix("cut ")
    return 0 if kind == "full" else int(above) if above.isdecimal() else None


def fitted_to_others(kept: Record, dataset: str) -> PriorTable:
    """The prior from before any data, updated by what is known of all other data sets."""
    others = [outcome for outcome in outcomes(kept) if outcome.dataset != dataset]
    if len({outcome.dataset for outcome in others}) < FEWEST_SETS:
        return ELICITED
    return refit(others).table


def use(table: PriorTable) -> None:
    """Change the table that everything refers to."""
    for field in dataclasses.fields(PriorTable):
        object.__setattr__(TABLE, field.name, getattr(table, field.name))


def to_json(table: PriorTable) -> str:
    """All of a table but its sources."""
    values = dataclasses.asdict(dataclasses.replace(table, coefficients={}))
    values["coefficients"] = {name: [found.mean, found.sd] for name, found in table.coefficients.items()}
    return json.dumps(values)


def from_json(text: str) -> PriorTable:
    """The other way round."""
    values = json.loads(text)
    coefficients = {
        name: Coefficient(*found, "bench/regret_prior.py") for name, found in values["coefficients"].items()
    }
    return PriorTable(**{**values, "coefficients": MappingProxyType(coefficients)})


def mean_conditions(probes: Iterable[Record], gap: float | None) -> Conditions:
    """What the prior would have seen, on the mean of some seeds."""
    each = [_conditions(record) for record in probes]
    return Conditions(
        rows=round(mean(one.rows for one in each)),
        rows_per_class=mean(one.rows_per_class for one in each),
        gap=gap,
        error=mean(one.error for one in each),
        log_loss=mean(one.log_loss for one in each),
        belief=mean(one.belief for one in each),
    )


def _conditions(record: Record) -> Conditions:
    """What the prior would have seen of a sample and its probe, the gap left out."""
    counts: Sequence[int] = record["counts"]
    first = next(rung for rung in record["tried"] if rung["strategy"] == PROBE)
    rows, accuracy = sum(counts), first["score"]
    chance = -sum(count / rows * math.log(count / rows) for count in counts)
    # How sure the log-loss is was not kept; where classes are equally frequent, the accuracy says enough.
    probe = ProbeScore(accuracy, first["log_loss"], rows, max(counts) / rows, chance, math.inf, accuracy)
    situation = Situation(
        task="classification",
        rows=rows,
        classes=len(counts),
        class_min=min(counts),
        class_median=float(median(counts)),
        class_max=max(counts),
        groups=record["train_groups"],
        validation_rows=0,
        gap=None,
        probe=probe,
        crop_loss=0.0,  # no condition looks at this and the following
        stages=STAGES,
        image_size=224,
        aspect="crop",
        trainable=True,
    )
    return conditions_of(situation)


if __name__ == "__main__":
    main()
