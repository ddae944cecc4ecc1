"""How well scores rank positives above negatives: weighted ROC, AUROC and average precision, ties included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart.evaluation.scores import BoolArray, FloatArray, IntArray, ratio


@dataclass(frozen=True)
class Ranking:
    """One class's rows in order of falling score, cut where the sums are needed; made by :func:`rank`.

    Both areas change only at blocks of equal scores that hold a positive row. So the weights between two such blocks
    are summed in one piece, and the work after that grows with the positives alone.

    Parameters
    ----------
    order:
        Shape (n,): row numbers by falling score.
    segments:
        Shape (S,): where in ``order`` each piece starts.
    blocks:
        Shape (T,): which pieces are blocks of equal scores with a positive row.
    positives:
        Shape (P,): row numbers of the positive rows, by falling score.
    starts:
        Shape (T,): where in ``positives`` each of those blocks starts.
    """

    order: IntArray
    segments: IntArray
    blocks: IntArray
    positives: IntArray
    starts: IntArray


@dataclass(frozen=True)
class Areas:
    """Areas under the curves of one class, each of shape (B,); NaN where a kind of row is missing."""

    auroc: FloatArray
    average_precision: FloatArray


def rank(positive: BoolArray, scores: FloatArray) -> Ranking:
    """Sort one class's rows once, for any number of weightings.

    Parameters
    ----------
    positive:
        Shape (n,): which rows belong to the class. n ≥ 1.
    scores:
        Shape (n,): finite, higher means more likely to belong.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    edges = np.flatnonzero(np.diff(ordered, prepend=np.inf, append=-np.inf))
    block_of_row = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    hit = positive[order]
    held, starts = np.unique(block_of_row[hit], return_index=True)
    cuts = np.concatenate([[0], edges[held], edges[held + 1]])
    segments = np.unique(cuts[cuts < len(order)]).astype(np.intp)
    return Ranking(order, segments, np.searchsorted(segments, edges[held]), order[hit], starts)


@dataclass(frozen=True)
class Roc:
    """The points of one class's ROC curve where it rises, under each of B weightings: made by :func:`roc`.

    Parameters
    ----------
    hits, false_alarms:
        Shape (T, B): the weight of the positive and of the negative rows that score at least as high as each of the T
        scores that positive rows have, by falling score.
    positives, negatives:
        Shape (B,): of all rows.
    """

    hits: FloatArray
    false_alarms: FloatArray
    positives: FloatArray
    negatives: FloatArray


def roc(ranking: Ranking, weights: FloatArray) -> Roc | None:
    """The ROC curve of one class under each row of ``weights`` (B, n); ``None`` where the class has no rows."""
    if not len(ranking.positives):
        return None
    columns = weights.T
    until = np.cumsum(np.add.reduceat(columns[ranking.order], ranking.segments, axis=0), axis=0)
    hits = np.cumsum(np.add.reduceat(columns[ranking.positives], ranking.starts, axis=0), axis=0)
    negatives = until[-1] - hits[-1]
    return Roc(hits, until[ranking.blocks] - hits, hits[-1], np.where(negatives > 1e-12 * until[-1], negatives, 0.0))


def areas(ranking: Ranking, weights: FloatArray) -> Areas:
    """AUROC and average precision of one class under each row of ``weights`` (B, n).

    AUROC is the chance that a positive row scores above a negative one, equal scores counting half (the midrank form
    of Mann and Whitney's statistic). Average precision is the sum of precision over the steps of recall, without
    interpolation, rows of equal score entering together. Both as scikit-learn's.
    """
    if not len(ranking.positives):
        undefined = np.full(len(weights), np.nan)
        return Areas(undefined, undefined)
    columns = weights.T
    pieces = np.add.reduceat(columns[ranking.order], ranking.segments, axis=0)
    rows_until = np.cumsum(pieces, axis=0)
    total = rows_until[-1]
    block, until = pieces[ranking.blocks], rows_until[ranking.blocks]
    block_hits = np.add.reduceat(columns[ranking.positives], ranking.starts, axis=0)
    hits = np.cumsum(block_hits, axis=0)
    all_hits = hits[-1]
    negatives = total - all_hits
    negatives[negatives <= 1e-12 * total] = 0.0  # what rounding leaves of nothing
    negatives_above = (until - hits) - (block - block_hits) / 2
    pairs = all_hits * negatives - (block_hits * negatives_above).sum(axis=0)
    precision = np.divide(hits, until, out=np.zeros_like(hits), where=until > 0)
    return Areas(
        auroc=np.clip(ratio(pairs, all_hits * negatives), 0.0, 1.0),
        average_precision=ratio((block_hits * precision).sum(axis=0), all_hits),
    )
