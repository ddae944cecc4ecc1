"""The report of a run: one HTML file that needs no network and no other file, and works without its script too."""

from __future__ import annotations

import base64
import hashlib
import shlex
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from headstart.files import write_atomic
from headstart.reporting.advice import Advice, advise
from headstart.reporting.album import Album, make_album
from headstart.reporting.breakdowns import Breakdowns, view_breakdowns
from headstart.reporting.choosing import ChoiceView, Finding, planned_seconds, view_choice
from headstart.reporting.confusion import ConfusionView, view_confusion
from headstart.reporting.curves import Chart, coverage_chart, training_charts
from headstart.reporting.evidence import RunEvidence, mapping, number, read_evidence, split_of, text
from headstart.reporting.findings import FindingsView, view_findings
from headstart.reporting.gap_view import view_gap
from headstart.reporting.illustrations import Illustrate, without
from headstart.reporting.mistakes import Mistakes, surest_mistakes
from headstart.reporting.model_card import write_card
from headstart.reporting.pictures import Pictures, Read
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
from headstart.reporting.reproduction import Reproduction, view_reproduction
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
from headstart.reporting.wording import TEXT_LENGTH, count_text, interval_text, score_text, seconds_text, shorten

# More classes than that are folded away: the matrix says the same, and the weakest are named by it.
OPEN_CLASSES = 12

_SHOWN = {"test": "test", "val": "validation"}
_UNEXPLAINED = without("")

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
    advice: Advice
    verdict: str
    missing: tuple[str, ...]
    readings: tuple[Reading, ...]
    nested: bool
    shown: str
    scores: ScoreTable
    baselines: Comparison | None
    confusion: ConfusionView | None
    mistakes: Mistakes | None
    album: Album | None
    findings: FindingsView
    classes: ClassTable
    classes_open: bool
    multilabel: bool
    reliability: Reliability | None
    coverage: Chart | None
    breakdowns: Breakdowns
    training: tuple[Chart, ...]
    gap: Finding | None
    ladder: LadderView
    choice: ChoiceView
    reserve: tuple[str, ...]
    left_out: LeftOutView
    model: Facts
    options: Facts
    environment: Facts
    seconds: SecondsView
    reproduction: Reproduction
    licence: str
    shell: str
    python: str


def write_report(folder: Path, read: Read, illustrate: Illustrate = _UNEXPLAINED) -> Path:
    """Write ``report.html`` and ``model_card.md`` into a run folder, each whole or not at all.

    Parameters
    ----------
    folder:
        A run folder with ``metrics.json``; of the other records those are shown that are there and sound, and the page
        says which are not.
    read:
        Gives the bytes of an image by its address in ``predictions.parquet``. Where it raises a
        :class:`HeadstartError`, the image's name stands in its place.
    illustrate:
        Draws what mistakes rest on, as :func:`headstart.reporting.illustrations.illustrator_of` makes it; by default
        there are no maps.

    Returns
    -------
    The page. It stays under 5 MB whatever the run: long lists and names are cut, and the page says so.

    Raises
    ------
    RunError
        If there is no ``metrics.json`` that can be read.
    StorageError
        If a file can't be written.
    """
    evidence, path = read_evidence(folder), folder / "report.html"
    write_atomic(path, render(compose(evidence, read, illustrate)))
    write_card(evidence)
    return path


def compose(evidence: RunEvidence, read: Read, illustrate: Illustrate = _UNEXPLAINED) -> Page:
    """Work out everything that the page says."""
    metrics, rows, classes = evidence.metrics, evidence.predictions, evidence.classes
    scores, stages, pictures = split_of(metrics, evidence.shown), number(metrics, "stages"), Pictures(read)
    folder = shorten(str(evidence.folder), 200)
    table = class_table(metrics, evidence.shown)
    # In this order, since pictures take the room that there is: what matters most comes first.
    mistakes = None if rows is None else surest_mistakes(rows, classes, pictures, illustrate)
    findings = view_findings(evidence, pictures)
    album = None if rows is None else make_album(rows, classes, pictures)
    return Page(
        name=shorten(evidence.folder.resolve().name, 100),
        started=shorten(text(evidence.run, "started").replace("T", " ").removesuffix("+00:00"), 30),
        version=shorten(text(evidence.run, "headstart"), 30),
        advice=advise(evidence),
        verdict=verdict(metrics),
        missing=tuple(shorten(sentence, TEXT_LENGTH) for sentence in evidence.missing),
        readings=_readings(evidence),
        nested=evidence.nested,
        shown="out-of-fold" if evidence.nested else _SHOWN[evidence.shown],
        scores=score_table(metrics),
        baselines=compare_baselines(metrics),
        confusion=view_confusion(scores, classes),
        mistakes=mistakes,
        album=album,
        findings=findings,
        classes=table,
        classes_open=len(table.rows) <= OPEN_CLASSES,
        multilabel=evidence.multilabel,
        reliability=None if rows is None else measure_reliability(rows, classes, multilabel=evidence.multilabel),
        coverage=coverage_chart(evidence),
        breakdowns=view_breakdowns(evidence),
        training=training_charts(evidence),
        gap=view_gap(evidence.fingerprint),
        ladder=view_ladder(evidence.ladder, None if stages is None else int(stages), planned_seconds(evidence.plan)),
        choice=view_choice(evidence.ladder, evidence.plan),
        reserve=reserve(metrics),
        left_out=view_left_out(evidence.audit),
        model=model_facts(metrics),
        options=options(evidence.run),
        environment=environment(evidence.run),
        seconds=view_seconds(mapping(metrics, "seconds")),
        reproduction=view_reproduction(evidence),
        licence=shorten(text(metrics, "licence"), 100),
        shell=shlex.quote(folder),
        python=repr(folder),
    )


def render(page: Page) -> str:
    """The HTML of a page. Every text in it is escaped, whatever a file or a class is called.

    Of scripts a browser runs only the page's own, which it knows by its hash.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    room = files("headstart.reporting")
    environment = Environment(
        loader=FunctionLoader(lambda name: room.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, style = (room.joinpath(name).read_text("utf-8") for name in ("report.js", "report.css"))
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    page_of = environment.get_template("report.html.jinja")
    return page_of.render(page=page, script=Markup(script), script_hash=known, style=Markup(style))


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
        title = "Judged out of fold" if evidence.nested else "Test images"
        readings.append(Reading(title, f"{found.n:,}", "" if evidence.nested else detail))
    kind, detail = ("Labels", "any number to an image") if evidence.multilabel else ("Classes", "one to an image")
    readings.append(Reading(kind, f"{len(evidence.classes):,}", detail))
    total = number(mapping(metrics, "seconds"), "total")
    if total is not None:
        readings.append(Reading("Took", seconds_text(total), "from loading to saving"))
    return tuple(readings)
