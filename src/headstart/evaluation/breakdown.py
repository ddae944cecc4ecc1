"""Where a model fails: its accuracy by group and by domain, the worst of them, and which classes it takes for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.evaluation.evidence import ClassEvidence, LabelEvidence
from headstart.evaluation.intervals import Interval, share_interval
from headstart.evaluation.scores import BoolArray, IntArray, confusion

MOST_PARTS = 200
"""Groups that are listed, those with the lowest accuracy first."""

MOST_PAIRS = 100
"""Pairs of classes that are listed, those that are confused most often first."""

# Of fewer rows an interval spans more than half of the scale, and to call one of many such groups the worst is chance.
_FEWEST_ROWS = 5


@dataclass(frozen=True)
class PartScore:
    """The accuracy of the rows of one group or domain. ``groups``: how many groups a domain's rows come from.

    The interval of a group is about further images of this very group.
    """

    name: str
    rows: int
    groups: int | None
    accuracy: float
    accuracy_ci95: Interval


@dataclass(frozen=True)
class WorstPart:
    """The group or domain of the lowest accuracy.

    Attributes
    ----------
    ci95:
        Its interval, widened for its having been picked out of ``among`` parts (Šidák 1967): with 95 % confidence the
        intervals of all of them would hold at once.
    below:
        Whether it is worse than all rows together beyond doubt: the whole interval lies below their accuracy.
    """

    name: str
    rows: int
    among: int
    accuracy: float
    ci95: Interval
    below: bool


@dataclass(frozen=True)
class Breakdown:
    """Accuracy by part. ``parts`` lists the lowest first, at most :data:`MOST_PARTS` of ``total``.

    ``worst`` is ``None`` where fewer than two parts have five rows or more.
    """

    total: int
    parts: tuple[PartScore, ...]
    worst: WorstPart | None


@dataclass(frozen=True)
class Confusion:
    """``count`` rows of ``truth`` were given ``decided``: ``share`` of all rows of that class.

    In multi-label tasks: rows that have the label ``truth`` and were not given it, but were given ``decided``, which
    they don't have.
    """

    truth: str
    decided: str
    count: int
    share: float
    share_ci95: Interval


def break_down(
    correct: npt.ArrayLike, names: Sequence[str | None], owners: npt.NDArray[np.generic] | None = None
) -> Breakdown:
    """The accuracy of each part of the rows.

    Parameters
    ----------
    correct:
        Bool of shape (n,).
    names:
        n names of groups or domains; rows without one (``None``) belong to no part.
    owners:
        Shape (n,), where the rows of a part come from several groups: see
        :func:`headstart.evaluation.intervals.resampling_units`.
    """
    right = np.asarray(correct, np.bool_)
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name is not None:
            rows_of.setdefault(name, []).append(row)
    scores = [_score(name, right, owners, rows_of[name]) for name in sorted(rows_of)]
    scores.sort(key=lambda part: (part.accuracy, -part.rows, part.name))
    candidates = [part for part in scores if part.rows >= _FEWEST_ROWS]
    worst = None
    if len(candidates) > 1:
        lowest, rows = candidates[0], rows_of[candidates[0].name]
        ends = _interval(right, owners, rows, 0.95 ** (1 / len(candidates)))
        below = ends[1] < float(right.mean())
        worst = WorstPart(lowest.name, lowest.rows, len(candidates), lowest.accuracy, ends, below)
    return Breakdown(len(scores), tuple(scores[:MOST_PARTS]), worst)


def confused_pairs(
    evidence: ClassEvidence | LabelEvidence, classes: Sequence[str], owners: IntArray | None = None
) -> tuple[Confusion, ...]:
    """Which classes are taken for which, the most frequent first, at most :data:`MOST_PAIRS`.

    Parameters
    ----------
    owners:
        Shape (n,): which rows are not independent of which; ``None`` where all are.
    """
    counts = _mistaken(evidence, len(classes))
    order = np.argsort(-counts, axis=None, kind="stable")[: min(MOST_PAIRS, np.count_nonzero(counts))]
    found = []
    for j, k in zip(*np.unravel_index(order, counts.shape), strict=True):
        (has, given), (has_other, given_other) = evidence.of_class(int(j)), evidence.of_class(int(k))
        taken = (~given & given_other & ~has_other)[has]
        ends = share_interval(taken, None if owners is None else owners[has])
        found.append(Confusion(classes[j], classes[k], int(counts[j, k]), float(taken.mean()), ends))
    return tuple(found)


def _mistaken(evidence: ClassEvidence | LabelEvidence, classes: int) -> IntArray:
    """How many rows that have class j were not given it but were wrongly given k: shape (C, C), zero diagonal."""
    if isinstance(evidence, ClassEvidence):
        counts = confusion(evidence.truth, evidence.decided, classes)
        np.fill_diagonal(counts, 0)
        return counts
    missed, spurious = evidence.truth & ~evidence.decided, evidence.decided & ~evidence.truth
    return np.stack([np.count_nonzero(spurious[rows], axis=0) for rows in missed.T])


def _score(name: str, right: BoolArray, owners: npt.NDArray[np.generic] | None, rows: list[int]) -> PartScore:
    groups = None if owners is None else len(np.unique(owners[rows]))
    return PartScore(name, len(rows), groups, float(right[rows].mean()), _interval(right, owners, rows, 0.95))


def _interval(right: BoolArray, owners: npt.NDArray[np.generic] | None, rows: list[int], level: float) -> Interval:
    return share_interval(right[rows], None if owners is None else owners[rows], level)
