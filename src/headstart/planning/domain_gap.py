"""How far images lie from what a network was trained on, told by the statistics that its BatchNorm layers keep."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.backbones.bundled import BundledBackbone
from headstart.backbones.statistics import Norm, StatisticsTrunk, source_norms, statistics_trunk
from headstart.data.dataset import Dataset
from headstart.errors import DataError
from headstart.features.engine import Say
from headstart.features.extract import extract
from headstart.features.float32 import compile_float32
from headstart.features.store import Store
from headstart.files import sha256
from headstart.planning.rule_table import GAP_IMAGES
from headstart.runs import Progress, SilentProgress

Floats = npt.NDArray[np.float64]

RULER = "tf_efficientnet_lite0"
"""The bundled network that measures, whichever backbone is used: gaps of one ruler can be compared."""

# A channel whose gamma is below this share of its layer's median says nothing: y is its beta, whatever went in, and to
# invert the map would only magnify rounding. Of the ruler's 21,008 channels it is one.
_SMALLEST_GAMMA = 0.01

# Which stages are the early, the middle and the late layers: thirds of the nine, with 9, 24 and 16 of the 49 layers. By
# stages rather than by layers, so that they are what a cut at 3 or 6 freezes.
_PARTS = {"early": range(1, 4), "middle": range(4, 7), "late": range(7, 10)}


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error, NaN where a single image, or a single group of images, tells nothing of it."""

    value: float
    error: float


@dataclass(frozen=True)
class DomainGap:
    """How far images lie from a network's source data, or from other images.

    A gap is a Kullback-Leibler divergence in nats between Gaussians, one for each channel before each BatchNorm layer,
    averaged over the channels of a layer and then over layers. It is 0 where nothing differs; since the bias of
    measuring few images is taken off, an estimate may come out slightly below. Channels shifted by d of their
    standard deviations, at an equal spread, give d²/2.

    Attributes
    ----------
    of:
        Name of the images' data set.
    against:
        Name of the other data set; ``None`` for the source data of the ruler.
    total:
        Over all layers.
    early, middle, late:
        Over the layers of stages 1 to 3, 4 to 6 and 7 to 9.
    images, against_images:
        How many were looked at; ``against_images`` is ``None`` for the source data.
    ruler:
        The backbone that measured.
    """

    of: str
    against: str | None
    total: Estimate
    early: Estimate
    middle: Estimate
    late: Estimate
    images: int
    against_images: int | None
    ruler: str = f"bundled/{RULER}"


@dataclass(frozen=True, eq=False)
class Ruler:
    """The source's side of the comparison, all layers' channels in a row.

    Attributes
    ----------
    scale, shift:
        y = scale · z + shift, where z has mean 0 and variance 1 on the source data, the layer's epsilon included; (C,).
    floor:
        The layer's epsilon in units of z², (C,): it stands on the images' side as well, so that a channel that never
        varies, here or in the source data, agrees instead of being infinitely far.
    weights:
        (4, C): what a channel counts in the total, early, middle and late gap; 0 for those that say nothing.
    """

    scale: Floats
    shift: Floats
    floor: Floats
    weights: Floats

    @classmethod
    def of(cls, norms: tuple[Norm, ...]) -> Ruler:
        """From the layers of a network of nine stages."""
        gamma = np.concatenate([norm.gamma for norm in norms])
        medians = np.concatenate([np.full(len(norm.gamma), np.median(np.abs(norm.gamma))) for norm in norms])
        telling = np.abs(gamma) >= _SMALLEST_GAMMA * medians
        layer = np.repeat(np.arange(len(norms)), [len(norm.gamma) for norm in norms])
        stage = np.array([norm.stage for norm in norms])[layer]
        in_layer = telling / np.maximum(np.bincount(layer, telling), 1)[layer]
        chosen = [np.full(len(stage), True), *(np.isin(stage, list(stages)) for stages in _PARTS.values())]
        weights = np.stack([in_layer * part / len(np.unique(layer[part])) for part in chosen])
        return cls(
            scale=np.where(telling, gamma, 1.0),
            shift=np.concatenate([norm.beta for norm in norms]),
            floor=np.concatenate([norm.epsilon / (norm.variance + norm.epsilon) for norm in norms]),
            weights=weights,
        )


