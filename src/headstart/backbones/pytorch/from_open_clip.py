"""Image towers of open_clip: image in, projected embedding out; the text tower is never built."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import CLIPVisionCfg, _build_vision_tower
from open_clip.pretrained import download_pretrained
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import Tensor, nn

from headstart.backbones.declared_preprocessing import declared
from headstart.backbones.hub_access import hub_is_reachable, not_here
from headstart.backbones.hub_folders import card_licence, local_folder, read_config
from headstart.backbones.names import unknown_backbone
from headstart.backbones.pytorch.checkpoints import load_strictly, read_state
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.backbones.pytorch.sizes import REFUSALS, cannot_be_resampled, check_size, patch_side
from headstart.errors import BackboneError
from headstart.imaging.preprocessing import Preprocessing

_POSITIONS = ("positional_embedding", "attnpool.positional_embedding")


@dataclass(frozen=True)
class _Tower:
    """What open_clip needs to know to build an image tower."""

    width: int
    vision: Mapping[str, Any]
    quick_gelu: bool

    @property
    def native(self) -> int:
        """Side of the input that the weights were made for."""
        side = self.vision.get("image_size", CLIPVisionCfg.image_size)
        return int(side[0] if isinstance(side, list | tuple) else side)

    @property
    def definition(self) -> str:
        """What shapes the computation: the same for a name and for a folder with its weights."""
        return json.dumps(["open_clip", self.width, dict(sorted(self.vision.items())), self.quick_gelu])

    @property
    def is_timm(self) -> bool:
        """Whether the tower is a timm network in open_clip's wrapper."""
        return bool(self.vision.get("timm_model_name"))

    def build(self, side: int) -> nn.Module:
        """The tower with random weights, for inputs of ``side`` pixels; its output is one tensor (N, D)."""
        vision = {**self.vision, "image_size": self.native if self.is_timm else side}
        vision |= {"timm_model_pretrained": False, "output_tokens": False}
        tower = _build_vision_tower(self.width, CLIPVisionCfg(**vision), self.quick_gelu)
        if self.is_timm and side != self.native:
            tower.set_input_size(side)
        return tower


def model_names() -> frozenset[str]:
    """Every ``MODEL.TAG`` that open_clip publishes weights for."""
    return frozenset(f"{model}.{tag}" for model, tag in open_clip.list_pretrained())


def load(model: str, *, size: int | None = None) -> LoadedNetwork:
    """The image tower of ``open_clip/<MODEL.TAG>``, from ``HEADSTART_WEIGHTS``, the hub's local cache, or the hub.

    The embedding is the one that images and texts share, after the projection and before it is scaled to length 1.
    Weights that were trained with the quick form of GELU get it, whatever the model's own configuration says. Where
    open_clip pads an image to a square, the centre crop of the same size is taken.

    Parameters
    ----------
    model:
        Architecture and weights as open_clip names them, with a dot between: ``"ViT-B-32.laion2b_s34b_b79k"``. The
        architecture alone will do where there is one set of weights for it.
    size:
        Side of the input in pixels, where another than the weights' own is wanted; position embeddings are resampled.

    Raises
    ------
    OfflineError
        If the weights are not in the cache and the hub is switched off or can't be reached.
    BackboneError
        If the name is unknown, or the weights are damaged or don't fit.
    OptionError
        If the architecture can't take the size.
    """
    name = f"open_clip/{model}"
    if (folder := local_folder("open_clip", model)) is not None:
        return _from_folder(folder, size, name=name)
    architecture, tag = _published(name, *model.partition(".")[::2])
    config, weights = open_clip.get_model_config(architecture), open_clip.get_pretrained_cfg(architecture, tag)
    quick = bool(config.get("quick_gelu") or weights.get("quick_gelu"))
    tower = _Tower(int(config["embed_dim"]), config["vision_cfg"], quick)
    images = merge_preprocess_dict(PreprocessCfg(), weights)
    preprocessing = _preprocessing(name, tower, images, size)
    path = _checkpoint(name, weights)
    return _loaded(name, tower, preprocessing, read_state(path), str(path), card_licence(path.parent))


def load_folder(folder: Path, *, size: int | None = None) -> LoadedNetwork:
    """The image tower that the folder's ``open_clip_config.json`` describes, with the weights beside it.

    Parameters
    ----------
    folder:
        As ``open_clip`` pushes it to the hub: ``model_cfg`` and ``preprocess_cfg``, beside
        ``open_clip_model.safetensors`` or another checkpoint of the whole model.
    size:
        As in :func:`load`.

    Raises
    ------
    BackboneError
        If a file is missing or damaged, the configuration asks for something unknown, or tensors don't fit.
    OptionError
        If the architecture can't take the size.
    """
    folder = folder.expanduser().resolve()  # the name goes into saved models, which may be opened from elsewhere
    return _from_folder(folder, size, name=f"file/{folder}")


