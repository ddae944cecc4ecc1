"""The text of ``headstart gap``: a small table, what it means, and what it does not say."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headstart.planning.domain_gap import DomainGap, Estimate
from headstart.planning.gap_reading import level
from headstart.planning.gap_report import GapReport
from headstart.planning.rule_table import FAR, FITS, SOURCE_LIKE

_OUT = Console(highlight=False, emoji=False)
_SURE = 1.96  # standard errors on each side of a 95 % interval
_LEVELS = {"fits": "fit", "partly": "fit in part", "far": "do not fit"}
_LIMITS = (
    "A gap says how unlike images look to the network, resolution, blur and missing colour included. It does not say "
    "how hard the classes are to tell apart, nor how well a model will do."
)


def show_gap(report: GapReport) -> None:
    """Title, table, scale, notes, meaning and limits."""
    gap = report.gap
    _OUT.print(f"[bold]{escape(_title(gap))}[/bold]", soft_wrap=True)
    _OUT.print(_table(gap))
    if gap.against is None:
        unit = SOURCE_LIKE
        _OUT.print(
            f"For scale: photographs of ImageNet lie {unit:.3f} from it. Layers fit up to {FITS**2 * unit:.3f}, "
            f"from {FAR**2 * unit:.3f} on they do not.",
            soft_wrap=True,
        )
    for note in report.notes:
        _OUT.print(f"• {note}", markup=False, soft_wrap=True)
    _OUT.print(f"\n[bold]{escape(report.reading)}[/bold]", soft_wrap=True)
    _OUT.print(_LIMITS, soft_wrap=True)


def estimate_text(estimate: Estimate) -> str:
    """``0.204 ± 0.012``: the value and half of its 95 % interval, or the value alone."""
    return f"{estimate.value:.3f}" + ("" if math.isnan(estimate.error) else f" ± {_SURE * estimate.error:.3f}")


def _title(gap: DomainGap) -> str:
    side = _side(gap.of, gap.images)
    other = "ImageNet" if gap.against is None else _side(gap.against, gap.against_images or 0)
    return f"{side} against {other}, as {gap.ruler} sees them"


def _side(name: str, images: int) -> str:
    return f"{name} ({images} image{'' if images == 1 else 's'})"


def _table(gap: DomainGap) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layers")
    table.add_column("gap", justify="right")
    table.add_column("± 95 %", justify="right")
    table.add_column("" if gap.against else "the network's layers")
    parts = {
        "all": gap.total,
        "early, stages 1 to 3": gap.early,
        "middle, stages 4 to 6": gap.middle,
        "late, stages 7 to 9": gap.late,
    }
    for name, part in parts.items():
        error = "–" if math.isnan(part.error) else f"{_SURE * part.error:.3f}"
        reads = "" if gap.against or part is gap.total else _LEVELS[level(part.value)]
        table.add_row(name, f"{part.value:.3f}", error, reads)
    return table