@dataclass(frozen=True, eq=False)
class Observed:
    """What went into the BatchNorm layers for each of some images.

    Attributes
    ----------
    name:
        Of the data set.
    moments:
        float32 (n, 2, C): the means of z and z² over the positions of an image, in the ruler's units.
    groups:
        int64 (n,): equal for images that are not independent of each other.
    """

    name: str
    moments: npt.NDArray[np.float32]
    groups: npt.NDArray[np.int64]

    def select(self, rows: npt.NDArray[np.int64]) -> Observed:
        """Some of the images, by position."""
        return Observed(self.name, self.moments[rows], self.groups[rows])


@dataclass(frozen=True, eq=False)
class _Gaussians:
    """A mean and a variance for each channel, (C,), in the ruler's units."""

    mean: Floats
    variance: Floats


def domain_gap(
    dataset: Dataset,
    *,
    images: int = GAP_IMAGES,
    seed: int = 0,
    channels: int = 3,
    progress: Progress | None = None,
    say: Say = print,
) -> DomainGap:
    """How far a data set lies from the source data of the ruler, which is ImageNet.

    Needs no source images (Li et al. 2017, AdaBN, see such statistics as what a domain is), and no PyTorch. The second
    measurement of the same images reads them from the feature store.

    Parameters
    ----------
    dataset:
        Labels are not looked at. All rows count: pass those that may be seen.
    images:
        At most so many, drawn by ``seed`` and the images' bytes: not by their order, and with few changes where images
        are added.
    channels:
        Of the images, as :func:`headstart.backbones.catalogue.find_backbone` takes them.

    Raises
    ------
    DataError
        If there are no images, or none that can be decoded.
    """
    observed, ruler = observe(dataset, images=images, seed=seed, channels=channels, progress=progress, say=say)
    return gap_to_source(observed, ruler)


def gap_between(
    a: Dataset,
    b: Dataset,
    *,
    images: int = GAP_IMAGES,
    seed: int = 0,
    channels: int = 3,
    progress: Progress | None = None,
    say: Say = print,
) -> DomainGap:
    """How far two data sets lie apart: the mean of the divergences in both directions, so that their order is nothing.

    Parameters and errors are those of :func:`domain_gap`; ``images`` are looked at in each.
    """
    first, ruler = observe(a, images=images, seed=seed, channels=channels, progress=progress, say=say)
    second, _ = observe(b, images=images, seed=seed, channels=channels, progress=progress, say=say)
    return gap_of_two(first, second, ruler)


def observe(
    dataset: Dataset,
    *,
    images: int = GAP_IMAGES,
    seed: int = 0,
    channels: int = 3,
    progress: Progress | None = None,
    say: Say = print,
) -> tuple[Observed, Ruler]:
    """Look at some images through the ruler; parameters and errors are those of :func:`domain_gap`."""
    backbone = BundledBackbone(RULER, channels=channels)
    chosen = dataset.select(_sample(dataset.hashes, images, seed))
    trunk, ruler = statistics_trunk(backbone), Ruler.of(source_norms(backbone))
    with Store.default(say) as store:
        found = extract(
            chosen.read, chosen.files, chosen.hashes, compile_float32(trunk), store, progress or SilentProgress()
        )
        if len(found.failures) == len(chosen):
            reason = f", for example {found.failures[0]}" if found.failures else ""
            raise DataError(f"{dataset.name}: no images to measure a domain gap on{reason}")
        rows = found.table.array()
    kept = np.setdiff1d(np.arange(len(chosen)), list(found.failures))
    return Observed(dataset.name, _standardised(rows, trunk, ruler), chosen.groups[kept]), ruler


def gap_to_source(observed: Observed, ruler: Ruler) -> DomainGap:
    """The gap between images and the source data."""

    def gap(seen: _Gaussians) -> Floats:
        return ruler.weights @ (0.5 * (seen.variance + seen.mean**2 - 1 - np.log(seen.variance)))

    bias, variance = _jackknife(gap, observed, ruler)
    return _record(observed, None, gap(_gaussians(observed, ruler)) - bias, variance)


