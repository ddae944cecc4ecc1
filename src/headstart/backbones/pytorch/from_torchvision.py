"""Networks from torchvision: by name with the weights it publishes, or from a local folder."""

from __future__ import annotations

import re
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.hub
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from headstart.backbones.declared_preprocessing import declared, kept_share
from headstart.backbones.hub_access import is_reachable, not_here
from headstart.backbones.hub_folders import local_folder, read_config, weights_root
from headstart.backbones.licences import normalise
from headstart.backbones.names import unknown_backbone
from headstart.backbones.pytorch.checkpoints import load_strictly, read_state
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.backbones.pytorch.sizes import REFUSALS, check_size, patch_side
from headstart.errors import BackboneError
from headstart.files import sha256_of
from headstart.imaging.preprocessing import Preprocessing

_AUXILIARY = re.compile(r"(AuxLogits|aux1|aux2)\.")
_OLD_NAMES = (
    # as torchvision's own loader renames them: densenets had a dot, vision transformers named their two layers
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(mlp)\.linear_2\."), r"\1.3."),
)
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class _Recipe:
    """How torchvision is asked for one network, and the side its weights were made for."""

    architecture: str
    classes: int
    native: int

    def build(self, side: int) -> nn.Module:
        """The network with random weights, for inputs of ``side`` pixels where that shapes it."""
        arguments: dict[str, Any] = {"num_classes": self.classes}
        if self.architecture.startswith("vit_"):
            arguments["image_size"] = side
        elif self.architecture.startswith("maxvit"):
            arguments["input_size"] = (side, side)
        elif self._has_auxiliary_heads:
            arguments |= {"aux_logits": False, "init_weights": False}
        return models.get_model_builder(self.architecture)(weights=None, **arguments)

    def preprocessing(self, transforms: Any, where: str, size: int | None) -> Preprocessing:
        """What the weights' own transforms do; the resized side comes back exactly from size and share."""
        (resized,), (cropped,) = transforms.resize_size, transforms.crop_size
        mean, std = transforms.mean, transforms.std
        if self._has_auxiliary_heads:
            # Google's weights: torchvision normalises for ImageNet and lets the network undo it on the first three
            # channels, which together is this.
            assert (tuple(mean), tuple(std)) == _IMAGENET
            mean = std = _HALF
        return declared(
            where,
            side=cropped,
            share=kept_share(resized, cropped),
            interpolation=transforms.interpolation.value,
            mean=mean,
            std=std,
            size=size,
        )

    @property
    def _has_auxiliary_heads(self) -> bool:
        return self.architecture in ("inception_v3", "googlenet")


def model_names() -> frozenset[str]:
    """Every classification architecture of torchvision, bare and with the name of each of its weights."""
    architectures = models.list_models(module=models)
    tagged = (f"{name}.{weights.name}" for name in architectures for weights in models.get_model_weights(name))
    return frozenset(architectures) | frozenset(tagged)


def load(model: str, *, size: int | None = None) -> LoadedNetwork:
    """The network ``torchvision/<model>`` with the weights that torchvision publishes.

    They are looked for as a folder or file in ``HEADSTART_WEIGHTS``, then in torch's hub cache, then fetched into it;
    the hash in a file's name must be that of its bytes. Auxiliary heads are left out.

    Parameters
    ----------
    model:
        One of :func:`model_names`: ``"resnet50"`` takes torchvision's default weights, ``"resnet50.IMAGENET1K_V1"``
        those of that name.
    size:
        Side of the input in pixels, where another than the weights' own is wanted; the share of the centre crop
        stays. Position embeddings of vision transformers are resampled as torchvision does.

    Raises
    ------
    OfflineError
        If the weights are not on this machine and the network is switched off or can't be reached.
    BackboneError
        If the name is unknown, or the weights are damaged or don't fit.
    OptionError
        If the architecture can't take the size.
    """
    name = f"torchvision/{model}"
    architecture, _, tag = model.partition(".")
    if architecture not in models.list_models(module=models):
        raise BackboneError(unknown_backbone(name))
    if (folder := local_folder("torchvision", model)) is not None:
        return _from_folder(folder, size, name=name, architecture=architecture)
    weights = _published(name, architecture, tag)
    recipe = _Recipe(architecture, len(weights.meta["categories"]), weights.transforms().crop_size[0])
    preprocessing = recipe.preprocessing(weights.transforms(), name, size)
    path = _checkpoint(name, weights.url)
    licence = "CC-BY-NC-4.0" if "SWAG" in weights.name else "BSD-3-Clause"  # of SWAG's authors; of torchvision
    return _loaded(name, recipe, preprocessing, read_state(path), str(path), licence)


def load_folder(folder: Path, *, size: int | None = None) -> LoadedNetwork:
    """The network that the folder's ``config.json`` names, with the weights beside it, loaded strictly.

    The configuration is timm's with ``"library": "torchvision"``: ``architecture``, ``num_classes``, and
    ``pretrained_cfg`` with ``input_size``, ``resize`` (pixels of the shorter side, in place of ``crop_pct``),
    ``interpolation``, ``mean``, ``std`` and ``license``.

    Parameters
    ----------
    folder:
        Laid out as the hub does.
    size:
        As in :func:`load`.

    Raises
    ------
    BackboneError
        If a file is missing or damaged, the architecture is unknown to torchvision, or tensors don't fit.
    OptionError
        If the architecture can't take the size.
    """
    folder = folder.expanduser().resolve()  # the name goes into saved models, which may be opened from elsewhere
    return _from_folder(folder, size, name=f"file/{folder}", architecture=None)


