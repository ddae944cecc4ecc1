"""Curves as paths of a drawing: how a training went, and what an error rate is at each coverage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from headstart.reporting.evidence import RunEvidence, interval, mapping, mappings, number, text
from headstart.reporting.wording import interval_text, metric_text, percent, score_text, shorten

# The plot of a drawing, in its own units; the rest is for the labels.
LEFT, TOP, WIDTH, HEIGHT = 46, 12, 300, 150
MOST_POINTS = 400

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One series: its name, the path through its points, and where its name stands."""

    name: str
    path: str
    at: Point
    kind: str


@dataclass(frozen=True)
class Chart:
    """A drawing; ``said`` tells the same in words, ``ticks`` are heights with labels, ``marks`` places across."""

    title: str
    said: str
    across: str
    ticks: tuple[tuple[float, str], ...]
    marks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    band: str = ""


def training_charts(evidence: RunEvidence) -> tuple[Chart, ...]:
    """Losses and the validation score over the epochs of all trainings; none without ``history.csv``."""
    rows = evidence.history[:: max(1, len(evidence.history) // MOST_POINTS)]
    if len(rows) < 2:
        return ()
    metric = text(evidence.metrics, "metric", "accuracy")
    starts = tuple((place, "start") for place, row in enumerate(rows) if place and row.get("epoch") == 0)
    losses = {"training loss": _column(rows, "train_loss"), "validation loss": _column(rows, "val_loss")}
    scores = {f"validation {metric_text(metric)}": _column(rows, "val_score")}
    charts = (
        _chart("Loss", losses, starts, lambda value: f"{value:.2g}", low=0.0),
        _chart(f"Validation {metric_text(metric)}", scores, starts, lambda value: score_text(metric, value)),
    )
    return tuple(chart for chart in charts if chart is not None)


def coverage_chart(evidence: RunEvidence) -> Chart | None:
    """The error rate among the surest answers, by how many are kept, with its 95 % interval."""
    curve = [
        (coverage, risk, interval(one, "risk_ci95") or (risk, risk))
        for one in mappings(mapping(mapping(evidence.evaluation, "splits"), evidence.shown), "coverage_risk")
        if (coverage := number(one, "coverage")) is not None and (risk := number(one, "risk")) is not None
    ]
    if len(curve) < 2:
        return None
    top = max(high for *_, (_, high) in curve) or 1.0

    def across(share: float) -> float:
        return LEFT + WIDTH * share

    def up(risk: float) -> float:
        return TOP + HEIGHT * (1 - min(risk / top, 1.0))

    points = [(across(coverage), up(risk)) for coverage, risk, _ in curve]
    upper = [(across(coverage), up(high)) for coverage, _, (_, high) in curve]
    lower = [(across(coverage), up(low)) for coverage, _, (low, _) in reversed(curve)]
    half = min(curve, key=lambda one: abs(one[0] - 0.5))
    said = (
        f"Of the surest {100 * half[0]:.0f}% of the answers {percent(half[1])} are wrong "
        f"({interval_text('accuracy', half[2])}), of all answers {percent(curve[-1][1])}."
    )
    ticks = tuple((up(top * share), percent(top * share)) for share in (0, 0.5, 1))
    marks = tuple((across(share), f"{100 * share:.0f}%") for share in (0, 0.25, 0.5, 0.75, 1))
    line = Line("share wrong", _path(points), points[-1], "first")
    return Chart(
        "Coverage and risk", said, "share of the answers that is kept", ticks, marks, (line,), _path(upper + lower)
    )


def _column(rows: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [row.get(name, math.nan) for row in rows]


def _chart(
    title: str,
    series: Mapping[str, Sequence[float]],
    starts: tuple[tuple[int, str], ...],
    worded: Callable[[float], str],
    low: float | None = None,
) -> Chart | None:
    """One line a series over its steps; the scale begins at ``low``, or at the least value."""
    known = [value for column in series.values() for value in column if math.isfinite(value)]
    if not known:
        return None
    bottom, high = min(known) if low is None else min(low, *known), max(known)
    spread = high - bottom or abs(high) or 1.0
    steps = max(len(column) for column in series.values()) - 1

    def place(step: float, value: float) -> Point:
        return LEFT + WIDTH * step / steps, TOP + HEIGHT * (1 - (value - bottom) / spread)

    lines, said = [], []
    for number_, (name, column) in enumerate(series.items()):
        points = [place(step, value) for step, value in enumerate(column) if math.isfinite(value)]
        if points:
            finite = [value for value in column if math.isfinite(value)]
            lines.append(Line(shorten(name), _path(points), points[-1], ("first", "second")[number_ % 2]))
            said.append(f"{shorten(name)} from {worded(finite[0])} to {worded(finite[-1])}")
    ticks = tuple((place(0, value)[1], worded(value)) for value in (bottom, bottom + spread / 2, bottom + spread))
    marks = ((place(0, bottom)[0], "0"), *((place(step, bottom)[0], "new start") for step, _ in starts[:6]))
    ends = (*marks, (place(steps, bottom)[0], f"{steps}"))
    return Chart(title, f"{'; '.join(said)}, over {steps} steps.", "epochs", ticks, ends, tuple(lines))


def _path(points: Iterable[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
