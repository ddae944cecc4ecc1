"""Backbones from timm: by name from the hub or its local cache, or from a folder laid out as the hub does."""

from __future__ import annotations

import functools
import hashlib
import json
import socket
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import huggingface_hub.constants
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.efficientnet import EfficientNet
from timm.models.resnet import ResNet
from torch import Tensor, nn

from headstart.backbones._lite_graph import BATCHNORM_EPSILON, LiteArchitecture
from headstart.backbones._openvino import openvino
from headstart.backbones.backbone import Backbone, Segment, Stage
from headstart.backbones.offline import is_offline
from headstart.backbones.torch_network import StagedNetwork
from headstart.errors import BackboneError, OfflineError
from headstart.imaging.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class TimmBackbone(Backbone):
    """A timm network with its weights loaded.

    Networks of the EfficientNet and ResNet families are split into their stages; every other one is a single
    stage, which is all that a probe needs.
    """

    graph_is_definition = False

    def __init__(self, name: str, network: nn.Module, config: Mapping[str, Any]) -> None:
        self.name = name
        self.licence = _spdx(config.get("license"))
        self.preprocessing = _preprocessing(name, config)
        self.weights_sha256 = state_sha256(network.state_dict())
        names, modules = _split(network)
        self._network = StagedNetwork(names, modules, functools.partial(_pooled, network), self.preprocessing)
        self.stages: tuple[Stage, ...] = self._network.stages

    def boundary_shape(self, cut: int) -> tuple[int, ...]:
        return self._network.shapes[cut - 1]

    def graph(self, segment: Segment) -> Any:
        module = self.module(segment)
        dtype = torch.float32 if segment.start else torch.uint8
        example = torch.zeros((1, *segment.input.shape), dtype=dtype)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter's own use of an older tracer
            model = openvino().convert_model(module, example_input=example, input=[-1, *segment.input.shape])
        model.inputs[0].get_tensor().set_names({segment.input.name})
        for port, output in zip(model.outputs, segment.outputs, strict=True):
            port.get_tensor().set_names({output.name})
        return model

    def module(self, segment: Segment) -> nn.Module:
        return self._network.segment(segment)


def model_names() -> frozenset[str]:
    """Every name that timm can build, with and without the tag of its weights."""
    return frozenset(timm.list_models()) | frozenset(timm.list_models(pretrained=True))


def from_hub(model: str) -> TimmBackbone:
    """Build ``timm/<model>`` with weights from the local hub cache, or from the hub unless offline.

    Raises
    ------
    OfflineError
        If the weights are not in the cache and the hub is switched off or can't be reached.
    BackboneError
        If timm has no weights for this name, or they don't fit.
    """
    name = f"timm/{model}"
    if is_offline() or not _hub_has_an_address():
        huggingface_hub.constants.HF_HUB_OFFLINE = True  # also where the client was imported before
    try:
        network = timm.create_model(model, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) or _is_connection_problem(error):
            raise OfflineError(
                f"{name}: its weights are not in the local hub cache and the hub can't be reached; "
                "use bundled/tf_efficientnet_lite0, or file/DIR with a folder that holds config.json and "
                "model.safetensors"
            ) from error
        raise BackboneError(f"{name}: {_first_line(error)}") from error
    return TimmBackbone(name, network, network.pretrained_cfg)


def from_folder(folder: Path) -> TimmBackbone:
    """Build the network that ``config.json`` names and load ``model.safetensors`` into it, strictly.

    Raises
    ------
    BackboneError
        If a file is missing or damaged, the architecture is unknown to timm, or tensors are missing or left over.
    """
    folder = folder.expanduser().resolve()  # the name goes into saved models, which may be opened from elsewhere
    config_path, weights_path = folder / "config.json", folder / "model.safetensors"
    for path in (config_path, weights_path):
        if not path.is_file():
            raise BackboneError(f"file/{folder}: {path} is missing; the folder must hold {path.name}")
    config = _read_config(config_path)
    try:
        network = timm.create_model(
            config["architecture"],
            pretrained=False,
            num_classes=int(config.get("num_classes", 1000)),
            **config.get("model_args", {}),
        )
    except (RuntimeError, TypeError, ValueError) as error:
        raise BackboneError(f"{config_path}: timm can't build it: {_first_line(error)}") from error
    _load_strictly(network, weights_path)
    return TimmBackbone(f"file/{folder}", network, config["pretrained_cfg"])


