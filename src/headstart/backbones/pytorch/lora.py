"""LoRA adapters: small trainable matrices beside frozen layers, added through peft, saved alone, merged at the end."""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from headstart.errors import ArtifactError, MissingExtraError, OptionError

_ADAPTER = "default"  # peft's name for the only adapter
_HEAD_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")  # of an attention module
_IMAGE_CHANNELS = 4  # grey, RGB, RGBA


class LoraModule(nn.Module):
    """A module whose own weights are frozen, with trainable adapters; called as the module itself.

    All but the adapters' dropout stays in eval mode, so that BatchNorm statistics and dropout of the frozen part
    never act as in training: ``train()`` sets it so from here upwards, and each call sets it again, in case
    ``train()`` was called on a part.
    """

    def __init__(self, tuner: Any) -> None:
        super().__init__()
        self.tuner = tuner
        self._dropouts = [part for path, part in self.named_modules() if path.endswith(".lora_dropout")]
        self.train(False)

    @property
    def module(self) -> nn.Module:
        """The adapted module."""
        adapted: nn.Module = self.tuner.model[0]
        return adapted

    def train(self, mode: bool = True) -> LoraModule:
        """Set the mode of the adapters; the frozen part stays in eval mode."""
        super().train(False)
        for dropout in self._dropouts:
            dropout.train(mode)
        self.training = mode
        return self

    def forward(self, *values: Any) -> Any:
        self.train(self.training)
        return self.module(*values)


def add_lora(module: nn.Module, *, rank: int = 8, alpha: float = 16, dropout: float = 0.0, seed: int = 0) -> LoraModule:
    """Freeze a copy of a module and put LoRA beside the layers that ``lora_targets`` names.

    A layer with weight W computes with W + (alpha / rank) B A, where only A (at first random, as torch starts a
    layer) and B (at first zero, so that nothing changes) learn: Hu et al., "LoRA: Low-Rank Adaptation of Large
    Language Models" (ICLR 2022). Stages that are adapted together go in as one module: a stage of its own may have
    nothing to adapt.

    Parameters
    ----------
    module:
        Any module, a ``torch.fx.GraphModule`` too; it is not altered.
    rank:
        Rank of the change, at least 1.
    alpha:
        Scale of the change, above 0; at ``alpha = rank`` B A is added as it is.
    dropout:
        Probability in [0, 1) with which an adapter's input is zeroed in train mode. It has no effect in layers whose
        weight is read rather than called (``nn.MultiheadAttention``, BEiT's, EVA's and Swin v2's queries, keys and
        values).
    seed:
        Of A; equal seeds give equal adapters. The global random state is left alone.

    Returns
    -------
    LoraModule
        In eval mode, on the module's device; takes and gives what the module does.

    Raises
    ------
    OptionError
        If a number lies outside its range or the module has no layer to adapt.
    MissingExtraError
        If peft isn't installed.
    """
    _check(rank, alpha, dropout)
    targets = lora_targets(module, rank=rank)
    if not targets:
        raise OptionError(
            f"LoRA of rank {rank} finds no attention projection and no convolution that it would make smaller; "
            "choose a lower rank, or train these stages as they are"
        )
    try:
        from peft import LoraConfig, LoraModel

        from headstart.backbones.pytorch.lora_layers import LAYERS
    except ModuleNotFoundError as error:
        raise MissingExtraError("LoRA", "lora") from error
    # peft replaces children of a module, so that the module itself may be a target where it is a child.
    holder = nn.Sequential(copy.deepcopy(module)).requires_grad_(False)
    pattern = "|".join(re.escape(f"0.{path}".rstrip(".")) for path in targets)  # as a list, ends of paths would match
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=pattern)
    config._register_custom_module(LAYERS)
    with torch.random.fork_rng(devices=[]):  # peft draws on the CPU wherever the module lies
        torch.default_generator.manual_seed(seed)
        return LoraModule(LoraModel(holder, config, _ADAPTER))


def merge_lora(adapted: LoraModule) -> nn.Module:
    """A plain frozen module with the adapters added to its weights; ``adapted`` can be trained on.

    It has the structure and the state-dict keys of the module that ``add_lora`` was given, and is in eval mode.

    Raises
    ------
    ArtifactError
        If a merged weight is not finite.
    """
    try:
        holder = copy.deepcopy(adapted.tuner).merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise ArtifactError(f"the LoRA adapter can't be merged ({error}); train again with a lower rate") from error
    merged: nn.Module = holder[0]
    return merged.requires_grad_(False).eval()