def _from_folder(folder: Path, size: int | None, *, name: str, architecture: str | None) -> LoadedNetwork:
    path, config = read_config(folder)
    named, declaration = config.get("architecture"), config.get("pretrained_cfg")
    if named not in models.list_models(module=models) or not isinstance(declaration, dict):
        raise BackboneError(f"{path}: architecture must be one of torchvision's and pretrained_cfg an object")
    if architecture not in (None, named):
        raise BackboneError(f"{path}: holds a {named}, not the {architecture} that {name} asks for")
    classes = config.get("num_classes", 1000)
    if config.get("model_args") or not isinstance(classes, int) or not 0 <= classes <= 100_000:
        raise BackboneError(f"{path}: num_classes must be a number, and there are no model_args for torchvision")
    preprocessing = _declared(path, declaration, size)
    recipe = _Recipe(str(named), max(classes, 1), _declared(path, declaration, None).size)
    licence = normalise(declaration.get("license"))
    return _loaded(name, recipe, preprocessing, read_state(folder), str(folder), licence)


def _loaded(
    name: str,
    recipe: _Recipe,
    preprocessing: Preprocessing,
    state: Mapping[str, Tensor],
    where: str,
    licence: str,
) -> LoadedNetwork:
    try:
        network = recipe.build(recipe.native)
    except REFUSALS as error:
        raise BackboneError(f"{where}: torchvision can't build it for {recipe.native} pixels ({error})") from error
    classifier = _classifier(network, recipe.classes)
    load_strictly(network, _renamed(state), where, classifiers=[classifier])
    network.eval()
    if preprocessing.size != recipe.native:
        network = _resized(name, network, preprocessing.size, recipe)
        check_size(name, network, preprocessing.size, recipe.native, patch_side(network), recipe.build)
    return LoadedNetwork(name, network, (classifier,), preprocessing, licence, f"torchvision {recipe.architecture}")


def _resized(name: str, network: nn.Module, size: int, recipe: _Recipe) -> nn.Module:
    """The network rebuilt for another size where that shapes it, with its position embeddings resampled."""
    state = network.state_dict()
    try:
        other = recipe.build(size).eval()
        if isinstance(network, VisionTransformer):
            state = interpolate_embeddings(size, network.patch_size, state)
        other.load_state_dict(state)
    except REFUSALS:
        return network  # the blank image, which comes next, is refused with the sizes that work
    return other


def _classifier(network: nn.Module, classes: int) -> str:
    """Path of the last layer, linear or convolution, that gives one number a class."""
    paths: list[str] = [
        path
        for path, module in network.named_modules()
        if getattr(module, "out_features", getattr(module, "out_channels", None)) == classes
    ]
    return paths[-1]


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint under today's names and without auxiliary heads, which serve training from scratch alone."""
    return {_today(key): tensor for key, tensor in state.items() if not _AUXILIARY.match(key)}


def _today(key: str) -> str:
    for old, new in _OLD_NAMES:
        key = old.sub(new, key)
    return key


def _declared(path: Path, declaration: Mapping[str, Any], size: int | None) -> Preprocessing:
    sides, resized = declaration.get("input_size"), declaration.get("resize")
    if not isinstance(sides, list) or len(sides) != 3 or sides[0] != 3:
        raise BackboneError(f"{path}: input_size {sides!r} is not [3, height, width]; only RGB networks are supported")
    share = declaration.get("crop_pct")
    if share is None:
        if not isinstance(resized, int) or not isinstance(sides[2], int) or resized < sides[2] > 0:
            raise BackboneError(f"{path}: give crop_pct, or resize: the pixels of the shorter side, {sides[2]} or more")
        share = kept_share(resized, sides[2])
    return declared(
        str(path),
        side=sides[1:],
        share=share,
        interpolation=declaration.get("interpolation", "bilinear"),
        mean=declaration.get("mean"),
        std=declaration.get("std"),
        size=size,
    )


def _published(name: str, architecture: str, tag: str) -> Any:
    """The entry of torchvision's weights enum."""
    published = models.get_model_weights(architecture)
    if not tag:
        return published.DEFAULT
    if tag not in published.__members__:
        raise BackboneError(f"{name}: no such weights; there are {', '.join(published.__members__)}")
    return published[tag]


def _checkpoint(name: str, url: str) -> Path:
    """The weights file of a URL on this machine, fetched if need be, its bytes compared with the hash in its name."""
    file_name = url.rpartition("/")[2]
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    root = weights_root()
    places = [*([root / "torchvision", root] if root else []), cache]
    path = next((place / file_name for place in places if (place / file_name).is_file()), None)
    if path is None:
        path = cache / file_name
        _download(name, url, path)
    expected = torch.hub.HASH_REGEX.search(file_name)
    if expected is not None and not sha256_of(path).startswith(expected[1]):
        raise BackboneError(f"{path}: its bytes are not those that its name promises (a download that did not finish?)")
    return path


def _download(name: str, url: str, path: Path) -> None:
    if not is_reachable(url):
        raise not_here(name, f"torch's cache ({path})")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except urllib.error.URLError as error:
        raise not_here(name, f"torch's cache ({path})") from error
