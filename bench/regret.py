"""What the ladder's choice costs against running every rung: test accuracy and seconds of both, on several data sets.

A cell is a data set with so many images a class and a seed. In each, every rung runs as a whole process with an empty
cache: the linear probe, the race of the probes, fine-tuning above each cut that a plan may race, and fine-tuning of the
whole network; then the ladder without a budget, as one process too, with a prior that is fitted to what is known so far
of the other data sets. ``--kinds`` takes some of these, and ``retries``:
each cut at the rate of a second try, which tells what second tries are worth. Data sets keep the test that they come
with, or one that is held out once for all seeds and sizes. ``--controls`` also climbs with shuffled training labels,
where no rung can gain. Results are kept in ``--out`` after each process, so that it can be stopped and go on;
``--report`` runs nothing and prints them as Markdown tables, with the prior refitted to them. What was measured so far
is in ``bench/data/regret.json``; ``--out`` with that file goes on from there. A rung there may say why it was
``slower`` than it would be beside the ladders; the report then also tells the time of those that were not. Needs
``headstart[train]``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from main_job import machine
from regret_prior import STAGES, fitted_to_others, to_json
from regret_report import SECOND, report
from regret_samples import Image, Pool, draw, pool_of, shuffled, write_table
from regret_scores import to_bits

from headstart.files import write_atomic
from headstart.planning.choice import retry_rate
from headstart.planning.empirical_rules import cuts_of
from headstart.training.finetuning.defaults import STAGE_RATE
from headstart.training.strategies import FINE_TUNED

SETS = (
    *("hymenoptera", "brain_mri4", "rsscn7", "flowers5"),
    *(f"pacs/{domain}" for domain in ("photo", "art_painting", "cartoon", "sketch")),
)
# Of every process: rungs are compared, not backbones.
BACKBONE = "bundled/tf_efficientnet_lite0"
SIZES, SEEDS, ALL = (10, 40), (0, 1, 2), "all"
# A sample of all images is another size only if it has so many times the rows of the largest fixed size.
MORE = 1.25
# What is kept of the errors of a process that failed.
TAIL = 2000


@dataclass(frozen=True)
class Job:
    """One process: a rung or the ladder, on one sample."""

    dataset: str
    size: str
    seed: int
    kind: str
    shuffled: bool = False

    @property
    def key(self) -> str:
        """What its result is kept under."""
        control = " shuffled" if self.shuffled else ""
        return f"{self.dataset} {self.size} {self.seed} {self.kind}{control}"


def rungs() -> dict[str, list[str]]:
    """The options of each rung that runs by itself, cheap first."""
    above = {
        f"cut {cut}" if cut else "full": ["partial", "--cut", str(cut)] if cut else ["full"] for cut in cuts_of(STAGES)
    }
    return {
        "linear_probe": ["--strategy", "linear_probe"],
        "race": ["--strategy", "auto", "--budget", "1s"],
        **{name: ["--strategy", *wanted] for name, wanted in above.items()},
    }


def retries() -> dict[str, list[str]]:
    """The same fine-tuned rungs as a ladder tries them the second time."""
    rate = ["--lr", f"{retry_rate(STAGE_RATE):g}"]
    return {f"{name}{SECOND}": [*wanted, *rate] for name, wanted in rungs().items() if wanted[1] in FINE_TUNED}


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("stopped"))  # which ends the process under way
    kept = json.loads(options.out.read_text()) if options.out.is_file() else {"tests": {}, "runs": {}}
    if options.report:
        print(report(kept, tuple(rungs()), options.quality))
        return
    pools = {name: pool_of(options.data, name) for name in options.sets}
    for name, pool in pools.items():
        keep_test(kept, name, pool.test, options.out)
    ladder = f"ladder {options.quality}"
    wanted = {"rungs": list(rungs()), "retries": list(retries()), "ladder": [ladder]}
    kinds = [kind for name in options.kinds for kind in wanted[name]]
    order = list(jobs(pools, options.sizes, options.seeds, options.most, kinds, ladder if options.controls else None))
    for number, job in enumerate(order, 1):
        known = kept["runs"].get(job.key)
        if known is None or (options.retry and "failed" in known):
            prior = prior_of(job, kept, options.data)
            found = run(job, pools[job.dataset], options.data, options.most, prior)
            kept["runs"][job.key] = found
            kept["machine"] = machine()
            write_atomic(options.out, json.dumps(kept, indent=1) + "\n")
            said = f"accuracy {found['accuracy']:.3f}" if "accuracy" in found else f"failed: {found['failed'][-200:]}"
            print(f"{number} of {len(order)}: {job.key}: {said}, {found['seconds']:.0f} s", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data", help="the folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--sizes", nargs="+", default=[*map(str, SIZES), ALL], help="images a class, or all")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--most", type=int, default=400, help="images a class that all may mean")
    parser.add_argument("--quality", choices=("fast", "balanced", "best"), default="balanced", help="the ladder's")
    parser.add_argument(
        "--kinds", nargs="+", default=["rungs", "ladder"], choices=("rungs", "retries", "ladder"), help="of processes"
    )
    parser.add_argument("--controls", action="store_true", help="also climb with shuffled training labels")
    parser.add_argument("--retry", action="store_true", help="run again what failed")
    parser.add_argument("--report", action="store_true", help="run nothing, print the tables")
    parser.add_argument("--out", type=Path, default=Path("bench/results/regret.json"))
    return parser.parse_args()


def jobs(
    pools: dict[str, Pool],
    sizes: Sequence[str],
    seeds: Sequence[int],
    most: int,
    kinds: Sequence[str],
    control_kind: str | None,
) -> Iterator[Job]:
    """All processes, in an order in which the first ones tell most: small samples, one seed, controls, seeds, all."""
    fixed = [size for size in sizes if size != ALL]
    groups = [(size, seed, False) for seed in seeds[:1] for size in fixed]
    groups += [(size, seed, True) for seed in seeds[:1] for size in fixed if control_kind is not None]
    groups += [(size, seed, False) for seed in seeds[1:] for size in fixed]
    groups += [(ALL, seed, False) for seed in seeds if ALL in sizes]
    for size, seed, control in groups:
        for name, pool in pools.items():
            if is_enough(pool, size, most):
                chosen = [control_kind or ""] if control else kinds
                yield from (Job(name, named(pool, size, most), seed, kind, control) for kind in chosen)


def is_enough(pool: Pool, size: str, most: int) -> bool:
    """Whether each class has as many images, or for all whether they are clearly more than a fixed size takes."""
    if size != ALL:
        return pool.smallest() >= int(size)
    return len(draw(pool.train, most, 0)) >= MORE * len(draw(pool.train, max(SIZES), 0))


def named(pool: Pool, size: str, most: int) -> str:
    """The size as results call it: with its limit, if all are more than that."""
    return f"{ALL} to {most}" if size == ALL and pool.largest() > most else size


def keep_test(kept: dict[str, Any], name: str, test: Sequence[Image], out: Path) -> None:
    """Note which rows test, in order; refuse to go on if they are others than before."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(image.group for image in test))}
    found = {"files": [image.file for image in test], "groups": [numbers[image.group] for image in test]}
    if kept["tests"].setdefault(name, found) != found:
        sys.exit(f"{out}: results of {name} are of another test than its files give now: choose another --out")


