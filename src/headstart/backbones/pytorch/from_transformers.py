"""Vision models of transformers: from a folder as the hub lays it out, the hub's local cache, or the hub."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor, nn
from transformers.utils import logging

from headstart.backbones.hub_access import hub_is_reachable, is_connection_problem, not_here
from headstart.backbones.hub_folders import card_licence, local_folder, read_config
from headstart.backbones.names import did_you_mean
from headstart.backbones.processor_configs import preprocessing_of
from headstart.backbones.pytorch.checkpoints import read_state, refuse_non_finite
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.backbones.pytorch.sizes import REFUSALS, cannot_be_resampled, check_size
from headstart.backbones.pytorch.transformers_forward import embedding_of
from headstart.errors import BackboneError

_TEXT_BESIDE = {"clip": "vision_model.", "siglip": "vision_model.", "siglip2": "vision_model."}
_WITHOUT_POOLER = ("vit", "deit")
_RANDOM = ("vit_mae", "videomae")
_IGNORED = ("mask_token", "position_ids", "num_batches_tracked")
_NOT_SHAPING = {
    *("_name_or_path", "architectures", "dtype", "id2label", "label2id", "torch_dtype", "transformers_version"),
}
_POSITIONS = ("position_embeddings", "position_embedding.weight")
_FILES = ("config.json", "preprocessor_config.json", "processor_config.json", "README.md")
_SAFE = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")


@dataclass(frozen=True)
class _Recipe:
    """One vision model: its class, its configuration, and which of a checkpoint's tensors are its."""

    folder: Path
    config: Any
    prefix: str

    @property
    def kind(self) -> str:
        return str(self.config.model_type)

    @property
    def native(self) -> int:
        """Side of the input that the position embeddings were made for; 0 where the model has none."""
        side = getattr(self.config, "image_size", None) or 0
        return int(side[0] if isinstance(side, list | tuple) else side)

    @property
    def patch(self) -> int:
        """Side of the patches that must fill the image, 1 where there are none or the border is padded."""
        fills = hasattr(self.config, "num_attention_heads") and not hasattr(self.config, "window_size")
        return int(getattr(self.config, "patch_size", 1)) if fills else 1

    @property
    def definition(self) -> str:
        """What shapes the computation: the file's own words, since defaults come and go with versions."""
        _, plain = read_config(self.folder)
        shaping = {key: value for key, value in plain.items() if key not in _NOT_SHAPING}
        return json.dumps(["transformers", self.kind, shaping], sort_keys=True)

    def at(self, side: int) -> Any:
        """The configuration for inputs of ``side`` pixels."""
        config = type(self.config).from_dict(self.config.to_dict())
        if self.native:
            config.image_size = side
        return config

    def build(self, side: int) -> nn.Module:
        """The network with random weights, from the image to the embedding."""
        config = self.at(side)
        return embedding_of(self.model_class(config, **self.options), self.kind, side).eval()

    @property
    def options(self) -> dict[str, Any]:
        """Heads that are trained for something else, or not at all, are not built."""
        return {"add_pooling_layer": False} if self.kind in _WITHOUT_POOLER else {}

    @property
    def model_class(self) -> Any:
        found = transformers.MODEL_MAPPING[type(self.config)]
        return found[0] if isinstance(found, tuple) else found


def load(model: str, *, size: int | None = None) -> LoadedNetwork:
    """The vision model ``transformers/<id>`` from ``HEADSTART_WEIGHTS``, the hub's local cache, or the hub.

    No code of a repository is ever run, and of pickled checkpoints tensors alone are read. Of models of images and
    texts the image tower is taken. :func:`embedding_of` says what the embedding is.

    Parameters
    ----------
    model:
        Repository of the hub, for example ``"facebook/dinov2-small"``.
    size:
        Side of the input in pixels, where another than the image processor's is wanted; position embeddings are
        resampled.

    Raises
    ------
    OfflineError
        If the weights are not in the cache and the hub is switched off or can't be reached.
    BackboneError
        If the model is unknown, takes no images or needs code of its own, or the weights are damaged or don't fit.
    OptionError
        If the architecture can't take the size.
    """
    name = f"transformers/{model}"
    folder = local_folder("transformers", model) or _snapshot(name, model)
    return _from_folder(folder, size, name=name)


