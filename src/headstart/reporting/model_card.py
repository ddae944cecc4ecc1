"""``model_card.md``: what a model is, for what it was measured, and its limits, for whoever gets it from somebody.

Its headings are those of Mitchell et al. 2019, "Model cards for model reporting". What only a person can know, such as
what the model is meant for, is left to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from headstart.files import write_atomic
from headstart.reporting.advice import advise
from headstart.reporting.breakdowns import view_breakdowns
from headstart.reporting.evidence import RunEvidence, mapping, number, text
from headstart.reporting.findings import findings_of, heading_of
from headstart.reporting.provenance import environment, model_facts, reserve, view_left_out
from headstart.reporting.reproduction import view_reproduction
from headstart.reporting.scorecard import class_table, score_table
from headstart.reporting.verdict import verdict
from headstart.reporting.wording import count_text, listed, shorten

FILE = "model_card.md"
MOST_CLASSES = 300
_UNKNOWN = "*Not known to the program that wrote this card: to be filled in by a person.*"
# What Markdown or HTML would take for a sign of its own.
_SIGNS = re.compile(r"[\\`*_\[\]<>#|~&$]|:(?=//)|(?<=www)\.")


def write_card(evidence: RunEvidence) -> Path:
    """Write the card into the run folder; raises :class:`StorageError` if it can't be written."""
    path = evidence.folder / FILE
    write_atomic(path, card_of(evidence))
    return path


def card_of(evidence: RunEvidence) -> str:
    """The card as Markdown; names of classes and files stand in it as text, whatever they hold."""
    sections = {
        "Model details": _details(evidence),
        "Intended use": _intended(evidence),
        "Factors": _factors(evidence),
        "Metrics": _metrics(evidence),
        "Evaluation data": _evaluation_data(evidence),
        "Training data": _training_data(evidence),
        "Quantitative analyses": _analyses(evidence),
        "Ethical considerations": _ethics(),
        "Caveats and recommendations": _caveats(evidence),
        "How to reproduce": _reproduction(evidence),
    }
    name = plain(shorten(evidence.folder.resolve().name, 100))
    parts = [
        f"# Model card: {name}\n",
        *(f"## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in sections.items()),
    ]
    return "\n".join(parts)


def plain(told: str) -> str:
    """Text in which Markdown and HTML see nothing but text."""
    return _SIGNS.sub(lambda found: _ENTITIES.get(found[0], "\\" + found[0]), " ".join(told.split()))


_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "|": "&#124;", "`": "&#96;", ":": "&#58;", ".": "&#46;"}


def _details(evidence: RunEvidence) -> Iterator[str]:
    yield from _list(model_facts(evidence.metrics))
    classes = "labels" if evidence.multilabel else "classes"
    yield f"- {classes}: {len(evidence.classes):,} ({plain(listed(evidence.classes, 600))})"
    yield from _list(
        (("made with headstart", text(evidence.run, "headstart")), ("made on", text(evidence.run, "started")))
    )
    yield "- contact, citation: " + _UNKNOWN


def _intended(evidence: RunEvidence) -> Iterator[str]:
    yield "- primary use: " + _UNKNOWN
    yield "- users: " + _UNKNOWN
    kind = "any number of these labels" if evidence.multilabel else "one of these classes"
    yield (
        f"- out of scope: images of anything else. The model gives every image {kind}; images unlike those it learnt "
        "from are marked as such, but not all of them."
    )


def _factors(evidence: RunEvidence) -> Iterator[str]:
    parts = view_breakdowns(evidence).parts
    if parts:
        yield f"Scores {' and '.join(part.title.lower() for part in parts)} are among the quantitative analyses."
    else:
        yield (
            "The data name no groups or domains (who or what is shown, by which instrument, under which conditions), "
            "so the scores can't be told apart by them."
        )
    yield "\nFactors that matter for the use: " + _UNKNOWN


