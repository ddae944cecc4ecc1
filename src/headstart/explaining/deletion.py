"""Whether a map matters: what happens to the answer when what it points at is taken out of the image.

The deletion curve of Petsiuk et al. 2018 ("RISE"): positions are painted over in the map's order, strongest first, and
the probability of the class is followed. A map that shows what the answer rests on makes it fall sooner than maps that
know nothing of the image, which are drawn at random. All maps are brought to one coarse grid first: holes as fine as
grain would break a network's answer wherever they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart.artifact.model import Model
from headstart.explaining.evidence import Map, enlarged
from headstart.features.extract import rows_of

Pixels = npt.NDArray[np.uint8]

# Shares of the view that are painted over, and the maps at random that the curve is compared with.
_STEPS = 10
_RANDOM_MAPS = 8
# Positions along a side: those of most networks' last map.
_GRID = 7


@dataclass(frozen=True)
class Deletion:
    """A deletion curve and what chance makes of it.

    Attributes
    ----------
    fractions:
        Shares of the view that are painted over, from 0 to 1.
    probabilities:
        Of the class, at each share, in the map's order.
    random_probabilities:
        The mean over random maps.
    auc, random_auc:
        Areas under both, 0 to 1; the map matters where its own is the lower one.
    """

    fractions: tuple[float, ...]
    probabilities: tuple[float, ...]
    random_probabilities: tuple[float, ...]
    auc: float
    random_auc: float


def deletion(model: Model, view: Pixels, evidence: Map, target: int, *, seed: int = 0) -> Deletion:
    """Follow the calibrated probability of a class while the view is painted over in its mean colour.

    Parameters
    ----------
    view:
        uint8 (size, size, channels), as :func:`headstart.imaging.load_view` gives it.
    evidence:
        float32 (height, width) over the view.
    target:
        Number of the class.
    seed:
        Of the random maps.
    """
    side = len(view)
    noise = np.random.default_rng(seed).normal(size=(_RANDOM_MAPS, _GRID, _GRID)).astype(np.float32)
    maps = enlarged(np.concatenate([_coarse(evidence)[None], noise]), side, side)
    fractions = np.arange(_STEPS + 1) / _STEPS
    colour = np.rint(view.mean((0, 1))).astype(np.uint8)
    # Nothing and everything painted over are the same for all maps, and looked at once.
    views = [view, np.broadcast_to(colour, view.shape)]
    for one in maps:
        levels = np.quantile(one, 1 - fractions[1:-1])
        views += [np.where((one > level)[:, :, None], colour, view) for level in levels]
    chances = model.probabilities(rows_of(np.stack(views), model.trunk))[:, target]
    between = chances[2:].reshape(len(maps), _STEPS - 1)
    whole, nothing = (np.full((len(maps), 1), value) for value in chances[:2])
    curves = np.concatenate([whole, between, nothing], axis=1)
    areas = ((curves[:, 1:] + curves[:, :-1]) / 2).mean(1)
    return Deletion(
        fractions=tuple(map(float, fractions)),
        probabilities=tuple(map(float, curves[0])),
        random_probabilities=tuple(map(float, curves[1:].mean(0))),
        auc=float(areas[0]),
        random_auc=float(areas[1:].mean()),
    )


def _coarse(evidence: Map) -> Map:
    """A map's means over the fields of the grid, float32."""
    return np.asarray(Image.fromarray(evidence).resize((_GRID, _GRID), Image.Resampling.BOX))
