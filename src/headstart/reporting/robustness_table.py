"""``robustness.json`` and its table in a terminal: one line a corruption, one column a strength."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headstart.artifact.model import Model
from headstart.artifact.robustness import CorruptedScore, Robustness, measure_robustness
from headstart.evaluation.intervals import Interval
from headstart.files import write_atomic
from headstart.imaging.corruptions import CORRUPTIONS
from headstart.records import to_json
from headstart.runs import Progress, owning_folder

FILE = "robustness.json"
_STRENGTHS = ("mild", "medium", "strong")
_OUT = Console(highlight=False, emoji=False)


def measure(model: Model, source: Any, run: Path, *, root: Path | None, progress: Progress) -> Robustness:
    """Score a model on corrupted images and write the record into its run.

    Raises
    ------
    headstart.errors.HeadstartError
        As :func:`headstart.artifact.robustness.measure_robustness` does, or if the record can't be written.
    """
    found = measure_robustness(model, source, root=root, progress=progress)
    write_atomic(owning_folder(run) / FILE, to_json(found))
    return found


def show_robustness(found: Robustness, path: Path) -> None:
    """The accuracy under each corruption, worst first, and the mean over all."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"accuracy ({found.n} images)")
    for title in _STRENGTHS:
        table.add_column(title, justify="right")
    table.add_row("as they are", _share(found.clean.accuracy, found.clean.accuracy_ci95))
    rows = {name: [one for one in found.scores if one.corruption == name] for name in CORRUPTIONS}
    for name, scores in sorted(rows.items(), key=lambda row: _mean(row[1])):
        table.add_row(name.replace("_", " "), *(_share(one.accuracy, one.accuracy_ci95) for one in scores))
    _OUT.print(table)
    lost = f"{100 * found.mean_drop:.1f} points below the images as they are"
    if found.mean_drop_ci95 is not None:
        lost += " ({:.1f} to {:.1f})".format(*(100 * end for end in found.mean_drop_ci95))
    mean = _share(found.mean_accuracy, found.mean_accuracy_ci95)
    _OUT.print(f"mean over all corruptions {mean}, {lost}", soft_wrap=True)
    _OUT.print(f"robustness  {escape(str(path))}", soft_wrap=True)


def _mean(scores: list[CorruptedScore]) -> float:
    return sum(one.accuracy for one in scores) / len(scores)


def _share(value: float, interval: Interval | None) -> str:
    return f"{value:.3f}" + ("" if interval is None else f"  {interval[0]:.3f}–{interval[1]:.3f}")