def prior_of(job: Job, kept: dict[str, Any], data: Path) -> str | None:
    """The JSON of the prior for a ladder; gaps that are not known yet are measured for it."""
    if not job.kind.startswith("ladder"):
        return None
    gaps = kept.setdefault("gaps", {})
    gaps |= {name: gap_of(pool_of(data, name), data) for name in kept["tests"] if name not in gaps}
    return to_json(fitted_to_others(kept, job.dataset))


def gap_of(pool: Pool, data: Path) -> float:
    """The domain gap of everything that samples are drawn from, in nats."""
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "data.csv"
        write_table(table, data, pool.train, ())
        command = [sys.executable, "-m", "headstart.cli", "gap", str(table), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(json.loads(done.stdout)["gap"]["total"]["value"])


def run(job: Job, pool: Pool, data: Path, most: int, prior: str | None) -> dict[str, Any]:
    """Run one process with a cache of its own, and read what it found; ``prior`` is that of :func:`prior_of`."""
    per_class = most if job.size.startswith(ALL) else int(job.size)
    train = draw(pool.train, per_class, job.seed)
    if job.shuffled:
        train = shuffled(train, job.seed)
    strategy, _, quality = job.kind.partition("ladder ")
    wanted = {**rungs(), **retries()}[strategy] if strategy else ["--budget", "none", "--quality", quality]
    cell = {"set": job.dataset, "size": job.size, "seed": job.seed, "kind": job.kind, "shuffled": job.shuffled}
    with tempfile.TemporaryDirectory() as scratch:
        table, folder = Path(scratch) / "data.csv", Path(scratch) / "run"
        write_table(table, data, train, pool.test)
        program = ["-m", "headstart.cli"]
        if prior is not None:
            (Path(scratch) / "prior.json").write_text(prior)
            program = [str(Path(__file__).with_name("regret_prior.py")), str(Path(scratch) / "prior.json")]
        command = [sys.executable, *program, "fit", str(table), "--out", str(folder), "--json"]
        command += ["--seed", str(job.seed), "--backbone", BACKBONE, "--allow-leaks", *wanted]
        environment = {**os.environ, "HEADSTART_CACHE": f"{scratch}/cache"}
        started, before = time.perf_counter(), children_seconds()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        spent = {"seconds": time.perf_counter() - started, "cpu_seconds": children_seconds() - before}
        if done.returncode:
            return {**cell, **spent, "failed": f"exit {done.returncode}: {done.stderr[-TAIL:]}"}
        return {**cell, **spent, **sample_facts(train), **read_run(folder, data, pool.test)}


def children_seconds() -> float:
    """Processor time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sample_facts(train: Sequence[Image]) -> dict[str, Any]:
    """What the prior asks of a training sample: images of each class, and how many units they make."""
    counts = Counter(image.label for image in train)
    return {"counts": sorted(counts.values()), "train_groups": len({image.group for image in train})}


def read_run(folder: Path, data: Path, test: Sequence[Image]) -> dict[str, Any]:
    """What is kept of a run folder."""
    right = right_rows(folder / "predictions.parquet", [(data / image.file).resolve() for image in test])
    metrics, ladder = (json.loads((folder / name).read_text()) for name in ("metrics.json", "ladder.json"))
    found = {
        "accuracy": sum(right) / len(right),
        "right": to_bits(right),
        "sections": metrics["seconds"],
        "chosen": ladder["chosen"],
        "steps": ladder["steps"],
        "reason": ladder["reason"],
        "tried": [
            {name: rung[name] for name in ("strategy", "cut", "seconds", "score", "log_loss", "decision")}
            | {"expected_gain": rung["expected_gain"], "gain": rung["gain"]}
            for rung in ladder["rungs"]
        ],
    }
    if (folder / "plan.json").is_file():
        plan = json.loads((folder / "plan.json").read_text())
        found["planned"] = [
            {name: rung[name] for name in ("strategy", "cut", "epochs", "seconds", "gain")} for rung in plan["rungs"]
        ]
    if (folder / "fingerprint.json").is_file():
        gap = json.loads((folder / "fingerprint.json").read_text())["gap"]
        found["gap"] = None if gap is None else gap["total"]["value"]
    return found


def right_rows(predictions: Path, images: Sequence[Path]) -> list[bool]:
    """Whether each test image was predicted right, in the order of ``images``.

    Raises
    ------
    ValueError
        If other images were tested.
    """
    import pyarrow.parquet as pq

    rows = pq.read_table(predictions, columns=["image", "split", "truth", "predicted"]).to_pylist()
    found = {Path(row["image"]): row["truth"] == row["predicted"] for row in rows if row["split"] == "test"}
    if found.keys() != set(images):
        raise ValueError(f"{predictions}: {len(found)} images were tested, and not just the {len(images)} of the table")
    return [found[image] for image in images]


if __name__ == "__main__":
    main()
