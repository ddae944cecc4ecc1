"""What a rung may be expected to gain before it has run: the field's matrix of size × similarity as a normal prior."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from headstart.planning.rule_table import (
    BELIEVED,
    DOUBTED,
    FLOOR_NATS,
    FLOOR_POINTS,
    GAP_SCATTER,
    LEVERAGE,
    LOSS_BELIEVED,
    LOSS_DOUBTED,
    MOST_DOUBLINGS,
    REFERENCE_GAP,
    REFERENCE_ROWS,
    REFERENCE_ROWS_PER_CLASS,
    SOURCE_LIKE,
    Reach,
)
from headstart.planning.situation import ProbeScore, Situation

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Coefficient:
    """One number of the matrix: what is believed, how unsure that is, and where it comes from."""

    mean: float
    sd: float
    source: str


@dataclass(frozen=True)
class PriorTable:
    """What is believed of gains: shares of the probe's error that a rung removes.

    Attributes
    ----------
    coefficients:
        ``head``, ``top``, ``middle``, ``whole``: the share at the reference, by how far down a rung trains. ``rows``,
        ``rows_per_class``, ``gap``: what each doubling of that adds, times the rung's leverage. ``cost``: points that
        fine-tuning loses whatever the probe leaves to be gained, as it holds images back and may learn others by heart.
    shared_sd, own_sd, head_sd:
        What differs between data sets besides: for all fine-tuned rungs of one together, for each by itself, and for
        another head.
    measure_sd:
        By how much the shares of error and of log-loss differ that one rung removes.
    again:
        The correlation of what is particular to a rung with what is particular to its second try.
    """

    coefficients: Mapping[str, Coefficient]
    shared_sd: float
    own_sd: float
    head_sd: float
    measure_sd: float
    again: float


# What was believed before rungs were run on several data sets, and what a refit starts from. A: one measurement with
# Lite0 on PACS sketches (40 images a class, gap 0.39): of the probe's error cut 8 removed 16 %, cut 6 39 %, cut 4 47 %,
# cut 0 45 %. B: brain MRI (gap 0.20), naive partial fine-tuning: cut 6 removed 57 %, cut 4 64 %. C: hymenoptera (244
# images, gap 0.06): another library's fine-tuning lost to the probe. D: Kumar et al. 2022: over ten data sets
# fine-tuning after probing is about 3 points above the probe on rows like the training rows. E: docs/benchmarks.md: a
# probe on the features of all stages removed -6 % to 32 % of the plain probe's error. The field's matrix says the
# signs: more data and a farther domain ask for training more stages, little and similar data for none. The means lie
# below A and B, two of the sets most in need.
_A_TO_D = "measurements A and B, held down by C and D"
ELICITED = PriorTable(
    coefficients=MappingProxyType(
        {
            "head": Coefficient(0.05, 0.10, "measurement E"),
            "top": Coefficient(0.15, 0.10, _A_TO_D),
            "middle": Coefficient(0.20, 0.10, _A_TO_D),
            "whole": Coefficient(0.15, 0.12, f"{_A_TO_D}; the most parameters to overfit"),
            "rows": Coefficient(0.03, 0.03, "the matrix: more data, more stages"),
            "rows_per_class": Coefficient(0.03, 0.03, "the matrix: more data, more stages"),
            "gap": Coefficient(0.06, 0.04, "the matrix: a farther domain, more stages; A against C"),
            "cost": Coefficient(0.5, 0.5, "C; a fifth of the images is held back from training"),
        }
    ),
    shared_sd=0.20,  # A and B lie so far above C
    own_sd=0.12,  # between neighbouring cuts of A and B, with room for one that collapses
    head_sd=0.20,  # measurement E
    measure_sd=0.10,  # E again: error and log-loss of the same rungs
    again=0.5,  # neither the same training nor another one
)

# The same, refitted to eight data sets with 10 and 40 images a class, and with all of them:
# `python bench/regret.py --report --out bench/data/regret.json`.
_REFITTED = "bench/regret.py"
TABLE = PriorTable(
    coefficients=MappingProxyType(
        {
            "head": Coefficient(0.050, 0.100, "measurement E"),
            "top": Coefficient(0.086, 0.055, _REFITTED),
            "middle": Coefficient(0.184, 0.056, _REFITTED),
            "whole": Coefficient(0.207, 0.059, _REFITTED),
            "rows": Coefficient(0.036, 0.021, _REFITTED),
            "rows_per_class": Coefficient(0.036, 0.021, _REFITTED),
            "gap": Coefficient(0.0, 0.0, "predicts no better than size and probe"),
            "cost": Coefficient(0.579, 0.362, _REFITTED),
        }
    ),
    shared_sd=0.104,
    own_sd=0.062,
    head_sd=ELICITED.head_sd,
    measure_sd=ELICITED.measure_sd,
    again=ELICITED.again,
)


@dataclass(frozen=True)
class Conditions:
    """What the prior looks at.

    Attributes
    ----------
    gap:
        Total domain gap in nats; ``None`` where it is not known.
    error:
        Of the probe, in points (0 to 100).
    log_loss:
        Of the probe, in nats.
    belief:
        Whether the probe has learnt anything at all, 0 to 1.
    """

    rows: int
    rows_per_class: float
    gap: float | None
    error: float
    log_loss: float
    belief: float = 1.0


@dataclass(frozen=True)
class RungKind:
    """A rung as the prior sees it: its name, how far down it trains, and which rung it is a second try of, if any."""

    name: str
    reach: Reach
    again: str | None = None


@dataclass(frozen=True, eq=False)
class Prior:
    """Gains of rungs over the probe, normally distributed.

    Attributes
    ----------
    names:
        K of them; the first is the probe itself, whose gain is 0.
    mean:
        float64 (2K,): first the gains in points of accuracy (0 to 100), then those in nats of log-loss.
    covariance:
        float64 (2K, 2K).
    room:
        Points and nats that the probe leaves to be gained.
    """

    names: tuple[str, ...]
    mean: Floats
    covariance: Floats
    room: tuple[float, float]


def conditions_of(situation: Situation) -> Conditions:
    """The conditions once the probe has run.

    Raises
    ------
    ValueError
        If it has not.
    """
    probe = situation.probe
    if probe is None:
        raise ValueError("the probe has not run: nothing is known of what it leaves to be gained")
    # Half a row is added to both sides, so that a probe without a mistake still has an error.
    wrong = (probe.rows * (1 - probe.counted_accuracy) + 0.5) / (probe.rows + 1)
    gap = None if situation.gap is None else situation.gap.total.value
    return Conditions(situation.rows, situation.class_median, gap, 100 * wrong, probe.log_loss, _belief(probe))


def reach_of(cut: int, stages: int) -> Reach:
    """How far down a rung trains whose first ``cut`` stages stay frozen."""
    if not 0 <= cut <= stages:
        raise ValueError(f"a backbone of {stages} stages has no cut {cut}")
    trained = 3 * (stages - cut)
    return "head" if not trained else "top" if trained <= stages else "middle" if trained <= 2 * stages else "whole"


def prior_of(conditions: Conditions, rungs: Sequence[RungKind], *, probe: str, table: PriorTable = TABLE) -> Prior:
    """The joint prior of some rungs' gains over the probe.

    Shares of the probe's error have a mean linear in the conditions. Rungs share the doubt about the coefficients and
    about the data set, so that what one gains tells of the others; error and log-loss share it too.

    Parameters
    ----------
    rungs:
        All but the probe itself.
    probe:
        Its name.
    """
    count = len(table.coefficients)
    features = np.array([features_of(conditions, rung.reach) for rung in rungs]).reshape(len(rungs), count)
    means = features @ [c.mean for c in table.coefficients.values()]
    likeness = _likeness(rungs, table)
    shares = _share_covariance(conditions, [rung.reach for rung in rungs], likeness, features, table)
    scale = conditions.belief * np.repeat([conditions.error, conditions.log_loss], len(rungs))
    floors = np.diag(np.repeat([FLOOR_POINTS**2, FLOOR_NATS**2], len(rungs)))
    of_measure = table.measure_sd**2 * np.kron(np.eye(2), likeness)
    covariance = (np.tile(shares, (2, 2)) + of_measure) * np.outer(scale, scale) + floors
    places = np.concatenate([np.arange(len(rungs)) + 1, np.arange(len(rungs)) + len(rungs) + 2])
    whole, mean = np.zeros((2 * len(rungs) + 2, 2 * len(rungs) + 2)), np.zeros(2 * len(rungs) + 2)
    whole[np.ix_(places, places)] = covariance
    mean[places] = scale * np.tile(means, 2)
    names = (probe, *(rung.name for rung in rungs))
    return Prior(names, mean, whole, (conditions.error, conditions.log_loss))


def features_of(conditions: Conditions, reach: Reach) -> Floats:
    """What the table's coefficients are multiplied with, (8,), in their order."""
    leverage = LEVERAGE[reach]
    size = _doublings(conditions.rows, REFERENCE_ROWS)
    per_class = _doublings(conditions.rows_per_class, REFERENCE_ROWS_PER_CLASS)
    distance = 0.0
    if conditions.gap is not None:
        distance = max(0.0, _doublings(conditions.gap, SOURCE_LIKE, most=math.inf)) - REFERENCE_GAP
        distance = min(distance, MOST_DOUBLINGS)
    own = [float(reach == name) for name in LEVERAGE]
    cost = 0.0 if reach == "head" else -1 / conditions.error
    return np.array([*own, leverage * size, leverage * per_class, leverage * distance, cost])