def lora_state(adapted: LoraModule) -> dict[str, Tensor]:
    """A copy of the adapters' tensors on the CPU, by ``<path of the layer>.lora_A.weight`` and ``….lora_B.weight``.

    Rank, alpha and dropout are not in it: ``add_lora`` needs them again before ``load_lora_state``.
    """
    return {name: parameter.detach().cpu().clone() for name, parameter in _adapter_parameters(adapted)}


def load_lora_state(adapted: LoraModule, state: Mapping[str, Tensor]) -> None:
    """Set the adapters to what ``lora_state`` gave; nothing is changed where the state doesn't fit.

    Raises
    ------
    ArtifactError
        If tensors are missing, left over or of another shape.
    """
    own = dict(_adapter_parameters(adapted))
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unexpected:
        raise ArtifactError(
            f"the LoRA state belongs to another module: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}"
        )
    for name, parameter in own.items():
        if parameter.shape != state[name].shape:
            raise ArtifactError(
                f"the LoRA state has {name} of shape {tuple(state[name].shape)}, not {tuple(parameter.shape)}; "
                "add LoRA with the rank that it was saved with"
            )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])


def lora_targets(module: nn.Module, *, rank: int) -> list[str]:
    """Paths of the layers that LoRA adapts, told by the structure around them.

    - ``nn.MultiheadAttention``, and linear layers that are attention projections: a direct part of a module that has
      a number of heads, or on a path that names attention (and no ``mlp`` in it).
    - Convolutions, and linear layers beside a depthwise convolution, which are pointwise convolutions in
      another layout (ConvNeXt).

    Left alone are the linear layers of transformers' MLPs; grouped, depthwise and dilated convolutions, whose adapters
    peft can't merge or build (a depthwise kernel is small and has no rank to lower); convolutions and patch embeddings
    that read a grey or colour image of up to 4 channels (one widened to more channels is adapted); layers that
    normalise their weight; layers used in several places; and every layer that the adapter would not make smaller.
    """
    parts = dict(module.named_modules())
    uses = Counter(id(weight) for _, weight in module.named_parameters(remove_duplicate=False))
    return [
        path
        for path, layer in parts.items()
        if (_is_convolution(layer) or _is_attention(layer) or (_is_linear(layer) and _is_adaptable(path, parts)))
        and all(uses[id(parameter)] == 1 for parameter in layer.parameters())
        and _is_smaller(layer, rank)
    ]


def _is_convolution(layer: nn.Module) -> bool:
    if type(layer) not in (nn.Conv2d, Conv2dSame) or "weight" not in layer._parameters:
        return False
    plain = layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"
    return plain and layer.in_channels > _IMAGE_CHANNELS


def _is_attention(layer: nn.Module) -> bool:
    return type(layer) is nn.MultiheadAttention and layer._qkv_same_embed_dim


def _is_linear(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear and "weight" in layer._parameters


def _is_adaptable(path: str, parts: Mapping[str, nn.Module]) -> bool:
    """Whether a linear layer is an attention projection or a pointwise convolution."""
    around = [parts[parent] for parent in _parents(path)]
    if around and any(isinstance(getattr(around[0], name, None), int) for name in _HEAD_COUNTS):
        return True
    names = path.lower()
    if ("attn" in names or "attention" in names) and "mlp" not in names:
        return True
    return any(_is_depthwise(child) for parent in around[:2] for child in parent.children())


def _parents(path: str) -> Iterator[str]:
    """Paths of the modules around, the nearest first, the root (the empty path) last."""
    while path:
        path = path.rpartition(".")[0]
        yield path


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1


def _is_smaller(layer: nn.Module, rank: int) -> bool:
    """Whether the adapter has fewer parameters than the weight that it changes."""
    weight = layer.in_proj_weight if isinstance(layer, nn.MultiheadAttention) else layer.weight
    return rank * (weight[0].numel() + len(weight)) < weight.numel()


def _adapter_parameters(adapted: LoraModule) -> Iterator[tuple[str, nn.Parameter]]:
    """The adapters' parameters, named as if the layers were not wrapped."""
    for name, parameter in adapted.module.named_parameters():
        if ".lora_" in f".{name}":
            yield name.replace(".base_layer.", ".").replace(f".{_ADAPTER}.", "."), parameter


def _check(rank: int, alpha: float, dropout: float) -> None:
    if rank < 1:
        raise OptionError(f"rank is {rank}; it must be at least 1")
    if not (math.isfinite(alpha) and alpha > 0):
        raise OptionError(f"alpha is {alpha}; it must be a number above 0")
    if not 0 <= dropout < 1:
        raise OptionError(f"dropout is {dropout}; it must lie in [0, 1)")