def _metrics(evidence: RunEvidence) -> Iterator[str]:
    yield f"Every choice was made by {plain(text(evidence.metrics, 'metric', 'accuracy').replace('_', ' '))}."
    yield "Each score has a 95% interval: the range of true values that are compatible with this many images."
    for sentence in reserve(evidence.metrics):
        yield "\n" + plain(sentence)


def _evaluation_data(evidence: RunEvidence) -> Iterator[str]:
    yield from _list(view_reproduction(evidence).protocol)
    if evidence.nested:
        yield "- the estimate stands for the procedure; the one model that was saved was fitted on all images"
    yield "- where the images come from and whether they are like those in use: " + _UNKNOWN


def _training_data(evidence: RunEvidence) -> Iterator[str]:
    source = text(mapping(evidence.run, "request"), "source")
    if source:
        yield f"- source: {plain(shorten(source, 200))}"
    if evidence.training is not None:
        counts = evidence.training.counts()
        yield f"- {count_text(evidence.training.table.num_rows, 'image')}"
        yield from (f"  - {plain(shorten(name))}: {count:,}" for name, count in list(counts.items())[:MOST_CLASSES])
    left = view_left_out(evidence.audit)
    yield f"- left out: {count_text(left.count, 'file')}" + (f" ({plain(left.kinds)})" if left.count else "")
    kinds: dict[str, int] = {}
    for one in findings_of(evidence.audit):
        kinds[text(one, "kind", "unknown")] = kinds.get(text(one, "kind", "unknown"), 0) + 1
    yield from (f"- audit: {plain(heading_of(kind))}: {count:,}" for kind, count in list(kinds.items())[:30])
    yield "- how it was collected and labelled, and under which licence: " + _UNKNOWN
    yield "- the backbone was pretrained on other images; see its own card for them"


def _analyses(evidence: RunEvidence) -> Iterator[str]:
    yield plain(verdict(evidence.metrics))
    scores = score_table(evidence.metrics)
    if scores.rows:
        titles = [f"{title} ({detail})" if detail else title for title, detail in scores.columns]
        rows = [
            [row.title, *(cell.value + (f" ({cell.interval})" if cell.interval else "") for cell in row.cells)]
            for row in scores.rows
        ]
        yield from _table(["Score", *titles], rows)
    classes = class_table(evidence.metrics, evidence.shown)
    if classes.rows:
        yield from _table(classes.columns, classes.rows)
        if classes.few:
            yield "\n\\* Fewer than ten images: one mistake more or less moves these figures by ten points or more."
    for part in view_breakdowns(evidence).parts:
        yield from _table(part.columns, part.rows)
        yield "\n" + plain(part.note)


def _ethics() -> Iterator[str]:
    yield (
        "The program that wrote this card has looked at pixels and labels only. Whether people are shown, whether they "
        "agreed, and whom a wrong answer would harm: " + _UNKNOWN
    )


def _caveats(evidence: RunEvidence) -> Iterator[str]:
    advice = advise(evidence)
    yield f"**{advice.answer}.** {plain(advice.why)}"
    yield f"\n- next: {plain(advice.action)}"
    yield from (f"- {plain(caution)}" for caution in advice.cautions)
    yield from (f"- {plain(sentence)}" for sentence in evidence.missing)
    yield "- scores hold for images like those of the test; measure again on images from where the model will be used"
    licence = plain(shorten(text(evidence.metrics, "licence"), 100)) or "unknown"
    yield f"- licence of the backbone's weights: {licence}; that of the data may add to it"


def _reproduction(evidence: RunEvidence) -> Iterator[str]:
    found = view_reproduction(evidence)
    if found.command:
        yield "```\n" + found.command.replace("`", "'") + "\n```\n"
    yield from _list(found.digests)
    yield from _list(environment(evidence.run))
    if number(evidence.metrics, "seed") is None:
        yield "- the seed is not known"


def _list(facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    return (f"- {plain(name)}: {plain(value)}" for name, value in facts if value)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "\n| " + " | ".join(map(plain, columns)) + " |"
    yield "|" + " --- |" + " ---: |" * (len(columns) - 1)
    for row in rows:
        yield "| " + " | ".join(map(plain, row)) + " |"