def residual_covariance(reaches: Sequence[Reach], table: PriorTable, likeness: Floats | None = None) -> Floats:
    """Of the shares of rungs on one data set, (K, K), where the coefficients are known.

    Parameters
    ----------
    likeness:
        (K, K): the correlations of what is particular to each; by default each is like itself alone.
    """
    tuned = np.array([reach != "head" for reach in reaches], np.float64)
    own = np.where(tuned > 0, table.own_sd, table.head_sd)
    alike = np.eye(len(reaches)) if likeness is None else likeness
    return np.asarray(table.shared_sd**2 * np.outer(tuned, tuned) + alike * np.outer(own, own))


def _likeness(rungs: Sequence[RungKind], table: PriorTable) -> Floats:
    """Which rungs are second tries of which, as correlations, (K, K)."""
    alike = np.eye(len(rungs))
    for one, first in enumerate(rungs):
        for other, second in enumerate(rungs):
            if second.again == first.name:
                alike[one, other] = alike[other, one] = table.again
    return alike


def _share_covariance(
    conditions: Conditions, reaches: Sequence[Reach], likeness: Floats, features: Floats, table: PriorTable
) -> Floats:
    doubts = np.array([coefficient.sd for coefficient in table.coefficients.values()])
    covariance = (features * doubts**2) @ features.T + residual_covariance(reaches, table, likeness)
    if conditions.gap is None:
        felt = np.array([LEVERAGE[reach] for reach in reaches]) * table.coefficients["gap"].mean * GAP_SCATTER
        covariance += np.outer(felt, felt)
    return np.asarray(covariance)


def _doublings(value: float, reference: float, most: float = MOST_DOUBLINGS) -> float:
    return min(max(math.log2(max(value, 1e-12) / reference), -most), most)


def _belief(probe: ProbeScore) -> float:
    if probe.log_loss >= probe.chance_loss:
        return 0.0
    spread = math.sqrt(max(probe.majority * (1 - probe.majority), 0.25 / probe.rows) / probe.rows)
    above = (probe.accuracy - probe.majority) / spread
    saved = (probe.chance_loss - probe.log_loss) / max(probe.saved_error, FLOOR_NATS)
    by_accuracy = (above - DOUBTED) / (BELIEVED - DOUBTED)
    by_loss = (saved - LOSS_DOUBTED) / (LOSS_BELIEVED - LOSS_DOUBTED)
    return min(max(by_accuracy, by_loss, 0.0), 1.0)
