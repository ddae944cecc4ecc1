"""A backbone that is a torch network: its stages run in PyTorch, or are converted for OpenVINO."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from headstart.backbones._openvino import openvino
from headstart.backbones.backbone import Backbone, Segment, tuned_sha256
from headstart.backbones.pytorch.network import FrozenSegment, LoadedNetwork, StagedNetwork, state_sha256
from headstart.backbones.pytorch.suffix import TrainableSuffix


class TorchBackbone(Backbone):
    """A loaded torch network, split into its stages.

    Raises
    ------
    BackboneError
        If the network can't take images of the size or the number of channels asked for.
    """

    graph_is_definition = False

    def __init__(self, loaded: LoadedNetwork) -> None:
        self.name = loaded.name
        self.licence = loaded.licence
        self.preprocessing = loaded.preprocessing
        self.weights_sha256 = state_sha256(loaded.network.state_dict(), loaded.definition)
        self._network = StagedNetwork(loaded)
        self.stages = self._network.stages
        self.whole_because = self._network.whole_because

    def boundary_shape(self, cut: int) -> tuple[int, ...]:
        return self._network.shapes[cut - 1]

    def map_shape(self, number: int) -> tuple[int, int, int] | None:
        return self._network.map_shape(number)

    def graph(self, segment: Segment) -> Any:
        dtype = torch.float32 if segment.start else torch.uint8
        example = torch.zeros((2, *segment.input.shape), dtype=dtype)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter's own use of an older tracer
            model = openvino().convert_model(
                self.module(segment), example_input=example, input=[-1, *segment.input.shape]
            )
        model.inputs[0].get_tensor().set_names({segment.input.name})
        for port, output in zip(model.outputs, segment.outputs, strict=True):
            port.get_tensor().set_names({output.name})
        return model

    def trainable(self, cut: int) -> TrainableSuffix:
        return self._network.trainable(cut)

    def tuned(self, tensors: Mapping[str, npt.NDArray[np.float32]]) -> TorchBackbone:
        changed = copy.copy(self)
        changed._network = self._network.tuned(self.name, tensors)
        changed.weights_sha256 = tuned_sha256(self.weights_sha256, tensors)
        return changed

    def module(self, segment: Segment) -> FrozenSegment:
        return self._network.segment(segment)
