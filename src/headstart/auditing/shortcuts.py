"""Shortcuts: labels that can be told without the object, from image size, encoding, camera or border alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.auditing.cues import cues_of
from headstart.auditing.findings import Finding
from headstart.data.splits import assign, folds
from headstart.evaluation.intervals import wilson
from headstart.imaging.facts import Examined

Floats = NDArray[np.float64]

KIND, NOTE = "shortcut", "colour_tells"
FOLDS = 5
LEAST = 0.5
"""What is reported has this skill at the lower end of its interval: it tells a class from the others in 75 % of images,
where guessing tells it in 50 %."""

NEAR = 0.8
"""And of what comes from the picture, so much of the model's skill. File size and colour follow from what is shown: on
eight untouched sets either reached 0.6 of the model's skill (``bench/planted_faults.py``)."""

FROM_THE_PICTURE = ("file_size", "colour")

CHANCE = 0.01
"""Of a finding in data without any shortcut; it is shared by all cues and classes (Bonferroni)."""

MOST_ROWS = 5000
"""More rows are drawn from, class by class: enough to see what matters, and a second of work."""

_NAMED = 3
_NAMES = {
    "size": "the image size",
    "file_size": "the file size",
    "encoding": "the file format and compression",
    "camera": "the camera data in EXIF",
    "border": "the border",
    "colour": "the mean colour",
}
_WHY = {
    "size": "images of one class may come from one source; resize or crop all alike",
    "file_size": "images of one class may come from one source, or were compressed otherwise; encode all alike",
    "encoding": "images of one class may come from one source; encode all alike",
    "camera": "images of one class come from one camera; test on images of each class from each camera",
    "border": "look for frames, marks or padding at the edge; crop them off, or add them to all classes alike",
}


@dataclass(frozen=True)
class Skill:
    """How well one class is told from the others: Youden's J, sensitivity + specificity - 1.

    0 is guessing, 1 is perfect; ``low`` is the lower end of its interval.
    """

    value: float
    low: float

    @property
    def balanced_accuracy(self) -> float:
        return (1 + self.value) / 2


@dataclass(frozen=True)
class Told:
    """What a cue says of a class.

    Attributes
    ----------
    cue, label:
        Key of :func:`headstart.auditing.cues.cues_of`, and number of the class.
    skill:
        Of the cue.
    model, inside:
        Skill of the model, and of the ring inside the image.
    """

    cue: str
    label: int
    skill: Skill
    model: float
    inside: float

    @property
    def is_notable(self) -> bool:
        """Whether it tells so much that a person should know."""
        wanted = max(LEAST, NEAR * self.model) if self.cue in FROM_THE_PICTURE else LEAST
        return self.skill.low >= wanted and (self.cue != "border" or self.skill.low > self.inside)


def shortcuts(
    examined: Sequence[Examined],
    classes: Sequence[str],
    targets: NDArray[np.generic],
    owners: NDArray[np.int64],
    probabilities: Floats,
    *,
    seed: int = 0,
) -> tuple[Finding, ...]:
    """Cues that tell a class far better than chance, the strongest first.

    Each cue is fitted on four fifths of the rows and asked on the last (out of fold, groups kept whole). Size,
    encoding, camera and border should tell nothing; where they do the finding is a ``shortcut``. The border counts only
    where it tells more than a ring inside the image does: that a meadow is green at the edge, too, is no shortcut. File
    size depends on what is shown, too, so it counts only where it comes near to the model. Colour is a fair sign of
    many things, so where it comes near to the model there is a note, ``colour_tells``.

    Parameters
    ----------
    examined, targets, owners:
        Looks, labels (numbers (n,), or bool (n, C)) and groups of the same n development rows.
    probabilities:
        (n, C) of models that had not seen the row; NaN where there is none.
    seed:
        Of folds and draws.
    """
    told = [one for one in told_by_cues(examined, targets, owners, probabilities, seed=seed) if one.is_notable]
    findings = []
    for name in dict.fromkeys(one.cue for one in sorted(told, key=lambda one: -one.skill.low)):
        ones = sorted((one for one in told if one.cue == name), key=lambda one: -one.skill.low)
        findings.append(_finding(name, ones, classes))
    return tuple(sorted(findings, key=lambda one: (one.kind == NOTE, -(one.score or 0.0))))


