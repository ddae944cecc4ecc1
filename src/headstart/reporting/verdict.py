"""One plain sentence that says what a run's model is worth, and what that rests on."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.reporting.evidence import NESTED, Interval, Values, interval, mapping, number, split_of, text
from headstart.reporting.wording import count_text, interval_text, metric_text, score_text, shorten

# At 90 % accuracy Wilson's interval on 100 images spans 12 points; on fewer, differences between models drown in it.
FEW_IMAGES = 100

_LOWER_IS_BETTER = {"log_loss", "brier", "ece"}
# Scores of decisions: there, knowing the class frequencies alone means to answer the same class always.
_OF_DECISIONS = {"accuracy", "balanced_accuracy", "macro_f1"}
_SUBJECTS = {
    "prototype": "nearest-class-mean classifier on features of {backbone}",
    "linear_probe": "linear probe on features of {backbone}",
    "linear_probe_all_stages": "linear probe on features of all stages of {backbone}",
    "partial": "partly fine-tuned {backbone}",
    "progressive": "progressively fine-tuned {backbone}",
    "full": "fully fine-tuned {backbone}",
    "scratch": "{backbone} trained from scratch",
}


@dataclass(frozen=True)
class Headline:
    """The score that governs a run, on its test images.

    Attributes
    ----------
    metric:
        The governing metric, or accuracy where that one is undefined.
    n:
        The number of test images; 0 where unknown.
    majority, knn:
        The same metric of the baselines, ``None`` where unknown.
    """

    metric: str
    value: float
    ci95: Interval | None
    n: int
    majority: float | None
    knn: float | None

    @property
    def lower_is_better(self) -> bool:
        """Whether 0 is the best value of this metric, and not 1."""
        return self.metric in _LOWER_IS_BETTER

    def beats(self, value: float, other: float) -> bool:
        """Whether a value of this metric is strictly better than another."""
        return value < other if self.lower_is_better else value > other

    def beyond_doubt(self, other: float) -> bool:
        """Whether the whole interval is better than ``other``; without an interval nothing is."""
        return self.ci95 is not None and all(self.beats(end, other) for end in self.ci95)


def headline(metrics: Values) -> Headline | None:
    """The governing score of the test, or ``None`` where there is no test score at all."""
    test = split_of(metrics, "test")
    for metric in (text(metrics, "metric", "accuracy"), "accuracy"):
        value = number(test, metric)
        if value is not None:
            ci95 = interval(test, f"{metric}_ci95")
            baselines = mapping(metrics, "baselines")
            majority, knn = (number(mapping(baselines, name), f"test_{metric}") for name in ("majority", "knn"))
            return Headline(metric, value, ci95, int(number(test, "n") or 0), majority, knn)
    return None


def verdict(metrics: Values) -> str:
    """One sentence: what the model is, its governing test score with its interval, and what that is worth.

    It says when the score is no better, or not surely better, than what the class frequencies alone give or than
    k-nearest neighbours on the same features, when the test images are few, and when the score is a nested
    out-of-fold estimate. It claims nothing that the numbers in ``metrics`` don't hold.

    Parameters
    ----------
    metrics:
        The content of ``metrics.json``; absent and null values are allowed everywhere.
    """
    subject = _subject(metrics)
    found = headline(metrics)
    if found is None:
        return f"{_upper(subject)} was fitted, but no test score could be measured, so nothing is known of its worth."
    opening, images = "", count_text(found.n, "test image")
    if split_of(metrics, "test").get("estimate") == NESTED:
        opening = "By a nested out-of-fold estimate, as the images are too few for a test set, "
        images = count_text(found.n, "image")
    claim = f"{opening}{subject} {_claim(found, metrics, images)}"
    return _upper(claim) + "".join(_worth(found, metrics)) + "."


def _subject(metrics: Values) -> str:
    backbone = shorten(text(metrics, "backbone", "an unnamed backbone"))
    strategy = text(metrics, "strategy", "classifier")
    phrase = _SUBJECTS.get(strategy, strategy.replace("_", " ") + " model on {backbone}")
    article = "an " if phrase[:1] in "aeiou" else "a "
    return article + shorten(phrase, 100).replace("{backbone}", backbone)


def _claim(found: Headline, metrics: Values, images: str) -> str:
    value, low_high = score_text(found.metric, found.value), interval_text(found.metric, found.ci95)
    bounds = f" (95% interval {low_high})" if low_high else ""
    if found.metric == "accuracy":
        verb = "has every label right on" if metrics.get("task") == "multilabel" else "is right on"
        return f"{verb} {value} of {images}{bounds}"
    return f"has a {metric_text(found.metric)} of {value} on {images}{bounds}"


def _worth(found: Headline, metrics: Values) -> list[str]:
    """What is held against the score. Where it isn't shown to beat the class frequencies, nothing else matters."""
    beaten = found.majority is None or found.beyond_doubt(found.majority)
    return _against_frequencies(found, metrics) + (_against_neighbours(found) if beaten else []) + _few(found)


def _against_frequencies(found: Headline, metrics: Values) -> list[str]:
    if found.majority is None:
        return []
    value = score_text(found.metric, found.majority)
    if metrics.get("task") != "multilabel" and found.metric in _OF_DECISIONS:
        rival = f"always answering {frequent_class(metrics)}"
    else:
        rival = "knowing only how frequent each class is"
    if not found.beats(found.value, found.majority):
        return [f", no better than {rival} ({value})"]
    if not found.beyond_doubt(found.majority):
        return [f", not surely better than {rival} ({value})"]
    return [f"; {rival} gives {value}"]


def _against_neighbours(found: Headline) -> list[str]:
    if found.knn is None:
        return []
    rival, value = "k-nearest neighbours on the same features", score_text(found.metric, found.knn)
    if not found.beats(found.value, found.knn):
        return [f", and {rival} do no worse ({value})"]
    if found.ci95 is not None and not found.beyond_doubt(found.knn):
        return [f", and {rival} come so close ({value}) that the interval can't tell the two apart"]
    return [f", and {rival} give {value}"]


def _few(found: Headline) -> list[str]:
    if not 0 < found.n < FEW_IMAGES:
        return []
    return [f"; with {count_text(found.n, 'image')}, trust the interval rather than the score"]


def frequent_class(metrics: Values) -> str:
    """The class in quotation marks whose share of the test is what answering it always reaches, where that is one."""
    test = split_of(metrics, "test")
    n, share = number(test, "n"), number(mapping(mapping(metrics, "baselines"), "majority"), "test_accuracy")
    per_class = mapping(test, "per_class")
    if n and share is not None:
        wanted = round(share * n)
        names = [name for name in per_class if number(mapping(per_class, name), "support") == wanted]
        if len(names) == 1:
            return f"“{shorten(names[0])}”"
    return "the most frequent class"


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
