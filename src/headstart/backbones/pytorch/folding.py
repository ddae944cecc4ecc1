"""BatchNorm on frozen statistics, taken into the convolution before it: the same function in fewer passes over maps.

A norm that keeps its statistics is affine, so ``norm(conv(x))`` is one convolution with ``weight * scale`` and
``bias * scale + shift``, where ``scale = gamma / sqrt(variance + eps)``. Both are computed anew at each call, from the
parameters that learn: gradients reach the convolution, gamma and beta as before, through tensors of a filter's size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn

# The largest difference, relative to the largest value, that float32 in another order of operations may make.
_SAME = 1e-4


@torch.no_grad()
def fold(module: nn.Module, example: Tensor) -> int:
    """Let each convolution whose output goes into one BatchNorm, and nowhere else, do that norm's work.

    Names, parameters and buffers stay as they are. Which pairs there are is found by running ``example``; if the
    network then gives anything else, nothing stays folded.

    Parameters
    ----------
    module:
        In eval mode; its norms must keep their statistics for as long as they are folded.
    example:
        What it takes.

    Returns
    -------
    How many norms were folded.
    """
    with _pairs_of(module) as pairs:
        expected = module(example)
    for convolution, norm in pairs:
        convolution._norm_after = (norm,)  # in a tuple, which hides it from the tree of modules
        convolution.__class__ = _CONVOLUTIONS[type(convolution)]
        norm.__class__ = _NORMS[type(norm)]
    if pairs and not _close(module(example), expected):
        unfold(module)
        return 0
    return len(pairs)


def unfold(module: nn.Module) -> None:
    """Let each norm do its own work again."""
    for part in module.modules():
        if isinstance(part, _Folded):
            part.__class__ = part.unfolded
            part.__dict__.pop("_norm_after", None)


class _Folded:
    """Marks a module that is folded; ``unfolded`` is the class it was of."""

    unfolded: type[Any]


def _folded_convolution(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    """A class of convolutions whose ``weight`` and ``bias`` are those of convolution and norm together."""

    def weight(self: Any) -> Tensor:
        scale, _ = _affine(self._norm_after[0])
        return cast("Tensor", self._parameters["weight"] * scale.view(-1, 1, 1, 1))

    def bias(self: Any) -> Tensor:
        scale, shift = _affine(self._norm_after[0])
        own = self._parameters["bias"]
        return shift if own is None else own * scale + shift

    members = {"unfolded": kind, "weight": property(weight), "bias": property(bias)}
    return cast("type[nn.Conv2d]", type(f"Folded{kind.__name__}", (_Folded, kind), members))


def _folded_norm(kind: type[nn.BatchNorm2d]) -> type[nn.BatchNorm2d]:
    """A class of norms of which only what follows the norm itself is left."""

    def forward(self: Any, value: Tensor) -> Tensor:
        return cast("Tensor", self.act(self.drop(value))) if issubclass(kind, BatchNormAct2d) else value

    return cast(
        "type[nn.BatchNorm2d]", type(f"Folded{kind.__name__}", (_Folded, kind), {"unfolded": kind, "forward": forward})
    )


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) of a norm on its statistics."""
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    scale = torch.rsqrt(variance + norm.eps)
    if not norm.affine:
        return scale, -mean * scale
    scale = norm.weight * scale
    return scale, norm.bias - mean * scale


# By exact type: what derives from these may use its weights in another way.
_CONVOLUTIONS = {kind: _folded_convolution(kind) for kind in (nn.Conv2d, Conv2dSame)}
_NORMS = {kind: _folded_norm(kind) for kind in (nn.BatchNorm2d, BatchNormAct2d)}


@contextlib.contextmanager
def _pairs_of(module: nn.Module) -> Iterator[list[tuple[Any, Any]]]:
    """Collects, while the module runs, the convolutions and norms that ran once, one right on the other's output."""
    convolved: dict[int, tuple[nn.Module, Tensor]] = {}  # by the output's identity; kept alive, so that none is reused
    calls: dict[nn.Module, int] = {}
    found: list[tuple[Any, Any]] = []
    pairs: list[tuple[Any, Any]] = []

    def after_convolution(part: nn.Module, _: Any, output: Tensor) -> None:
        calls[part] = calls.get(part, 0) + 1
        convolved[id(output)] = (part, output)

    def before_norm(part: nn.Module, values: tuple[Any, ...]) -> None:
        calls[part] = calls.get(part, 0) + 1
        if id(values[0]) in convolved:
            found.append((convolved[id(values[0])][0], part))

    hooks = []
    for part in module.modules():
        if type(part) in _CONVOLUTIONS:
            hooks.append(part.register_forward_hook(after_convolution))
        elif type(part) in _NORMS and getattr(part, "running_mean", None) is not None:
            hooks.append(part.register_forward_pre_hook(before_norm))
    try:
        yield pairs
    finally:
        for hook in hooks:
            hook.remove()
    pairs += [pair for pair in found if all(calls[part] == 1 for part in pair)]


def _close(found: Any, expected: Any) -> bool:
    return bool((found - expected).abs().max() <= _SAME * expected.abs().max())
