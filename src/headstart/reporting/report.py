"""The report of a run: one HTML file that needs nothing else, no network, no script and no other file."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from headstart.files import write_atomic
from headstart.reporting.choosing import ChoiceView, planned_seconds, view_choice
from headstart.reporting.confusion import ConfusionView, view_confusion
from headstart.reporting.evidence import NESTED, RunEvidence, mapping, number, read_evidence, split_of, text
from headstart.reporting.mistakes import Mistakes, surest_mistakes
from headstart.reporting.provenance import (
    LadderView,
    LeftOutView,
    SecondsView,
    environment,
    model_facts,
    options,
    reserve,
    view_ladder,
    view_left_out,
    view_seconds,
)
from headstart.reporting.reliability import Reliability, measure_reliability
from headstart.reporting.scorecard import (
    SCORES,
    ClassTable,
    Comparison,
    ScoreTable,
    class_table,
    compare_baselines,
    score_table,
)
from headstart.reporting.verdict import headline, verdict
from headstart.reporting.wording import count_text, interval_text, score_text, seconds_text, shorten

# More classes than that are folded away: the matrix says the same, and the weakest are named by it.
OPEN_CLASSES = 12

_SHOWN = {"test": "test", "val": "validation"}

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Reading:
    """A figure at the top of the page with its unit or bounds."""

    title: str
    value: str
    detail: str


@dataclass(frozen=True)
class Page:
    """Everything that the template prints; ``shown`` is the split of the matrix, the mistakes and the classes."""

    name: str
    started: str
    version: str
    verdict: str
    readings: tuple[Reading, ...]
    nested: bool
    shown: str
    scores: ScoreTable
    baselines: Comparison | None
    confusion: ConfusionView | None
    mistakes: Mistakes | None
    classes: ClassTable
    classes_open: bool
    multilabel: bool
    reliability: Reliability | None
    ladder: LadderView
    choice: ChoiceView
    reserve: tuple[str, ...]
    left_out: LeftOutView
    model: Facts
    options: Facts
    environment: Facts
    seconds: SecondsView
    shell: str
    python: str


def write_report(folder: Path, read: Callable[[str], bytes]) -> Path:
    """Write ``report.html`` into a run folder, whole or not at all.

    Parameters
    ----------
    folder:
        A run folder with ``metrics.json``; ``ladder.json``, ``plan.json``, ``audit.json``, ``run.json`` and
        ``predictions.parquet`` are shown where they are there.
    read:
        Gives the bytes of an image by its address in ``predictions.parquet``. Where it raises a
        :class:`HeadstartError`, the image's name stands in its place.

    Returns
    -------
    The file. It stays under 2 MB whatever the run: long lists and names are cut, and the page says so.

    Raises
    ------
    RunError
        If a record is missing or can't be read.
    StorageError
        If the file can't be written.
    """
    path = folder / "report.html"
    write_atomic(path, render(compose(read_evidence(folder), read)))
    return path


def compose(evidence: RunEvidence, read: Callable[[str], bytes]) -> Page:
    """Work out everything that the page says."""
    metrics, rows, classes = evidence.metrics, evidence.predictions, evidence.classes
    shown = rows.split if rows is not None else "test" if split_of(metrics, "test") else "val"
    scores, stages = split_of(metrics, shown), number(metrics, "stages")
    folder = shorten(str(evidence.folder), 200)
    table = class_table(metrics, shown)
    nested = split_of(metrics, "test").get("estimate") == NESTED
    return Page(
        name=shorten(evidence.folder.resolve().name, 100),
        started=shorten(text(evidence.run, "started").replace("T", " ").removesuffix("+00:00"), 30),
        version=shorten(text(evidence.run, "headstart"), 30),
        verdict=verdict(metrics),
        readings=_readings(evidence),
        nested=nested,
        shown=_SHOWN[shown] if not nested else "out-of-fold",
        scores=score_table(metrics),
        baselines=compare_baselines(metrics),
        confusion=view_confusion(scores, classes),
        mistakes=None if rows is None else surest_mistakes(rows, classes, read),
        classes=table,
        classes_open=len(table.rows) <= OPEN_CLASSES,
        multilabel=evidence.multilabel,
        reliability=None if rows is None else measure_reliability(rows, classes, multilabel=evidence.multilabel),
        ladder=view_ladder(evidence.ladder, None if stages is None else int(stages), planned_seconds(evidence.plan)),
        choice=view_choice(evidence.ladder, evidence.plan),
        reserve=reserve(metrics),
        left_out=view_left_out(evidence.audit),
        model=model_facts(metrics),
        options=options(evidence.run),
        environment=environment(evidence.run),
        seconds=view_seconds(mapping(metrics, "seconds")),
        shell=shlex.quote(folder),
        python=repr(folder),
    )


def render(page: Page) -> str:
    """The HTML of a page. Every text in it is escaped, whatever a file or a class is called."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    room = files("headstart.reporting")
    environment = Environment(
        loader=FunctionLoader(lambda name: room.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(page=page)


def _readings(evidence: RunEvidence) -> tuple[Reading, ...]:
    """The three or four figures that a reader wants first."""
    metrics, found = evidence.metrics, headline(evidence.metrics)
    readings = []
    if found is not None:
        title = SCORES[found.metric].title if found.metric in SCORES else shorten(found.metric)
        low_high = interval_text(found.metric, found.ci95)
        value = score_text(found.metric, found.value)
        readings.append(Reading(title, value, f"95% interval {low_high}" if low_high else "no interval"))
        validated = number(split_of(metrics, "val"), "n")
        detail = f"and {count_text(int(validated), 'image')} to choose by" if validated else ""
        nested = split_of(metrics, "test").get("estimate") == NESTED
        readings.append(
            Reading("Judged out of fold" if nested else "Test images", f"{found.n:,}", "" if nested else detail)
        )
    kind, detail = ("Labels", "any number to an image") if evidence.multilabel else ("Classes", "one to an image")
    readings.append(Reading(kind, f"{len(evidence.classes):,}", detail))
    total = number(mapping(metrics, "seconds"), "total")
    if total is not None:
        readings.append(Reading("Took", seconds_text(total), "from loading to saving"))
    return tuple(readings)
