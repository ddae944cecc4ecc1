"""Labels that look wrong: a model that never saw the row is sure of another class, and its neighbours have a say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.auditing.findings import Finding
from headstart.training.neighbours import nearest, unit_rows
from headstart.training.novelty import draw_references

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

KIND = "suspicious_label"
NEIGHBOURS = 20
"""Nearest images that are asked. On six sets the ranking was better than with 10: mean precision 0.78 against 0.77."""

NEIGHBOUR_WEIGHT = 0.2
"""Their share in the ranking, the rest is the model's: 0.1 to 0.3 were alike, 0.5 was worse; the bench compares it
with 0 (``bench/planted_faults.py``)."""

ODDS = 2.5
"""A label is listed when another class is so many times as probable: then the list held four fifths of the swapped
labels on each of five seeds of hymenoptera and flowers5. At 4 it is a third shorter, and held three quarters on one."""

# Neighbours are looked for among at most so many rows, drawn per class: 100,000 rows then take a minute, not an hour.
_MAX_REFERENCES = 10_000
_NAMED = 3


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Labels of the nearest images.

    Attributes
    ----------
    counts:
        float64 (n, C): how many of the nearest carry each label.
    asked:
        float64 (n,): how many there are; fewer than :data:`NEIGHBOURS` only in small data.
    """

    counts: Floats
    asked: Floats

    @property
    def shares(self) -> Floats:
        """float64 (n, C); NaN for a row without a neighbour."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.counts / self.asked[:, None])


@dataclass(frozen=True)
class Suspicion:
    """One label that looks wrong.

    Attributes
    ----------
    row:
        Number of the row.
    label:
        The class in doubt. Of several labels an image may have, one that it has or lacks.
    suggested:
        The class that the model names; of several labels the same as ``label``.
    given:
        Whether the image has ``label``; always so where it has one class.
    quality:
        0 to 1: how much speaks for what the data say; the least first.
    confident:
        Whether confident learning counts it as an error as well.
    """

    row: int
    label: int
    suggested: int
    given: bool
    quality: float
    confident: bool


def neighbours_of(
    features: NDArray[np.floating],
    references: NDArray[np.floating],
    encoded: Floats,
    *,
    owners: NDArray[np.intp],
    reference_owners: NDArray[np.intp],
    seed: int = 0,
) -> Neighbours:
    """The labels of the nearest rows by cosine.

    Parameters
    ----------
    features, references:
        (n, D) rows to judge, and (m, D) rows whose labels are asked: development rows, which may be the same.
    encoded:
        (m, C) labels of the references, zeros and ones.
    owners, reference_owners:
        Numbers (n,) and (m,): a row never asks one of its own group, nor itself.
    """
    drawn = draw_references(encoded, _MAX_REFERENCES, seed)
    count = min(NEIGHBOURS, len(drawn))
    similarity, index = nearest(
        unit_rows(features),
        unit_rows(references[drawn]),
        count,
        query_owners=owners,
        reference_owners=reference_owners[drawn],
    )
    real = np.isfinite(similarity)  # minus infinity where a row's group left it too few
    counts = np.zeros((len(features), encoded.shape[1]))
    for place in range(count):  # one neighbour at a time: all of them would take twenty times the memory
        counts += encoded[drawn[index[:, place]]] * real[:, place, None]
    return Neighbours(counts, real.sum(1).astype(np.float64))


def confident_errors(encoded: Floats, probabilities: Floats) -> Bools:
    """What confident learning takes for label errors (Northcutt, Jiang and Chuang 2021, section 3.1), bool (n,).

    The threshold of a class is the mean probability of it in rows that carry its label. A row is an error where, of the
    classes whose threshold it reaches, the most probable is another than its own: the off-diagonal of the confident
    joint. It needs no calibrated model, since an over- or underconfident one has its thresholds moved along.

    Parameters
    ----------
    encoded:
        (n, C) zeros and ones, one one in each row.
    probabilities:
        (n, C) of models that had not seen the row.
    """
    counts = encoded.sum(0)
    means = (encoded * probabilities).sum(0) / np.maximum(counts, 1)
    reached = np.where((probabilities >= means) & (counts > 0), probabilities, -1.0)
    errors: Bools = (reached.max(1) >= 0) & (reached.argmax(1) != encoded.argmax(1))
    return errors


def blended(probabilities: Floats, neighbours: Neighbours | None) -> Floats:
    """Probabilities with the neighbours' votes mixed in, (n, C), where a row has neighbours."""
    if neighbours is None:
        return probabilities
    mixed = (1 - NEIGHBOUR_WEIGHT) * probabilities + NEIGHBOUR_WEIGHT * neighbours.shares
    return np.where(np.isfinite(mixed), mixed, probabilities)


def label_quality(encoded: Floats, probabilities: Floats, neighbours: Neighbours | None = None) -> Floats:
    """How much speaks for each row's label: the probability of it, neighbours included, float64 (n,); lowest is worst.

    That is the paper's self-confidence. Where labels are swapped at random it ranks better than the margin to the next
    class, and than probabilities less the thresholds of confident learning (mean precision 0.81 against 0.70 and 0.73);
    where they are swapped with the class most alike, the margin is a little better (0.61 against 0.56). All figures are
    those of ``bench/planted_faults.py``, means of seven sets at the point where four fifths are found.
    """
    quality: Floats = (encoded * blended(probabilities, neighbours)).sum(1)
    return quality


