"""What an export shows a person: one line a figure, one column a precision."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headstart.export.exporting import Exported
from headstart.export.parity import Parity
from headstart.reporting.terminal import size

_OUT = Console(highlight=False, emoji=False)


def show_export(folder: Path, written: Exported) -> None:
    """The table of ``parity.json``, and where the file lies."""
    if written.results:
        _OUT.print(_table(written))
        _OUT.print(
            f"compared on {written.images} images, {written.validation} of them validation rows; the model in float32 "
            f"has {written.results[0].score} {written.results[0].artifact_score:.3f} there",
            soft_wrap=True,
        )
    if written.warning:
        _OUT.print(f"[bold]{escape(written.warning)}[/bold]", soft_wrap=True)
    _OUT.print(f"\n{written.format} file  {escape(str(folder / written.file))} ({size(written.size)})", soft_wrap=True)


def _table(written: Exported) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"against the model, {written.format}")
    for result in written.results:
        table.add_column(
            f"{result.engine}, {result.computed_in}{'' if result.passed else ' (not used)'}", justify="right"
        )
    for title, cells in _lines(written.results):
        table.add_row(title, *cells)
    return table


def _lines(results: tuple[Parity, ...]) -> list[tuple[str, list[str]]]:
    lines = [
        ("same decision", [f"{one.agreement:.1%} (bar {one.agreement_bar:.0%})" for one in results]),
        ("median cosine of embeddings", [f"{one.cosine:.5f} (bar {one.cosine_bar:g})" for one in results]),
        ("largest difference of a probability", [f"{one.largest_difference:.4f}" for one in results]),
        (f"difference of {results[0].score}", [_difference(one) for one in results]),
    ]
    for place, latency in enumerate(results[0].latency):
        cells = [one.latency[place] for one in results]
        lines.append(
            (
                f"ms for {latency.batch} (p50, p95, p99)",
                [f"{cell.p50_ms:.1f}, {cell.p95_ms:.1f}, {cell.p99_ms:.1f}" for cell in cells],
            )
        )
    return lines


def _difference(one: Parity) -> str:
    interval = one.score_difference_ci95
    between = "" if interval is None else f" ({interval[0]:+.4f} to {interval[1]:+.4f})"
    return f"{one.score_difference:+.4f}{between}"