def lite_network(model: str, tensors: Mapping[str, npt.NDArray[Any]], architecture: LiteArchitecture) -> StagedNetwork:
    """The bundled weights in timm's network of the same name, its stages split as the bundled graph's."""
    network = timm.create_model(model, pretrained=False)
    state = {lite_key(key, architecture): torch.from_numpy(_writable(value)) for key, value in tensors.items()}
    network.load_state_dict(state, strict=True)
    names, modules = _split(network)
    assert all(norm.eps == BATCHNORM_EPSILON for norm in network.modules() if isinstance(norm, nn.BatchNorm2d))
    preprocessing = _preprocessing(model, network.pretrained_cfg)
    return StagedNetwork(names, modules, functools.partial(_pooled, network), preprocessing)


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


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, so that equal weights have equal hashes in any container."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def _split(network: nn.Module) -> tuple[list[str], list[nn.Module]]:
    """Names and modules of the stages, by family."""
    if isinstance(network, EfficientNet):
        blocks = list(network.blocks.children())
        names = ["conv_stem", *(f"blocks.{i}" for i in range(len(blocks))), "conv_head"]
        stem, head = nn.Sequential(network.conv_stem, network.bn1), nn.Sequential(network.conv_head, network.bn2)
        return names, [stem, *blocks, head]
    if isinstance(network, ResNet):
        stem = nn.Sequential(network.conv1, network.bn1, network.act1, network.maxpool)
        layers = [network.layer1, network.layer2, network.layer3, network.layer4]
        return ["stem", "layer1", "layer2", "layer3", "layer4"], [stem, *layers]
    return ["network"], [_Features(network)]


class _Features(nn.Module):
    """A network without its pooling and classifier, as one module."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.forward_features(images)


def _pooled(network: nn.Module, value: Tensor) -> Tensor:
    return network.forward_head(value, pre_logits=True)


def _preprocessing(name: str, config: Mapping[str, Any]) -> Preprocessing:
    channels, height, width = config["input_size"]
    interpolation = config.get("interpolation", "bicubic")
    if channels != 3 or height != width or interpolation not in ("bicubic", "bilinear"):
        raise BackboneError(f"{name}: takes {channels} x {height} x {width}, {interpolation}; only square RGB is known")
    mean, std = (tuple(float(part) for part in config[key]) for key in ("mean", "std"))
    crop = float(config.get("crop_pct") or height / config.get("resize", height))
    return Preprocessing(height, crop, interpolation, mean, std)  # type: ignore[arg-type]


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
        if not isinstance(config["architecture"], str) or not isinstance(config["pretrained_cfg"], dict):
            raise TypeError("architecture must be a name and pretrained_cfg an object")
        return dict(config)
    except (ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"{path}: not a timm configuration ({error})") from error


def _load_strictly(network: nn.Module, path: Path) -> None:
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BackboneError(f"{path}: not a readable safetensors file ({_first_line(error)})") from error
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise BackboneError(f"{path}: made for another architecture: {str(error).splitlines()[-1].strip()}") from error
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise BackboneError(
            f"{path}: made for another architecture: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}"
        )


def _spdx(licence: str | None) -> str:
    known = {"apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause", "bsd-2-clause": "BSD-2-Clause"}
    return known.get((licence or "").lower(), licence or "unknown")


def _hub_has_an_address() -> bool:
    """Whether the hub's name can be resolved: without a network, its client would try again for half a minute."""
    try:
        socket.getaddrinfo(urlsplit(huggingface_hub.constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def _is_connection_problem(error: BaseException) -> bool:
    """Whether a network error lies anywhere in the chain; the hub's client wraps them in its own types."""
    seen: BaseException | None = error
    while seen is not None:
        module = type(seen).__module__.split(".")[0]
        if isinstance(seen, OSError) or module in ("huggingface_hub", "httpx", "requests", "urllib3"):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _writable(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return array.copy()
