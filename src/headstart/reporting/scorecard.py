"""The scores of a run as tables and bars: each split with its intervals, the baselines, and every class."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.reporting.evidence import NESTED, Interval, Values, interval, mapping, number, split_of, text
from headstart.reporting.verdict import headline
from headstart.reporting.wording import count_text, interval_text, metric_text, score_text, shorten

CLASS_ROWS = 300
MOST_BARS = 12
# On fewer images one more mistake moves a class's recall by ten points or more.
FEW_OF_A_CLASS = 10


@dataclass(frozen=True)
class Score:
    """How a score is called and what it means. ``unit``: it lies in 0..1 and higher is better."""

    title: str
    meaning: str
    unit: bool = True


SCORES = {
    "accuracy": Score("Accuracy", "The share of images that are classified right."),
    "balanced_accuracy": Score(
        "Balanced accuracy", "The share that is found, averaged over classes: each counts alike."
    ),
    "macro_f1": Score("Macro F1", "Precision and recall in one number, averaged over classes."),
    "micro_f1": Score("Micro F1", "Precision and recall in one number over all labels together."),
    "auroc": Score("AUROC", "How often a member of a class is ranked above a non-member; 0.5 is chance."),
    "map": Score("Mean average precision", "How pure the top of each class's ranking is."),
    "log_loss": Score("Log-loss", "The price of misplaced confidence, in nats an image; lower is better.", unit=False),
    "brier": Score("Brier score", "The squared error of the probabilities; lower is better.", unit=False),
    "ece": Score(
        "Calibration error", "How far confidence is from the hit rate, on average; lower is better.", unit=False
    ),
    "aurc": Score(
        "Risk over coverage", "The error rate, averaged over how many of the surest images are kept.", unit=False
    ),
}
_MULTILABEL_MEANINGS = {
    "accuracy": "The share of images with every label right.",
    "balanced_accuracy": "The mean of the shares found and rightly left out, averaged over labels.",
    "log_loss": "The price of misplaced confidence, in nats, averaged over labels; lower is better.",
}
_ESTIMATES = {
    "held_out_rows": "held out",
    "out_of_fold": "out of fold",
    NESTED: "nested out of fold",
}
_BASELINES = {
    "majority": ("Class frequencies alone", "Looks at no image."),
    "knn": ("k-nearest neighbours", "Same features, no fit."),
    "prototype": ("Nearest class mean", "Same features, no fit."),
}


@dataclass(frozen=True)
class Cell:
    """A score with its interval, both as text; ``low``, ``at`` and ``high`` place it on a scale of 0..1."""

    value: str
    interval: str
    low: float | None = None
    at: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ScoreRow:
    """One score on the splits of the table, in their order."""

    title: str
    meaning: str
    governs: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class ScoreTable:
    """All scores; ``columns`` holds a title and a line of detail for each split."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[ScoreRow, ...]


@dataclass(frozen=True)
class Bar:
    """A labelled bar on a scale of 0..1, with its interval where it has one. ``own``: this is the model itself."""

    title: str
    detail: str
    value: str
    share: float
    low: float | None = None
    high: float | None = None
    own: bool = False


