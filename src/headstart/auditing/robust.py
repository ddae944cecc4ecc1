"""How far values lie from the bulk of them, whatever a few of them are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Of a normal distribution the standard deviation is so many median (or mean) absolute deviations.
_OF_MEDIAN, _OF_MEAN = 1.4826, 1.2533


def robust_scores(values: ArrayLike) -> NDArray[np.float64]:
    """Distances from the median in robust standard deviations, float64 (n,).

    They are median absolute deviations, scaled to those of a normal distribution (the modified z-score, Iglewicz and
    Hoaglin 1993); where more than half of the values are equal, mean absolute deviations. All are 0 where all values
    are equal. Values that are not finite get 0 and take no part.
    """
    found = np.asarray(values, np.float64)
    finite = np.isfinite(found)
    scores = np.zeros(len(found))
    if not finite.any():
        return scores
    apart = found[finite] - np.median(found[finite])
    spread = _OF_MEDIAN * float(np.median(np.abs(apart))) or _OF_MEAN * float(np.abs(apart).mean())
    if spread > 0:
        scores[finite] = apart / spread
    return scores
