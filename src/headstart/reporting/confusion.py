"""Which classes are taken for which: the confusion matrix, cut down to the classes that are confused most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.reporting.evidence import Labels, Values
from headstart.reporting.wording import percent, shorten

MOST_CLASSES = 30
MOST_PAIRS = 8

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeatCell:
    """A count; ``share`` is its part of the images of the row's class, ``hit`` says that it lies on the diagonal.

    ``truth`` and ``answer`` are the numbers of its classes.
    """

    count: int
    share: float
    hit: bool
    title: str
    truth: int
    answer: int


@dataclass(frozen=True)
class HeatRow:
    """One true class. ``others`` counts its images that were taken for classes that aren't shown."""

    name: str
    cells: tuple[HeatCell, ...]
    others: int | None
    total: int


@dataclass(frozen=True)
class ConfusedPair:
    """``count`` images of ``truth``, ``share`` (a percentage) of them all, were taken for ``predicted``."""

    truth: str
    predicted: str
    count: int
    share: str


@dataclass(frozen=True)
class ConfusionView:
    """A matrix to print. ``classes`` is the number of all classes, of which ``rows`` may show a part."""

    classes: int
    rows: tuple[HeatRow, ...]
    pairs: tuple[ConfusedPair, ...]

    @property
    def partial(self) -> bool:
        """Whether classes are left out."""
        return len(self.rows) < self.classes


def view_confusion(scores: Values, classes: Labels) -> ConfusionView | None:
    """The matrix of one split of ``metrics.json``.

    Parameters
    ----------
    scores:
        The split; ``confusion`` in it is C lists of C counts, the rows the truth.
    classes:
        C names.

    Returns
    -------
    All classes, or the :data:`MOST_CLASSES` that take part in the most frequent confusions, in their own order.
    ``None`` where there is no matrix that fits the classes.
    """
    counts = _counts(scores, len(classes))
    if counts is None:
        return None
    pairs = _confused_pairs(counts)
    shown = _most_confused(counts, pairs)
    totals = counts.sum(axis=1)
    rows = tuple(_row(counts, shown, row, classes) for row in shown)
    named = (
        ConfusedPair(
            shorten(classes[i]), shorten(classes[j]), int(counts[i, j]), percent(float(counts[i, j] / totals[i]))
        )
        for i, j in pairs[:MOST_PAIRS]
    )
    return ConfusionView(len(classes), rows, tuple(named))


def _counts(scores: Values, classes: int) -> Counts | None:
    try:
        counts = np.asarray(scores.get("confusion"), np.int64)
    except (TypeError, ValueError, OverflowError):
        return None
    return counts if classes and counts.shape == (classes, classes) else None


def _confused_pairs(counts: Counts) -> list[tuple[int, int]]:
    """Truth and prediction of all confusions that occurred, the most frequent first."""
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")[: np.count_nonzero(errors)]
    rows, columns = np.unravel_index(order, errors.shape)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _most_confused(counts: Counts, pairs: list[tuple[int, int]]) -> list[int]:
    """The classes of the most frequent confusions, topped up with the largest classes where few are confused."""
    if len(counts) <= MOST_CLASSES:
        return list(range(len(counts)))
    largest = np.argsort(-counts.sum(axis=1), kind="stable").tolist()
    candidates = dict.fromkeys([*(number for pair in pairs for number in pair), *largest])
    return sorted(list(candidates)[:MOST_CLASSES])


def _row(counts: Counts, shown: list[int], row: int, classes: Labels) -> HeatRow:
    total = int(counts[row].sum())
    cells = []
    for column in shown:
        count = int(counts[row, column])
        verb = "found" if row == column else f"taken for {shorten(classes[column], 24)}"
        title = f"{shorten(classes[row], 24)}: {verb}, {count} of {total}" if count else ""
        cells.append(HeatCell(count, count / total if total else 0.0, row == column, title, row, column))
    others = total - int(counts[row, shown].sum()) if len(shown) < len(classes) else None
    return HeatRow(shorten(classes[row]), tuple(cells), others, total)
