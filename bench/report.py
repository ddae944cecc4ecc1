"""How long the report of a run takes, and how large it is: with maps and neighbours, and without.

    python bench/report.py runs/hymenoptera-1

Processor seconds of writing alone, in one process after the imports, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from headstart.data.addresses import Addresses
from headstart.reporting.illustrations import Illustrate, illustrator_of, without
from headstart.reporting.report import write_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| run | illustrations | processor seconds, first and least | MB |\n|---|---|---|---|")
    for run in options.runs:
        ways: dict[str, Illustrate] = {
            "none": without("not asked for"),
            "maps, neighbours": illustrator_of(run, Addresses().read),
        }
        for name, illustrate in ways.items():
            seconds = [measure(run, illustrate) for _ in range(options.repeats)]
            size = (run / "report.html").stat().st_size / 1e6
            print(f"| {run.name} | {name} | {seconds[0]:.2f}, {min(seconds):.2f} | {size:.2f} |")


def measure(run: Path, illustrate: Illustrate) -> float:
    """Processor seconds of all threads for one page and card."""
    start = time.process_time()
    write_report(run, Addresses().read, illustrate)
    return time.process_time() - start


if __name__ == "__main__":
    main()
