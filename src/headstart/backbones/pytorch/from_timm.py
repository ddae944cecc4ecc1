"""Networks from timm: by name from the hub, its local cache or a local folder, at the input size that is wanted."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from headstart.backbones.declared_preprocessing import declared
from headstart.backbones.hub_access import hub_is_reachable, is_connection_problem, not_here
from headstart.backbones.hub_folders import local_folder, read_config
from headstart.backbones.licences import normalise
from headstart.backbones.names import unknown_backbone
from headstart.backbones.pytorch.checkpoints import (
    describe_misfit,
    fit_to,
    load_strictly,
    read_state,
    refuse_non_finite,
)
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.backbones.pytorch.sizes import REFUSALS, cannot_be_resampled, check_size, patch_side
from headstart.errors import BackboneError
from headstart.imaging.preprocessing import Preprocessing

_FAILURES = (OSError, SafetensorError, pickle.UnpicklingError, EOFError, *REFUSALS)
_NOT_FROM_FILES = {
    *("cache_dir", "checkpoint_path", "exportable", "feature_cfg", "feature_cls", "features_only", "in_chans"),
    *("kwargs_filter", "model_cfg", "model_name", "no_jit", "num_classes", "out_indices", "pruned", "scriptable"),
}
_LARGEST_NUMBER = 100_000


@dataclass(frozen=True)
class _Recipe:
    """How timm is asked for one network: an architecture, the side its weights were made for, further arguments."""

    architecture: str
    native: int
    arguments: Mapping[str, Any]

    @property
    def definition(self) -> str:
        """What shapes the computation: the same for a name and for a folder with its weights."""
        shaping = {key: value for key, value in sorted(self.arguments.items()) if key != "num_classes"}
        return json.dumps(["timm", self.architecture.partition(".")[0], shaping])

    def build(self, side: int, **more: Any) -> nn.Module:
        """The network, for inputs of ``side`` pixels where that shapes it."""
        arguments = {**self.arguments, **more}
        if side == timm.get_pretrained_cfg_value(self.architecture, "input_size")[-1]:
            return timm.create_model(self.architecture, **arguments)
        try:
            return timm.create_model(self.architecture, img_size=side, **arguments)
        except TypeError as error:
            if "img_size" not in str(error):
                raise
            return timm.create_model(self.architecture, **arguments)


def model_names() -> frozenset[str]:
    """Every name that timm can build, with and without the tag of its weights."""
    return frozenset(timm.list_models()) | frozenset(timm.list_models(pretrained=True))


def load(model: str, *, size: int | None = None) -> LoadedNetwork:
    """The network ``timm/<model>`` with weights from ``HEADSTART_WEIGHTS``, the hub's local cache, or the hub.

    The preprocessing is that of timm's own validation: the size the weights were trained at and its crop share, not
    the larger test size that some weights declare besides. Where timm pads an image to a square, the centre crop
    with the same share is taken.

    Parameters
    ----------
    model:
        One of :func:`model_names`, for example ``"resnet18.a1_in1k"``.
    size:
        Side of the input in pixels, where another than the weights' own is wanted. Position embeddings and
        relative-position tables are resampled as timm does.

    Raises
    ------
    OfflineError
        If the weights are not in the cache and the hub is switched off or can't be reached.
    BackboneError
        If timm has no weights for this name, or they are damaged or don't fit.
    OptionError
        If the architecture can't take the size.
    """
    name = f"timm/{model}"
    if (folder := local_folder("timm", model)) is not None:
        return _from_folder(folder, size, name=name, architecture=model.partition(".")[0])
    if model not in model_names():
        raise BackboneError(unknown_backbone(name))
    registered = timm.get_pretrained_cfg(model)
    if registered is None or not registered.has_weights:
        raise BackboneError(f"{name}: timm has no weights for it; put them into a folder and name it file/DIR")
    preprocessing = _preprocessing(name, registered.to_dict(), size)
    recipe = _Recipe(model, registered.input_size[-1], {})
    hub_is_reachable()
    try:
        network = recipe.build(preprocessing.size, pretrained=True)
    except _FAILURES as error:
        if is_connection_problem(error):
            raise not_here(name) from error
        if preprocessing.size != recipe.native and isinstance(error, REFUSALS):
            raise cannot_be_resampled(name, preprocessing.size, recipe.native) from error
        raise BackboneError(f"{name}: {_first_line(error)}; if its file in the cache is damaged, delete it") from error
    refuse_non_finite(network.state_dict(), name)
    return _loaded(name, network, recipe, preprocessing, registered.license)


def untrained(model: str, *, size: int | None = None) -> LoadedNetwork:
    """The architecture of ``timm/<model>`` with random weights, the same each time: as fast and large as trained ones.

    Raises
    ------
    BackboneError, OptionError
        As :func:`load` does.
    """
    name = f"timm/{model}"
    registered = timm.get_pretrained_cfg(model)
    if registered is None:
        raise BackboneError(f"{name}: timm knows nothing about its images")
    preprocessing = _preprocessing(name, registered.to_dict(), size)
    recipe = _Recipe(model.partition(".")[0], registered.input_size[-1], {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = recipe.build(preprocessing.size)
    return _loaded(name, network, recipe, preprocessing, None)


def load_folder(folder: Path, *, size: int | None = None) -> LoadedNetwork:
    """The network that the folder's ``config.json`` names, with the weights beside it, loaded strictly.

    ``architecture`` and ``pretrained_cfg`` are read, and where given ``num_classes`` and ``model_args``: numbers,
    names and lists of these, nothing that makes timm fetch or read another file.

    Parameters
    ----------
    folder:
        Laid out as the hub does.
    size:
        As in :func:`load`.

    Raises
    ------
    BackboneError
        If a file is missing or damaged, the architecture or an argument is unknown to timm, or tensors don't fit.
    OptionError
        If the architecture can't take the size.
    """
    folder = folder.expanduser().resolve()  # the name goes into saved models, which may be opened from elsewhere
    return _from_folder(folder, size, name=f"file/{folder}", architecture=None)


def _from_folder(folder: Path, size: int | None, *, name: str, architecture: str | None) -> LoadedNetwork:
    path, config = read_config(folder)
    recipe, declaration = _read(path, config)
    if architecture not in (None, recipe.architecture):
        raise BackboneError(f"{path}: holds a {recipe.architecture}, not the {architecture} that {name} asks for")
    preprocessing = _preprocessing(str(path), declaration, size)
    state = read_state(folder)
    network = _filled(path, recipe, state)
    if preprocessing.size != recipe.native:
        try:
            network = _through_timm(network, recipe, preprocessing.size, state)
        except REFUSALS as error:
            raise cannot_be_resampled(name, preprocessing.size, recipe.native) from error
    return _loaded(name, network, recipe, preprocessing, declaration.get("license"))


def _filled(path: Path, recipe: _Recipe, state: Mapping[str, Tensor]) -> nn.Module:
    """The network at its weights' own size; checkpoints in an original author's format go through timm's tables."""
    try:
        network = recipe.build(recipe.native)
    except (*REFUSALS, MemoryError) as error:
        raise BackboneError(f"{path}: timm can't build it: {_first_line(error)}") from error
    heads = _heads(network)
    if describe_misfit(network, fit_to(network, state, heads)):
        try:
            return _through_timm(network, recipe, recipe.native, state)
        except REFUSALS:
            pass  # the misfit of the file as it is says more than that of its translation
    load_strictly(network, state, str(path.parent), classifiers=heads)
    return network


