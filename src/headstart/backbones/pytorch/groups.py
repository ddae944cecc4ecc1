"""The parameter groups of an optimiser: a rate for each stage, and no decay where decay does harm."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from typing import Any

from torch import nn

from headstart.errors import OptionError

# Layers whose parameters scale and shift normalised values: a pull to zero would only fight the normalisation.
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_NORM_CLASSES = ("norm", "affine")  # parts of the class names of norms that derive from none of the above

# What a position, an extra token or the scale of a residual branch is called in timm, torchvision, open_clip and
# transformers: learned values that stand for themselves and multiply no features.
_UNDECAYED = (
    *("pos_emb", "position_emb", "positional_emb", "rel_pos", "relative_position", "attention_biases"),
    *("patch_pos", "pixel_pos", "cls_token", "class_token", "class_embedding", "reg_token", "register_token"),
    *("dist_token", "distillation_token", "mask_token", "gamma", "layer_scale", "logit_scale"),
)


def parameter_groups(
    stages: Sequence[tuple[str, nn.Module]], *, rate: float, decay_per_stage: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Sort the trainable parameters of ordered stages into groups for a torch optimiser.

    The last stage learns at ``rate``, each stage below it at ``decay_per_stage`` times the rate of the one above:
    the nearer to the input, the more general the features and the smaller the steps. Discriminative rates come from
    Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification" (ACL 2018); the constant factor
    a layer from Clark et al., "ELECTRA" (ICLR 2020), in vision from Bao et al., "BEiT" (ICLR 2022).

    Weight decay spares biases and everything else of one dimension, the parameters of norm layers, position
    embeddings, class, register, distillation and mask tokens, the scales of residual branches, and what a module
    names in its ``no_weight_decay()``, as timm's do.

    Parameters
    ----------
    stages:
        Pairs of a name and a module, the input's side first; the head is the last, where there is one. Frozen
        stages count as stages and give no group.
    rate:
        Learning rate of the last stage, above 0.
    decay_per_stage:
        Factor from a stage to the one below it, in (0, 1]; 1 gives every stage the same rate.
    weight_decay:
        At least 0.

    Returns
    -------
    list of dict
        Dictionaries with ``params``, ``name`` (``"<stage>/decay"`` or ``"<stage>/no_decay"``), ``lr`` and
        ``weight_decay``, the input's side first. Every parameter that requires a gradient is in exactly one; one
        that several stages share belongs to the lowest of them. Empty groups are left out.

    Raises
    ------
    OptionError
        If a number lies outside its range or two stages have the same name.
    """
    _check(stages, rate, decay_per_stage, weight_decay)
    groups: list[dict[str, Any]] = []
    taken: set[int] = set()
    for index, (stage, module) in enumerate(stages):
        decayed, spared = _sorted_parameters(module, taken)
        taken.update(id(parameter) for parameter in (*decayed, *spared))
        shared = {"lr": rate * decay_per_stage ** (len(stages) - 1 - index)}
        if decayed:
            groups.append({"params": decayed, "name": f"{stage}/decay", **shared, "weight_decay": weight_decay})
        if spared:
            groups.append({"params": spared, "name": f"{stage}/no_decay", **shared, "weight_decay": 0.0})
    return groups


def _check(stages: Sequence[tuple[str, nn.Module]], rate: float, decay_per_stage: float, weight_decay: float) -> None:
    if not (math.isfinite(rate) and rate > 0):
        raise OptionError(f"rate is {rate}; it must be a number above 0")
    if not 0 < decay_per_stage <= 1:
        raise OptionError(f"decay_per_stage is {decay_per_stage}; it must lie above 0 and not above 1")
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise OptionError(f"weight_decay is {weight_decay}; it must be a number of at least 0")
    names = [name for name, _ in stages]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise OptionError(f"several stages are called {repeated[0]!r}; each needs a name of its own")


def _sorted_parameters(module: nn.Module, taken: set[int]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trainable parameters that no lower stage has: those to decay, those to spare, each in the module's order."""
    undecayed = {id(parameter) for parameter in _undecayed(module)}
    free = [p for p in module.parameters() if p.requires_grad and id(p) not in taken]
    return [p for p in free if id(p) not in undecayed], [p for p in free if id(p) in undecayed]


def _undecayed(module: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters that weight decay spares; of a parameter with several names, one that says so is enough."""
    for path, owner in module.named_modules():
        is_norm = isinstance(owner, _NORMS) or any(part in type(owner).__name__.lower() for part in _NORM_CLASSES)
        for name, parameter in owner.named_parameters(recurse=False):
            named = any(part in f"{path}.{name}" for part in _UNDECAYED)
            if parameter.ndim <= 1 or name.endswith("bias") or is_norm or named:
                yield parameter
        if callable(listing := getattr(owner, "no_weight_decay", None)):
            patterns = tuple(listing())
            for name, parameter in owner.named_parameters(remove_duplicate=False):
                if any(fnmatch(name, pattern) for pattern in patterns):
                    yield parameter
