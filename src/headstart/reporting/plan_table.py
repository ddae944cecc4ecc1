"""The text of ``headstart plan``: what would be tried, and why."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headstart.planning.plan import Plan

_OUT = Console(highlight=False, emoji=False)
_TITLES = {
    "fixed": "for all data",
    "fingerprint": "because of what the data is",
    "empirical": "because of what was measured here",
}


def show_plan(plan: Plan) -> None:
    """The rungs as a table, and each decision with its reason, by what it rests on."""
    _OUT.print(
        f"[bold]{escape(plan.data.name)}[/bold]: {plan.data.rows} images, {plan.data.classes} classes; "
        f"{escape(plan.backbone)} at {plan.image_size} pixels; budget {plan.budget}, {plan.quality}"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rung")
    for name in ("epochs", "rate", "forecast", "expected gain"):
        table.add_column(name, justify="right")
    table.add_row(plan.first, "", "", "", "")
    for rung in plan.rungs:
        gain = "" if rung.gain is None else f"{rung.gain.points:+.1f} ± {rung.gain.sd:.1f} points"
        seconds = "" if rung.seconds is None else f"{rung.seconds:.0f} s"
        table.add_row(rung.name, f"{rung.epochs or ''}", f"{rung.rate or 0:g}" if rung.rate else "", seconds, gain)
    _OUT.print(table)
    for kind, title in _TITLES.items():
        decisions = [decision for decision in plan.decisions if decision.kind == kind]
        if decisions:
            _OUT.print(f"\n{title}")
        for decision in decisions:
            _OUT.print(f"  {escape(decision.key)}: {escape(decision.value)}", soft_wrap=True)
            _OUT.print(f"    {escape(decision.reason)}", soft_wrap=True)