def _through_timm(like: nn.Module, recipe: _Recipe, side: int, state: Mapping[str, Tensor]) -> nn.Module:
    """The network for ``side`` pixels, its weights renamed and resampled by timm's own tables, then strictly loaded.

    ``like`` is the same network at any size; it says which tensors belong to the classifier.
    """
    heads = _heads(like)
    fitted = fit_to(like, state, heads)
    overlay = {"state_dict": fitted, "num_classes": like.num_classes, "label_offset": 0, "custom_load": False}
    network = recipe.build(side, pretrained=True, pretrained_cfg_overlay=overlay)
    network.pretrained_cfg.pop("state_dict")  # timm keeps a copy of the weights there
    return network


def _loaded(
    name: str, network: nn.Module, recipe: _Recipe, preprocessing: Preprocessing, licence: Any
) -> LoadedNetwork:
    network = network.float().eval()
    if preprocessing.size != recipe.native:
        check_size(name, network, preprocessing.size, recipe.native, patch_side(network), recipe.build)
    classifiers = tuple(path for path in _heads(network) if not isinstance(network.get_submodule(path), nn.Identity))
    return LoadedNetwork(name, network, classifiers, preprocessing, normalise(licence), recipe.definition)


def _heads(network: nn.Module) -> tuple[str, ...]:
    """Module paths of the classifiers, by timm's own record; some encoders inherit a record and have none."""
    paths = network.pretrained_cfg.get("classifier") or ()
    known = {path for path, _ in network.named_modules()}
    return tuple(path for path in ([paths] if isinstance(paths, str) else paths) if path in known)


def _preprocessing(where: str, declaration: Mapping[str, Any], size: int | None) -> Preprocessing:
    """timm's record of the images; a folder may give ``resize`` (the shorter side) in place of ``crop_pct``."""
    sides = declaration.get("input_size")
    if not isinstance(sides, list | tuple) or len(sides) != 3 or sides[0] != 3:
        raise BackboneError(f"{where}: input_size {sides!r} is not [3, height, width]; only RGB networks are supported")
    return declared(
        where,
        side=sides[1:],
        share=declaration.get("crop_pct") or 0.875,  # timm's own value where none is given
        interpolation=declaration.get("interpolation") or "bicubic",
        mean=declaration.get("mean"),
        std=declaration.get("std"),
        size=size,
        squash=declaration.get("crop_mode") == "squash",
    )


def _read(path: Path, config: Mapping[str, Any]) -> tuple[_Recipe, Mapping[str, Any]]:
    """What to build, and what the weights want to see."""
    architecture, declaration = config.get("architecture"), config.get("pretrained_cfg")
    if not isinstance(architecture, str) or not isinstance(declaration, dict):
        raise BackboneError(f"{path}: architecture must be a name and pretrained_cfg an object")
    architecture = architecture.partition(".")[0]
    if not timm.is_model(architecture):
        raise BackboneError(f"{path}: timm can't build it: no architecture is named {architecture!r}")
    classes = config.get("num_classes", declaration.get("num_classes", 1000))
    given = config.get("model_args") or {}
    if not _is_plain(classes) or not isinstance(classes, int) or classes < 0 or not isinstance(given, dict):
        raise BackboneError(f"{path}: num_classes must be a number and model_args an object")
    for key, value in given.items():
        if key.startswith("pretrained") or key in _NOT_FROM_FILES or not _is_plain(value):
            raise BackboneError(f"{path}: model_args may not set {key!r} to {value!r}; take it out")
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    side = arguments.pop("img_size", None) or _preprocessing(str(path), declaration, None).size
    native = side[0] if isinstance(side, tuple) else side
    return _Recipe(architecture, int(native), {**arguments, "num_classes": classes}), declaration


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is a number of sensible size, a word, or a list of these, at most two deep."""
    if isinstance(value, list):
        return depth < 2 and len(value) <= 1000 and all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, int | float):
        return abs(value) <= _LARGEST_NUMBER
    return value is None or isinstance(value, str)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