def _from_folder(folder: Path, size: int | None, *, name: str) -> LoadedNetwork:
    path, config = read_config(folder)
    tower = _read_tower(path, config.get("model_cfg"))
    images = config.get("preprocess_cfg") or {}
    if not isinstance(images, dict):
        raise BackboneError(f"{path}: preprocess_cfg must be an object")
    preprocessing = _preprocessing(str(path), tower, merge_preprocess_dict(PreprocessCfg(), images), size)
    return _loaded(name, tower, preprocessing, read_state(folder), str(folder), card_licence(folder))


def _loaded(
    name: str, tower: _Tower, preprocessing: Preprocessing, state: Mapping[str, Tensor], where: str, licence: str
) -> LoadedNetwork:
    try:
        network = tower.build(tower.native)
    except REFUSALS as error:
        raise BackboneError(f"{where}: open_clip can't build its image tower ({error})") from error
    load_strictly(network, _of_images(network, state), where)
    network.eval()
    if preprocessing.size != tower.native:
        try:
            network = _resized(network, tower, preprocessing.size)
        except REFUSALS as error:
            raise cannot_be_resampled(name, preprocessing.size, tower.native) from error
        check_size(name, network, preprocessing.size, tower.native, patch_side(network), tower.build)
    return LoadedNetwork(name, network, (), preprocessing, licence, tower.definition)


def _of_images(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image tower's part of a checkpoint of the whole model, under open_clip's names."""
    plain = {key.removeprefix("module."): tensor for key, tensor in state.items()}  # of training on several GPUs
    translated = convert_state_dict(types.SimpleNamespace(visual=network), plain)
    own = {key.removeprefix("visual."): value for key, value in translated.items() if key.startswith("visual.")}
    return own or translated  # a checkpoint of the tower alone has no such prefix


def _resized(network: nn.Module, tower: _Tower, size: int) -> nn.Module:
    """The same weights for another size."""
    if tower.is_timm:
        network.set_input_size(size)
        return network
    other = tower.build(size)
    state = network.state_dict()
    shapes = other.state_dict()
    for key in _POSITIONS:
        if key in state and state[key].shape != shapes[key].shape:
            state[key] = _resampled(state[key], shapes[key].shape[0])
    other.load_state_dict(state)
    return other.eval()


def _resampled(positions: Tensor, length: int) -> Tensor:
    """Position embeddings (1 + side², D), that of the class token first, for ``length`` tokens, as open_clip does."""
    before, after = round((len(positions) - 1) ** 0.5), round((length - 1) ** 0.5)
    grid = positions[1:].reshape(1, before, before, -1).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, size=(after, after), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:1], grid.permute(0, 2, 3, 1).reshape(after * after, -1)])


def _preprocessing(where: str, tower: _Tower, images: Mapping[str, Any], size: int | None) -> Preprocessing:
    return declared(
        where,
        side=tower.native,
        share=1.0,  # the shorter side is resized to the input's
        interpolation="bilinear" if images["interpolation"] == "bilinear" else "bicubic",  # as open_clip reads it
        mean=images["mean"],
        std=images["std"],
        size=size,
        squash=images["resize_mode"] == "squash",
    )


def _read_tower(path: Path, config: Any) -> _Tower:
    """The tower of a configuration that anybody may have written."""
    known = {field.name for field in dataclasses.fields(CLIPVisionCfg)}
    vision = config.get("vision_cfg") if isinstance(config, dict) else None
    width = config.get("embed_dim") if isinstance(config, dict) else None
    if not isinstance(vision, dict) or not isinstance(width, int):
        raise BackboneError(f"{path}: model_cfg must hold embed_dim, a number, and vision_cfg, an object")
    if unknown := sorted(set(vision) - known):
        raise BackboneError(f"{path}: vision_cfg has {', '.join(unknown)}, which this version of open_clip has not")
    named = vision.get("timm_model_name")
    if named is not None and not (isinstance(named, str) and ":" not in named and timm.is_model(named)):
        raise BackboneError(f"{path}: timm has no architecture {named!r}")
    side = vision.get("image_size", CLIPVisionCfg.image_size)
    sides = side if isinstance(side, list) else [side]
    if not all(isinstance(one, int) and one >= 1 for one in sides) or len(set(sides)) != 1:
        raise BackboneError(f"{path}: image_size {side!r} is not the side of a square in pixels")
    return _Tower(width, vision, bool(config.get("quick_gelu")))


def _published(name: str, architecture: str, tag: str) -> tuple[str, str]:
    """Architecture and tag, where open_clip has both."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not tags:
        raise BackboneError(unknown_backbone(name))
    if not tag and len(tags) == 1:
        return architecture, tags[0]
    if tag not in tags:
        raise BackboneError(
            f"{name}: which weights? there are {', '.join(f'{architecture}.{known}' for known in tags)}"
        )
    return architecture, tag


def _checkpoint(name: str, weights: Mapping[str, Any]) -> Path:
    """The weights' file in the local cache, fetched if need be."""
    reachable = hub_is_reachable()
    try:
        return Path(download_pretrained({**weights, "url": ""}))
    except (OSError, RuntimeError, ValueError) as error:
        if not reachable:
            raise not_here(name) from error
        raise BackboneError(f"{name}: its weights can't be fetched ({str(error).splitlines()[0]})") from error