def load_folder(folder: Path, *, size: int | None = None) -> LoadedNetwork:
    """The vision model of a folder with ``config.json``, ``preprocessor_config.json`` and the weights.

    Parameters
    ----------
    folder:
        As ``save_pretrained`` of model and image processor write it.
    size:
        As in :func:`load`.

    Raises
    ------
    BackboneError
        If a file is missing or damaged, the model takes no images or needs code of its own, or tensors don't fit.
    OptionError
        If the architecture can't take the size.
    """
    folder = folder.expanduser().resolve()  # the name goes into saved models, which may be opened from elsewhere
    return _from_folder(folder, size, name=f"file/{folder}")


def _from_folder(folder: Path, size: int | None, *, name: str) -> LoadedNetwork:
    recipe = _read_recipe(folder)
    own = preprocessing_of(folder, size=None).size
    preprocessing = preprocessing_of(folder, size=size)
    model = _filled(recipe, read_state(folder))
    try:
        model = _resized(model, recipe, preprocessing.size)
        network = embedding_of(model, recipe.kind, preprocessing.size).eval()
    except REFUSALS as error:
        raise cannot_be_resampled(name, preprocessing.size, recipe.native) from error
    if preprocessing.size != own:
        check_size(name, network, preprocessing.size, own, recipe.patch, recipe.build)
    return LoadedNetwork(name, network, (), preprocessing, card_licence(folder), recipe.definition)


def _filled(recipe: _Recipe, state: dict[str, Tensor]) -> nn.Module:
    """The model at the size of its weights, every tensor of both accounted for, by transformers' own renaming."""
    where = str(recipe.folder)
    if recipe.prefix and any(key.startswith(recipe.prefix) for key in state):
        state = {key: tensor for key, tensor in state.items() if key.startswith(recipe.prefix)}
    refuse_non_finite(state, where)
    logging.disable_progress_bar()
    try:
        model, report = recipe.model_class.from_pretrained(
            None,
            config=recipe.config,
            state_dict=state,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
            trust_remote_code=False,
            **recipe.options,
        )
    except REFUSALS as error:
        raise BackboneError(f"{where}: transformers can't build it: {str(error).splitlines()[0]}") from error
    missing = sorted(key for key in report["missing_keys"] if not key.endswith(_IGNORED))
    unexpected = sorted(key for key in report["unexpected_keys"] if _is_of_the_model(key, recipe, state))
    mismatched = sorted(str(key[0]) if isinstance(key, tuple) else str(key) for key in report["mismatched_keys"])
    found = ((missing, "tensors missing"), (unexpected, "unexpected"), (mismatched, "of another shape"))
    if missing or unexpected or mismatched:
        counts = ", ".join(f"{len(keys)} {what} ({', '.join(keys[:3])})" for keys, what in found if keys)
        raise BackboneError(f"{where}: made for another architecture than this {recipe.model_class.__name__}: {counts}")
    return model.float().eval()


def _is_of_the_model(key: str, recipe: _Recipe, state: Mapping[str, Tensor]) -> bool:
    """Whether a left-over tensor is the model's own: heads of other tasks and unused poolers lie beside it."""
    if key.endswith(_IGNORED):
        return False
    prefix = f"{recipe.model_class.base_model_prefix}."
    if any(name.startswith(prefix) for name in state):
        return key.startswith(prefix) and not key.startswith(f"{prefix}pooler.")
    return not key.startswith(("pooler.", "classifier.", "head."))


