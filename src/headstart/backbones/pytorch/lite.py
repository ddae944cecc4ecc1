"""The bundled weights in timm's network of the same name, so that PyTorch can train what OpenVINO runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import nn

from headstart.backbones._lite_graph import BATCHNORM_EPSILON, LiteArchitecture
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.errors import BackboneError
from headstart.imaging.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy.typing as npt


def load(
    name: str,
    tensors: Mapping[str, npt.NDArray[Any]],
    architecture: LiteArchitecture,
    preprocessing: Preprocessing,
    licence: str,
) -> LoadedNetwork:
    """timm's network for ``bundled/<architecture>`` with the checkpoint's tensors in it."""
    network = timm.create_model(name.partition("/")[2], pretrained=False)
    state = {lite_key(key, architecture): torch.from_numpy(value.copy()) for key, value in tensors.items()}
    network.load_state_dict(state, strict=True)
    assert all(norm.eps == BATCHNORM_EPSILON for norm in network.modules() if isinstance(norm, nn.BatchNorm2d))
    return LoadedNetwork(name, network.eval(), ("classifier",), preprocessing, licence)


def lite_key(key: str, architecture: LiteArchitecture) -> str:
    """timm's name of a tensor in the bundled checkpoint."""
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    layer, _, rest = key.partition(".")
    if layer != "_blocks":
        return f"{outer[layer]}.{rest}"
    block, layer, part = rest.split(".")
    for group in range(len(architecture.depths)):
        if int(block) in architecture.blocks(group):
            position = int(block) - architecture.blocks(group)[0]
            return f"blocks.{group}.{position}.{(later if group else first)[layer]}.{part}"
    raise BackboneError(f"the checkpoint has a block {block} that the architecture has not")
