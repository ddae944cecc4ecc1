"""The bundled weights in timm's network of the same name, so that PyTorch can train what OpenVINO runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import nn

from headstart.backbones._lite_graph import BATCHNORM_EPSILON, LiteArchitecture, lite_key
from headstart.backbones.pytorch.network import LoadedNetwork
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
    inputs = tensors["_conv_stem.weight"].shape[1]
    network = timm.create_model(name.partition("/")[2], pretrained=False, in_chans=inputs)
    state = {lite_key(key, architecture): torch.from_numpy(value.copy()) for key, value in tensors.items()}
    network.load_state_dict(state, strict=True)
    assert all(norm.eps == BATCHNORM_EPSILON for norm in network.modules() if isinstance(norm, nn.BatchNorm2d))
    return LoadedNetwork(name, network.eval(), ("classifier",), preprocessing, licence)
