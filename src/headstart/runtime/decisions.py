"""From probabilities to what is said: labels, confidence, and when to abstain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headstart.errors import OptionError
from headstart.runtime.record import ExportRecord

Floats = npt.NDArray[np.float64]

# Expected costs that differ by less, as a share of the largest cost, are equal.
_ROUNDING = 1e-12


def decide(probabilities: npt.NDArray[np.floating], record: ExportRecord) -> tuple[list[str] | list[list[str]], Floats]:
    """Labels of each row, and how sure each prediction is.

    Parameters
    ----------
    probabilities:
        (n, C) in 0…1.

    Returns
    -------
    tuple
        Of exclusive classes the one of least expected cost, or without costs of the largest probability over threshold,
        with its probability; else the list of
        labels whose probability reaches the threshold, with the probability that the whole list is right, were the
        labels independent. Confidences are float64 (n,).
    """
    chances = np.asarray(probabilities, np.float64)
    thresholds = None if record.thresholds is None else np.array(record.thresholds)
    if record.task == "classification":
        scaled = chances if thresholds is None else chances / thresholds
        named = scaled.argmax(axis=1) if record.costs is None else _cheapest(chances, np.array(record.costs))
        return [record.classes[int(number)] for number in named], chances[np.arange(len(chances)), named]
    chosen = chances >= (0.5 if thresholds is None else thresholds)
    labels = [[record.classes[int(number)] for number in np.flatnonzero(row)] for row in chosen]
    return labels, np.where(chosen, chances, 1 - chances).prod(axis=1)


def _cheapest(chances: Floats, costs: Floats) -> npt.NDArray[np.intp]:
    """The class of least expected cost (n,), of equally cheap ones the most probable; as the trained model decides."""
    expected = chances @ costs
    equal = expected <= expected.min(axis=1, keepdims=True) + _ROUNDING * np.abs(costs).max()
    return np.asarray(np.where(equal, chances, -1.0).argmax(axis=1))


def abstain_below(record: ExportRecord, max_error: float | None) -> float:
    """The lowest confidence to answer with, so that answers err at most at a rate; 0 where none is wished.

    The file has thresholds for some rates; of those that are no higher than the wished one the highest is used.

    Raises
    ------
    OptionError
        If the file has none for so low a rate.
    """
    if max_error is None:
        return 0.0
    kept = [level for level in record.abstain if level.max_error <= max_error]
    if not kept:
        known = ", ".join(f"{level.max_error:g}" for level in record.abstain) or "none"
        raise OptionError(f"the exported model can't bound its error at {max_error:g}; the rates it can: {known}")
    return max(kept, key=lambda level: level.max_error).threshold