def suspicions(
    targets: NDArray[np.generic], probabilities: Floats, neighbours: Neighbours | None = None
) -> tuple[Suspicion, ...]:
    """The labels that look wrong, worst first.

    Parameters
    ----------
    targets:
        Class numbers (n,), or booleans (n, C) where an image may have several labels.
    probabilities:
        (n, C) of models that had not seen the row; rows with NaN are not judged.
    neighbours:
        Of the same rows.

    Notes
    -----
    A class of which more than half would be listed is left out: there the model knows too little to accuse labels. Of
    labels that do not exclude each other, absence is the rule and probabilities of rare ones are low, so confident
    learning on "has it" and "has it not" must agree.
    """
    judged = np.asarray(np.isfinite(probabilities).all(1))
    if not judged.any():
        return ()
    if targets.ndim == 2:
        found = _of_labels(targets.astype(bool), probabilities, neighbours, judged)
    else:
        found = _of_classes(np.asarray(targets, np.int64), probabilities, neighbours, judged)
    return tuple(sorted(found, key=lambda one: (one.quality, one.row)))


def suspicious_labels(
    files: Sequence[str],
    classes: Sequence[str],
    targets: NDArray[np.generic],
    probabilities: Floats,
    neighbours: Neighbours | None = None,
) -> tuple[Finding, ...]:
    """:func:`suspicions` as findings: the probabilities, the class that the model names, and the neighbours' labels.

    Parameters
    ----------
    files, classes:
        Names of the n rows and the C classes.
    """
    found: dict[int, list[Suspicion]] = {}
    for one in suspicions(targets, probabilities, neighbours):
        found.setdefault(one.row, []).append(one)
    findings = []
    for row, ones in found.items():
        several = targets.ndim == 2
        say = _several if several else _single
        evidence = say(ones, classes, probabilities[row])
        if neighbours is not None:
            evidence += f"; {_neighbourhood(neighbours, row, classes)}"
        if ones[0].confident and not several:
            evidence += "; confident learning counts it as an error, too"
        better = _meant(ones, classes, several)
        action = f"look at it; if it {better}, correct the label, else leave it as it is"
        findings.append(Finding(files[row], KIND, evidence, action, score=round(1 - ones[0].quality, 4)))
    return tuple(findings)


def _of_classes(
    targets: NDArray[np.int64], probabilities: Floats, neighbours: Neighbours | None, judged: Bools
) -> list[Suspicion]:
    encoded = np.eye(probabilities.shape[1])[targets]
    mixed = blended(probabilities, neighbours)
    quality = label_quality(encoded, probabilities, neighbours)
    suggested = np.where(encoded > 0, -1.0, mixed).argmax(1)
    listed = judged & (mixed[np.arange(len(mixed)), suggested] >= ODDS * quality)
    listed &= _knows_enough(encoded, listed, judged)[targets]
    confident = np.zeros(len(listed), bool)
    confident[judged] = confident_errors(encoded[judged], probabilities[judged])
    return [
        Suspicion(row, int(targets[row]), int(suggested[row]), True, float(quality[row]), bool(confident[row]))
        for row in np.flatnonzero(listed).tolist()
    ]


def _of_labels(targets: Bools, probabilities: Floats, neighbours: Neighbours | None, judged: Bools) -> list[Suspicion]:
    """Each label by itself: one that an image has, or lacks."""
    mixed = blended(probabilities, neighbours)
    found = []
    for label in range(targets.shape[1]):
        present = targets[:, label].astype(np.int64)
        encoded = np.eye(2)[present]
        pair = np.column_stack([1 - probabilities[:, label], probabilities[:, label]])
        quality = np.where(present, mixed[:, label], 1 - mixed[:, label])
        confident = np.zeros(len(judged), bool)
        confident[judged] = confident_errors(encoded[judged], pair[judged])
        listed = judged & confident & (1 - quality >= ODDS * quality)
        listed &= _knows_enough(encoded, listed, judged)[present]
        found += [
            Suspicion(row, label, label, bool(present[row]), float(quality[row]), confident=True)
            for row in np.flatnonzero(listed).tolist()
        ]
    return found


def _knows_enough(encoded: Floats, listed: Bools, judged: Bools) -> Bools:
    """Bool (C,): the classes of which not more than half are listed."""
    enough: Bools = 2 * encoded[listed].sum(0) <= encoded[judged].sum(0)
    return enough


def _single(ones: Sequence[Suspicion], classes: Sequence[str], chances: Floats) -> str:
    (one,) = ones
    return (
        f"labelled {classes[one.label]}; a model that never saw it gives {classes[one.suggested]} "
        f"{_percent(chances[one.suggested])} and {classes[one.label]} {_percent(chances[one.label])}"
    )


def _several(ones: Sequence[Suspicion], classes: Sequence[str], chances: Floats) -> str:
    parts = [
        f"{'has' if one.given else 'lacks'} {classes[one.label]}, which a model that never saw it gives "
        f"{_percent(chances[one.label])}"
        for one in ones[:_NAMED]
    ]
    more = len(ones) - _NAMED
    return "; ".join(parts) + (f"; and {more} more labels" if more > 0 else "")


def _meant(ones: Sequence[Suspicion], classes: Sequence[str], several: bool) -> str:
    if several:
        return "does not show that" if ones[0].given else f"shows {classes[ones[0].label]}"
    return f"shows {classes[ones[0].suggested]}"


def _neighbourhood(neighbours: Neighbours, row: int, classes: Sequence[str]) -> str:
    counts, asked = neighbours.counts[row], int(neighbours.asked[row])
    if not asked:
        return "no other image to compare it with"
    order = [label for label in np.argsort(-counts, kind="stable")[:_NAMED] if counts[label]]
    named = ", ".join(f"{int(counts[label])} {classes[label]}" for label in order)
    return f"of its {asked} nearest images are {named or 'none labelled'}"


def _percent(chance: float) -> str:
    if chance < 0.01:
        return "under 1 %"
    return "over 99 %" if chance > 0.99 else f"{100 * chance:.0f} %"
