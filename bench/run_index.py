"""How long a list of many runs takes: the first time, from the index, and as a command.

    python bench/run_index.py --runs 2000

Run folders are written into a temporary folder, each with the records of a fit of so many classes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from headstart.files import sha256
from headstart.runs.index import list_runs, record_run
from headstart.runs.summary import EXPECTED

SCORES = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "log_loss", "brier", "ece")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--classes", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "runs"
        for number in range(options.runs):
            write_run(root / f"run-{number}", number, options.classes)
        report("first list, without an index", lambda: list_runs(root))
        report("list from the index", lambda: list_runs(root))
        report("one more run recorded", lambda: record_run(root / "run-0"))
        for words in (["--version"], ["runs"], ["runs", "--where", "test_accuracy>0.5", "--sort", "-test_accuracy"]):
            command = [sys.executable, "-m", "headstart.cli", *words]
            quiet = {"cwd": place, "check": True, "stdout": subprocess.DEVNULL}
            report(
                f"headstart {' '.join(words)}", lambda command=command, quiet=quiet: subprocess.run(command, **quiet)
            )


def report(name: str, work: Callable[[], object]) -> None:
    started, used = time.perf_counter(), sum(os.times()[:4])
    work()
    print(f"{name:64} {time.perf_counter() - started:7.3f} s, {sum(os.times()[:4]) - used:6.2f} s of processor time")


def write_run(folder: Path, number: int, classes: int) -> None:
    folder.mkdir(parents=True)
    accuracy = number % 100 / 100
    scores = dict.fromkeys(SCORES, accuracy)
    split = {"n": 500, **scores}
    split |= {f"{score}_ci95": [accuracy, accuracy] for score in SCORES}
    split |= {"confusion": [[1] * classes] * classes, "per_class": {str(name): scores for name in range(classes)}}
    metrics = {
        "schema": 1, "task": "classification", "strategy": "linear_probe", "metric": "accuracy", "cut": 9,
        "splits": {"val": split, "test": split}, "seconds": {"total": 9.0}, "seed": number,
    }  # fmt: skip
    text = json.dumps(metrics, indent=2)
    for name in EXPECTED:
        (folder / name).write_text(text if name == "metrics.json" else "{}")
    record = {
        "schema": 1, "state": "finished", "seed": number, "started": f"2026-01-01T00:00:{number % 60:02}+00:00",
        "finished": None, "headstart": "0.1.0", "python": "3", "platform": "x", "cpu": "x", "libraries": {},
        "request": {f"option_{name}": name for name in range(25)}, "sha256": {"metrics.json": sha256(text.encode())},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
