"""Backbones ranked by the out-of-fold loss of a probe on each, with how sure the order is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.data.splits import assign
from headstart.errors import DataError
from headstart.evaluation.comparison import paired_difference
from headstart.evaluation.intervals import bootstrap_weights, resampling_units
from headstart.evaluation.scores import row_label_log_loss, row_log_loss
from headstart.planning.rule_table import MOST_RACE_ROWS, TIED_BELOW
from headstart.planning.transferability import h_score, h_score_shrunk, leep, logme, nleep
from headstart.training.calibrate import calibrate
from headstart.training.examples import Examples
from headstart.training.strategies import STRATEGIES, Strategy, learn, outputs_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DRAWS = 1000


@dataclass(frozen=True)
class Scores:
    """Transferability of features by the published scores; higher is better in all.

    ``leep`` is ``None`` without the probabilities of a source head; only ``logme`` is defined for multi-label data.
    """

    logme: float
    h_score: float | None
    h_score_shrunk: float | None
    leep: float | None
    nleep: float | None


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of one backbone.

    Attributes
    ----------
    rows:
        int64 (n,): which images were judged, equal for all backbones that are compared.
    losses:
        float64 (n,): log-loss of each by a probe that had not seen it, at a cross-fitted temperature.
    correct:
        bool (n,): whether it is predicted wholly right.
    groups:
        int64 (n,): rows of a group are resampled together.
    """

    name: str
    rows: Ints
    losses: Floats
    correct: npt.NDArray[np.bool_]
    groups: Ints
    scores: Scores


@dataclass(frozen=True)
class RankedBackbone:
    """One backbone's place.

    Attributes
    ----------
    log_loss, accuracy:
        Out-of-fold, of the probe.
    behind, behind_ci95:
        By how many nats a row its loss exceeds that of the first, and the interval of the paired difference; below
        zero where the other scores put it behind one with a higher loss.
    best:
        The probability that its loss is really the lowest, from 0 to 1; ``None`` where all rows are one group.
    """

    name: str
    log_loss: float
    accuracy: float
    behind: float
    behind_ci95: tuple[float, float] | None
    best: float | None
    scores: Scores


@dataclass(frozen=True)
class Ranking:
    """Backbones, best first.

    Attributes
    ----------
    rows:
        How many images they were compared on.
    sentence:
        The result, and how sure it is, in plain words.
    """

    backbones: tuple[RankedBackbone, ...]
    rows: int
    sentence: str


def sample(examples: Examples, most: int = MOST_RACE_ROWS, *, seed: int = 0) -> Examples:
    """At most about ``most`` rows, stratified and with groups whole: the same ones for every backbone.

    Examples whose groups are too large to leave anything to judge are given back as they are.
    """
    if len(examples) <= most:
        return examples
    share = most / len(examples)
    kept = np.flatnonzero(assign(examples.targets, examples.groups, (share, 1 - share), seed) != 1)
    place = np.full(len(examples), -1)
    place[kept] = np.arange(len(kept))
    pairs = [tuple(place[rows][place[rows] >= 0] for rows in fold) for fold in examples.folds]
    folds = [(seen, held) for seen, held in pairs if len(seen) and len(held)]
    return examples.subset(kept, folds) if folds else examples


def gather(
    name: str,
    examples: Examples,
    *,
    source: Floats | None = None,
    strategy: Strategy = STRATEGIES["linear_probe"],
    seed: int = 0,
) -> Evidence:
    """Probe one backbone out of fold, and score its features.

    Parameters
    ----------
    examples:
        Development rows with this backbone's features; see :func:`sample`.
    source:
        (n, Z) probabilities of the backbone's own head for these rows, where it has one.
    strategy:
        What is raced.
    """
    judged = examples.judged
    learned = learn(strategy, examples)
    truth, groups = examples.targets[judged], examples.groups[judged]
    found = calibrate(learned.logits[judged], truth, groups, examples.task, seed)
    losses: Any = row_log_loss if examples.task.kind == "softmax" else row_label_log_loss
    return Evidence(
        name,
        examples.places[judged],
        losses(truth, found.probabilities),
        examples.task.correct(truth, found.probabilities, found.thresholds),
        groups,
        score_features(examples, outputs_of(strategy, examples.columns), source=source, seed=seed),
    )


def score_features(
    examples: Examples, outputs: Sequence[str] = ("features",), *, source: Floats | None = None, seed: int = 0
) -> Scores:
    """The published scores of some outputs' features; ``source`` is as in :func:`gather`."""
    rows, targets = examples.features(outputs), examples.targets
    if examples.task.kind == "sigmoid":
        return Scores(logme(rows, targets), None, None, None, None)
    return Scores(
        logme(rows, targets),
        h_score(rows, targets),
        h_score_shrunk(rows, targets),
        None if source is None else leep(source, targets),
        nleep(rows, targets, seed=seed),
    )