@dataclass(frozen=True)
class Comparison:
    """The model beside the baselines, on one metric and the same images."""

    metric: str
    lower_is_better: bool
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class ClassTable:
    """One row a class, the weakest first; ``left`` counts classes that found no room."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int
    few: bool


def score_table(metrics: Values) -> ScoreTable:
    """The scores of test and validation that are known, side by side."""
    titles = {"test": "Test", "val": "Validation"}
    splits = {name: split_of(metrics, name) for name in titles if split_of(metrics, name)}
    if splits.get("test", {}).get("estimate") == NESTED:
        titles["test"] = "Estimate"
    columns = tuple((titles[name], _split_detail(split)) for name, split in splits.items())
    rows = []
    for key, score in {**SCORES, **_governing(metrics)}.items():
        if any(number(split, key) is not None for split in splits.values()):
            meaning = _MULTILABEL_MEANINGS.get(key, "") if metrics.get("task") == "multilabel" else ""
            cells = tuple(_cell(split, key, score.unit) for split in splits.values())
            rows.append(ScoreRow(score.title, meaning or score.meaning, metrics.get("metric") == key, cells))
    return ScoreTable(columns, tuple(rows))


def _governing(metrics: Values) -> dict[str, Score]:
    """The governing metric, where it is one at an operating point."""
    metric = text(metrics, "metric", "accuracy")
    if metric in SCORES or "@" not in metric:
        return {}
    title = shorten(metric_text(metric))
    return {metric: Score(title[:1].upper() + title[1:], "Read off the ROC curve of the class that comes last.")}


def compare_baselines(metrics: Values) -> Comparison | None:
    """The model's headline score and what each baseline reaches, on one scale; ``None`` where there is none."""
    own = headline(metrics)
    if own is None:
        return None
    found: list[tuple[str, str, float, Interval | None, bool]] = [("This model", "", own.value, own.ci95, True)]
    for name, scores in mapping(metrics, "baselines").items():
        value = number(scores, f"test_{own.metric}") if isinstance(scores, dict) else None
        if value is not None:
            title, detail = _BASELINES.get(name, (shorten(name.replace("_", " ")), ""))
            found.append((title, detail, value, None, False))
    lower = own.metric in SCORES and not SCORES[own.metric].unit
    top = max((end for _, _, value, ci95, _ in found for end in (value, *(ci95 or ()))), default=1.0) if lower else 1.0
    scale = top if top > 0 else 1.0
    bars = []
    for title, detail, value, ci95, is_own in found[:MOST_BARS]:
        low, high = (None, None) if ci95 is None else (_unit(ci95[0] / scale), _unit(ci95[1] / scale))
        bars.append(Bar(title, detail, score_text(own.metric, value), _unit(value / scale), low, high, is_own))
    return Comparison(
        SCORES[own.metric].title if own.metric in SCORES else shorten(metric_text(own.metric)), lower, tuple(bars)
    )


def class_table(metrics: Values, split: str) -> ClassTable:
    """Precision, recall and their like of every class, the lowest F1 first, at most :data:`CLASS_ROWS` of them."""
    per_class = mapping(split_of(metrics, split), "per_class")
    keys = {
        "precision": "Precision",
        "recall": "Recall",
        "f1": "F1",
        "auroc": "AUROC",
        "average_precision": "Av. prec.",
    }
    if metrics.get("task") == "multilabel":
        keys["threshold"] = "Threshold"
    scores = {name: mapping(per_class, name) for name in per_class}
    order = sorted(scores, key=lambda name: _weakness(scores[name]))
    few = False
    rows = []
    for name in order[:CLASS_ROWS]:
        support = int(number(scores[name], "support") or 0)
        few |= support < FEW_OF_A_CLASS
        mark = "*" if support < FEW_OF_A_CLASS else ""
        told = {keys[key]: score_text(key, number(scores[name], key)) for key in keys}
        ends = interval_text("recall", interval(scores[name], "recall_ci95"))
        if ends:
            told["Recall"] += f" ({ends})"
        rows.append((shorten(name), f"{support:,}{mark}", *told.values()))
    return ClassTable(
        ("Label" if "threshold" in keys else "Class", "Images", *keys.values()),
        tuple(rows),
        max(0, len(order) - CLASS_ROWS),
        few,
    )


def _weakness(scores: Values) -> float:
    f1 = number(scores, "f1")
    return 2.0 if f1 is None else f1


def _split_detail(split: Values) -> str:
    n, groups = number(split, "n"), number(split, "groups")
    parts = [] if n is None else [count_text(int(n), "image")]
    if groups is not None:
        parts.append(count_text(int(groups), "group"))
    estimate = text(split, "estimate")
    if estimate:
        parts.append(_ESTIMATES.get(estimate, shorten(estimate.replace("_", " "))))
    return ", ".join(parts)


def _cell(split: Values, key: str, unit: bool) -> Cell:
    value, ci95 = number(split, key), interval(split, f"{key}_ci95")
    texts = score_text(key, value), interval_text(key, ci95)
    if not unit or value is None or ci95 is None:
        return Cell(*texts)
    return Cell(*texts, _unit(ci95[0]), _unit(value), _unit(ci95[1]))


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))
