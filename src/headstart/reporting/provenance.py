"""What was tried, what was left out and what was run: the records behind the numbers, ready to print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headstart.planning.climbing import AGAIN, measure_of
from headstart.reporting.evidence import Values, interval, mapping, mappings, number, text, texts
from headstart.reporting.scorecard import Bar
from headstart.reporting.wording import (
    TEXT_LENGTH,
    count_text,
    interval_text,
    percent,
    plain_names,
    score_text,
    seconds_text,
    shorten,
    strategy_text,
)

MOST_FILES = 50
MOST_RUNGS = 30
MOST_NOTES = 20
MOST_SETTINGS = 40
MOST_SECTIONS = 12

_KINDS = {
    "undecodable": "can't be decoded",
    "unreadable": "can't be read",
    "duplicate": "duplicate",
    "conflict": "conflicting labels",
    "unlabelled": "without a class",
    "leak": "copy of a test image",
}


@dataclass(frozen=True)
class RungRow:
    """One strategy that was tried, as text; ``expected``, ``gain`` and ``forecast`` are empty where not known."""

    strategy: str
    frozen: str
    score: str
    interval: str
    rows: str
    log_loss: str
    expected: str
    gain: str
    gain_interval: str
    seconds: str
    forecast: str
    kept: bool
    chosen: bool
    reason: str


@dataclass(frozen=True)
class LadderView:
    """Everything that was tried; ``left`` counts rungs that found no room.

    Attributes
    ----------
    unit:
        Of gains; empty where no rung has one.
    mixed:
        Whether rungs were judged on different numbers of images.
    """

    metric: str
    unit: str
    mixed: bool
    rungs: tuple[RungRow, ...]
    notes: tuple[str, ...]
    left: int


@dataclass(frozen=True)
class LeftOutRow:
    """A file that took no part, and why."""

    file: str
    kind: str
    reason: str


@dataclass(frozen=True)
class LeftOutView:
    """The first of the files that took no part, how many there are, and how many of each kind."""

    rows: tuple[LeftOutRow, ...]
    count: int
    kinds: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SecondsView:
    """The total as text, and a bar for each section of a run."""

    total: str
    bars: tuple[Bar, ...]


def view_ladder(ladder: Values, stages: int | None, forecasts: Mapping[str, float]) -> LadderView:
    """The rungs of ``ladder.json``.

    Parameters
    ----------
    stages:
        Of the backbone.
    forecasts:
        Seconds that a rung was expected to take, by its name.
    """
    metric, chosen, rungs = text(ladder, "metric"), text(ladder, "chosen"), mappings(ladder, "rungs")
    unit = measure_of(metric)
    told = tuple(
        RungRow(
            strategy=shorten(strategy_text(text(rung, "strategy"))),
            frozen=_frozen(number(rung, "cut"), stages).removesuffix(" stages"),
            score=score_text(metric, number(rung, "score")),
            interval=interval_text(metric, interval(rung, "ci95")),
            rows="" if (rows := number(rung, "rows")) is None else count_text(int(rows), "image"),
            log_loss=score_text("log_loss", number(rung, "log_loss")),
            expected=_gain(number(rung, "expected_gain"), unit),
            gain=_gain(number(mapping(rung, "gain"), "mean"), unit),
            gain_interval=_gains(interval(mapping(rung, "gain"), "ci95"), unit),
            seconds=seconds_text(number(rung, "seconds")),
            forecast=_forecast(forecasts, text(rung, "strategy")),
            kept=rung.get("decision") == "kept",
            chosen=text(rung, "strategy") == chosen,
            reason=shorten(plain_names(_reason(rung, ladder)), TEXT_LENGTH),
        )
        for rung in rungs[:MOST_RUNGS]
    )
    title = shorten(metric.replace("_", " "))
    gains = any(row.expected or row.gain for row in told)
    mixed = len({row.rows for row in told}) > 1
    return LadderView(title, unit if gains else "", mixed, told, _notes(ladder), max(0, len(rungs) - MOST_RUNGS))


def _reason(rung: Values, ladder: Values) -> str:
    """What a rung's judging said; of the one that was chosen in spite of it, why it was."""
    against = text(rung, "strategy") == text(ladder, "chosen") and rung.get("decision") == "dropped"
    return (against and text(ladder, "reason")) or text(rung, "reason")


def view_left_out(audit: Values) -> LeftOutView:
    """The files that ``audit.json`` lists, the first :data:`MOST_FILES` by name, and its notes."""
    entries = mappings(audit, "left_out")
    kinds = Counter(_KINDS.get(text(entry, "kind"), text(entry, "kind", "unknown")) for entry in entries)
    told = ", ".join(f"{shorten(kind)} {count:,}" for kind, count in kinds.most_common(8))
    rows = (
        LeftOutRow(
            shorten(text(entry, "file"), 100),
            shorten(_KINDS.get(text(entry, "kind"), text(entry, "kind"))),
            shorten(text(entry, "reason"), TEXT_LENGTH),
        )
        for entry in entries[:MOST_FILES]
    )
    return LeftOutView(tuple(rows), len(entries), told, _notes(audit))


