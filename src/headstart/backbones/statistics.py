"""What the BatchNorm layers of a bundled network put out for an image, as a trunk that runs without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstart.backbones._lite_graph import Norm, lite_norms, lite_statistics_graph
from headstart.backbones.backbone import Output, Segment
from headstart.backbones.bundled import BundledBackbone
from headstart.errors import EngineError

if TYPE_CHECKING:
    import openvino
    import torch

__all__ = ["Norm", "StatisticsTrunk", "source_norms", "statistics_trunk"]


@dataclass(frozen=True)
class StatisticsTrunk(Segment):
    """All stages of a network, with two numbers for each channel of each BatchNorm layer in the place of features.

    With y the output of a layer, before the activation, ``mean`` is the mean of y over the positions of an image and
    ``mean_square`` that of y²; each has the channels of all layers one after the other, in the order of
    :func:`source_norms`. BatchNorm is affine, so what went into it follows from these.
    """

    backbone: BundledBackbone

    @property
    def outputs(self) -> tuple[Output, ...]:
        """``mean`` and ``mean_square``, float32 (channels of all layers,)."""
        channels = sum(len(norm.mean) for norm in source_norms(self.backbone))
        return Output("mean", (channels,)), Output("mean_square", (channels,))

    def graph(self) -> openvino.Model:
        """The trunk as an OpenVINO graph; :meth:`headstart.backbones.backbone.Backbone.graph` says of which kind."""
        return lite_statistics_graph(self.backbone.tensors, self.backbone.architecture, self)

    def module(self) -> torch.nn.Module:
        """Raises :class:`EngineError`: there is no torch module of it."""
        raise EngineError(f"the statistics of {self.backbone.name} are computed by OpenVINO alone")


def statistics_trunk(backbone: BundledBackbone) -> StatisticsTrunk:
    """The trunk that gives what the BatchNorm layers of ``backbone`` put out."""
    return StatisticsTrunk(backbone, 0, len(backbone.stages), ())


def source_norms(backbone: BundledBackbone) -> tuple[Norm, ...]:
    """The BatchNorm layers of ``backbone`` from the input to the top, with what the source data left in them."""
    return lite_norms(backbone.tensors, backbone.architecture)
