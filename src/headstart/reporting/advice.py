"""The verdict for a person who decides: use it, not yet, or cannot tell; why; and the one next action.

Nothing is weighed against a constant that somebody liked: a claim stands where a whole 95 % interval supports it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Literal

from headstart.evaluation.intervals import wilson
from headstart.reporting.evidence import (
    Interval,
    RunEvidence,
    interval,
    mapping,
    mappings,
    number,
    split_of,
    text,
)
from headstart.reporting.findings import CONFLICTING, GROUP_LEAK, LEAK, SHORTCUT, SUSPICIOUS, of_kind
from headstart.reporting.verdict import FEW_IMAGES, Headline, frequent_class, headline
from headstart.reporting.wording import count_text, interval_text, metric_text, percent, score_text, shorten

Answer = Literal["Use it", "Not yet", "Cannot tell"]

_EVERY = "knowing only how frequent each class is"


@dataclass(frozen=True)
class Advice:
    """What to do with a model.

    Attributes
    ----------
    why:
        What the answer rests on, a sentence or two.
    action:
        The one thing to do next.
    cautions:
        What else to keep in mind, a sentence each.
    """

    answer: Answer
    why: str
    action: str
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Weak:
    """The class that is found most rarely."""

    name: str
    recall: float
    ci95: Interval


@dataclass(frozen=True)
class _Case:
    """What the judges look at."""

    evidence: RunEvidence
    found: Headline
    weak: _Weak | None

    @property
    def named(self) -> str:
        """The governing score with its interval, in words."""
        metric = self.found.metric
        bounds = interval_text(metric, self.found.ci95)
        name = metric_text(metric)
        opening = "By a nested out-of-fold estimate the" if self.evidence.nested else "The"
        told = f"{opening} {name} is {score_text(metric, self.found.value)}"
        return told + (f" (95% interval {bounds})" if bounds else "")

    @property
    def images(self) -> str:
        """What the images are called that it was judged on."""
        return "images" if self.evidence.nested else "test images"

    @property
    def rival(self) -> str:
        """What a model has to beat that looks at no image."""
        if self.evidence.multilabel or self.found.metric not in ("accuracy", "balanced_accuracy", "macro_f1"):
            return _EVERY
        return f"always answering {frequent_class(self.evidence.metrics)}"

    def score(self, value: float) -> str:
        """A value of the governing score as text."""
        return score_text(self.found.metric, value)


def advise(evidence: RunEvidence) -> Advice:
    """Weigh what is known of a run.

    In this order: is there a test score; does the test share images with the training; is the score beyond doubt better
    than the class frequencies alone; does something beside the object tell the label as well; is the interval narrow
    enough to say anything; are nearest neighbours better; is a class missed more often than found; is the test beyond
    doubt harder than the images that the model was chosen by. Whatever holds first is the verdict; if nothing does, the
    model can be used.
    """
    found = headline(evidence.metrics)
    if found is None:
        return Advice(
            "Cannot tell",
            "No test score could be measured: nothing is known of how the model does on images that it has not seen.",
            "Hold images back and fit again: headstart fit DATA --test 0.2.",
        )
    case = _Case(evidence, found, _weakest(evidence))
    judges: tuple[Callable[[_Case], Advice | None], ...] = (
        _leaked,
        _not_better,
        _shortcut,
        _too_wide,
        _neighbours_better,
        _class_missed,
        _unlike,
    )
    advice = next((said for judge in judges if (said := judge(case))), None) or _usable(case)
    return Advice(advice.answer, advice.why, advice.action, (*advice.cautions, *_cautions(case)))


def _leaked(case: _Case) -> Advice | None:
    """Copies on both sides of a split, unless they were left out of training, and groups on both sides."""
    audit = case.evidence.audit
    mended = mapping(case.evidence.run, "request").get("fix_leaks") is True
    copies, groups = () if mended else of_kind(audit, LEAK), of_kind(audit, GROUP_LEAK)
    if not copies and not groups:
        return None
    shared = []
    if copies:
        shared.append(
            count_text(len(copies), "image that it learnt from has a copy", "images that it learnt from have copies")
        )
    if groups:
        shared.append(count_text(len(groups), "group of images lies", "groups of images lie"))
    why = f"{case.named}, but {' and '.join(shared)} among those that judge it, which flatters it by an unknown amount."
    if copies:
        return Advice("Cannot tell", why, "Fix the leak: headstart fit DATA --fix-leaks leaves these images out.")
    return Advice("Cannot tell", why, "Fix the leak: move each of these groups to one side of the split.")


def _not_better(case: _Case) -> Advice | None:
    found = case.found
    if found.majority is None or found.beyond_doubt(found.majority):
        return None
    if found.beats(found.value, found.majority):
        why = f"{case.named}; {case.rival} gives {case.score(found.majority)}, which the interval does not exclude."
        more = f"Label more {case.images}: {found.n:,} can't tell this model from guessing."
        return Advice("Cannot tell", why, more)
    why = f"{case.named}, no better than {case.rival} ({case.score(found.majority)})."
    return Advice("Not yet", why, _better_model(case))


def _shortcut(case: _Case) -> Advice | None:
    """Something beside the object that tells the label as well as the model may."""
    cues, test = of_kind(case.evidence.audit, SHORTCUT), split_of(case.evidence.metrics, "test")
    ends = interval(test, "balanced_accuracy_ci95") or interval(test, "accuracy_ci95")
    strong = [one for one in cues if ends is not None and (number(one, "score") or 0.0) >= ends[0]]
    if not strong:
        return None
    told = _sentence(text(strong[0], "evidence"))
    why = f"{case.named}, but what the images show need have no part in it. {told}"
    action = _sentence(text(strong[0], "action")) or "Look at the shortcuts among the findings of the audit."
    return Advice("Cannot tell", why, action)


def _too_wide(case: _Case) -> Advice | None:
    """An interval that spans half of the way from the class frequencies to a perfect score says next to nothing."""
    found = case.found
    perfect = 0.0 if found.lower_is_better else 1.0
    if found.ci95 is None or found.majority is None:
        return None
    if found.ci95[1] - found.ci95[0] < abs(perfect - found.majority) / 2:
        return None
    why = (
        f"{case.named}: on {count_text(found.n, 'image')} the interval spans half of the way from {case.rival} "
        f"({case.score(found.majority)}) to a perfect score."
    )
    more = f"Label {3 * found.n:,} more {case.images}: four times as many halve the interval."
    return Advice("Cannot tell", why, more)


def _neighbours_better(case: _Case) -> Advice | None:
    found = case.found
    if found.knn is None or found.ci95 is None or not all(found.beats(found.knn, end) for end in found.ci95):
        return None
    why = (
        f"{case.named}; k-nearest neighbours on the same features give {case.score(found.knn)}, which is surely better."
    )
    return Advice("Not yet", why, _better_model(case))


def _class_missed(case: _Case) -> Advice | None:
    weak = case.weak
    if weak is None or weak.ci95[1] >= 0.5:
        return None
    why = (
        f"{case.named}, but “{shorten(weak.name)}” is missed more often than found: its recall is "
        f"{percent(weak.recall)} ({interval_text('accuracy', weak.ci95)})."
    )
    return Advice("Not yet", why, _label_more(case, weak))


def _unlike(case: _Case) -> Advice | None:
    """A score that falls from folds to a split that the data came with: its images are of another kind."""
    found, metrics = case.found, case.evidence.metrics
    before = interval(split_of(metrics, "val"), f"{found.metric}_ci95")
    given = mapping(metrics, "protocol").get("test") == "given"
    if not given or found.ci95 is None or before is None:
        return None
    if not all(found.beats(old, new) for old in before for new in found.ci95):
        return None
    why = (
        f"{case.named} on the test images, but {case.score(number(split_of(metrics, 'val'), found.metric) or 0.0)} "
        f"({interval_text(found.metric, before)}) on the images that it was chosen by. The test images are unlike "
        "them, and those that it will meet may be unlike both."
    )
    more = (
        "Add labelled images like those of the test to the training; headstart gap DATA --split shows how they differ."
    )
    return Advice("Not yet", why, more)


def _usable(case: _Case) -> Advice:
    found = case.found
    why = f"{case.named}"
    if found.majority is not None:
        why += f"; the whole interval is better than {case.rival} ({case.score(found.majority)})"
    if case.weak is not None:
        recall = f"{percent(case.weak.recall)} ({interval_text('accuracy', case.weak.ci95)})"
        why += f". The class that is found least often is “{shorten(case.weak.name)}”, with a recall of {recall}"
    return Advice("Use it", why + ".", _next_step(case))


def _next_step(case: _Case) -> str:
    """The cheapest thing that the evidence says may improve the model, or what is still unknown about it."""
    audit = case.evidence.audit
    suspicious, conflicting = (len(of_kind(audit, kind)) for kind in (SUSPICIOUS, CONFLICTING))
    if suspicious:
        return f"Look at the {count_text(suspicious, 'suspicious label')} among the findings of the audit."
    if conflicting:
        return f"Settle the {count_text(conflicting, 'picture')} that carry two labels; the findings list them."
    weak, average = case.weak, number(split_of(case.evidence.metrics, "test"), "balanced_accuracy")
    if weak is not None and average is not None and weak.ci95[1] < average:
        return _label_more(case, weak)
    if _ran_out_of_time(case.evidence):
        return _MORE_TIME
    more = _more_data(case.evidence)
    if more:
        return more
    if case.found.n < FEW_IMAGES:
        return f"Label more {case.images}: {count_text(case.found.n, 'image')} leave the interval wide."
    return "Try it on images from where it will be used: headstart evaluate RUN NEW_DATA."


_MORE_TIME = "Give it more time: headstart fit DATA with a larger --budget tries what this run had no time for."


def _better_model(case: _Case) -> str:
    if _ran_out_of_time(case.evidence):
        return _MORE_TIME
    more = _more_data(case.evidence)
    if more:
        return more
    if case.weak is not None:
        return _label_more(case, case.weak)
    return "Let other backbones compete: headstart fit DATA --backbones auto."


def _label_more(case: _Case, weak: _Weak) -> str:
    """As many as bring the class level with the others, or twice what it has where it is level."""
    counts = {} if case.evidence.training is None else case.evidence.training.counts()
    have = counts.get(weak.name)
    if not have:
        return f"Label more images of “{shorten(weak.name)}”."
    short = int(median(counts.values())) - have
    return f"Label {short if short > 0 else have:,} more of “{shorten(weak.name)}” (it has {have:,} to learn from)."


def _ran_out_of_time(evidence: RunEvidence) -> bool:
    """Whether the budget decided what was tried."""
    return evidence.ladder.get("by_clock") is True


def _more_data(evidence: RunEvidence) -> str:
    """What to label where the forecast says that twice as many images surely help."""
    forecast = mapping(evidence.plan, "forecast")
    now = number(forecast, "accuracy")
    for one in mappings(forecast, "predictions"):
        ends, rows, then = interval(one, "ci95"), number(one, "rows"), number(one, "accuracy")
        if number(one, "factor") == 2 and ends is not None and rows is not None and now is not None and ends[0] > now:
            return (
                f"Label {rows / 2:,.0f} more images: twice as many should bring {percent(then)} "
                f"({interval_text('accuracy', ends)}) after {percent(now)} now."
            )
    return ""


def _weakest(evidence: RunEvidence) -> _Weak | None:
    """The class of lowest recall among those with an interval; several labels or classes alike."""
    per_class = mapping(split_of(evidence.metrics, "test"), "per_class")
    classes = []
    for name in per_class:
        scores = mapping(per_class, name)
        recall, ends = number(scores, "recall"), interval(scores, "recall_ci95")
        if recall is not None and ends is not None:
            classes.append(_Weak(name, recall, ends))
    return min(classes, key=lambda one: (one.ci95[1], one.recall), default=None)


def _cautions(case: _Case) -> tuple[str, ...]:
    said = (_miscalibrated(case.evidence), _few(case.found), _worst_part(case.evidence), _cue(case.evidence))
    return tuple(sentence for sentence in said if sentence)


def _miscalibrated(evidence: RunEvidence) -> str:
    """Where the mean confidence lies outside the interval of how often it is right."""
    rows = evidence.predictions
    if rows is None or evidence.multilabel or not len(rows.files):
        return ""
    claimed, right = float(rows.confidence.mean()), rows.correct()
    low, high = interval(split_of(evidence.metrics, rows.split), "accuracy_ci95") or wilson(
        float(right.sum()), float(len(right))
    )
    if low <= claimed <= high or claimed != claimed:
        return ""
    how = "more" if claimed > high else "less"
    return (
        f"It is {how} sure of itself than it should be: on average it claims {percent(claimed)} and is right in "
        f"{percent(float(right.mean()))} ({interval_text('accuracy', (low, high))})."
    )


def _few(found: Headline) -> str:
    if not 0 < found.n < FEW_IMAGES:
        return ""
    return f"{count_text(found.n, 'image')} are few: trust the interval rather than the score."


def _worst_part(evidence: RunEvidence) -> str:
    """A group or domain that is worse than the rest beyond doubt."""
    split = mapping(mapping(evidence.evaluation, "splits"), evidence.shown)
    for key, kind in (("domains", "domain"), ("groups", "group")):
        worst = mapping(mapping(split, key), "worst")
        ends = interval(worst, "ci95")
        if worst.get("below") is True and ends is not None:
            return (
                f"It does worse in the {kind} “{shorten(text(worst, 'name'))}”: {percent(number(worst, 'accuracy'))} "
                f"({interval_text('accuracy', ends)})."
            )
    return ""


def _cue(evidence: RunEvidence) -> str:
    """A shortcut that the score may rest on in part."""
    cues = of_kind(evidence.audit, SHORTCUT)
    return f"It may use a shortcut. {_sentence(text(cues[0], 'evidence'))}" if cues else ""


def _sentence(told: str) -> str:
    plain = shorten(told, 300)
    return plain[:1].upper() + plain[1:] + ("" if plain.endswith((".", "?", "!")) or not plain else ".")