def gap_of_two(a: Observed, b: Observed, ruler: Ruler) -> DomainGap:
    """The gap between two sets of images, which share none."""
    seen_a, seen_b = _gaussians(a, ruler), _gaussians(b, ruler)

    def gap(one: _Gaussians, other: _Gaussians) -> Floats:
        apart = (one.mean - other.mean) ** 2
        there, back = (one.variance + apart) / other.variance, (other.variance + apart) / one.variance
        return ruler.weights @ (0.25 * (there + back - 2))  # the logarithms of the two directions cancel

    bias_a, variance_a = _jackknife(lambda seen: gap(seen, seen_b), a, ruler)
    bias_b, variance_b = _jackknife(lambda seen: gap(seen_a, seen), b, ruler)
    return _record(a, b, gap(seen_a, seen_b) - bias_a - bias_b, variance_a + variance_b)


def _sample(hashes: list[str], images: int, seed: int) -> npt.NDArray[np.int64]:
    """At most ``images`` positions, ascending: those whose images come first when shuffled by their bytes."""
    order = sorted(range(len(hashes)), key=lambda row: sha256(f"{seed}|{hashes[row]}".encode()))
    return np.sort(np.array(order[:images], np.int64))


def _standardised(rows: npt.NDArray[np.float32], trunk: StatisticsTrunk, ruler: Ruler) -> npt.NDArray[np.float32]:
    """The means of y and y² as those of z and z²: BatchNorm is affine, so it can be undone."""
    columns = trunk.columns
    moments = np.empty((len(rows), 2, len(ruler.scale)), np.float32)
    for row, out in zip(rows.astype(np.float64), moments, strict=True):
        mean, square = row[columns["mean"]], row[columns["mean_square"]]
        out[0] = (mean - ruler.shift) / ruler.scale
        out[1] = (square - 2 * ruler.shift * mean + ruler.shift**2) / ruler.scale**2
    return moments


def _gaussians(observed: Observed, ruler: Ruler) -> _Gaussians:
    return _fitted(observed.moments.sum(0, dtype=np.float64), len(observed.groups), ruler)


def _fitted(sums: Floats, count: int, ruler: Ruler) -> _Gaussians:
    """The Gaussians of ``count`` images whose moments add up to ``sums``, (2, C)."""
    mean, square = sums / count
    return _Gaussians(mean, np.maximum(square - mean**2, 0) + ruler.floor)


def _jackknife(gap: Callable[[_Gaussians], Floats], observed: Observed, ruler: Ruler) -> tuple[Floats, Floats]:
    """The bias (4,) that few images give a gap, and its sampling variance (4,).

    The bias leaves out one image at a time (Quenouille 1956). The variance leaves out a group at a time, which is an
    image where there are no groups (Tukey 1958; for groups of unequal size Busing, Meijer and van der Leeden 1999).
    """
    count, (names, sizes) = len(observed.groups), np.unique(observed.groups, return_counts=True)
    whole = gap(_gaussians(observed, ruler))
    if count == 1:
        return np.zeros_like(whole), np.full_like(whole, np.nan)
    images = _left_out(gap, observed, np.arange(count), ruler)
    bias = (count - 1) * (images.mean(0) - whole)
    if len(names) == 1:
        return bias, np.full_like(whole, np.nan)
    groups = images if len(names) == count else _left_out(gap, observed, observed.groups, ruler)
    shares = (count / sizes)[:, None]
    pseudo = shares * whole - (shares - 1) * groups
    centre = len(names) * whole - ((1 - 1 / shares) * groups).sum(0)
    return bias, ((pseudo - centre) ** 2 / (shares - 1)).mean(0)


def _left_out(
    gap: Callable[[_Gaussians], Floats], observed: Observed, units: npt.NDArray[np.int64], ruler: Ruler
) -> Floats:
    """The gap without the images of each unit in turn, (units, 4), in the order of the units' numbers."""
    sums = observed.moments.sum(0, dtype=np.float64)
    gaps = []
    for unit in np.unique(units):
        own = observed.moments[units == unit]
        gaps.append(gap(_fitted(sums - own.sum(0, dtype=np.float64), len(units) - len(own), ruler)))
    return np.stack(gaps)


def _record(of: Observed, against: Observed | None, values: Floats, variances: Floats) -> DomainGap:
    total, early, middle, late = (Estimate(float(v), math.sqrt(s)) for v, s in zip(values, variances, strict=True))
    return DomainGap(
        of=of.name,
        against=against.name if against else None,
        total=total,
        early=early,
        middle=middle,
        late=late,
        images=len(of.groups),
        against_images=len(against.groups) if against else None,
    )
