"""How a climb came to its choice: steps, decisions of the plan, how far features carry and what more data may bring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from headstart.planning.plan import PlannedRung
from headstart.reporting.evidence import Values, interval, mapping, mappings, number, text, texts
from headstart.reporting.scorecard import Bar
from headstart.reporting.wording import interval_text, percent, plain_names, score_text, shorten

MOST_STEPS = 30
MOST_DECISIONS = 60
MOST_STAGES = 60
MOST_BACKBONES = 20
VALUE_LENGTH, REASON_LENGTH = 200, 600

_KINDS = {
    "fixed": "For all data",
    "fingerprint": "Because of what the data is",
    "empirical": "Because of what was measured here",
}
_TIMES = {2.0: "twice", 4.0: "four times"}
# In a name of a backbone, which is written as it is.
_NAMED = frozenset("/_@")


@dataclass(frozen=True)
class DecisionRow:
    """One decision of a plan; ``by_clock``: a faster machine might have decided otherwise."""

    key: str
    value: str
    reason: str
    by_clock: bool


@dataclass(frozen=True)
class DecisionGroup:
    """The decisions that rest on the same."""

    title: str
    rows: tuple[DecisionRow, ...]


@dataclass(frozen=True)
class Finding:
    """What was found, in a sentence, and the bars behind it; without bars, why there are none."""

    sentence: str
    bars: tuple[Bar, ...]
    note: str


@dataclass(frozen=True)
class ChoiceView:
    """Why the model is the one it is, as text; all empty where nothing was planned."""

    reason: str
    steps: tuple[str, ...]
    decisions: tuple[DecisionGroup, ...]
    backbones: Finding | None
    layers: Finding | None
    forecast: Finding | None


def view_choice(ladder: Values, plan: Values) -> ChoiceView:
    """What ``ladder.json`` and ``plan.json`` say beside the rungs."""
    return ChoiceView(
        _sentence(text(ladder, "reason")),
        tuple(_sentence(step) for step in texts(ladder, "steps")[:MOST_STEPS]),
        tuple(_groups(mappings(plan, "decisions")[:MOST_DECISIONS])),
        _backbones(plan),
        _layers(mapping(plan, "layers")),
        _forecast(mapping(plan, "forecast")),
    )


def planned_seconds(plan: Values) -> dict[str, float]:
    """The forecast of each rung of a plan that has one, by the rung's name in ``ladder.json``."""
    found = {}
    for rung in mappings(plan, "rungs"):
        cut, seconds = number(rung, "cut"), number(rung, "seconds")
        if cut is not None and seconds is not None:
            found[PlannedRung(text(rung, "strategy"), int(cut)).name] = seconds
    return found


def _groups(decisions: tuple[Values, ...]) -> Iterator[DecisionGroup]:
    for kind, title in _KINDS.items():
        rows = tuple(
            DecisionRow(
                shorten(plain_names(text(one, "key")).replace("_", " ").replace(".", ", ")),
                shorten(plain_names(text(one, "value")), VALUE_LENGTH),
                _sentence(text(one, "reason")),
                one.get("by_clock") is True,
            )
            for one in decisions
            if one.get("kind") == kind
        )
        if rows:
            yield DecisionGroup(title, rows)


def _backbones(plan: Values) -> Finding | None:
    bars = []
    for one in mappings(plan, "considered")[:MOST_BACKBONES]:
        accuracy, pixels, size = (number(one, key) for key in ("accuracy", "image_size", "size"))
        if accuracy is None or pixels is None or size is None:
            continue
        latency = number(one, "latency")
        cost = f"{pixels:.0f} pixels, {size / 1e6:.1f} MB" + (f", {1000 * latency:.1f} ms" if latency else "")
        detail = f"{cost}, log-loss {score_text('log_loss', number(one, 'log_loss'))}"
        title = shorten(text(one, "backbone"))
        bars.append(Bar(title, detail, percent(accuracy), _unit(accuracy), own=one.get("chosen") is True))
    if not bars:
        return None
    reasons = [text(one, "reason") for one in mappings(plan, "decisions") if one.get("key") == "backbone"]
    note = (
        "What a linear probe on each gets right of images that it has not seen. Pixels: the side of the input. Weights "
        "in MB, and milliseconds for one image on this machine."
    )
    return Finding(_sentence(next(iter(reasons), "")), tuple(bars), note)


def _layers(layers: Values) -> Finding | None:
    rows, last = number(layers, "rows"), number(layers, "transfers_to")
    bars = []
    for stage in mappings(layers, "stages")[:MOST_STAGES]:
        at, accuracy = number(stage, "number"), number(stage, "accuracy")
        if at is not None and accuracy is not None:
            title = f"{at:.0f} {shorten(text(stage, 'name'), 30)}"
            bars.append(_bar(title, "", accuracy, interval(stage, "accuracy_ci95"), own=at == last))
    if not bars or rows is None:
        return None
    note = (
        f"What a linear probe on the features of each stage alone, from the input up, gets right of {rows:,.0f} images "
        "that it has not seen; lines are 95% intervals. Marked: the last stage that is better than all below it by "
        "more than noise."
    )
    return Finding(_sentence(text(layers, "sentence")), tuple(bars), note)


def _forecast(forecast: Values) -> Finding | None:
    now = number(forecast, "accuracy")
    if now is None:
        return None
    sentence = _sentence(text(forecast, "sentence"))
    bars = []
    for one in mappings(forecast, "predictions"):
        factor, rows, accuracy = number(one, "factor"), number(one, "rows"), number(one, "accuracy")
        if factor in _TIMES and rows is not None and accuracy is not None:
            bars.append(_bar(_TIMES[factor], f"{rows:,.0f} images", accuracy, interval(one, "ci95")))
    if not bars:
        return Finding(sentence, (), "")
    strategy = plain_names(text(forecast, "strategy"))
    note = (
        f"For the {strategy}, whose mistakes on ever smaller parts of these images were followed and continued; lines "
        "are 95% intervals. “More” are further training images of the same kind."
    )
    return Finding(sentence, (_bar("now", "", now, None, own=True), *bars), note)


def _bar(title: str, detail: str, accuracy: float, ends: tuple[float, float] | None, *, own: bool = False) -> Bar:
    low, high = (None, None) if ends is None else (_unit(ends[0]), _unit(ends[1]))
    value = percent(accuracy) if ends is None else f"{percent(accuracy)} ({interval_text('accuracy', ends)})"
    return Bar(title, detail, value, _unit(accuracy), low, high, own)


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))


def _sentence(told: str) -> str:
    """Names of strategies in words, a capital at the start, but for a name that is written otherwise."""
    plain = shorten(plain_names(told), REASON_LENGTH)
    return plain[:1].upper() + plain[1:] if _NAMED.isdisjoint(plain.partition(" ")[0]) else plain