def told_by_cues(
    examined: Sequence[Examined],
    targets: NDArray[np.generic],
    owners: NDArray[np.int64],
    probabilities: Floats,
    *,
    seed: int = 0,
) -> tuple[Told, ...]:
    """What each cue says of each class, be it much or little; :func:`shortcuts` has the parameters."""
    rows = np.flatnonzero(np.isfinite(probabilities).all(1))
    if len(rows) > MOST_ROWS:
        share = MOST_ROWS / len(rows)
        rows = rows[assign(targets[rows], None, (share, 1 - share), seed) == 0]
    if len(rows) < 2 * FOLDS:
        return ()
    labels, owners, probabilities = targets[rows], owners[rows], probabilities[rows]
    cues = cues_of([examined[row] for row in rows.tolist()])
    present = labels.astype(bool) if labels.ndim == 2 else np.eye(probabilities.shape[1], dtype=bool)[labels]
    truth = _Truth.of(present, owners, 1 - 2 * CHANCE / (max(1, len(cues) - 1) * present.shape[1]))
    pairs = folds(labels, owners, FOLDS, seed)
    model = truth.skills(probabilities)
    skills = {
        name: truth.skills(_out_of_fold(columns, present, pairs)) for name, columns in cues.items() if columns.shape[1]
    }
    inside = skills.pop("inside", None)
    return tuple(
        Told(name, label, skill, model[label].value, inside[label].value if inside else 0.0)
        for name, found in skills.items()
        for label, skill in enumerate(found)
    )


@dataclass(frozen=True, eq=False)
class _Truth:
    """Which rows have which class, bool (n, C), and how many groups have a row with it, and one without it, (C,)."""

    present: NDArray[np.bool_]
    having: NDArray[np.int64]
    lacking: NDArray[np.int64]
    level: float

    @classmethod
    def of(cls, present: NDArray[np.bool_], owners: NDArray[np.int64], level: float) -> _Truth:
        _, group, size = np.unique(owners, return_inverse=True, return_counts=True)
        counts = np.zeros((len(size), present.shape[1]), np.int64)
        np.add.at(counts, group, present)
        return cls(present, (counts > 0).sum(0), (counts < size[:, None]).sum(0), level)

    def skills(self, scores: Floats) -> list[Skill]:
        """Youden's J of "score above the share of the class", with the lower end of Newcombe's interval (1998).

        A group counts as one image: frames of one video are no independent evidence. Rows without a score (NaN) name
        nothing.
        """
        named = scores > self.present.mean(0)
        return [self._skill(named[:, label], label) for label in range(self.present.shape[1])]

    def _skill(self, named: NDArray[np.bool_], label: int) -> Skill:
        present, having, lacking = self.present[:, label], int(self.having[label]), int(self.lacking[label])
        if not having or not lacking:
            return Skill(0.0, -1.0)
        hits = int((named & present).sum())
        sensitivity = hits / int(present.sum())
        false_alarms = (int(named.sum()) - hits) / int((~present).sum())
        least = wilson(sensitivity * having, having, self.level)[0]
        most = wilson(false_alarms * lacking, lacking, self.level)[1]
        value = sensitivity - false_alarms
        return Skill(value, value - math.hypot(sensitivity - least, most - false_alarms))


def _out_of_fold(
    columns: Floats, present: NDArray[np.bool_], pairs: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> Floats:
    """Scores of each class (n, C) from fits that had not seen the row; NaN for rows that are never held out."""
    scores = np.full(present.shape, np.nan)
    for seen, held in pairs:
        scores[held] = _regression(columns[seen], present[seen].astype(np.float64), columns[held])
    return scores


def _regression(seen: Floats, present: Floats, held: Floats) -> Floats:
    """The share of each class by least squares on columns of zeros and ones, (m, C).

    A closed form, so that hundreds of classes cost hardly more than two. The ridge of one row a column lets a bin with
    a single row count half.
    """
    mean, centre = present.mean(0), seen.mean(0)
    rows = seen - centre
    slopes = np.linalg.solve(rows.T @ rows + np.eye(seen.shape[1]), rows.T @ (present - mean))
    return np.asarray((held - centre) @ slopes + mean)


def _finding(name: str, ones: Sequence[Told], classes: Sequence[str]) -> Finding:
    parts = [
        f"{classes[one.label]} from the other classes in {one.skill.balanced_accuracy:.0%} "
        f"(the model {(1 + one.model) / 2:.0%})"
        for one in ones[:_NAMED]
    ]
    more = f" and {len(ones) - _NAMED} more" if len(ones) > _NAMED else ""
    evidence = (
        f"{_NAMES[name]} alone tells {', '.join(parts)}{more} of images, both sides counted alike; guessing tells 50 %"
    )
    score = round(ones[0].skill.low, 4)
    if name == "colour":
        action = "fine if colour makes the class; if it comes from light, camera or staining, vary it in training"
        return Finding("", NOTE, evidence, action, score)
    return Finding("", KIND, evidence, f"{_WHY[name]}; else the model may learn this and not the object", score)
