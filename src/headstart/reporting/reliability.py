"""Whether confidence can be believed: hit rates of predictions that claim to be equally sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.evaluation.intervals import wilson
from headstart.reporting.evidence import Labels, Predictions

BINS = 10
# With fewer claims a diagram shows noise only.
FEWEST_CLAIMS = 20


@dataclass(frozen=True)
class ReliabilityBin:
    """Claims of similar confidence. All but ``count`` are shares in 0..1; ``low`` to ``high`` is a 95 % interval.

    ``height`` is the count as a share of the fullest bin's.
    """

    confidence: float
    hit_rate: float
    low: float
    high: float
    count: int
    start: float
    width: float
    height: float


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram (Murphy and Winkler 1977).

    Attributes
    ----------
    claims:
        The number of claims: one a row in single-label tasks, one a row and label in multi-label ones.
    confidence, hit_rate:
        Their means, in 0..1.
    """

    claims: int
    confidence: float
    hit_rate: float
    bins: tuple[ReliabilityBin, ...]


def measure_reliability(rows: Predictions, classes: Labels, *, multilabel: bool) -> Reliability | None:
    """Sort the claims of some rows into ten bins of equal width; ``None`` where there are too few."""
    found = _label_claims(rows, classes) if multilabel else (rows.confidence, rows.correct())
    if found is None:
        return None
    confidence, hits = found
    known = np.isfinite(confidence)
    confidence, hits = np.clip(confidence[known], 0.0, 1.0), hits[known]
    if len(confidence) < FEWEST_CLAIMS:
        return None
    index = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
    counts = np.bincount(index, minlength=BINS)
    claimed, true = (np.bincount(index, weights=values, minlength=BINS) for values in (confidence, hits))
    bins = tuple(
        ReliabilityBin(
            float(claimed[b] / counts[b]),
            float(true[b] / counts[b]),
            *wilson(float(true[b]), float(counts[b])),
            count=int(counts[b]),
            start=b / BINS,
            width=1 / BINS,
            height=float(counts[b] / counts.max()),
        )
        for b in np.flatnonzero(counts).tolist()
    )
    return Reliability(len(confidence), float(confidence.mean()), float(hits.mean()), bins)


def _label_claims(rows: Predictions, classes: Labels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]] | None:
    """The probability of each label on each row, and whether the row has it."""
    if rows.probabilities is None or rows.probabilities.shape != (len(rows.files), len(classes)):
        return None
    columns = {name: number for number, name in enumerate(classes)}
    true = np.zeros(rows.probabilities.shape, np.bool_)
    for row, labels in enumerate(rows.truth):
        true[row, [columns[label] for label in labels if label in columns]] = True
    return rows.probabilities.ravel(), true.ravel()