def _resized(model: nn.Module, recipe: _Recipe, size: int) -> nn.Module:
    """The same weights for inputs of ``size`` pixels, position embeddings resampled as transformers does."""
    if size == recipe.native or not recipe.native:
        return model
    other = recipe.model_class(recipe.at(size), **recipe.options)
    state, shapes = model.state_dict(), other.state_dict()
    for key, tensor in state.items():
        if tensor.shape != shapes[key].shape and key.endswith(_POSITIONS):
            state[key] = _resampled(tensor, shapes[key].shape, recipe, size)
    other.load_state_dict(state)
    return other.eval()


def _resampled(positions: Tensor, shape: torch.Size, recipe: _Recipe, size: int) -> Tensor:
    """Position embeddings ((1,) tokens, D) on another square grid; those before the grid (class, register) stay."""
    table, length = positions.reshape(-1, positions.shape[-1]), math.prod(shape[:-1])
    patch = recipe.config.patch_size
    before, after = recipe.native // patch, size // patch
    extra = len(table) - before**2
    if extra < 0 or extra + after**2 != length:
        raise ValueError(f"{len(table)} position embeddings are not a grid of {before} x {before}")
    grid = table[extra:].reshape(1, before, before, -1).permute(0, 3, 1, 2)
    smooth = recipe.kind == "dinov2_with_registers"  # as that model does at run time, and the others don't
    grid = nn.functional.interpolate(grid, (after, after), mode="bicubic", align_corners=False, antialias=smooth)
    return torch.cat([table[:extra], grid.permute(0, 2, 3, 1).reshape(after**2, -1)]).reshape(shape)


def _read_recipe(folder: Path) -> _Recipe:
    path, plain = read_config(folder)
    if plain.get("quantization_config"):
        raise BackboneError(f"{path}: quantised weights are not supported; use the checkpoint in float")
    kind = str(plain.get("model_type"))
    if kind not in transformers.CONFIG_MAPPING:
        code = "; code that comes with a model is never run" if plain.get("auto_map") else ""
        raise BackboneError(f"{path}: transformers {transformers.__version__} has no model type {kind!r}{code}")
    try:
        config = transformers.CONFIG_MAPPING[kind].from_dict(_without_kernels(plain))
        config = getattr(config, "vision_config", config)
        recipe = _Recipe(folder, config, _TEXT_BESIDE.get(kind, ""))
        if "pixel_values" not in recipe.model_class.main_input_name or recipe.kind in _RANDOM:
            raise ValueError(f"{kind} is not a network from one image to features")
        if getattr(config, "num_channels", 3) != 3:
            raise ValueError(f"it takes {config.num_channels} channels; only RGB networks are supported")
    except REFUSALS as error:
        raise BackboneError(f"{path}: {str(error).splitlines()[0]}") from error
    return recipe


def _without_kernels(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the keys that can name attention kernels to be fetched and run."""
    return {
        key: _without_kernels(value) if isinstance(value, dict) else value
        for key, value in plain.items()
        if "attn_implementation" not in key
    }


def _snapshot(name: str, model: str) -> Path:
    """The repository's files in the local cache, fetched if need be: safetensors where there are any."""
    reachable = hub_is_reachable()
    fetch: Callable[..., str] = huggingface_hub.snapshot_download
    try:
        folder = Path(fetch(model, allow_patterns=[*_FILES, *_SAFE], local_files_only=not reachable))
        if reachable and not any(folder.glob("*.safetensors")):
            folder = Path(fetch(model, allow_patterns=[*_FILES, *_PICKLED]))
    except LocalEntryNotFoundError as error:
        raise not_here(name) from error
    except (OSError, ValueError, RuntimeError) as error:
        if not reachable or (is_connection_problem(error) and not _is_an_answer(error)):
            raise not_here(name) from error
        raise BackboneError(f"{name}: {str(error).splitlines()[0]} {did_you_mean(name)}".rstrip()) from error
    if not reachable and not [*folder.glob("*.safetensors"), *folder.glob("*.bin")]:
        raise not_here(name)
    return folder


def _is_an_answer(error: BaseException) -> bool:
    """Whether the hub did answer: that there is no such repository, or that it may not be read."""
    return getattr(error, "response", None) is not None
