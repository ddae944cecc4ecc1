"""Maps by integrated gradients, for networks whose features are not the mean of a map: class tokens, norms on top.

Integrated gradients (Sundararajan et al. 2017), at the highest boundary between stages where the image still has
positions that matter, from a baseline in which every position is the mean of all. Plain gradient times activation
(Grad-CAM, Selvaraju et al. 2017) is blind there: in front of a LayerNorm the gradient has no part along the activation,
so that their product is zero at every token. Where features are the mean of a map after all, the result is the class
activation map.
"""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from headstart.backbones.backbone import Backbone
from headstart.backbones.pytorch.positions import as_map, grid_shape
from headstart.backbones.pytorch.staging import Layout, layout_of
from headstart.errors import BackboneError
from headstart.features.torch_engine import has_cuda

# Points of the Gauss-Legendre rule along the way from the baseline: the sum over positions was then within 1 % of the
# logit's difference on the networks in the tests.
_STEPS = 24
_BATCH = 32


class GradientMaps:
    """The part of a head that reads the embedding, laid out over the image by integrated gradients.

    Calls take turns.

    Parameters
    ----------
    weights:
        float64 (D, C), of the embedding's D features.

    Raises
    ------
    BackboneError
        If the backbone has no boundary with several positions that its embedding depends on.
    """

    def __init__(self, backbone: Backbone, weights: npt.NDArray[np.float64]) -> None:
        self._device = torch.device("cuda" if has_cuda() else "cpu")
        self._weights = torch.from_numpy(weights).float().to(self._device)
        self.cut = _highest_cut(backbone)
        shape = backbone.boundary_shape(self.cut)
        self._layout: Layout = layout_of(shape)
        self._trunk = copy.deepcopy(backbone.module(backbone.trunk(self.cut))).to(self._device)
        self._suffix = _frozen(backbone.trainable(self.cut)).to(self._device)
        self._gradients = IntegratedGradients(self._logits)
        self._lock = threading.Lock()

    def __call__(self, views: npt.NDArray[np.uint8], targets: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        """uint8 (N, size, size, channels) and class numbers (N,) → float32 (N, height, width).

        The mean of a map is the part of the logit, without the bias.
        """
        with self._lock:
            wanted = torch.from_numpy(np.asarray(targets)).to(self._device)
            with torch.inference_mode():
                images = torch.from_numpy(np.ascontiguousarray(views)).to(self._device)
                boundary = self._trunk(images)[-1]
            boundary = boundary.clone()
            baseline = averaged(boundary, self._layout)
            with torch.no_grad():
                start = self._logits(baseline).gather(1, wanted[:, None])
            shares: Any = self._gradients.attribute(
                boundary, baseline, target=wanted, n_steps=_STEPS, internal_batch_size=_BATCH
            )
            each = as_map(shares, self._layout).sum(1)
            positions = each[0].numel()
            found: npt.NDArray[np.float32] = (each * positions + start[:, :, None]).detach().float().cpu().numpy()
        return found

    def _logits(self, boundary: Tensor) -> Tensor:
        logits: Tensor = self._suffix(boundary) @ self._weights
        return logits


def averaged(boundary: Tensor, layout: Layout) -> Tensor:
    """The same tensor with the mean of all positions at each of them; tokens in front of the grid stay as they are."""
    if layout == "NTC":
        grid = as_map(boundary, layout)
        positions = grid.shape[2] * grid.shape[3]
        front, patches = boundary[:, :-positions], boundary[:, -positions:]
        return torch.cat([front, patches.mean(1, keepdim=True).expand_as(patches)], 1)
    axes = (1, 2) if layout == "NHWC" else (2, 3)
    return boundary.mean(axes, keepdim=True).expand_as(boundary).contiguous()


def _highest_cut(backbone: Backbone) -> int:
    """The highest boundary with several positions, more than one of which the embedding depends on."""
    for cut in range(len(backbone.stages) - 1, 0, -1):
        if grid_shape(backbone.boundary_shape(cut)) and _positions_matter(backbone, cut):
            return cut
    why = f", because its code can't be followed ({backbone.whole_because})" if backbone.whole_because else ""
    raise BackboneError(
        f"{backbone.name} has no maps{why}: choose a model on another backbone to see what its answers rest on"
    )


def _positions_matter(backbone: Backbone, cut: int) -> bool:
    """Whether patches have a gradient at a boundary: behind the last attention a class token has none but its own."""
    shape = backbone.boundary_shape(cut)
    noise = torch.randn((1, *shape), generator=torch.Generator().manual_seed(0)).requires_grad_()
    embedding = _frozen(backbone.trainable(cut))(noise)
    weights = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((embedding * weights).sum(), noise)
    return bool((as_map(gradient, layout_of(shape)).abs().sum(1) > 0).flatten().sum() > 1)


def _frozen(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False)