def view_seconds(seconds: Values) -> SecondsView:
    """Where the time went, longest bar = longest section; what no section counts is called ``other``."""
    sections = {key: value for key in seconds if key != "total" and (value := number(seconds, key)) is not None}
    total = number(seconds, "total")
    rest = 0.0 if total is None else total - sum(sections.values())
    if sections and rest >= 0.05:
        sections["other"] = sections.get("other", 0.0) + rest
    longest = max(sections.values(), default=0.0) or 1.0
    bars = (
        Bar(shorten(name.replace("_", " ")), "", seconds_text(value), min(1.0, max(0.0, value / longest)))
        for name, value in list(sections.items())[:MOST_SECTIONS]
    )
    return SecondsView(seconds_text(total), tuple(bars))


def reserve(metrics: Values) -> tuple[str, ...]:
    """Sentences on when the model should say "I don't know" and on what it calls unlike anything it has seen."""
    return tuple(sentence for sentence in (_abstention(metrics), _novelty(metrics)) if sentence)


def model_facts(metrics: Values) -> tuple[tuple[str, str], ...]:
    """What the model is: backbone, strategy, engine."""
    engine, cut, stages = mapping(metrics, "engine"), number(metrics, "cut"), number(metrics, "stages")
    parts = [text(engine, key) for key in ("engine", "version", "precision", "device")]
    facts = {
        "task": "multi-label classification" if metrics.get("task") == "multilabel" else text(metrics, "task"),
        "backbone": text(metrics, "backbone"),
        "licence of the weights": text(metrics, "licence"),
        "strategy": strategy_text(text(metrics, "strategy")),
        "frozen": _frozen(cut, None if stages is None else int(stages)),
        "engine": ", ".join(part for part in parts if part),
        "governed by": text(metrics, "metric").replace("_", " "),
        "seed": _setting(metrics.get("seed")),
    }
    return tuple((name, shorten(value, 100)) for name, value in facts.items() if value)


def options(run: Values) -> tuple[tuple[str, str], ...]:
    """What was asked for, from ``run.json``; what was left open is left out."""
    request = mapping(run, "request")
    given = ((key, value) for key, value in request.items() if value is not None and value != "")
    return tuple((shorten(key.replace("_", " ")), _setting(value)) for key, value in given)[:MOST_SETTINGS]


def environment(run: Values) -> tuple[tuple[str, str], ...]:
    """Where and with which versions, from ``run.json``."""
    told = ((shorten(key.replace("_", " ")), _setting(value)) for key, value in _facts_of(run))
    return tuple((key, value) for key, value in told if value != "–")[:MOST_SETTINGS]


def _facts_of(run: Values) -> Iterator[tuple[str, Any]]:
    for key, value in run.items():
        if key in ("libraries", "versions") and isinstance(value, dict):
            yield from value.items()
        elif key not in ("schema", "state", "request", "seed", "started", "finished", "sha256", "command"):
            yield key, value


def _setting(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shorten(str(value), 200)


def _frozen(cut: float | None, stages: int | None) -> str:
    if cut is None:
        return ""
    return f"{cut:.0f} stages" if stages is None else f"{cut:.0f} of {stages} stages"


def _gain(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return (f"{value:+.1f}" if unit == "points" else f"{value:+.4f}").replace("-", "\N{MINUS SIGN}")


def _gains(ends: tuple[float, float] | None, unit: str) -> str:
    return "" if ends is None else f"{_gain(ends[0], unit)} to {_gain(ends[1], unit)}"


def _forecast(forecasts: Mapping[str, float], strategy: str) -> str:
    """Seconds that a rung, or its first try, was expected to take."""
    seconds = forecasts.get(strategy.removesuffix(AGAIN))
    return "" if seconds is None else seconds_text(seconds)


def _notes(record: Values) -> tuple[str, ...]:
    return tuple(shorten(note, TEXT_LENGTH) for note in texts(record, "notes")[:MOST_NOTES])


def _abstention(metrics: Values) -> str:
    if "abstain" not in metrics:
        return ""
    rule = mapping(metrics, "abstain")
    threshold, wished = number(rule, "threshold"), number(rule, "wished_error")
    if threshold is None or wished is None:
        return "The validation images are too few, or the mistakes too many, to promise a low error rate by abstaining."
    level, coverage, errors = number(rule, "level"), number(rule, "coverage"), number(rule, "errors")
    sentence = (
        f"If the model answers only where its confidence is {threshold:.3f} or more, "
        f"fewer than {100 * wished:.3g}% of its answers are wrong"
    )
    if level is not None:
        sentence += f", a bound that holds with {100 * level:.3g}% certainty for images like these"
    if coverage is not None:
        sentence += f". It would then answer {percent(coverage)} of the validation images"
        if errors is not None:
            sentence += f", {count_text(int(errors), 'of them', 'of them')} wrong"
    return sentence + "."


def _novelty(metrics: Values) -> str:
    threshold = number(metrics, "novelty_threshold")
    if threshold is None:
        threshold = number(mapping(metrics, "novelty"), "threshold")
    if threshold is None:
        return ""
    return (
        f"Images whose novelty, the distance to the nearest training image, exceeds {threshold:.3f} are marked as "
        "unlike anything the model has seen; about one in twenty images like the training images is marked as well."
    )
