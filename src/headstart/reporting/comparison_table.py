"""What ``headstart compare`` shows a person: the verdict, the scores side by side, and the first rows that changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headstart.reporting.comparing import TABLE, ChangedRow, ComparisonRecord

_OUT = Console(highlight=False, emoji=False)
_TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log-loss",
}
_MOST_ROWS = 5


def show_comparison(found: ComparisonRecord, folder: Path) -> None:
    """The verdict first, and then what it rests on."""
    grouped = "" if found.groups is None else f" in {found.groups} groups"
    _OUT.print(f"[bold]{escape(found.verdict)}.[/bold]\n", soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{escape(found.on)} ({found.rows} rows{grouped})")
    for title in (f"A: {found.a}", f"B: {found.b}", "B − A"):
        table.add_column(escape(title), justify="right")
    for key, title in _TITLES.items():
        score = found.scores[key]
        interval = "" if score.ci95 is None else f"  {score.ci95[0]:+.3f} to {score.ci95[1]:+.3f}"
        difference = "–" if score.difference is None else f"{score.difference:+.3f}{interval}"
        table.add_row(title, _number(score.a), _number(score.b), difference)
    _OUT.print(table)
    test = "McNemar's exact test" if found.groups is None else "a test of whole groups"
    _OUT.print(f"p = {found.p:.3g} by {test}", soft_wrap=True)
    _show_rows("lost", found.lost)
    _show_rows("won", found.won)
    for note in found.notes:
        _OUT.print(f"• {escape(note)}", soft_wrap=True)
    _OUT.print(f"all rows    {escape(str(folder / TABLE))}", soft_wrap=True)


def _show_rows(title: str, rows: Sequence[ChangedRow]) -> None:
    for row in rows[:_MOST_ROWS]:
        truth, a, b = (name or "(no label)" for name in (row.truth, row.a, row.b))
        _OUT.print(escape(f"{title}: {row.file} is {truth}; A {a}, B {b}"), soft_wrap=True)
    if len(rows) > _MOST_ROWS:
        _OUT.print(f"… and {len(rows) - _MOST_ROWS} more {title}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
