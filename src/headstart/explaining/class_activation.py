"""Class activation maps: exact and gradient-free, where features are the mean over the positions of a map.

A linear head on features that are the mean over positions p of a map f(p) gives the logit w·mean(f) + b, which is the
mean over positions of w·f(p) + b: what the head would say of an image that is everywhere as it is at p. That is the map
(Zhou et al. 2016, "Learning deep features for discriminative localization"), with the bias spread evenly. A head that
reads several stages gives one such map a stage, and the logit is the sum of their means.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headstart.backbones.backbone import Backbone, Segment
from headstart.explaining.parts import HeadParts
from headstart.features.engine import CompiledTrunk
from headstart.features.float32 import compile_float32

Map = npt.NDArray[np.float32]
Targets = npt.NDArray[np.intp]


def stage_of(output: str, backbone: Backbone) -> int:
    """The number of the stage whose pooled features an output of the trunk is."""
    return len(backbone.stages) if output == "features" else int(output.removeprefix("stage"))


def has_map(output: str, backbone: Backbone) -> bool:
    """Whether an output of the trunk is the mean of a map."""
    return backbone.map_shape(stage_of(output, backbone)) is not None


class ClassActivation:
    """The parts of a head that read means of maps, laid out over the image.

    Parameters
    ----------
    outputs:
        Which of the head's outputs, each of which :func:`has_map`.
    """

    def __init__(self, backbone: Backbone, parts: HeadParts, outputs: Sequence[str]) -> None:
        numbers = {output: stage_of(output, backbone) for output in outputs}
        trunk = backbone.trunk(max(numbers.values()), maps=tuple(sorted(numbers.values())))
        self._compiled = _in_float32(trunk)
        self._weights = {f"map{number}": parts.weights[output] for output, number in numbers.items()}
        self._shapes = {output.name: output.shape for output in trunk.outputs}

    def __call__(self, views: npt.NDArray[np.uint8], targets: Targets) -> list[Map]:
        """uint8 (N, size, size, channels) and class numbers (N,) → for each output a map, float32 (N, height, width).

        The sum of the maps' means and the bias is the logit.
        """
        rows, columns = self._compiled(views), self._compiled.trunk.columns
        maps = []
        for name, weights in self._weights.items():
            values = rows[:, columns[name]].reshape(len(rows), *self._shapes[name])
            maps.append(np.einsum("nchw,cn->nhw", values, weights[:, targets].astype(np.float32), optimize=True))
        return maps


def _in_float32(trunk: Segment) -> CompiledTrunk:
    """A trunk that runs at once: half precision is true enough for means over positions, not for each by itself.

    A torch network stays in PyTorch, since converting it takes longer than some dozens of images.
    """
    if trunk.backbone.graph_is_definition:
        return compile_float32(trunk)
    from headstart.features.torch_engine import TorchTrunk

    return TorchTrunk(trunk)
