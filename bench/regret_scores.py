"""What a choice of rungs costs against the best rung: pure functions of who was right on which test row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

HALVINGS = 5


@dataclass(frozen=True, eq=False)
class Cell:
    """One data set at one size, with all seeds of which every process is there.

    Attributes
    ----------
    rungs:
        K names, cheap first.
    right:
        bool (K, S, N): whether a rung was right, with each of S seeds, on each of N test rows.
    ladder:
        bool (S, N): the same of what the ladder chose.
    groups:
        (N,): rows of one group are no independent evidence.
    seconds:
        (K, S): of each rung's process.
    ladder_seconds:
        (S,).
    """

    dataset: str
    size: str
    seeds: tuple[int, ...]
    rungs: tuple[str, ...]
    right: Bools
    ladder: Bools
    groups: Ints
    seconds: Floats
    ladder_seconds: Floats

    def halves(self, count: int = HALVINGS) -> list[Bools]:
        """The halvings that everything in this cell is scored by."""
        return halvings(self.groups, count)

    def regret(self) -> float:
        """Of the ladder, in points."""
        return regret(self.right, self.ladder, self.halves())

    def regret_of(self, rung: str) -> float:
        """Of always taking one rung, in points."""
        return regret(self.right, self.right[self.rungs.index(rung)], self.halves())

    def share(self) -> float:
        """The ladder's seconds for one second of running every rung."""
        return float(self.ladder_seconds.sum() / self.seconds.sum())


def halvings(groups: Ints, count: int, seed: int = 0) -> list[Bools]:
    """Random halves of the groups as masks of rows (N,); each mask's complement is the other half."""
    generator = np.random.default_rng(seed)
    names, places = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"{len(names)} group of test rows can't be halved")
    found = []
    for _ in range(count):
        inside = np.zeros(len(names), np.bool_)
        inside[generator.permutation(len(names))[: len(names) // 2]] = True
        found.append(inside[places])
    return found


def regret(right: Bools, policy: Bools, halves: Sequence[Bools]) -> float:
    """How many points a policy is right less often than the rung that is best on rows which don't judge it.

    The best rung is the one most often right, over all seeds, on one half of the rows; of equals the first. It and the
    policy are compared on the other half. Each half chooses once and judges once.

    Parameters
    ----------
    right:
        bool (K, S, N).
    policy:
        bool (S, N).
    halves:
        Masks (N,).
    """
    found = []
    for half in halves:
        for choosing in (half, ~half):
            best = int(np.argmax(right[:, :, choosing].mean(axis=(1, 2))))
            found.append(right[best][:, ~choosing].mean() - policy[:, ~choosing].mean())
    return 100 * float(np.mean(found))


def gain(policy: Bools, probe: Bools, groups: Ints) -> tuple[float, float]:
    """Mean gain over a probe in points, and its standard error.

    The error has two parts: which groups of rows test, and, from two seeds on, which images trained.

    Parameters
    ----------
    policy, probe:
        bool (S, N).
    groups:
        (N,).
    """
    difference = 100 * (policy.astype(np.float64) - probe.astype(np.float64))
    mean = float(difference.mean())
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=difference.mean(axis=0) - mean)
    rows = len(sums) / max(len(sums) - 1, 1) * float(np.sum(sums**2)) / difference.shape[1] ** 2
    seeds = float(difference.mean(axis=1).var(ddof=1)) / len(difference) if len(difference) > 1 else 0.0
    return mean, float(np.sqrt(rows + seeds))


def mean_over_sets(cells: Sequence[Cell], values: Sequence[float]) -> tuple[float, float]:
    """The mean over cells, and its standard error as the means of whole data sets scatter; NaN for one data set."""
    names = np.array([cell.dataset for cell in cells])
    found = np.array(values, np.float64)
    mean, sets = float(found.mean()), np.unique(names)
    if len(sets) < 2:
        return mean, float("nan")
    sums = np.array([np.sum(found[names == name] - mean) for name in sets])
    return mean, float(np.sqrt(len(sets) / (len(sets) - 1) * np.sum(sums**2)) / len(found))


def relative_errors(forecast: Sequence[float], real: Sequence[float]) -> Floats:
    """By what share of the real seconds each forecast is off, above 0 where it is too long."""
    truth = np.array(real, np.float64)
    return np.asarray((np.array(forecast, np.float64) - truth) / truth)


def from_bits(text: str) -> Bools:
    """``0110`` as bool (4,)."""
    return np.array([letter == "1" for letter in text], np.bool_)


def to_bits(right: Sequence[bool]) -> str:
    """The other way round."""
    return "".join("1" if one else "0" for one in right)
