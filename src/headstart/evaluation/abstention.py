"""When to say "I don't know": a confidence threshold that keeps the error among accepted rows under a wished rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError, OptionError
from headstart.evaluation.intervals import clopper_pearson_upper
from headstart.evaluation.scores import IntArray

# How many errors the first test may allow at most. Allowing none gives up at a single unlucky mistake among the surest
# rows; allowing more needs more rows. By simulation up to three gave the largest coverage, rows permitting.
_MOST_FIRST_ERRORS = 3
# The first test allows one error more for each ten that the wished rate would make on all rows.
_ROWS_ERRORS_A_FIRST_ERROR = 10


@dataclass(frozen=True)
class AbstainRule:
    """Accept a prediction whose confidence reaches ``threshold``, abstain otherwise.

    Parameters
    ----------
    threshold:
        The lowest accepted confidence.
    wished_error:
        The error rate that accepted predictions shall stay under.
    level:
        The confidence of that promise.
    coverage:
        The share of rows accepted when the rule was fitted, in (0, 1].
    errors, accepted:
        Wrong and all accepted rows then.
    bound:
        The Clopper–Pearson upper bound of the error rate, at most ``wished_error``.
    """

    threshold: float
    wished_error: float
    level: float
    coverage: float
    errors: int
    accepted: int
    bound: float


def fit_abstain(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, wished_error: float, level: float = 0.95
) -> AbstainRule | None:
    """The lowest threshold whose accepted rows are proven to err less often than wished.

    Rows enter by falling confidence. The numbers of rows at which the error is tested follow from n, the wished error
    and the level alone: for each count of errors the fewest rows that would still prove the rate, and all rows at the
    end. Testing goes from few rows to many and stops at the first that fails, which keeps the chance of any false
    promise at 1 − level without a correction for the number of tests (fixed-sequence testing; Angelopoulos et al.
    2021, "Learn then Test"). That holds exactly where the error among accepted rows, once above the wished rate, stays
    above it as the threshold falls.

    Parameters
    ----------
    confidence:
        Shape (n,), finite, higher is surer: of rows that the model had not seen, independent of one another and like
        the rows to come.
    correct:
        Bool of shape (n,).
    wished_error:
        In (0, 1).
    level:
        In (0, 1).

    Returns
    -------
    The rule, or ``None`` where no threshold can be proven; for a wished error of 5 % at level 0.95 that takes at
    least 59 accepted rows without an error.

    Raises
    ------
    OptionError
        If ``wished_error`` or ``level`` is not between 0 and 1.
    DataError
        If the arrays differ in length or a confidence is not finite.
    """
    for name, value in (("wished error", wished_error), ("level", level)):
        if not 0 < value < 1:
            raise OptionError(f"the {name} is {value}: give a number between 0 and 1")
    sureness, right = np.asarray(confidence, np.float64), np.asarray(correct, np.bool_)
    if sureness.shape != right.shape or sureness.ndim != 1 or not np.isfinite(sureness).all():
        raise DataError(f"confidences {sureness.shape} and outcomes {right.shape} must pair up and be finite")
    order = np.argsort(-sureness, kind="stable")
    ordered = sureness[order]
    accepted = _with_ties(ordered, _tested_sizes(len(ordered), wished_error, level))
    errors = np.cumsum(~right[order])[accepted - 1]
    bounds = clopper_pearson_upper(errors, accepted, level)
    passed = int(np.logical_and.accumulate(bounds <= wished_error).sum())
    if not passed:
        return None
    rows, wrong, bound = int(accepted[passed - 1]), int(errors[passed - 1]), float(bounds[passed - 1])
    return AbstainRule(float(ordered[rows - 1]), wished_error, level, rows / len(ordered), wrong, rows, bound)


def _tested_sizes(n: int, wished_error: float, level: float) -> IntArray:
    """How many of the surest rows to test, rising: sizes at which one more error becomes allowed, and all rows."""
    first = min(_MOST_FIRST_ERRORS, int(n * wished_error / _ROWS_ERRORS_A_FIRST_ERROR))
    errors = np.arange(first, max(first, int(n * wished_error)) + 1)  # more could never prove the rate on n rows
    errors = errors[errors < n]
    too_few, enough = errors.copy(), np.full_like(errors, n)
    while (enough - too_few > 1).any():  # bisection: the bound falls as rows are added
        middle = (too_few + enough) // 2
        proven = clopper_pearson_upper(np.minimum(errors, middle), middle, level) <= wished_error
        too_few, enough = np.where(proven, too_few, middle), np.where(proven, middle, enough)
    reached = clopper_pearson_upper(errors, enough, level) <= wished_error
    return np.unique([*enough[reached], n]).astype(np.intp) if reached.any() else np.empty(0, np.intp)


def _with_ties(ordered: npt.NDArray[np.float64], sizes: IntArray) -> IntArray:
    """Let each size grow to the end of its run of equal confidences: a threshold can't part them."""
    ends = np.append(np.flatnonzero(np.diff(ordered)) + 1, len(ordered))
    return np.unique(ends[np.searchsorted(ends, sizes)]).astype(np.intp)
