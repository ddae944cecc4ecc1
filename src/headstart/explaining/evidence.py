"""Evidence for a class at each position of an image, in logits: the mean of a map is the model's logit."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from headstart.artifact.model import Model
from headstart.backbones.backbone import Backbone
from headstart.errors import BackboneError, MissingExtraError
from headstart.explaining.class_activation import ClassActivation, has_map
from headstart.explaining.parts import HeadParts

if TYPE_CHECKING:
    from headstart.explaining.gradient_maps import GradientMaps

Map = npt.NDArray[np.float32]
Method = Literal["class_activation", "integrated_gradients"]


class Evidence:
    """Maps of evidence by the most exact way that a model's backbone allows.

    Where the features that the head reads are means of maps, these are exact and need no gradients
    (:mod:`.class_activation`). What is left, mostly the embedding of a transformer, takes :mod:`.gradient_maps`.

    Attributes
    ----------
    method:
        ``class_activation`` where the whole map is exact, else ``integrated_gradients``.

    Raises
    ------
    MissingExtraError
        If gradients are needed and the extra ``explain`` is not installed.
    BackboneError
        If the backbone has no maps.
    """

    def __init__(self, model: Model) -> None:
        trunk, outputs = model.trunk.trunk, model.record.outputs
        backbone = trunk.backbone
        widths = {output.name: output.shape[0] for output in trunk.outputs}
        parts = HeadParts.of(model.saved.head, outputs, widths)
        exact = [output for output in outputs if has_map(output, backbone)]
        rest = [output for output in outputs if output not in exact]
        self._bias = parts.bias
        self._exact = ClassActivation(backbone, parts, exact) if exact else None
        self._rest = _gradient_maps(backbone, parts, rest) if rest else None
        self.method: Method = "integrated_gradients" if rest else "class_activation"

    def __call__(self, views: npt.NDArray[np.uint8], targets: npt.NDArray[np.intp]) -> Map:
        """What speaks for a class, and where it is negative against it.

        Parameters
        ----------
        views:
            uint8 (N, size, size, channels), as :func:`headstart.imaging.load_view` gives them.
        targets:
            Class numbers (N,).

        Returns
        -------
        float32 (N, height, width) with the grid of the finest map. The mean of each is the logit before the
        temperature; of exclusive classes, less the mean logit of all classes.
        """
        found = self._exact(views, targets) if self._exact else []
        if self._rest:
            found = [*found, self._rest(views, targets)]
        return summed(found) + self._bias[targets, None, None].astype(np.float32)


def summed(maps: Sequence[Map]) -> Map:
    """The sum of maps (N, h, w) of several sizes on the finest grid of them; its mean is the sum of their means."""
    height, width = max(one.shape[1] for one in maps), max(one.shape[2] for one in maps)
    total = np.zeros((len(maps[0]), height, width), np.float32)
    for one in maps:
        total += enlarged(one, height, width)
    return total


def enlarged(maps: Map, height: int, width: int) -> Map:
    """Maps (N, h, w) on a finer grid, linear between the centres of positions; each mean is kept exactly."""
    if maps.shape[1:] == (height, width):
        return maps
    down, across = _weights(maps.shape[1], height), _weights(maps.shape[2], width)
    fine = np.einsum("ih,nhw,jw->nij", down, maps, across, optimize=True)
    shift = maps.mean((1, 2), dtype=np.float64) - fine.mean((1, 2), dtype=np.float64)
    return np.asarray(fine + shift[:, None, None], np.float32)


def _weights(coarse: int, fine: int) -> npt.NDArray[np.float32]:
    """(fine, coarse): what each position of the fine grid takes of the coarse one, edges repeated."""
    where = np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0, coarse - 1)
    low = np.floor(where).astype(int)
    weights = np.zeros((fine, coarse), np.float32)
    weights[np.arange(fine), low] = 1 - (where - low)
    weights[np.arange(fine), np.minimum(low + 1, coarse - 1)] += where - low
    return weights


def _gradient_maps(backbone: Backbone, parts: HeadParts, outputs: Sequence[str]) -> GradientMaps:
    if list(outputs) != ["features"]:
        raise BackboneError(f"{backbone.name}: the features of {', '.join(outputs)} have no positions")
    if importlib.util.find_spec("captum") is None:
        raise MissingExtraError(f"a map of what {backbone.name} looks at", "explain")
    from headstart.explaining.gradient_maps import GradientMaps

    return GradientMaps(backbone, parts.weights["features"])
