"""The text of ``headstart plan``: what would be tried and why, how far features carry, and what more data may bring."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headstart.planning.forecast import AccuracyForecast
from headstart.planning.layer_map import LayerMap
from headstart.planning.plan import Considered, Plan
from headstart.reporting.wording import percent

_OUT = Console(highlight=False, emoji=False)
_TITLES = {
    "fixed": "for all data",
    "fingerprint": "because of what the data is",
    "empirical": "because of what was measured here",
}
# Characters of a bar that stands for all images.
_BAR = 20


def show_plan(plan: Plan) -> None:
    """What was compared, the rungs, how far features carry, what more data may bring, and decisions with reasons."""
    _OUT.print(
        f"[bold]{escape(plan.data.name)}[/bold]: {plan.data.rows} images, {plan.data.classes} classes; "
        f"{escape(plan.backbone)} at {plan.image_size} pixels; budget {plan.budget}, {plan.quality}",
        soft_wrap=True,
    )
    if plan.considered:
        _show_considered(plan.considered)
    _OUT.print(_rungs(plan))
    if plan.layers is not None:
        _show_layers(plan.layers)
    if plan.forecast is not None:
        _show_forecast(plan.forecast)
    for kind, title in _TITLES.items():
        decisions = [decision for decision in plan.decisions if decision.kind == kind]
        if decisions:
            _OUT.print(f"\n{title}")
        for decision in decisions:
            _OUT.print(f"  {escape(decision.key)}: {escape(decision.value)}", soft_wrap=True)
            _OUT.print(f"    {escape(decision.reason)}", soft_wrap=True)


def _show_considered(considered: Sequence[Considered]) -> None:
    """What the probe of each backbone at an image size gets right, and what using it costs."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("backbone@pixels", overflow="fold")
    for name in ("right", "log-loss", "weights", "an image"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for one in considered:
        latency = "" if one.latency is None else f"{1000 * one.latency:.1f} ms"
        scores = percent(one.accuracy), f"{one.log_loss:.3f}"
        weights, taken = f"{one.size / 1e6:.1f} MB", "taken" if one.chosen else ""
        table.add_row(f"{escape(one.backbone)}@{one.image_size}", *scores, weights, latency, taken)
    _OUT.print(table)
    _OUT.print()


def _rungs(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rung")
    for name in ("epochs", "rate", "forecast", "expected gain"):
        table.add_column(name, justify="right")
    table.add_row(plan.first, "", "", "", "")
    for rung in plan.rungs:
        gain = "" if rung.gain is None else f"{rung.gain.points:+.1f} ± {rung.gain.sd:.1f} points"
        seconds = "" if rung.seconds is None else f"{rung.seconds:.0f} s"
        table.add_row(rung.name, f"{rung.epochs or ''}", f"{rung.rate or 0:g}" if rung.rate else "", seconds, gain)
    return table


def _show_layers(layers: LayerMap) -> None:
    """A line a stage with a bar, and what they mean."""
    _OUT.print(
        f"\nhow far the features carry: what a linear probe on each stage alone gets right of {layers.rows:,} images",
        soft_wrap=True,
    )
    block = "#" if _OUT.options.ascii_only else "█"
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(6):
        table.add_column(no_wrap=True)
    for stage in layers.stages:
        low, high = stage.accuracy_ci95
        interval = f"({100 * low:.0f} to {100 * high:.0f})"
        last = "up to here" if stage.number == layers.transfers_to else ""
        bar = block * round(_BAR * stage.accuracy)
        table.add_row(f"{stage.number:4}", escape(stage.name), bar, f"{stage.accuracy:4.0%}", interval, last)
    _OUT.print(table)
    _OUT.print(f"  {escape(layers.sentence)}", soft_wrap=True)


def _show_forecast(forecast: AccuracyForecast) -> None:
    _OUT.print(
        f"\nwhat more data would bring: accuracy of {escape(forecast.strategy)} on images that it has not seen",
        soft_wrap=True,
    )
    _OUT.print(f"  {escape(forecast.sentence)}", soft_wrap=True)
