"""The novelty score: how far a row lies from everything that training has seen ("none of these")."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.training.linear import Features, Floats
from headstart.training.neighbours import nearest, unit_rows

MAX_REFERENCES = 2000  # 5 MB of 1280 float16 columns in a saved model
# Of the 1st, 3rd, 5th, 10th and 20th on four real sets: for a left-out class of the same set the first had the best
# AUROC each time (once shared); for rows of the other sets it was within 0.003 of the best, but for one pair (0.82
# against 0.84).
NEIGHBOUR = 1
QUANTILE = 0.95


@dataclass(frozen=True, eq=False)
class NoveltyReference:
    """Training rows to compare with, and the distance beyond which a row is called novel.

    Attributes
    ----------
    features:
        (m, D) float16 rows of unit length, at most :data:`MAX_REFERENCES` (or one a class, if that is more).
    threshold:
        In the score's units, 0 to 2. Of new rows that are like the training rows, at most a share of
        ``1 - quantile`` is expected to score above it, if there were at least ``quantile / (1 - quantile)`` rows to
        set it by (19 for 0.95); with fewer it is the largest score seen, and the share may be larger.
    neighbour:
        k: the score is the distance to the k-th nearest reference.
    quantile:
        The share of training rows meant to lie below the threshold.
    """

    features: NDArray[np.float16]
    threshold: float
    neighbour: int
    quantile: float

    def score(self, features: Features) -> Floats:
        """(n, D) raw features to (n,) scores: 1 minus the cosine to the k-th nearest reference, 0 (equal) to 2."""
        similarity, _ = nearest(unit_rows(features), self.features.astype(np.float32), self.neighbour)
        return _distance(similarity)


def fit_novelty(
    features: Features,
    targets: Floats,
    *,
    groups: NDArray[np.intp] | None = None,
    seed: int,
    neighbour: int = NEIGHBOUR,
    quantile: float = QUANTILE,
) -> NoveltyReference:
    """Draw references and set the threshold ("Out-of-distribution detection with deep nearest neighbors", Sun 2022).

    Every training row is scored against the references without itself, or without all rows of its group: two frames of
    one video are no measure of how near a new video lies. The threshold is the quantile of these scores with the
    finite-sample correction of conformal prediction: the ceil((n + 1) * quantile)-th smallest of n.

    Parameters
    ----------
    features:
        (n, D) finite floats, at least two rows.
    targets:
        (n, C) in 0..1; references are drawn in proportion to the classes, at least one a class. With several labels a
        row counts for its rarest.
    groups:
        (n,) numbers, equal where rows belong together. None, or a single group: every row by itself.
    seed:
        Of the draw; equal seeds draw equal rows.

    Raises
    ------
    ValueError
        If there are fewer than two rows, or the neighbour or the quantile is out of range.
    """
    if len(features) < 2 or neighbour < 1 or not 0 < quantile < 1:
        raise ValueError(f"novelty needs two rows, a neighbour from 1 and a quantile in 0..1: {len(features)} rows")
    owners = np.arange(len(features)) if groups is None or len(np.unique(groups)) < 2 else groups
    drawn = draw_references(targets, MAX_REFERENCES, seed)
    neighbour = min(neighbour, len(drawn))
    rows = unit_rows(features)
    references = rows[drawn].astype(np.float16)
    similarity, _ = nearest(
        rows, references.astype(np.float32), neighbour, query_owners=owners, reference_owners=owners[drawn]
    )
    distance = _distance(similarity)
    return NoveltyReference(references, _conformal_quantile(distance, quantile), neighbour, quantile)


def draw_references(targets: Floats, limit: int, seed: int) -> NDArray[np.intp]:
    """Ascending row numbers: all rows, or about ``limit`` of them, per class in proportion but at least one each."""
    if len(targets) <= limit:
        return np.arange(len(targets))
    counts = targets.sum(axis=0)
    rarest = np.argmin(np.where(targets > 0, counts, np.inf), axis=1)
    order = np.random.default_rng(seed).permutation(len(targets))
    kept = []
    for label in np.unique(rarest):
        members = order[rarest[order] == label]
        kept.append(members[: max(1, math.floor(limit * len(members) / len(targets)))])
    return np.sort(np.concatenate(kept))


def _distance(similarity: NDArray[np.float32]) -> Floats:
    return np.clip(1.0 - similarity[:, -1].astype(np.float64), 0.0, None)


def _conformal_quantile(scores: Floats, quantile: float) -> float:
    """The corrected quantile of the finite scores; the largest, if there are too few for the correction."""
    # Infinite where a row's own group left it too few references.
    ordered = np.sort(scores[np.isfinite(scores)])
    if len(ordered) == 0:
        return 2.0  # the largest distance there is: nothing was learnt about near and far, so nothing is called novel
    rank = math.ceil((len(ordered) + 1) * quantile)
    return float(ordered[min(rank, len(ordered)) - 1])
