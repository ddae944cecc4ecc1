"""How numbers and names are put into words for a person."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

NAME_LENGTH = 60
TEXT_LENGTH = 300

_SHARES = {"accuracy", "balanced_accuracy"}
_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "map": "mean average precision",
    "log_loss": "log-loss",
}
_AT_A_POINT = re.compile(r"(sensitivity|specificity)@(sensitivity|specificity)=([0-9.]+)")
_STRATEGIES = {
    "prototype": "nearest class mean",
    "linear_probe": "linear probe",
    "linear_probe_all_stages": "linear probe on all stages",
    "partial": "partial fine-tuning",
    "progressive": "progressive unfreezing",
    "full": "full fine-tuning",
    "scratch": "training from scratch",
    "knn": "k-nearest neighbours",
    "majority": "class frequencies alone",
}
# What ends the name of a strategy in that of a rung.
_NAME = re.compile(r"[ ,]")
# "full", "scratch" and "partial" are words of their own as well.
_IN_A_SENTENCE = re.compile(r"\blinear_probe(?:_all_stages)?\b|\bpartial(?= above cut)")


def percent(share: float | None) -> str:
    """A share in 0..1 as a percentage with one decimal; a dash for ``None``."""
    return "–" if share is None else f"{100 * share:.1f}%"


def score_text(metric: str, value: float | None) -> str:
    """A score as its metric is usually written: a percentage for accuracies, else three decimals."""
    if value is None or metric in _SHARES:
        return percent(value)
    return f"{value:.3f}"


def interval_text(metric: str, interval: tuple[float, float] | None) -> str:
    """``low to high``, or nothing where there is no interval."""
    if interval is None:
        return ""
    return f"{score_text(metric, interval[0]).removesuffix('%')} to {score_text(metric, interval[1])}"


def metric_text(metric: str) -> str:
    """A metric's name in a sentence; of one at an operating point what it holds fixed."""
    found = _AT_A_POINT.fullmatch(metric)
    if found:
        return f"{found[1]} at a {found[2]} of {found[3]}"
    return _METRICS.get(metric, metric)


def seconds_text(seconds: float | None) -> str:
    """Seconds for a person: two figures below ten, then whole seconds, minutes, hours."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.95 else f"{seconds:.2f} s"
    if seconds < 599.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def count_text(count: int, one: str, many: str = "") -> str:
    """``1 image``, ``2 images``; thousands are parted by commas."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def strategy_text(strategy: str) -> str:
    """The field's name of a strategy, in words; what follows it (a cut, class weights) is kept."""
    name = _NAME.split(strategy, maxsplit=1)[0]
    return _STRATEGIES.get(name, name.replace("_", " ")) + strategy[len(name) :]


def plain_names(told: str) -> str:
    """A sentence with the names of strategies in it, as records hold it, in words; other words stay as they are."""
    return _IN_A_SENTENCE.sub(lambda match: strategy_text(match.group()), told)


def shorten(text: str, limit: int = NAME_LENGTH) -> str:
    """Text that is safe to print: at most ``limit`` characters, the middle left out, no control characters.

    File and class names may hold anything that a file system or a table does. Line breaks and tabs become spaces;
    other control characters, marks that turn the direction of writing, and halves of surrogate pairs, which UTF-8
    can't hold, become U+FFFD.
    """
    if len(text) > limit:
        head = limit // 2
        text = text[:head] + "…" + text[len(text) - (limit - head - 1) :]
    return "".join(_printable(character) for character in text)


def listed(names: Sequence[str], limit: int = NAME_LENGTH) -> str:
    """Names joined by commas and shortened as a whole, or ``none``."""
    return shorten(", ".join(shorten(name) for name in names[:20]), limit) or "none"


def _printable(character: str) -> str:
    if character in "\n\r\t\u2028\u2029":
        return " "
    if unicodedata.category(character) in ("Cc", "Cs") or unicodedata.bidirectional(character) in _TURNS:
        return "\N{REPLACEMENT CHARACTER}"
    return character


_TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
