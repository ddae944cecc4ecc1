"""The pages as HTML: every text in them is escaped, whatever a file, a class or a run is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FunctionLoader, StrictUndefined

from headstart.records import to_plain
from headstart.reporting.run_list import local_time, score_with_interval
from headstart.reporting.wording import TEXT_LENGTH, metric_text, shorten, strategy_text
from headstart.runs.summary import RunSummary

ASSETS = {
    "/look.css": ("headstart.reporting", "look.css", "text/css"),
    "/ui.css": ("headstart.ui", "ui.css", "text/css"),
    "/ui.js": ("headstart.ui", "ui.js", "text/javascript"),
}
"""The files that pages refer to: by address, the package and file, and the media type."""


@dataclass(frozen=True)
class RunRow:
    """A run in the list; ``path`` is its name in an address, ``value`` in a form, ``shown`` for the eye."""

    path: str
    value: str
    shown: str
    state: str
    problems: tuple[str, ...]
    data: str
    strategy: str
    backbone: str
    metric: str
    score: str
    started: str
    has_report: bool


def run_rows(runs: Sequence[RunSummary]) -> tuple[RunRow, ...]:
    """What the list says of each run."""
    return tuple(
        RunRow(
            path=quote(run.name, safe="", errors="surrogateescape"),
            value=run.name.encode("utf-8", "replace").decode(),
            shown=shorten(run.name),
            state=run.state,
            problems=tuple(shorten(problem, TEXT_LENGTH) for problem in run.problems),
            data=shorten(PurePath(run.data or "–").name, 40),
            strategy=shorten(strategy_text(run.strategy), 60) if run.strategy else "–",
            backbone=shorten((run.backbone or "–").rpartition("/")[2], 40),
            metric=shorten(metric_text(run.metric)) if run.metric else "score",
            score=score_with_interval(run.scores.get(f"test_{run.metric}"), run.intervals.get(f"test_{run.metric}")),
            started=local_time(run.started),
            has_report=run.state == "finished" or (run.state == "damaged" and bool(run.scores)),
        )
        for run in runs
    )


def render(page: str, **values: Any) -> str:
    """The HTML of the template ``<page>.html.jinja``."""
    return _environment().get_template(f"{page}.html.jinja").render(**values)


def asset(address: str) -> tuple[bytes, str]:
    """The bytes and the media type of one of :data:`ASSETS`."""
    package, name, kind = ASSETS[address]
    return files(package).joinpath(name).read_bytes(), kind


@cache
def _environment() -> Environment:
    room = files("headstart.ui").joinpath("templates")
    environment = Environment(
        loader=FunctionLoader(lambda name: room.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shorten"] = shorten
    environment.filters["plain"] = to_plain
    environment.filters["address"] = lambda name: quote(name, safe="", errors="surrogateescape")
    return environment