def rank(evidence: Sequence[Evidence], *, seed: int = 0) -> Ranking:
    """Order backbones by their out-of-fold loss, those that it does not tell apart by the other scores.

    A backbone is tied with one of a lower loss where the paired bootstrap, over rows or groups, prefers that one in
    fewer than :data:`TIED_BELOW` of the draws. Tied ones are ordered by their mean place under LogME, the shrunk
    H-score, and LEEP or NLEEP.

    Raises
    ------
    ValueError
        If there is no backbone.
    DataError
        If they were not judged on the same rows.
    """
    if not evidence:
        raise ValueError("no backbone to rank")
    for other in evidence[1:]:
        if not np.array_equal(other.rows, evidence[0].rows):
            raise DataError(
                f"{other.name} and {evidence[0].name} were judged on different images: compare them on the same ones"
            )
    shares = _best_shares(evidence, seed)
    ordered = _ordered(evidence, seed)
    first, ranked = ordered[0], []
    for one in ordered:
        difference = paired_difference(one.losses, first.losses, one.groups, seed)
        place = RankedBackbone(
            one.name,
            float(one.losses.mean()),
            float(one.correct.mean()),
            difference.mean,
            difference.ci95,
            None if shares is None else shares[one.name],
            one.scores,
        )
        ranked.append(place)
    ranking = Ranking(tuple(ranked), len(first.rows), "")
    return replace(ranking, sentence=_sentence(ranking))


def _best_shares(evidence: Sequence[Evidence], seed: int) -> dict[str, float] | None:
    """In which share of the bootstrap draws each backbone has the lowest loss; equal ones share a draw."""
    groups, count = evidence[0].groups, len(evidence[0].rows)
    if len(evidence) > 1 and resampling_units(groups, count)[1] < 2:
        return None
    losses = np.stack([one.losses for one in evidence], axis=1)
    wins = np.zeros(len(evidence))
    for weights in bootstrap_weights(count, groups, DRAWS, seed):
        means = weights @ losses
        lowest = means == means.min(axis=1, keepdims=True)
        wins += (lowest / lowest.sum(axis=1, keepdims=True)).sum(axis=0)
    return {one.name: float(won / DRAWS) for one, won in zip(evidence, wins, strict=True)}


def _ordered(evidence: Sequence[Evidence], seed: int) -> list[Evidence]:
    waiting = sorted(evidence, key=lambda one: float(one.losses.mean()))
    ordered: list[Evidence] = []
    while waiting:
        best = waiting[0]
        tied = [one for one in waiting if one is best or _is_tied(one, best, seed)]
        ordered += _by_other_scores(tied)
        waiting = [one for one in waiting if one not in tied]
    return ordered


def _is_tied(one: Evidence, best: Evidence, seed: int) -> bool:
    return paired_difference(best.losses, one.losses, best.groups, seed).wins < TIED_BELOW


def _by_other_scores(tied: list[Evidence]) -> list[Evidence]:
    """Tied backbones, which come by ascending loss, by their mean place under the other scores; equal ones stay."""
    places = np.zeros(len(tied))
    for values in zip(*(_tie_breakers(one.scores) for one in tied), strict=True):
        if None not in values:
            found = np.array(values, np.float64)
            places += (found[None, :] > found[:, None]).sum(axis=1)
    return [tied[number] for number in np.argsort(places, kind="stable")]


def _tie_breakers(scores: Scores) -> tuple[float | None, ...]:
    return scores.logme, scores.h_score_shrunk, scores.nleep if scores.leep is None else scores.leep


def _sentence(ranking: Ranking) -> str:
    first, *others = ranking.backbones
    if not others:
        return f"{first.name} is the only backbone; its probe is right on {first.accuracy:.1%} of {ranking.rows} images"
    second = others[0]
    against = (
        f"{first.name} comes first: log-loss {first.log_loss:.3f} (accuracy {first.accuracy:.1%}) against "
        f"{second.log_loss:.3f} ({second.accuracy:.1%}) of {second.name} on {ranking.rows} images"
    )
    if first.best is None:
        return f"{against}; the images are all one group, so how sure that is can't be said"
    if first.best < TIED_BELOW:
        likeliest = max(ranking.backbones, key=lambda one: one.best or 0.0)
        unsure = f"no clear winner, the probability that it is really the best is {first.best:.0%}"
        return against + f"; {unsure}" + (f", {likeliest.name}'s {likeliest.best:.0%}" if likeliest != first else "")
    return f"{against}; the probability that it is really the best is {first.best:.0%}"
