"""How alike the rows of a group are: what the rows of one patient or video are worth against as many strangers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from headstart.evaluation.scores import FloatArray, IntArray

LIKENESSES: FloatArray = (np.arange(16) + 0.5) / 16
"""The correlations between two rows of a group that are considered, evenly spread in (0, 1)."""

# Shares that are considered, at equal distances of their arcsine: the prior of Jeffreys. Finer grids move the ends of
# intervals by less than a hundredth of their width.
_SHARES: FloatArray = np.sin(np.pi / 2 * (np.arange(40) + 0.5) / 40) ** 2
# Factors of the likelihood are tabulated in pieces of so many.
_PIECE = 256


def likeness(hits: npt.ArrayLike, sizes: npt.ArrayLike) -> FloatArray:
    """What counts of right rows in groups say of the correlation between two rows of a group.

    The groups' rates are taken to be spread as a Beta distribution (the beta-binomial model, Williams 1975), whose mean
    is integrated out under Jeffreys' prior. Each correlation is held to be equally likely beforehand, so few groups
    are not trusted to be unlike.

    Parameters
    ----------
    hits, sizes:
        Shape (G,): how many rows of each group are right, and how many there are; ``0 <= hits <= sizes``. Fractions
        are rounded.

    Returns
    -------
    Shape (16,): the probability of each of :data:`LIKENESSES`; they sum to one.
    """
    rows = np.asarray(sizes).astype(np.intp)
    right = np.clip(np.rint(np.asarray(hits, np.float64)).astype(np.intp), 0, rows)
    log_likelihood = np.zeros((len(_SHARES), len(LIKENESSES)))
    for counts, which in ((right, "right"), (rows - right, "wrong"), (rows, "all")):
        sign = -1.0 if which == "all" else 1.0
        log_likelihood += sign * _sum_of_logs(_longer_than(counts), which).reshape(log_likelihood.shape)
    found = np.exp(log_likelihood - log_likelihood.max()).sum(axis=0)
    return np.asarray(found / found.sum())


def effective_rows(sizes: npt.ArrayLike) -> FloatArray:
    """How many independent rows the rows of groups are worth under each of :data:`LIKENESSES` (Kish 1965).

    Parameters
    ----------
    sizes:
        Shape (G,), positive: the rows of each group.

    Returns
    -------
    Shape (16,): from near the number of rows down to near (Σ size)² / Σ size².
    """
    rows = np.asarray(sizes, np.float64)
    n = rows.sum()
    return np.asarray(n / (1 + LIKENESSES * ((rows**2).sum() / n - 1)))


def _longer_than(counts: IntArray) -> FloatArray:
    """How many counts exceed 0, 1, 2 and so on, up to the largest."""
    return np.cumsum(np.bincount(counts)[:0:-1])[::-1].astype(np.float64)


def _sum_of_logs(weights: FloatArray, which: str) -> FloatArray:
    """Σ weights[j] · log(a + j) for every pair of share and likeness: the logarithm of rising factorials."""
    total = np.zeros(len(_SHARES) * len(LIKENESSES))
    for start in range(0, len(weights), _PIECE):
        piece = weights[start : start + _PIECE]
        total += piece @ _logs(which, start)[: len(piece)]
    return total


@lru_cache(maxsize=12)
def _logs(which: str, start: int) -> FloatArray:
    """The logarithms of a + j for the next numbers j, where a is a parameter of the Beta distribution, or their sum."""
    strength = (1 - LIKENESSES) / LIKENESSES
    factor = {"right": _SHARES, "wrong": 1 - _SHARES, "all": np.ones_like(_SHARES)}[which]
    numbers = np.arange(start, start + _PIECE)[:, None, None]
    return np.asarray(np.log(factor[:, None] * strength + numbers).reshape(_PIECE, -1))
