"""Classifiers that need no training: the class frequencies, the nearest neighbours, the nearest class mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.training.linear import (
    CHUNK_ROWS,
    UNSEEN_COUNT,
    ColumnScale,
    Features,
    Floats,
    Kind,
    LinearModel,
    column_scale,
    unseen_log_odds,
)
from headstart.training.neighbours import nearest, unit_rows

NEIGHBOUR_COUNTS = (1, 3, 5, 10, 20)
# A neighbour votes with exp(similarity / 0.07), as in Wu et al. 2018 (instance discrimination) and DINO (2021); on four
# real sets its log-loss was below that of equal votes at every count above 3.
VOTE_TEMPERATURE = 0.07
# The class frequencies vote like one more neighbour, so that no probability is zero.
PRIOR_VOTES = 1.0


def class_frequencies(targets: Floats, kind: Kind) -> Floats:
    """(C,) shares of the classes in (n, C) targets, each count raised by half a row so that none is 0 (or 1)."""
    outcomes = targets.shape[1] if kind == "softmax" else 2
    return np.asarray((targets.sum(axis=0) + UNSEEN_COUNT) / (len(targets) + UNSEEN_COUNT * outcomes))


def majority(targets: Floats, count: int, kind: Kind) -> Floats:
    """(count, C) probabilities of ``count`` rows nothing is known about: the class frequencies of (n, C) targets."""
    return np.tile(class_frequencies(targets, kind), (count, 1))


@dataclass(frozen=True, eq=False)
class KNearest:
    """The k nearest training rows by cosine vote, the nearer the more.

    Attributes
    ----------
    references:
        (m, D) float32 rows of unit length.
    targets:
        (m, C) float64.
    frequencies:
        (C,) float64, in 0..1 (exclusive).
    neighbours:
        k, 1 to m.
    """

    references: NDArray[np.float32]
    targets: Floats
    frequencies: Floats
    neighbours: int

    def probabilities(self, features: Features) -> Floats:
        """(n, D) raw features to (n, C) probabilities: over exclusive classes, or for every label by itself."""
        similarity, index = nearest(unit_rows(features), self.references, self.neighbours)
        return _vote(similarity, self.targets[index], self.frequencies)


def fit_knearest(
    features: Features, targets: Floats, folds: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]], *, kind: Kind
) -> KNearest:
    """Keep all rows; choose k from :data:`NEIGHBOUR_COUNTS` by the out-of-fold log-loss.

    Parameters
    ----------
    features, targets:
        (n, D) floats and (n, C) in 0..1, as for the linear fit.
    folds:
        Pairs of row numbers: trained on, held out. Counts above the smallest fold's rows are not tried.
    """
    rows = unit_rows(features)
    smallest = min(len(train) for train, _ in folds)
    counts = [count for count in NEIGHBOUR_COUNTS if count <= smallest]
    losses = np.zeros(len(counts))
    for train, held in folds:
        frequencies = class_frequencies(targets[train], kind)
        similarity, index = nearest(rows[held], rows[train], counts[-1])
        voters = targets[train][index]
        for number, count in enumerate(counts):
            chance = _vote(similarity[:, :count], voters[:, :count], frequencies)
            losses[number] += _log_loss(chance, targets[held], kind)
    best = counts[int(np.argmin(losses))]
    return KNearest(rows, targets.astype(np.float64), class_frequencies(targets, kind), best)


def fit_prototype(features: Features, targets: Floats, *, kind: Kind) -> LinearModel:
    """The nearest class mean of standardised features, as a linear model (Snell et al. 2017, section 2.4).

    The logit of a class is minus half the squared distance to its mean, less what all classes share; that of a label is
    the difference of those of the mean of the rows that have it and the mean of those that don't. Squared distances are
    divided by the square root of the number of columns, by which they grow: on seven real sets the best temperature
    then was 0.66 to 1.44. The ranking is the result, and a temperature fitted on unseen rows makes probabilities of it.

    A class without a row gets zero weights and a bias too low to win; so does, mirrored, a label that every row has.

    Parameters
    ----------
    features, targets:
        (n, D) floats and (n, C) in 0..1, as for the linear fit.

    Raises
    ------
    DataError
        If features are not finite.
    """
    scale = column_scale(features)
    weights, bias = _towards_means(features, scale, targets)
    if kind == "sigmoid":
        other_weights, other_bias = _towards_means(features, scale, 1.0 - targets)
        weights, bias = weights - other_weights, bias - other_bias
    rare, counts = unseen_log_odds(len(targets)), targets.sum(axis=0)
    weights[:, counts == 0] = 0.0
    # The best logit of a row is at least the lowest bias, because the classes' weighted means add up to zero.
    bias[counts == 0] = rare + (bias[counts > 0].min() if kind == "softmax" else 0.0)
    if kind == "sigmoid":
        weights[:, counts == len(targets)] = 0.0
        bias[counts == len(targets)] = -rare
    return scale.fold(weights, bias, kind)


def _towards_means(features: Features, scale: ColumnScale, targets: Floats) -> tuple[Floats, Floats]:
    """(D, C) means of the classes' standardised rows and (C,) minus half their squared lengths, both over √D."""
    counts = targets.sum(axis=0)
    share = targets / np.where(counts > 0, counts, 1.0)
    means = np.zeros((features.shape[1], targets.shape[1]))
    for start in range(0, len(features), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        means += scale.standardise(features[rows]).T @ share[rows]
    root = np.sqrt(len(means))
    return means / root, -np.square(means).sum(axis=0) / (2 * root)


def _vote(similarity: NDArray[np.float32], voters: Floats, frequencies: Floats) -> Floats:
    """(n, C) probabilities from (n, k) similarities and the neighbours' (n, k, C) targets."""
    votes = np.exp((similarity.astype(np.float64) - similarity[:, :1]) / VOTE_TEMPERATURE)
    share = np.einsum("nk,nkc->nc", votes, voters) / votes.sum(axis=1, keepdims=True)
    count = similarity.shape[1]
    return np.asarray((count * share + PRIOR_VOTES * frequencies) / (count + PRIOR_VOTES))


def _log_loss(chance: Floats, targets: Floats, kind: Kind) -> float:
    """The summed cross-entropy of probabilities strictly between 0 and 1."""
    loss = -np.vdot(targets, np.log(chance))
    return float(loss - np.vdot(1.0 - targets, np.log1p(-chance)) if kind == "sigmoid" else loss)
